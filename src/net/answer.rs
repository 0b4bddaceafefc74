//! What a server sent → its status, its headers, and its content as it was before it was packed.

use super::fault::{Fault, is_broken_off};
use flate2::read::MultiGzDecoder;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};
use ureq::Body;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, LOCATION, TRANSFER_ENCODING};
use ureq::http::{HeaderMap, Response, StatusCode};

/// What is reserved at most before it has come.
const MOST_RESERVED_BYTES: u64 = 1 << 20;

/// A server's answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content: Content,
    headers: HeaderMap,
}

impl Answer {
    /// *Errors* when the content is encoded in a way that is not known here.
    pub(super) fn new(response: Response<Body>, silence: Duration) -> Result<Self, Fault> {
        let (head, body) = response.into_parts();
        let body = body.into_reader();
        let mut codings = codings(&head.headers);
        let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let (reader, length, is_whole_known): (Box<dyn Read + Send>, _, _) =
            match (codings.pop(), codings.pop()) {
                (None, _) => {
                    let is_chunked = head.headers.contains_key(TRANSFER_ENCODING);
                    (Box::new(body), length, is_chunked || length.is_some())
                }
                (Some(coding), None) if coding == "gzip" || coding == "x-gzip" => {
                    (Box::new(MultiGzDecoder::new(body)), None, true)
                }
                (Some(coding), _) => return Err(Fault::Coding(coding)),
            };
        let content =
            Content { reader, length_bytes: length, has_known_end: is_whole_known, read_bytes: 0, silence };
        Ok(Self { status: head.status, content, headers: head.headers })
    }

    /// A header's value, where it is ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The first byte of a `Content-Range: bytes 5-9/10`.
    pub fn range_start(&self) -> Option<u64> {
        let range = self.header("content-range")?.strip_prefix("bytes ")?;
        range.split_once('-')?.0.parse().ok()
    }

    /// Where a redirect leads.
    pub fn redirect(&self) -> Option<&[u8]> {
        let is_redirect = matches!(self.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        self.headers.get(LOCATION).filter(|_| is_redirect).map(|location| location.as_bytes())
    }
}

/// The encodings of the content, from the first to the last.
fn codings(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(CONTENT_ENCODING).into_iter();
    values
        .flat_map(|value| {
            String::from_utf8_lossy(value.as_bytes())
                .to_ascii_lowercase()
                .split(',')
                .map(|coding| coding.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect()
}

/// The content of an answer, as it comes.
pub struct Content {
    reader: Box<dyn Read + Send>,
    length_bytes: Option<u64>,
    has_known_end: bool,
    read_bytes: u64,
    silence: Duration,
}

impl Content {
    /// How long it is, where that is known before it has come.
    pub fn length_bytes(&self) -> Option<u64> {
        self.length_bytes
    }

    /// Whether it can be told from its beginning.
    pub fn has_known_end(&self) -> bool {
        self.has_known_end
    }

    /// All of it.
    pub(super) fn read_within(
        mut self,
        limit_bytes: u64,
        deadline: Instant,
        time: Duration,
    ) -> Result<Vec<u8>, Fault> {
        if self.length_bytes.is_some_and(|length| length > limit_bytes) {
            return Err(Fault::TooLong(limit_bytes));
        }
        // What a header promises need not come.
        let expected = self.length_bytes.unwrap_or(0).min(MOST_RESERVED_BYTES);
        let mut bytes = Vec::with_capacity(expected as usize);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = self.read_some(&mut buffer)?;
            bytes.extend_from_slice(&buffer[..count]);
            if count == 0 {
                return Ok(bytes);
            }
            if bytes.len() as u64 > limit_bytes {
                return Err(Fault::TooLong(limit_bytes));
            }
            if Instant::now() >= deadline {
                return Err(Fault::TooSlow(time));
            }
        }
    }

    /// What comes next, or why nothing does.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let count = loop {
            match self.reader.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result.map_err(|error| self.fault(&error))?,
            }
        };
        self.read_bytes += count as u64;
        Ok(count)
    }

    fn fault(&self, error: &io::Error) -> Fault {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(ureq::Error::Timeout(_)) => Fault::Silent(self.silence),
            Some(error) => Fault::Protocol(error.to_string()),
            None if is_broken_off(error) => {
                let of = self.length_bytes.map_or_else(String::new, |length| format!(" of {length}"));
                Fault::BrokenOff(format!("after {}{of} bytes", self.read_bytes))
            }
            None if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData) => {
                Fault::Damaged(error.to_string())
            }
            None => Fault::BrokenOff(error.to_string()),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Content").field("length_bytes", &self.length_bytes).finish_non_exhaustive()
    }
}
