//! The bytes of a JPEG → its segments: a marker, and what stands in the segment that it begins.
//!
//! As in libjpeg, bytes that are no marker are skipped wherever a marker is expected.

use super::{Broken, JpegError};

pub const SOF0: u8 = 0xc0;
pub const DHT: u8 = 0xc4;
pub const DAC: u8 = 0xcc;
pub const RST0: u8 = 0xd0;
pub const RST7: u8 = 0xd7;
pub const SOI: u8 = 0xd8;
pub const EOI: u8 = 0xd9;
pub const SOS: u8 = 0xda;
pub const DQT: u8 = 0xdb;
pub const DNL: u8 = 0xdc;
pub const DRI: u8 = 0xdd;
pub const APP0: u8 = 0xe0;
pub const APP1: u8 = 0xe1;
pub const APP14: u8 = 0xee;
pub const APP15: u8 = 0xef;
pub const COM: u8 = 0xfe;
pub const TEM: u8 = 0x01;

/// A marker with what follows it.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    pub marker: u8,
    /// Empty for a marker that stands alone.
    pub body: &'a [u8],
}

/// The segments of a file, one after the other.
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    /// *Errors* when the bytes do not begin as a JPEG.
    pub fn new(bytes: &'a [u8]) -> Result<Self, JpegError> {
        if !bytes.starts_with(&[0xff, SOI]) {
            return Err(Broken("the file does not begin with a JPEG's marker"));
        }
        Ok(Self { bytes, at: 2 })
    }

    /// The next segment, or none when the file ends.
    ///
    /// *Errors* when the segment is longer than the file.
    pub fn next(&mut self) -> Result<Option<Segment<'a>>, JpegError> {
        let Some((_, marker, after)) = find_marker(self.bytes, self.at) else { return Ok(None) };
        self.at = after;
        if matches!(marker, TEM | RST0..=EOI) {
            return Ok(Some(Segment { marker, body: &[] }));
        }
        let rest = self.bytes.get(after..).unwrap_or_default();
        let length = rest.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)));
        // The length counts its own two bytes. If it does not, nothing is in the segment.
        let end = length.ok_or(super::ENDS_EARLY)?.max(2);
        let body = rest.get(2..end).ok_or(super::ENDS_EARLY)?;
        self.at = after + end;
        Ok(Some(Segment { marker, body }))
    }

    /// All of the file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where the next segment is looked for.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Goes on at another place.
    pub fn seek(&mut self, at: usize) {
        self.at = at;
    }
}

/// The first marker from `at` on: where it begins, which it is, and where it ends. A marker may have any
/// number of 0xff before it; 0xff and 0 are a byte of coded data.
pub fn find_marker(bytes: &[u8], mut at: usize) -> Option<(usize, u8, usize)> {
    loop {
        let begin = at + bytes.get(at..)?.iter().position(|byte| *byte == 0xff)?;
        let code = begin + bytes.get(begin..)?.iter().position(|byte| *byte != 0xff)?;
        at = code + 1;
        match bytes.get(code)? {
            0 => {}
            marker => return Some((begin, *marker, at)),
        }
    }
}
