//! Archives of every kind, as files and as streams.

use super::*;
use crate::input::Part;
use crate::input::stream::{self, Opened};
use crate::world::{TarBuilder, gzip, tar_of, zstd};
use std::fs;

const IMAGE: &[u8] = b"\xff\xd8\xff\xe0 jpeg";

/// Each source as `name` or `name: kind`.
fn walk(mut archive: ArchiveWalk, part: Option<Part>) -> Vec<String> {
    let mut deal = Deal::new(part);
    let sources = std::iter::from_fn(|| archive.next(&mut deal));
    let told = sources.map(|source| {
        let name = source.name.to_string();
        match source.read() {
            Ok(_) => name,
            Err(error) => format!("{name}: {}", error.kind),
        }
    });
    told.collect()
}

fn streamed(bytes: Vec<u8>) -> ArchiveWalk {
    match stream::open_stream(Box::new(io::Cursor::new(bytes))).unwrap() {
        Opened::Archive(flow) => ArchiveWalk::new(OsStr::new("s.tar"), flow),
        _ => panic!("not taken for an archive"),
    }
}

fn in_file(bytes: &[u8]) -> ArchiveWalk {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, bytes).unwrap();
    match stream::open_file(file.path().as_os_str()).unwrap() {
        Opened::Archive(flow) => ArchiveWalk::new(OsStr::new("s.tar"), flow),
        _ => panic!("not taken for an archive"),
    }
}

/// What all ways to read an archive say about it, which must be the same.
fn sources(bytes: &[u8]) -> Vec<String> {
    let told = walk(streamed(bytes.to_vec()), None);
    let from_file = |part| walk(in_file(bytes), part);
    assert_eq!(from_file(None), told);
    // Nor may it matter who reads which member, and who passes it over.
    let parts: Vec<_> = (1..=2).map(|index| from_file(Some(Part::new(index, 2).unwrap()))).collect();
    let dealt = (0..told.len()).map(|position| parts[position % 2][position / 2].clone());
    assert_eq!(dealt.collect::<Vec<_>>(), told);
    assert_eq!(parts[0].len() + parts[1].len(), told.len());
    told
}

#[test]
fn images_are_named_after_shard_and_member_and_all_else_is_passed_over() {
    let deep = format!("{}/1.jpg", "long".repeat(60));
    let archive = tar_of([
        ("./a.jpg", IMAGE),
        ("a.cls", b"3"),
        ("a.json", b"{}"),
        ("b.seg.PNG", b"not seen before its pixels are wanted"),
        (".hidden.jpg", IMAGE),
        (".folder/c.jpg", IMAGE),
        ("bare", IMAGE),
        ("text", b"no image"),
        ("tiny", b""),
        ("empty.jpg", b""),
        (&deep, IMAGE),
    ]);
    let named = ["s.tar/a.jpg", "s.tar/b.seg.PNG", "s.tar/bare", "s.tar/empty.jpg", &format!("s.tar/{deep}")];
    assert_eq!(sources(&archive), named);
}

#[test]
fn a_member_has_its_own_bytes() {
    let large = [IMAGE, &[7; 5000]].concat();
    let mut archive = streamed(tar_of([("1", &large[..]), ("2.jpg", IMAGE), ("3.jpg", b"")]));
    let mut deal = Deal::new(None);
    let read: Vec<_> =
        std::iter::from_fn(|| archive.next(&mut deal)).map(|source| source.read().unwrap()).collect();
    assert_eq!(read, [&large[..], IMAGE, b""]);
}

#[test]
fn folders_devices_and_pipes_are_not_images() {
    let archive = TarBuilder::new()
        .special(tar::EntryType::Directory, "d.jpg")
        .special(tar::EntryType::Fifo, "pipe.jpg")
        .special(tar::EntryType::Char, "null.jpg")
        .special(tar::EntryType::Block, "disk.jpg")
        .file("d.jpg/a.jpg", IMAGE);
    assert_eq!(sources(&archive.finish()), ["s.tar/d.jpg/a.jpg"]);
}

#[test]
fn an_archive_cut_off_gives_its_whole_members_then_fails() {
    let archive = tar_of([("1.jpg", IMAGE), ("2.jpg", &[0; 2000])]);
    // Headers at 0 and 1024; contents at 512 and 1536.
    let whole = ["s.tar/1.jpg", "s.tar/2.jpg"];
    assert_eq!(sources(&archive), whole);
    assert_eq!(sources(&archive[..1536 + 2048 + 512]), whole);
    // Between the last member and the end mark.
    for length in [1536 + 2048 + 511, 1536 + 2048, 1536 + 2000] {
        assert_eq!(sources(&archive[..length]), [whole[0], whole[1], "s.tar: archive"]);
    }
    assert_eq!(sources(&archive[..1536 + 1999]), [whole[0], "s.tar/2.jpg: archive", "s.tar: archive"]);
    assert_eq!(sources(&archive[..1536]), [whole[0], "s.tar/2.jpg: archive", "s.tar: archive"]);
    assert_eq!(sources(&archive[..1100]), [whole[0], "s.tar: archive"]);
    assert_eq!(sources(&archive[..300]), ["s.tar: archive"]);
    let text = tar_of([("1.jpg", IMAGE), ("1.txt", &[b'a'; 2000])]);
    assert_eq!(sources(&text[..2000]), ["s.tar/1.jpg", "s.tar: archive"]);
}

#[test]
fn a_damaged_header_ends_the_archive() {
    let mut archive = tar_of([("1.jpg", IMAGE), ("2.jpg", IMAGE)]);
    archive[1024 + 3] ^= 1;
    assert_eq!(sources(&archive), ["s.tar/1.jpg", "s.tar: archive"]);
}

#[test]
fn archives_one_after_the_other_are_read_as_one() {
    let archive = [tar_of([("1.jpg", IMAGE)]), tar_of([("2.jpg", IMAGE)])].concat();
    assert_eq!(sources(&archive), ["s.tar/1.jpg", "s.tar/2.jpg"]);
}

#[test]
fn a_member_beyond_the_limit_is_refused_by_its_header() {
    let mut huge = TarBuilder::header(IMAGE_LIMIT_BYTES + 1);
    huge.set_path("1.jpg").unwrap();
    huge.set_cksum();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.tar");
    fs::write(&path, huge.as_bytes()).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    // The content is a hole.
    file.set_len(512 + IMAGE_LIMIT_BYTES + 512).unwrap();
    io::copy(&mut &tar_of([("2.jpg", IMAGE)])[..], &mut file).unwrap();
    let Opened::Archive(flow) = stream::open_file(path.as_os_str()).unwrap() else {
        panic!("not taken for an archive")
    };
    assert_eq!(
        walk(ArchiveWalk::new(OsStr::new("s.tar"), flow), None),
        ["s.tar/1.jpg: limit", "s.tar/2.jpg"]
    );
}

#[test]
fn packed_archives_are_unpacked_as_they_pass() {
    let archive = tar_of([("1.jpg", IMAGE), ("2.jpg", &[5; 9999])]);
    let skippable = b"\x50\x2a\x4d\x18\x02\0\0\0no";
    let (first, second) = archive.split_at(700);
    for packed in [
        gzip(&archive),
        [gzip(first), gzip(second)].concat(),
        zstd(&archive),
        [skippable, &zstd(first)[..], skippable, &zstd(second)].concat(),
    ] {
        assert_eq!(sources(&packed), ["s.tar/1.jpg", "s.tar/2.jpg"]);
        let cut = packed[..packed.len() - 12].to_vec();
        let told = match stream::open_stream(Box::new(io::Cursor::new(cut))) {
            Ok(Opened::Archive(flow)) => walk(ArchiveWalk::new(OsStr::new("s.tar"), flow), None),
            Ok(_) => Vec::new(),
            // Cut off before anything could be unpacked.
            Err(error) => vec![format!("s.tar: {}", error.kind)],
        };
        assert_eq!(told.last().map(String::as_str), Some("s.tar: archive"), "{told:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_member_name_that_is_not_utf8_survives() {
    use std::os::unix::ffi::OsStrExt;
    let archive = tar_of([(OsStr::from_bytes(b"caf\xe9.jpg"), b"")]);
    let source = streamed(archive).next(&mut Deal::new(None)).unwrap();
    assert_eq!(source.name.as_os_str().as_bytes(), b"s.tar/caf\xe9.jpg");
}

/// Each source as `name` or `name: what came of it`; a picture is told by its content.
fn pictures(mut archive: ArchiveWalk) -> Vec<String> {
    let mut deal = Deal::new(None);
    let told = std::iter::from_fn(|| archive.next(&mut deal)).map(|source| {
        let name = source.name.to_string();
        if let Origin::SameAs(earlier) = source.origin {
            return format!("{name}: same as {earlier}");
        }
        match source.read() {
            Ok(bytes) => format!("{name}: {}", String::from_utf8_lossy(&bytes[IMAGE.len()..])),
            Err(error) => format!("{name}: {}", error.message),
        }
    });
    told.collect()
}

/// An image with content of its own.
fn image(content: &str) -> Vec<u8> {
    [IMAGE, content.as_bytes()].concat()
}

#[test]
fn a_link_in_a_file_is_the_picture_that_it_leads_to() {
    let far = format!("{}/x.jpg", "far".repeat(60));
    let archive = TarBuilder::new()
        .symlink("ahead.jpg", "d/later.jpg")
        .file("d/a.jpg", image("a"))
        .file(".store/0123", image("stored"))
        .file(&far, image("far"))
        .hard_link("hard.jpg", "d/a.jpg")
        .symlink("d/soft.jpg", "./../d/./a.jpg")
        .symlink("d/to-hard.jpg", "../hard.jpg")
        .symlink("stored.jpg", ".store/0123")
        .symlink("bare", ".store/0123")
        .symlink("far.jpg", &far)
        .file("d/later.jpg", image("later"));
    let expected = [
        "ahead.jpg: later",
        "d/a.jpg: a",
        &format!("{far}: far"),
        "hard.jpg: a",
        "d/soft.jpg: a",
        "d/to-hard.jpg: a",
        "stored.jpg: stored",
        "bare: stored",
        "far.jpg: far",
        "d/later.jpg: later",
    ];
    assert_eq!(pictures(in_file(&archive.finish())), expected.map(|told| format!("s.tar/{told}")));
}

#[test]
fn a_link_leads_to_the_last_member_of_that_name_before_it() {
    let archive = TarBuilder::new()
        .file("a.jpg", image("1"))
        .symlink("l1.jpg", "a.jpg")
        .file("a.jpg", image("2"))
        .hard_link("l2.jpg", "a.jpg")
        .file("a.jpg", image("3"));
    let expected = ["a.jpg: 1", "l1.jpg: 1", "a.jpg: 2", "l2.jpg: 2", "a.jpg: 3"];
    assert_eq!(pictures(in_file(&archive.finish())), expected.map(|told| format!("s.tar/{told}")));
}

#[test]
fn a_link_that_leads_to_no_picture_in_the_archive_fails_and_says_where_it_leads() {
    let archive = TarBuilder::new()
        .file("a.jpg", image("a"))
        .special(tar::EntryType::Directory, "d")
        .symlink("out.jpg", "../a.jpg")
        .symlink("root.jpg", "/a.jpg")
        .hard_link("gone.jpg", "b.jpg")
        .symlink("folder.jpg", "d")
        .symlink("round.jpg", "about.jpg")
        .symlink("about.jpg", "round.jpg")
        .symlink("self.jpg", "self.jpg")
        .symlink("bare", "gone.png");
    let told = pictures(in_file(&archive.finish()));
    let expected = [
        ("a.jpg", "a"),
        ("out.jpg", "a link to ../a.jpg, which is not in the archive"),
        ("root.jpg", "a link to /a.jpg, which is not in the archive"),
        ("gone.jpg", "a link to b.jpg, which is not in the archive"),
        ("folder.jpg", "a link to d, which is not a file"),
        ("round.jpg", "a link to about.jpg, which leads in a circle"),
        ("about.jpg", "a link to round.jpg, which leads in a circle"),
        ("self.jpg", "a link to self.jpg, which leads in a circle"),
        ("bare", "a link to gone.png, which is not in the archive"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, (name, reason)) in told.iter().zip(expected) {
        assert!(told.starts_with(&format!("s.tar/{name}: {reason}")), "{told}");
    }
}

#[test]
fn links_that_are_no_images_are_passed_over() {
    let archive = TarBuilder::new()
        .file("a.jpg", IMAGE)
        .file("text", b"no image")
        .symlink("a.txt", "a.jpg")
        .hard_link(".hidden.jpg", "a.jpg")
        .symlink("latest", "folder")
        .symlink("readme", "text");
    assert_eq!(sources(&archive.finish()), ["s.tar/a.jpg"]);
}

#[test]
fn a_link_in_a_stream_is_another_name_of_an_image_that_passed() {
    let archive = TarBuilder::new()
        .symlink("ahead.jpg", "a.jpg")
        .file("d/a.jpg", image("a"))
        .file(".store/0123", image("stored"))
        .hard_link("hard.jpg", "d/a.jpg")
        .symlink("d/soft.jpg", "../hard.jpg")
        .symlink("bare", "d/a.jpg")
        .symlink("latest", "d")
        .symlink("stored.jpg", ".store/0123");
    let told = pictures(streamed(archive.finish()));
    let name = "s.tar/d/a.jpg";
    let help = "which is no image before it, and a stream cannot be searched: give the archive as an unpacked \
                file, or pack it with --dereference --hard-dereference";
    let expected = [
        format!("s.tar/ahead.jpg: a link to a.jpg, {help}"),
        format!("{name}: a"),
        format!("s.tar/hard.jpg: same as {name}"),
        format!("s.tar/d/soft.jpg: same as {name}"),
        format!("s.tar/bare: same as {name}"),
        format!("s.tar/stored.jpg: a link to .store/0123, {help}"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn links_are_dealt_out_like_all_else() {
    let archive = TarBuilder::new()
        .file("a.jpg", image("a"))
        .symlink("b.jpg", "a.jpg")
        .symlink("bare", "a.jpg")
        .symlink("gone.jpg", "x.jpg")
        .symlink("text", "x.txt")
        .file("c.jpg", image("c"))
        .finish();
    let names = ["s.tar/a.jpg", "s.tar/b.jpg", "s.tar/bare", "s.tar/gone.jpg", "s.tar/c.jpg"];
    let from_file = || in_file(&archive);
    let in_stream = || streamed(archive.clone());
    for open in [&from_file as &dyn Fn() -> ArchiveWalk, &in_stream] {
        for count in 1..=3 {
            for index in 1..=count {
                let told = walk(open(), Some(Part::new(index, count).unwrap()));
                let told: Vec<_> = told.iter().map(|told| told.split(": ").next().unwrap()).collect();
                let part = names.iter().skip(index as usize - 1).step_by(count as usize);
                assert!(part.eq(&told), "{index}/{count}: {told:?}");
            }
        }
    }
}

#[test]
fn a_link_into_what_was_cut_off_fails_like_it() {
    let archive =
        TarBuilder::new().symlink("l.jpg", "a.jpg").file("a.jpg", image(&"a".repeat(2000))).finish();
    let told = walk(in_file(&archive[..2000]), None);
    assert_eq!(told, ["s.tar/l.jpg: archive", "s.tar/a.jpg: archive", "s.tar: archive"]);
}

/// Each image with what stands beside it, as `name: extension text, …`.
fn annotated(members: &[(&str, &str)]) -> Vec<String> {
    let members =
        members.iter().map(|(name, text)| (name, if text.is_empty() { IMAGE } else { text.as_bytes() }));
    let mut archive = streamed(tar_of(members)).with_annotations(Annotations::Read);
    let mut deal = Deal::new(None);
    let sources = std::iter::from_fn(|| archive.next(&mut deal));
    let told = sources.map(|source| {
        let said = |a: &Annotation| format!("{} {}", a.extension, String::from_utf8_lossy(&a.bytes));
        let said: Vec<_> = source.annotations.iter().map(said).collect();
        format!("{}: {}", source.name, said.join(", "))
    });
    told.collect()
}

#[test]
fn images_come_with_what_stands_beside_them() {
    let members = [
        ("a/1.cls", "3"),
        ("a/1.jpg", ""),
        ("a/1.json", "{}"),
        ("a/2.seg.png", ""),
        ("a/2.jpg", ""),
        ("a/2.TXT", "a dog"),
        ("a/2.npy", "0"),
        ("b/2.jpg", ""),
        ("b/3.txt", "of nothing"),
        ("b/4.jpg", ""),
    ];
    let expected =
        ["a/1.jpg: cls 3, json {}", "a/2.seg.png: txt a dog", "a/2.jpg: txt a dog", "b/2.jpg: ", "b/4.jpg: "];
    assert_eq!(annotated(&members), expected.map(|told| format!("s.tar/{told}")));
}

#[test]
fn an_archive_that_is_cut_off_still_gives_the_images_that_wait() {
    let members = [("1.jpg", IMAGE), ("1.cls", b"3".as_slice()), ("2.jpg", IMAGE)];
    let whole = tar_of(members);
    let mut archive = streamed(whole[..5 * 512 + 10].to_vec()).with_annotations(Annotations::Read);
    let mut deal = Deal::new(None);
    let told: Vec<_> = std::iter::from_fn(|| archive.next(&mut deal))
        .map(|source| {
            (source.name.to_string(), source.annotations.len(), source.read().map_err(|e| e.kind).err())
        })
        .collect();
    assert_eq!((told[0].0.as_str(), told[0].1, told[0].2), ("s.tar/1.jpg", 1, None));
    assert_eq!(told.last().unwrap().2, Some("archive"));
}
