//! A tar shard → the images in it, one in memory at a time, never unpacked.
//!
//! `members.rs` reads the headers; here it is decided which members are images. A link is another
//! name of a picture, and a picture that cannot be had by it is a failure that is told; `links.rs`
//! follows it.

mod links;
mod members;
mod samples;

use super::formats::{HEAD_BYTES, has_image_extension, has_no_extension, is_hidden, is_image};
use super::part::Deal;
use super::stream::Flow;
use super::{
    Annotation, Annotations, IMAGE_LIMIT_BYTES, ImageName, ImageSource, Origin, ReadError, os_string,
};
use links::{MemberIndex, PassedImage, PassedImages};
use members::{Member, MemberKind, Members};
use samples::{ANNOTATION_LIMIT_BYTES, Samples, annotation_extension};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// The walk through one archive.
pub(super) struct ArchiveWalk {
    name: OsString,
    members: Members,
    links: Links,
    /// Images that wait for what stands beside them, where that is asked for.
    samples: Option<Samples>,
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

impl ArchiveWalk {
    pub(super) fn new(name: &OsStr, flow: Flow) -> Self {
        let links =
            if flow.is_file() { Links::InFile(None) } else { Links::InStream(PassedImages::default()) };
        let members = Members::new(flow);
        Self { name: name.into(), members, links, samples: None, broken: None, has_ended: false }
    }

    /// Has images come with what stands beside them, or not.
    pub(super) fn with_annotations(mut self, annotations: Annotations) -> Self {
        self.samples = (annotations == Annotations::Read).then(Samples::default);
        self
    }

    pub(super) fn next(&mut self, deal: &mut Deal) -> Option<ImageSource> {
        loop {
            if let Some(ready) = self.samples.as_mut().and_then(Samples::next) {
                return Some(ready);
            }
            if self.has_ended {
                return None;
            }
            if let Some(error) = self.broken.take() {
                self.has_ended = true;
                return deal.take().then(|| ImageSource::failed(self.name.clone(), error));
            }
            match self.members.next() {
                Ok(Some(member)) => {
                    if let Some(samples) = &mut self.samples {
                        samples.turn_to(&member.path);
                    }
                    let Some(origin) = self.pass(&member, deal) else { continue };
                    let image = ImageSource::new(self.name_of(&member.path), origin);
                    match &mut self.samples {
                        None => return Some(image),
                        Some(samples) => samples.add_image(image),
                    }
                }
                Ok(None) => self.has_ended = true,
                Err(error) => self.broken = Some(unreadable(&error)),
            }
            if let (Some(samples), true) = (&mut self.samples, self.has_ended || self.broken.is_some()) {
                samples.finish();
            }
        }
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
        if !is_image && self.pass_annotation(member, name) {
            return None;
        }
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

    /// Reads a member that may say something of the image beside it, and tells whether it did.
    fn pass_annotation(&mut self, member: &Member, name: &OsStr) -> bool {
        let extension = annotation_extension(Path::new(name));
        let (Some(samples), Some(extension), true) =
            (&mut self.samples, extension, member.size_bytes <= ANNOTATION_LIMIT_BYTES)
        else {
            return false;
        };
        let mut bytes = Vec::new();
        match self.members.read(member.size_bytes, &mut bytes) {
            Ok(()) if (bytes.len() as u64) < member.size_bytes => self.broken = Some(cut_off(name)),
            Ok(()) => samples.add_annotation(Annotation { extension, bytes }),
            Err(error) => self.broken = Some(unreadable(&error)),
        }
        true
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
mod tests;
