//! Where images come from, with the real binary and the fixture model: shards, folders, and every
//! kind of input that goes wrong among others that do not.

use crate::world::{
    CAT_BYTES as CAT, MODEL, TREE_BYTES as TREE, TarBuilder, clipclass, feed, gzip, refusal, tar_of, told_of,
};
use std::fs;
use std::path::Path;

const BOMB: &[u8] = include_bytes!("../../fixtures/broken/bomb.png");

/// What the binary says about inputs in a folder: `name prediction` or `name kind`, and its exit code.
fn classify(folder: &Path, arguments: &[&str], stdin: &[u8]) -> (Vec<String>, i32) {
    let mut command = clipclass();
    command
        .args(["--model", MODEL, "--labels", "a cat,a dog,a tree", "--json", "--no-cache"])
        .args(arguments)
        .current_dir(folder);
    let output = feed(&mut command, stdin);
    let code = output.status.code().unwrap();
    (told_of(&output, code), code)
}

#[test]
fn every_bad_input_is_a_record_and_all_others_are_classified() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("folder.jpg/deep")).unwrap();
    for (name, bytes) in [
        ("truncated.png", &CAT[..CAT.len() / 2]),
        ("empty.jpg", b""),
        ("text.jpg", b"no image at all"),
        ("bomb.png", BOMB),
        ("folder.jpg/deep/cat.png", CAT),
        ("tree.jpg", TREE),
    ] {
        fs::write(path(name), bytes).unwrap();
    }
    let shard = tar_of([("1.jpg", TREE), ("1.txt", b"a tree"), ("2.png", b""), ("3.png", CAT)]);
    // Within the content of 3.png, behind which come its padding and the end mark.
    fs::write(path("cut.tar"), &shard[..shard.len() - 1024 - CAT.len() / 2]).unwrap();
    let inputs = [
        "truncated.png",
        "tree.jpg",
        "empty.jpg",
        "text.jpg",
        "bomb.png",
        "vanished.jpg",
        "folder.jpg",
        "cut.tar",
        "tree.jpg",
    ];
    let (told, code) = classify(folder.path(), &inputs, b"");
    let expected = [
        "truncated.png decode",
        "tree.jpg a tree",
        "empty.jpg empty",
        "text.jpg format",
        "bomb.png limit",
        "vanished.jpg not_found",
        "folder.jpg/deep/cat.png a cat",
        "cut.tar/1.jpg a tree",
        "cut.tar/2.png empty",
        "cut.tar/3.png archive",
        "cut.tar archive",
        "tree.jpg a tree",
    ];
    assert_eq!((told, code), (expected.map(str::to_owned).to_vec(), 1));
}

#[test]
fn a_tar_on_standard_input_is_classified_member_by_member() {
    let folder = tempfile::tempdir().unwrap();
    let shard = tar_of([("a/1.jpg", TREE), ("a/1.cls", b"3"), ("a/2.png", CAT)]);
    let expected = ["-/a/1.jpg a tree", "-/a/2.png a cat"].map(str::to_owned).to_vec();
    assert_eq!(classify(folder.path(), &["-"], &shard), (expected, 0));
}

#[test]
fn the_parts_of_a_list_of_shards_are_disjoint_and_complete() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.tar"), tar_of([("1.jpg", TREE), ("2.png", CAT)])).unwrap();
    fs::write(folder.path().join("b.png"), CAT).unwrap();
    let part = |part| classify(folder.path(), &["--files-from", "-", "--part", part], b"a.tar\nb.png\n");
    assert_eq!(part("1/2"), (vec!["a.tar/1.jpg a tree".to_owned(), "b.png a cat".to_owned()], 0));
    assert_eq!(part("2/2"), (vec!["a.tar/2.png a cat".to_owned()], 0));
}

#[test]
fn a_part_still_goes_by_its_old_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.jpg"), TREE).unwrap();
    fs::write(folder.path().join("b.png"), CAT).unwrap();
    let told = classify(folder.path(), &["a.jpg", "b.png", "--shard", "2/2"], b"");
    assert_eq!(told, (vec!["b.png a cat".to_owned()], 0));
}

#[test]
fn links_in_a_tar_file_are_the_pictures_that_they_lead_to() {
    let folder = tempfile::tempdir().unwrap();
    let shard = TarBuilder::new()
        .symlink("ahead.png", "pictures/cat.png")
        .file("pictures/tree.jpg", TREE)
        .hard_link("hard.jpg", "pictures/tree.jpg")
        .symlink("links/soft.jpg", "../hard.jpg")
        .symlink("gone.jpg", "../elsewhere/gone.jpg")
        .file("pictures/cat.png", CAT)
        .finish();
    fs::write(folder.path().join("s.tar"), shard).unwrap();
    let expected = [
        "s.tar/ahead.png a cat",
        "s.tar/pictures/tree.jpg a tree",
        "s.tar/hard.jpg a tree",
        "s.tar/links/soft.jpg a tree",
        "s.tar/gone.jpg archive",
        "s.tar/pictures/cat.png a cat",
    ];
    assert_eq!(classify(folder.path(), &["s.tar"], b""), (expected.map(str::to_owned).to_vec(), 1));
}

#[test]
fn links_in_a_tar_stream_are_the_pictures_that_passed_or_fail() {
    let folder = tempfile::tempdir().unwrap();
    let shard = TarBuilder::new()
        .symlink("ahead.png", "pictures/cat.png")
        .file("pictures/tree.jpg", TREE)
        .hard_link("hard.jpg", "pictures/tree.jpg")
        .symlink("links/soft.jpg", "../hard.jpg")
        .file("pictures/cat.png", CAT)
        .finish();
    fs::write(folder.path().join("s.tar.gz"), gzip(&shard)).unwrap();
    for (input, stdin) in [("-", &shard[..]), ("s.tar.gz", b"")] {
        let expected = [
            "ahead.png archive",
            "pictures/tree.jpg a tree",
            "hard.jpg a tree",
            "links/soft.jpg a tree",
            "pictures/cat.png a cat",
        ];
        let expected = expected.map(|told| format!("{input}/{told}")).to_vec();
        assert_eq!(classify(folder.path(), &[input], stdin), (expected, 1));
    }
}

#[test]
fn a_folder_as_a_listed_input_is_walked_and_as_a_list_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pictures")).unwrap();
    fs::write(folder.path().join("pictures/a.jpg"), TREE).unwrap();
    let told = classify(folder.path(), &["--files-from", "-"], b"pictures\n");
    assert_eq!(told.1, 0);
    assert_eq!(told.0.len(), 1);
    let output = clipclass()
        .args(["--model", MODEL, "--labels", "a cat,a tree", "--files-from"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(refusal(&output).contains("it is a folder"));
}

#[test]
fn a_walk_takes_images_by_what_they_are_where_names_do_not_say() {
    let folder = tempfile::tempdir().unwrap();
    let fixture =
        |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap();
    let heic = fixture("containers/420.heic");
    let (avif, jxl) = (fixture("containers/420.avif"), fixture("containers/lossless.jxl"));
    let (pnm, cursor, tga) =
        (fixture("kinds/pnm-bits.pbm"), fixture("kinds/cur-1-masked.cur"), fixture("kinds/tga-RGB.tga"));
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>";
    let members: [(&str, &[u8]); 12] = [
        ("a.hif", &heic),
        ("b", &avif),
        ("c.jpg?w=200", TREE),
        ("d.photo", &jxl),
        ("e", b"text"),
        ("f.svg", svg),
        ("g.cr2", TREE),
        ("h", svg),
        ("i", &pnm),
        ("j", &cursor),
        ("k.tga", &tga),
        // Nothing says that this is one.
        ("l", &tga),
    ];
    fs::create_dir(folder.path().join("f")).unwrap();
    for (name, bytes) in members {
        fs::write(folder.path().join("f").join(name), bytes).unwrap();
    }
    fs::write(folder.path().join("s.tar"), tar_of(members)).unwrap();
    for input in ["f", "s.tar"] {
        let (told, code) = classify(folder.path(), &[input], b"");
        let names: Vec<_> = told.iter().map(|told| told.split(' ').next().unwrap()).collect();
        let expected =
            ["a.hif", "b", "c.jpg?w=200", "d.photo", "i", "j", "k.tga"].map(|name| format!("{input}/{name}"));
        assert_eq!((names, code), (expected.iter().map(String::as_str).collect(), 0), "{told:?}");
    }
}

#[test]
fn what_is_no_image_is_refused_by_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    // A TIFF with two directories: a small picture, and one of samples under a filter of colours.
    let directory = |photometric: u8, next: u8| {
        let entry =
            |tag: u16, value: u8| [&tag.to_le_bytes()[..], &[3, 0, 1, 0, 0, 0, value, 0, 0, 0]].concat();
        let photometric = match photometric {
            0 => [&262u16.to_le_bytes()[..], &[3, 0, 1, 0, 0, 0, 0x23, 0x80, 0, 0]].concat(),
            other => entry(262, other),
        };
        [&[1, 0][..], &photometric, &[next, 0, 0, 0]].concat()
    };
    let raw = [&b"II*\0\x08\0\0\0"[..], &directory(2, 26), &directory(0, 0)].concat();
    let inputs: [(&str, &[u8], &str); 9] = [
        ("a.svg", b"<?xml version='1.0'?><svg/>", "an SVG drawing"),
        ("b.pdf", b"%PDF-1.7", "a PDF document"),
        ("c.cr2", b"II*\0\x10\0\0\0CR\x02\0", "a camera raw (CR2)"),
        ("d.nef", &raw, "a camera raw (NEF"),
        ("e.mp4", b"\0\0\0\x10ftypisom\0\0\0\0", "a film (MP4)"),
        ("f.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        ("g.psd", b"8BPS\0\x01", "a Photoshop document"),
        ("h.jpg", b"<!DOCTYPE html><html>", "a web page"),
        ("i.pfm", b"Pf\n1 1\n-1.0\n\0\0\x80\x3f", "a PNM picture of floats"),
    ];
    for (name, bytes, _) in inputs {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let mut command = clipclass();
    command.args(["--model", MODEL, "--labels", "a cat,a tree", "--json", "--no-cache"]);
    let output = command.args(inputs.map(|(name, ..)| name)).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let records: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    assert_eq!(records.len(), inputs.len());
    for ((name, _, what), record) in inputs.iter().zip(records) {
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        let (kind, message) = (&record["error"]["kind"], record["error"]["message"].as_str().unwrap());
        assert!(kind == "format" && message.starts_with(what), "{name}: {kind}: {message}");
    }
}
