//! A list of inputs → its names, each as soon as its line is complete.

use super::{ImageSource, ReadError, os_string};
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, Read};

/// Far beyond any path or address; a list with a longer line is not a list.
const LINE_LIMIT_BYTES: u64 = 64 << 10;

/// The names in a list, in order; one that cannot be read to its end fails under its own name.
pub(super) struct List {
    name: OsString,
    reader: Box<dyn BufRead + Send>,
    null: bool,
    position: ListPosition,
}

#[derive(PartialEq)]
enum ListPosition {
    First,
    Further,
    /// The list is over, or cannot be read on.
    Ended,
}

impl List {
    pub(super) fn new(name: OsString, reader: Box<dyn BufRead + Send>, null: bool) -> Self {
        Self { name, reader, null, position: ListPosition::First }
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    fn fail(&mut self, error: ReadError) -> ImageSource {
        self.position = ListPosition::Ended;
        ImageSource::failed(self.name.clone(), error)
    }
}

impl Iterator for List {
    type Item = Result<OsString, ImageSource>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = if self.null { b'\0' } else { b'\n' };
        while self.position != ListPosition::Ended {
            let mut line = Vec::new();
            match self.reader.by_ref().take(LINE_LIMIT_BYTES).read_until(end, &mut line) {
                Err(error) => return Some(Err(self.fail(error.into()))),
                Ok(0) => self.position = ListPosition::Ended,
                Ok(_) => {}
            }
            if line.last() == Some(&end) {
                line.pop();
            } else if line.len() as u64 == LINE_LIMIT_BYTES {
                let message =
                    format!("a line of more than {} KiB: not a list of inputs", LINE_LIMIT_BYTES >> 10);
                return Some(Err(self.fail(ReadError::new("limit", message))));
            }
            if !self.null {
                // As written by Windows' editors.
                if self.position == ListPosition::First && line.starts_with(b"\xef\xbb\xbf") {
                    line.drain(..3);
                }
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
            }
            if self.position == ListPosition::First {
                self.position = ListPosition::Further;
            }
            if !line.is_empty() {
                return Some(Ok(os_string(line)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, BufReader, Cursor};

    fn names(list: &'static [u8], null: bool) -> Vec<OsString> {
        List::new("list".into(), Box::new(Cursor::new(list)), null).map(Result::unwrap).collect()
    }

    #[test]
    fn empty_lines_and_windows_line_ends_are_dropped() {
        assert_eq!(
            names(b"\xef\xbb\xbfa b.jpg\r\n\r\n\n c.jpg\nd.jpg", false),
            ["a b.jpg", " c.jpg", "d.jpg"]
        );
    }

    #[test]
    fn between_nuls_every_byte_is_part_of_the_name() {
        assert_eq!(names(b"a\nb.jpg\r\0\0c.jpg\0", true), ["a\nb.jpg\r", "c.jpg"]);
    }

    #[test]
    fn the_first_name_comes_before_the_list_is_complete() {
        struct Unfinished(bool);
        impl Read for Unfinished {
            fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
                assert!(!std::mem::replace(&mut self.0, true), "read beyond the first line");
                bytes[..6].copy_from_slice(b"a.jpg\n");
                Ok(6)
            }
        }
        let mut list = List::new("list".into(), Box::new(BufReader::new(Unfinished(false))), false);
        assert_eq!(list.next().unwrap().unwrap(), "a.jpg");
    }

    #[test]
    fn an_endless_line_is_no_list() {
        let mut list = List::new("list".into(), Box::new(BufReader::new(io::repeat(b'a'))), false);
        let failed = list.next().unwrap().unwrap_err();
        assert_eq!((failed.name.to_string().as_str(), failed.read().unwrap_err().kind), ("list", "limit"));
        assert!(list.next().is_none());
    }
}
