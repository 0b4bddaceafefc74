//! The coded data of a scan → its restart intervals, without the zeros stuffed after 0xff.
//!
//! What happens when restart markers are missing, doubled or out of order is not in T.81; here it is
//! what libjpeg makes of them.

use super::bits::PADDING;
use super::segments::{RST0, RST7, SOF0, find_marker};
use super::{ENDS_EARLY, JpegError};

/// Walks over the coded data of one scan.
pub struct Intervals<'a> {
    bytes: &'a [u8],
    /// Where the marker after the interval begins, or the end of the file.
    end: usize,
    /// The marker and where it ends.
    marker: Option<(u8, usize)>,
    /// The number of the next restart marker.
    expected: u8,
}

/// What an interval has to be decoded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    Coded,
    /// Its marker was lost, and its data were skipped or taken for those of another.
    Lost,
}

impl<'a> Intervals<'a> {
    /// Begins at a scan's coded data and reads the first interval to `coded`.
    pub fn new(bytes: &'a [u8], at: usize, coded: &mut Vec<u8>) -> Self {
        let mut intervals = Self { bytes, end: at, marker: None, expected: 0 };
        intervals.read(at, coded);
        intervals
    }

    /// Goes on to the next interval, which replaces what is in `coded`.
    ///
    /// *Errors* when the file ends.
    pub fn restart(&mut self, coded: &mut Vec<u8>) -> Result<Interval, JpegError> {
        let expected = self.expected;
        self.expected = (expected + 1) % 8;
        loop {
            let (marker, after) = self.marker.ok_or(ENDS_EARLY)?;
            let ahead = match marker {
                RST0..=RST7 => Some((marker - RST0).wrapping_sub(expected) % 8),
                _ => None,
            };
            match ahead {
                // Of an interval that was decoded before, or no marker at all: it is skipped.
                Some(6 | 7) => self.skip_to_marker(after),
                None if marker < SOF0 => self.skip_to_marker(after),
                // The markers of the next two intervals stay for these; so does the end of the scan.
                Some(1 | 2) | None => break,
                // The one expected, or one that is too far off to be of any help.
                Some(_) => {
                    self.read(after, coded);
                    return Ok(Interval::Coded);
                }
            }
        }
        coded.clear();
        coded.extend([0; PADDING]);
        Ok(Interval::Lost)
    }

    /// Where the segment after the coded data begins.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Whether a marker ends the data, not the end of the file.
    pub fn is_ended_by_marker(&self) -> bool {
        self.marker.is_some()
    }

    fn skip_to_marker(&mut self, at: usize) {
        (self.end, self.marker) = match find_marker(self.bytes, at) {
            Some((begin, marker, after)) => (begin, Some((marker, after))),
            None => (self.bytes.len(), None),
        };
    }

    /// Reads coded data up to the next marker.
    fn read(&mut self, mut at: usize, coded: &mut Vec<u8>) {
        coded.clear();
        self.marker = None;
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let plain = plain_bytes(rest);
            coded.extend_from_slice(rest.get(..plain).unwrap_or_default());
            at += plain;
            let Some(code) = rest.iter().skip(plain).position(|byte| *byte != 0xff) else {
                self.end = self.bytes.len();
                break;
            };
            self.end = at;
            at += code + 1;
            match rest.get(plain + code) {
                Some(0) => coded.push(0xff),
                marker => {
                    self.marker = marker.map(|marker| (*marker, at));
                    break;
                }
            }
        }
        coded.extend([0; PADDING]);
    }
}

/// How many bytes there are before the first 0xff.
fn plain_bytes(bytes: &[u8]) -> usize {
    const STEP: usize = 16;
    let (chunks, _) = bytes.as_chunks::<STEP>();
    let has_ff = |chunk: &[u8; STEP]| chunk.iter().fold(false, |has, byte| has | (*byte == 0xff));
    let whole = chunks.iter().position(has_ff).unwrap_or(chunks.len()) * STEP;
    let rest = bytes.iter().skip(whole);
    whole + rest.take_while(|byte| **byte != 0xff).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of the intervals of a scan, or none for those that are lost.
    fn first_bytes(bytes: &[u8], count: usize) -> Vec<Option<u8>> {
        let mut coded = Vec::new();
        let mut intervals = Intervals::new(bytes, 0, &mut coded);
        let mut first = vec![coded.first().copied()];
        for _ in 1..count {
            let interval = intervals.restart(&mut coded).unwrap();
            first.push((interval == Interval::Coded).then(|| coded[0]));
        }
        first
    }

    #[test]
    fn stuffed_zeros_are_taken_out() {
        let mut coded = Vec::new();
        let intervals = Intervals::new(&[1, 0xff, 0, 2, 0xff, 0xff, 0, 3, 0xff, 0xd9], 0, &mut coded);
        assert_eq!(coded[..coded.len() - PADDING], [1, 0xff, 2, 0xff, 3]);
        assert!(intervals.is_ended_by_marker());
        assert_eq!(intervals.end(), 8);
    }

    #[test]
    fn a_marker_that_is_missing_costs_its_own_interval_only() {
        let whole = [10, 0xff, 0xd0, 11, 0xff, 0xd1, 12, 0xff, 0xd2, 13, 0xff, 0xd9];
        assert_eq!(first_bytes(&whole, 4), [Some(10), Some(11), Some(12), Some(13)]);
        let missing = [10, 0xff, 0xd0, 11, 0xff, 0xd2, 13, 0xff, 0xd9];
        assert_eq!(first_bytes(&missing, 4), [Some(10), Some(11), None, Some(13)]);
        let doubled = [10, 0xff, 0xd0, 11, 0xff, 0xd0, 99, 0xff, 0xd1, 12, 0xff, 0xd9];
        assert_eq!(first_bytes(&doubled, 3), [Some(10), Some(11), Some(12)]);
        assert_eq!(first_bytes(&[10, 0xff, 0xd9], 3), [Some(10), None, None]);
    }

    #[test]
    fn a_restart_after_the_end_of_the_file_is_an_error() {
        let mut coded = Vec::new();
        assert!(Intervals::new(&[10, 11], 0, &mut coded).restart(&mut coded).is_err());
    }
}
