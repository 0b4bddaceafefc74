//! A tar shard → the images in it, one in memory at a time, never unpacked.
//!
//! The headers, with all their extensions for long names and large files, are read by `tar`; its
//! iterator borrows the archive, so each member gets a fresh one over the bytes that follow.

use super::formats::{HEAD_BYTES, has_image_extension, has_no_extension, is_hidden, is_image};
use super::shard::Deal;
use super::stream::Flow;
use super::{IMAGE_LIMIT_BYTES, ImageName, ImageSource, Origin, ReadError, os_string};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::Path;

/// Members begin at multiples of this.
const BLOCK_BYTES: u64 = 512;

/// The walk through one archive.
pub(super) struct Archive {
    name: OsString,
    flow: Flow,
    /// Filling between the last member and the next header.
    padding_bytes: u64,
    /// What ends the walk too early, to be told next.
    broken: Option<ReadError>,
    has_ended: bool,
}

struct Member {
    name: OsString,
    size_bytes: u64,
    kind: tar::EntryType,
}

impl Archive {
    pub(super) fn new(name: &OsStr, flow: Flow) -> Self {
        Self { name: name.into(), flow, padding_bytes: 0, broken: None, has_ended: false }
    }

    pub(super) fn next(&mut self, deal: &mut Deal) -> Option<ImageSource> {
        while !self.has_ended {
            if let Some(error) = self.broken.take() {
                self.has_ended = true;
                return deal.take().then(|| ImageSource::failed(self.name.clone(), error));
            }
            match self.member() {
                Ok(Some(member)) => match self.pass(member, deal) {
                    None => {}
                    source => return source,
                },
                Ok(None) => self.has_ended = true,
                Err(error) => self.broken = Some(unreadable(&error)),
            }
        }
        None
    }

    /// Reads up to the content of the next member.
    fn member(&mut self) -> io::Result<Option<Member>> {
        let Some(block) = self.header_block()? else { return Ok(None) };
        let mut archive = tar::Archive::new((&block[..]).chain(&mut self.flow));
        let Some(entry) = archive.entries()?.next().transpose()? else { return Ok(None) };
        let kind = entry.header().entry_type();
        let size_bytes = if kind.is_gnu_sparse() { entry.header().entry_size()? } else { entry.size() };
        let path = entry.path_bytes();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        self.padding_bytes = size_bytes.wrapping_neg() % BLOCK_BYTES;
        Ok(Some(Member { name: os_string(path.to_vec()), size_bytes, kind }))
    }

    /// Reads the first block of the next header.
    ///
    /// Zero blocks mark an archive's end; others may follow (`cat *.tar |`) and are read as one. Only
    /// the missing mark tells that an archive was cut off between two members.
    fn header_block(&mut self) -> io::Result<Option<[u8; BLOCK_BYTES as usize]>> {
        self.flow.pass_over(self.padding_bytes)?;
        let mut has_end_mark = false;
        loop {
            let mut block = Vec::with_capacity(BLOCK_BYTES as usize);
            self.read(BLOCK_BYTES, &mut block)?;
            match <[u8; BLOCK_BYTES as usize]>::try_from(block) {
                Ok(block) if block.iter().all(|&byte| byte == 0) => has_end_mark = true,
                Ok(block) => return Ok(Some(block)),
                Err(_) if has_end_mark => return Ok(None),
                Err(_) => return Err(io::Error::other("it has no end mark, so it was cut off")),
            }
        }
    }

    /// Passes one member, which becomes a source if it is an image and falls to this run.
    fn pass(&mut self, member: Member, deal: &mut Deal) -> Option<ImageSource> {
        let Member { name, size_bytes, kind } = member;
        let mut bytes = Vec::new();
        let is_file = kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse();
        let is_image = is_file && !is_within_hidden(&name) && {
            has_image_extension(&name)
                || (has_no_extension(&name) && {
                    self.read(size_bytes.min(HEAD_BYTES), &mut bytes).is_ok() && is_image(&bytes)
                })
        };
        let left_bytes = size_bytes - bytes.len() as u64;
        if !is_image || !deal.take() {
            self.leave(left_bytes, &name);
            return None;
        }
        let origin = if kind.is_gnu_sparse() {
            self.leave(left_bytes, &name);
            let message = "stored with holes, which are not filled here: pack it without --sparse";
            Origin::Failed(ReadError::new("archive", message))
        } else if size_bytes > IMAGE_LIMIT_BYTES {
            self.leave(left_bytes, &name);
            Origin::Failed(ReadError::limit(Some(size_bytes), IMAGE_LIMIT_BYTES))
        } else {
            // What a header promises need not come, so a large size is not believed at once.
            bytes.reserve_exact(left_bytes.min(1 << 20) as usize);
            match self.read(left_bytes, &mut bytes) {
                Ok(()) if bytes.len() as u64 == size_bytes => Origin::Bytes(bytes),
                Ok(()) => {
                    self.broken = Some(cut_off(&name));
                    Origin::Failed(ReadError::new("archive", "the archive ends in the middle of it"))
                }
                Err(error) => {
                    self.broken = Some(unreadable(&error));
                    Origin::Failed(unreadable(&error))
                }
            }
        };
        let mut path = self.name.clone();
        path.push("/");
        path.push(name);
        Some(ImageSource::new(path, origin))
    }

    fn read(&mut self, count: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.flow.by_ref().take(count).read_to_end(bytes).map(drop)
    }

    /// Passes over the rest of a member's content.
    fn leave(&mut self, left_bytes: u64, name: &OsStr) {
        match self.flow.pass_over(left_bytes) {
            Ok(passed) if passed < left_bytes => self.broken = Some(cut_off(name)),
            Ok(_) => {}
            Err(error) => self.broken = Some(unreadable(&error)),
        }
    }
}

fn cut_off(member: &OsStr) -> ReadError {
    ReadError::new("archive", format!("the archive ends in the middle of {}", ImageName::new(member)))
}

fn unreadable(error: &io::Error) -> ReadError {
    ReadError::new("archive", format!("cannot read the archive to its end: {error}"))
}

/// Whether the member or a folder it lies in is hidden.
fn is_within_hidden(name: &OsStr) -> bool {
    Path::new(name).components().any(|component| is_hidden(component.as_os_str()))
}

#[cfg(test)]
mod tests {
    use super::super::stream::{self, Opened};
    use super::*;
    use crate::input::Shard;
    use crate::world::{TarBuilder, gzip, tar_of, zstd};
    use std::fs;

    const IMAGE: &[u8] = b"\xff\xd8\xff\xe0 jpeg";

    /// Each source as `name` or `name: kind`.
    fn walk(mut archive: Archive, shard: Option<Shard>) -> Vec<String> {
        let mut deal = Deal::new(shard);
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

    fn streamed(bytes: Vec<u8>) -> Archive {
        match stream::open_stream(Box::new(io::Cursor::new(bytes))).unwrap() {
            Opened::Archive(flow) => Archive::new(OsStr::new("s.tar"), flow),
            _ => panic!("not taken for an archive"),
        }
    }

    /// What all ways to read an archive say about it, which must be the same.
    fn sources(bytes: &[u8]) -> Vec<String> {
        let told = walk(streamed(bytes.to_vec()), None);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.tar");
        fs::write(&path, bytes).unwrap();
        let from_file = |shard| match stream::open_file(path.as_os_str()).unwrap() {
            Opened::Archive(flow) => walk(Archive::new(OsStr::new("s.tar"), flow), shard),
            _ => panic!("not taken for an archive"),
        };
        assert_eq!(from_file(None), told);
        // Nor may it matter who reads which member, and who passes it over.
        let parts: Vec<_> = (1..=2).map(|index| from_file(Some(Shard::new(index, 2).unwrap()))).collect();
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
        let named =
            ["s.tar/a.jpg", "s.tar/b.seg.PNG", "s.tar/bare", "s.tar/empty.jpg", &format!("s.tar/{deep}")];
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
    fn folders_and_links_are_not_images() {
        let archive = TarBuilder::new()
            .special(tar::EntryType::Directory, "d.jpg")
            .symlink("l.jpg", "a.jpg")
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
            walk(Archive::new(OsStr::new("s.tar"), flow), None),
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
                Ok(Opened::Archive(flow)) => walk(Archive::new(OsStr::new("s.tar"), flow), None),
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
}
