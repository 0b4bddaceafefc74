//! A tar shard → the images in it, one in memory at a time, never unpacked.
//!
//! `members.rs` reads the headers; here it is decided which members are images. A link is another
//! name of a picture, and a picture that cannot be had by it is a failure that is told; `links.rs`
//! follows it.

mod links;
mod members;

use super::formats::{HEAD_BYTES, has_image_extension, has_no_extension, is_hidden, is_image};
use super::part::Deal;
use super::stream::Flow;
use super::{IMAGE_LIMIT_BYTES, ImageName, ImageSource, Origin, ReadError, os_string};
use links::{MemberIndex, PassedImage, PassedImages};
use members::{Member, MemberKind, Members};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// The walk through one archive.
pub(super) struct Archive {
    name: OsString,
    members: Members,
    links: Links,
    /// What ends the walk too early, to be told next.
    broken: Option<ReadError>,
    has_ended: bool,
}

/// What it takes to follow links.
enum Links {
    /// Made when the first link is met.
    InFile(Option<MemberIndex>),
    InStream(PassedImages),
}

/// Why a member's content cannot be had.
enum ContentError {
    TooLarge,
    CutOff,
    Unreadable(io::Error),
}

impl Archive {
    pub(super) fn new(name: &OsStr, flow: Flow) -> Self {
        let links =
            if flow.is_file() { Links::InFile(None) } else { Links::InStream(PassedImages::default()) };
        Self { name: name.into(), members: Members::new(flow), links, broken: None, has_ended: false }
    }

    pub(super) fn next(&mut self, deal: &mut Deal) -> Option<ImageSource> {
        while !self.has_ended {
            if let Some(error) = self.broken.take() {
                self.has_ended = true;
                return deal.take().then(|| ImageSource::failed(self.name.clone(), error));
            }
            match self.members.next() {
                Ok(Some(member)) => match self.pass(&member, deal) {
                    None => {}
                    Some(origin) => return Some(ImageSource::new(self.name_of(&member.path), origin)),
                },
                Ok(None) => self.has_ended = true,
                Err(error) => self.broken = Some(unreadable(&error)),
            }
        }
        None
    }

    /// What a member is called in records.
    fn name_of(&self, path: &[u8]) -> OsString {
        let mut name = self.name.clone();
        name.push("/");
        name.push(os_string(path.to_vec()));
        name
    }

    /// Passes one member, which has an origin if it is an image and falls to this run.
    fn pass(&mut self, member: &Member, deal: &mut Deal) -> Option<Origin> {
        let name = os_string(member.path.clone());
        match member.kind {
            MemberKind::Other => {}
            _ if is_within_hidden(&name) => {}
            MemberKind::File | MemberKind::Sparse => return self.pass_file(member, &name, deal),
            MemberKind::HardLink(_) | MemberKind::Symlink(_) => {
                return match &self.links {
                    Links::InFile(_) => self.pass_link_in_file(member, &name, deal),
                    Links::InStream(_) => self.pass_link_in_stream(member, &name, deal),
                };
            }
        }
        self.leave(member.size_bytes, &name);
        None
    }

    fn pass_file(&mut self, member: &Member, name: &OsStr, deal: &mut Deal) -> Option<Origin> {
        let mut bytes = Vec::new();
        let is_image = has_image_extension(name)
            || (has_no_extension(name) && self.begins_like_image(member.size_bytes, &mut bytes));
        let is_ours = is_image && deal.take();
        if let (true, Links::InStream(passed)) = (is_image, &mut self.links) {
            passed
                .remember(&member.path, if is_ours { PassedImage::Read } else { PassedImage::OfAnotherPart });
        }
        let left_bytes = member.size_bytes - bytes.len() as u64;
        if !is_ours {
            self.leave(left_bytes, name);
            return None;
        }
        if let MemberKind::Sparse = member.kind {
            self.leave(left_bytes, name);
            return Some(Origin::Failed(ReadError::new("archive", links::SPARSE)));
        }
        let content = self.read_content(member.size_bytes, bytes);
        match &content {
            Ok(_) => {}
            Err(ContentError::TooLarge) => self.leave(left_bytes, name),
            Err(ContentError::CutOff) => self.broken = Some(cut_off(name)),
            Err(ContentError::Unreadable(error)) => self.broken = Some(unreadable(error)),
        }
        Some(origin_of(content, member.size_bytes))
    }

    /// Passes a link, which is the picture that it leads to.
    fn pass_link_in_file(&mut self, link: &Member, name: &OsStr, deal: &mut Deal) -> Option<Origin> {
        let is_named_image = has_image_extension(name);
        if !is_named_image && !has_no_extension(name) || is_named_image && !deal.take() {
            return None;
        }
        let here_bytes = self.members.flow.position_bytes();
        let target = self.follow(link);
        let mut bytes = Vec::new();
        let is_image = is_named_image
            || match &target {
                Ok(size_bytes) => self.begins_like_image(*size_bytes, &mut bytes),
                Err(_) => leads_to_named_image(link),
            };
        let origin = (is_named_image || is_image && deal.take()).then(|| match target {
            Ok(size_bytes) => origin_of(self.read_content(size_bytes, bytes), size_bytes),
            Err(error) => Origin::Failed(error),
        });
        if let Err(error) = self.members.go_to(here_bytes) {
            self.broken = Some(unreadable(&error));
        }
        origin
    }

    /// Goes to the content of a link's target, and tells its size in bytes.
    fn follow(&mut self, link: &Member) -> Result<u64, ReadError> {
        let Links::InFile(known) = &mut self.links else { return Err(links::failure_in_stream(link, None)) };
        let index = match known {
            Some(index) => index,
            None => known.insert(MemberIndex::build(&mut self.members).map_err(|error| unreadable(&error))?),
        };
        index.follow(&mut self.members, link)
    }

    /// Passes a link whose target can only be named.
    fn pass_link_in_stream(&mut self, link: &Member, name: &OsStr, deal: &mut Deal) -> Option<Origin> {
        let Links::InStream(passed) = &mut self.links else { return None };
        let target = passed.find(link);
        let is_image = has_image_extension(name)
            || has_no_extension(name) && (target.is_some() || leads_to_named_image(link));
        if let (true, Some(target)) = (is_image, &target) {
            // A link to this link is one to the same picture.
            passed.remember(&link.path, target.clone());
        }
        (is_image && deal.take()).then(|| match &target {
            Some(PassedImage::ReadAs(path)) => Origin::SameAs(ImageName::new(self.name_of(path))),
            target => Origin::Failed(links::failure_in_stream(link, target.as_ref())),
        })
    }

    /// Reads the first bytes of a member's content.
    fn begins_like_image(&mut self, size_bytes: u64, head: &mut Vec<u8>) -> bool {
        self.members.read(size_bytes.min(HEAD_BYTES), head).is_ok() && is_image(head)
    }

    /// Reads the rest of a member's content, of which `bytes` were read.
    fn read_content(&mut self, size_bytes: u64, mut bytes: Vec<u8>) -> Result<Vec<u8>, ContentError> {
        if size_bytes > IMAGE_LIMIT_BYTES {
            return Err(ContentError::TooLarge);
        }
        let left_bytes = size_bytes - bytes.len() as u64;
        // What a header promises need not come, so a large size is not believed at once.
        bytes.reserve_exact(left_bytes.min(1 << 20) as usize);
        self.members.read(left_bytes, &mut bytes).map_err(ContentError::Unreadable)?;
        if bytes.len() as u64 == size_bytes { Ok(bytes) } else { Err(ContentError::CutOff) }
    }

    /// Passes over the rest of a member's content.
    fn leave(&mut self, left_bytes: u64, name: &OsStr) {
        match self.members.flow.pass_over(left_bytes) {
            Ok(passed) if passed < left_bytes => self.broken = Some(cut_off(name)),
            Ok(_) => {}
            Err(error) => self.broken = Some(unreadable(&error)),
        }
    }
}

fn origin_of(content: Result<Vec<u8>, ContentError>, size_bytes: u64) -> Origin {
    Origin::Failed(match content {
        Ok(bytes) => return Origin::Bytes(bytes),
        Err(ContentError::TooLarge) => ReadError::limit(Some(size_bytes), IMAGE_LIMIT_BYTES),
        Err(ContentError::CutOff) => ReadError::new("archive", "the archive ends in the middle of it"),
        Err(ContentError::Unreadable(error)) => unreadable(&error),
    })
}

/// Whether a link that does not tell what it is leads to what calls itself an image.
fn leads_to_named_image(link: &Member) -> bool {
    has_image_extension(Path::new(&os_string(links::written_target(link).to_vec())))
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
    use super::*;
    use crate::input::Part;
    use crate::input::stream::{self, Opened};
    use crate::world::{TarBuilder, gzip, tar_of, zstd};
    use std::fs;

    const IMAGE: &[u8] = b"\xff\xd8\xff\xe0 jpeg";

    /// Each source as `name` or `name: kind`.
    fn walk(mut archive: Archive, part: Option<Part>) -> Vec<String> {
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
        let from_file = |part| match stream::open_file(path.as_os_str()).unwrap() {
            Opened::Archive(flow) => walk(Archive::new(OsStr::new("s.tar"), flow), part),
            _ => panic!("not taken for an archive"),
        };
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
