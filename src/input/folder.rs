//! A folder → the images in it, however deep, in natural order.

use super::part::Deal;
use super::{ImageSource, OpenedFile, Origin};
use crate::formats::{Content, HEAD_BYTES, NameSays, is_hidden};
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::path::Path;
use walkdir::{DirEntry, FilterEntry, IntoIter, WalkDir};

/// The walk through one folder. Links are followed, but not back into a folder they lie in.
pub(super) struct FolderWalk(FilterEntry<IntoIter, fn(&DirEntry) -> bool>);

impl FolderWalk {
    pub(super) fn new(folder: &OsStr) -> Self {
        let walk = WalkDir::new(folder).follow_links(true).sort_by(|a, b| {
            natural_order(a.file_name().as_encoded_bytes(), b.file_name().as_encoded_bytes())
        });
        // The folder itself was named by the user, whatever its name.
        Self(walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name())))
    }

    pub(super) fn next(&mut self, deal: &mut Deal) -> Option<ImageSource> {
        loop {
            let source = match self.0.next()? {
                Ok(entry) if entry.file_type().is_file() => match found(entry.path()) {
                    Some(origin) => ImageSource::new(entry.path(), origin),
                    None => continue,
                },
                Ok(_) => continue,
                Err(error) => match failure(error) {
                    Some(failed) => failed,
                    None => continue,
                },
            };
            if deal.take() {
                return Some(source);
            }
        }
    }
}

/// Counts the images in a folder, as long as their names tell them from all else.
pub(super) fn count_by_name(folder: &OsStr) -> Option<u64> {
    let mut images = 0;
    for entry in FolderWalk::new(folder).0 {
        images += match entry {
            Ok(entry) if entry.file_type().is_file() => match NameSays::of(entry.path()) {
                NameSays::Image => 1,
                NameSays::Other => 0,
                NameSays::Nothing => return None,
            },
            Ok(_) => 0,
            Err(error) => u64::from(failure(error).is_some()),
        };
    }
    Some(images)
}

/// The origin of a file that is an image by its name, or else by its first bytes. What cannot be looked
/// into is passed over, as what is none.
fn found(path: &Path) -> Option<Origin> {
    match NameSays::of(path) {
        NameSays::Image => Some(Origin::File(path.into())),
        NameSays::Other => None,
        NameSays::Nothing => {
            let opened = OpenedFile::open(path, HEAD_BYTES).ok()?;
            Content::of(&opened.head).is_image().then_some(Origin::Opened(opened))
        }
    }
}

/// What the walk cannot enter is told, unless it is a circle or a dead link to no image.
fn failure(error: walkdir::Error) -> Option<ImageSource> {
    let path = error.path()?.to_path_buf();
    let is_passed_over = error.depth() > 0
        && (path.file_name().is_some_and(is_hidden)
            || (error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
                && NameSays::of(&path) != NameSays::Image));
    if is_passed_over {
        return None;
    }
    // A circle has no I/O error.
    let error = error.into_io_error()?;
    Some(ImageSource::failed(path, error.into()))
}

/// Orders names as people do: runs of digits by their value, all else byte by byte.
fn natural_order(a: &[u8], b: &[u8]) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (Some(&l), Some(&r)) = (left.first(), right.first()) else {
            // `01` and `1` have the same value and still need an order.
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        };
        let order = if l.is_ascii_digit() && r.is_ascii_digit() {
            let (l, r) = (take_number(&mut left), take_number(&mut right));
            l.len().cmp(&r.len()).then_with(|| l.cmp(r))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            l.cmp(&r)
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Splits the leading digits off, without their leading zeros.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_ordered_by_value() {
        let ordered =
            ["IMG.jpg", "a", "img", "img0", "img01", "img1", "img2.jpg", "img10", "img10a2", "img10a10"];
        let mut names = ordered;
        names.reverse();
        names.sort_by(|a, b| natural_order(a.as_bytes(), b.as_bytes()));
        assert_eq!(names, ordered);
        let long = ["9".repeat(40), format!("1{}", "0".repeat(40))];
        assert!(natural_order(long[0].as_bytes(), long[1].as_bytes()).is_lt());
    }
}
