//! A link in an archive → the member that it stands for.
//!
//! In a file the links are followed by seeking. Where members lie is found out when the first link
//! is met, since few archives have any: one more pass over the headers alone. In a stream an earlier
//! member's bytes are gone, so a link can only say of which image it is another name.

use super::members::{Member, MemberKind, Members};
use crate::input::{ImageName, ReadError, os_string};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;

/// As many links in a row as Linux follows.
const CHAIN_LIMIT: usize = 40;

/// So many images of a stream are remembered at least, and twice as many at most, in about 40 MB.
const REMEMBERED_IMAGES: usize = 1 << 18;

/// A member's name in 16 bytes, by a key that nobody knows beforehand: no two names are taken for
/// one.
type Digest = [u64; 2];

#[derive(Default)]
struct Digester([RandomState; 2]);

impl Digester {
    fn digest(&self, name: &[u8]) -> Digest {
        self.0.each_ref().map(|state| state.hash_one(name))
    }
}

/// Where the members of a file lie.
pub(super) struct MemberIndex {
    digester: Digester,
    /// Each name and its place, in order.
    places: Vec<(Digest, u64)>,
}

impl MemberIndex {
    /// Passes over the whole archive.
    pub(super) fn build(members: &mut Members) -> io::Result<Self> {
        members.go_to(0)?;
        let mut index = Self { digester: Digester::default(), places: Vec::new() };
        // Damage is told when the walk comes there.
        while let Ok(Some(member)) = members.next() {
            if let Some(name) = plain(&member.path) {
                index.places.push((index.digester.digest(&name), member.at));
            }
            members.flow.pass_over(member.size_bytes)?;
        }
        index.places.sort_unstable();
        Ok(index)
    }

    /// The last member of that name before a place, or else the last one of all.
    fn find(&self, name: &[u8], before: u64) -> Option<u64> {
        let digest = self.digester.digest(name);
        let first = self.places.partition_point(|place| place.0 < digest);
        let named = || self.places[first..].iter().take_while(|place| place.0 == digest).map(|place| place.1);
        named().take_while(|at| *at < before).last().or_else(|| named().last())
    }

    /// Goes to the content of the file that a link leads to, over other links if need be, and tells
    /// its size in bytes.
    ///
    /// *Errors* of the kind `archive` when there is no such file.
    pub(super) fn follow(&self, members: &mut Members, link: &Member) -> Result<u64, ReadError> {
        let unreadable = |error: io::Error| failure(link, &format!("cannot be read: {error}"));
        let mut at = link.at;
        let mut target = target_of(link).ok_or_else(|| failure(link, OUTSIDE))?;
        for _ in 0..CHAIN_LIMIT {
            at = self.find(&target, at).ok_or_else(|| failure(link, OUTSIDE))?;
            members.go_to(at).map_err(unreadable)?;
            let Some(member) = members.next().map_err(unreadable)? else {
                return Err(failure(link, "is not in the archive any more"));
            };
            target = match member.kind {
                MemberKind::File => return Ok(member.size_bytes),
                MemberKind::Sparse => return Err(ReadError::new("archive", SPARSE)),
                MemberKind::Other => return Err(failure(link, "is not a file")),
                MemberKind::HardLink(_) | MemberKind::Symlink(_) => {
                    target_of(&member).ok_or_else(|| failure(link, OUTSIDE))?
                }
            };
        }
        Err(failure(link, "leads in a circle"))
    }
}

/// The images that passed in a stream.
#[derive(Default)]
pub(super) struct PassedImages {
    digester: Digester,
    recent: HashMap<Digest, PassedImage>,
    older: HashMap<Digest, PassedImage>,
}

/// An image that passed in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PassedImage {
    /// It fell to another part of the work.
    OfAnotherPart,
    /// It was read, and its member has the name by which it was asked for.
    Read,
    /// It was read, and its member has this name.
    ReadAs(Box<[u8]>),
}

impl PassedImages {
    /// Remembers an image under a member's name.
    pub(super) fn remember(&mut self, path: &[u8], image: PassedImage) {
        let Some(name) = plain(path) else { return };
        let image = match image {
            PassedImage::Read if name != path => PassedImage::ReadAs(path.into()),
            image => image,
        };
        if self.recent.len() == REMEMBERED_IMAGES {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(self.digester.digest(&name), image);
    }

    /// The image that a link stands for, if it passed and is still remembered.
    pub(super) fn find(&self, link: &Member) -> Option<PassedImage> {
        let name = target_of(link)?;
        let digest = self.digester.digest(&name);
        match self.recent.get(&digest).or_else(|| self.older.get(&digest))? {
            PassedImage::Read => Some(PassedImage::ReadAs(name.into())),
            image => Some(image.clone()),
        }
    }
}

const OUTSIDE: &str = "is not in the archive: pack it with --dereference";
pub(super) const SPARSE: &str = "stored with holes, which are not filled here: pack it without --sparse";

/// Why a link in a stream is no image.
pub(super) fn failure_in_stream(link: &Member, target: Option<&PassedImage>) -> ReadError {
    let why = match target {
        Some(_) => "is in another part of the work",
        None => "is no image before it",
    };
    let help = "a stream cannot be searched: give the archive as an unpacked file, or pack it with \
                --dereference --hard-dereference";
    failure(link, &format!("{why}, and {help}"))
}

/// Why a link is no image: what is wrong with the target.
fn failure(link: &Member, target_is: &str) -> ReadError {
    let target = ImageName::new(os_string(written_target(link).to_vec()));
    ReadError::new("archive", format!("a link to {target}, which {target_is}"))
}

/// The target as the link has it.
pub(super) fn written_target(link: &Member) -> &[u8] {
    match &link.kind {
        MemberKind::HardLink(target) | MemberKind::Symlink(target) => target,
        MemberKind::File | MemberKind::Sparse | MemberKind::Other => &link.path,
    }
}

/// The plain name of the member that a link leads to; absent when that lies outside the archive.
fn target_of(link: &Member) -> Option<Vec<u8>> {
    match &link.kind {
        MemberKind::Symlink(target) if !target.starts_with(b"/") => {
            let folder_bytes = link.path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            plain(&[&link.path[..folder_bytes], target].concat())
        }
        _ => plain(written_target(link)),
    }
}

/// A member's name without `.`, `..` and slashes that say nothing; absent when it leads outside.
fn plain(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    let root: &[u8] = if path.starts_with(b"/") { b"/" } else { b"" };
    Some([root, &parts.join(&b'/')].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symlink(path: &str, target: &str) -> Member {
        Member { at: 0, path: path.into(), size_bytes: 0, kind: MemberKind::Symlink(target.into()) }
    }

    #[test]
    fn a_symbolic_link_leads_on_from_its_folder_and_never_outside() {
        let target =
            |path, target| target_of(&symlink(path, target)).map(|name| String::from_utf8(name).unwrap());
        for (path, to, expected) in [
            ("a/b/l.jpg", "x.jpg", Some("a/b/x.jpg")),
            ("a/b/l.jpg", "./../c//x.jpg", Some("a/c/x.jpg")),
            ("a/b/l.jpg", "../../x.jpg", Some("x.jpg")),
            ("a/b/l.jpg", "../../../x.jpg", None),
            ("l.jpg", "../x.jpg", None),
            ("l.jpg", "/data/./x.jpg", Some("/data/x.jpg")),
            ("l.jpg", "/../x.jpg", None),
        ] {
            assert_eq!(target(path, to).as_deref(), expected, "{path} -> {to}");
        }
    }

    #[test]
    fn a_hard_link_leads_to_a_member_by_its_whole_name() {
        let kind = MemberKind::HardLink(b"./a/./x.jpg".into());
        let link = Member { at: 0, path: b"b/l.jpg".into(), size_bytes: 0, kind };
        assert_eq!(target_of(&link).unwrap(), b"a/x.jpg");
    }

    #[test]
    fn images_of_a_stream_are_remembered_within_bounds() {
        let mut passed = PassedImages::default();
        for i in 0..=2 * REMEMBERED_IMAGES {
            passed.remember(i.to_string().as_bytes(), PassedImage::OfAnotherPart);
        }
        passed.remember(b"a//b", PassedImage::Read);
        assert_eq!(passed.recent.len() + passed.older.len(), REMEMBERED_IMAGES + 2);
        assert_eq!(passed.find(&symlink("l", "0")), None);
        let last = (2 * REMEMBERED_IMAGES).to_string();
        assert_eq!(passed.find(&symlink("l", &last)), Some(PassedImage::OfAnotherPart));
        assert_eq!(passed.find(&symlink("l", "a/b")), Some(PassedImage::ReadAs((*b"a//b").into())));
    }
}
