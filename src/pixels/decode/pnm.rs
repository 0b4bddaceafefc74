//! A PNM (P1 to P6) or PAM (P7) → RGB, as Pillow reads the former; the latter, which it does not read, in
//! the same way.
//!
//! Levels are brought to 0–255 by the largest that the file may hold. Of grey of more than 8 bits the high
//! byte is kept, as in other formats, where Pillow cuts at 255.

use super::{ByteCursor, check_size, from_rows};
use crate::PixelsError;
use image::RgbImage;
use std::borrow::Cow;

/// Decodes the first picture.
///
/// *Errors* when it is not whole, too large, or a PAM of something else than grey or colours.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    let mut cursor = ByteCursor { rest: bytes };
    let header = match bytes {
        [b'P', b'7', ..] => PnmHeader::read_pam(&mut cursor)?,
        _ => PnmHeader::read(&mut cursor).ok_or_else(|| broken("the PNM's header has no meaning"))?,
    };
    check_size(header.width.into(), header.height.into())?;
    let row_samples = header.width as usize * header.channels;
    let samples = row_samples * header.height as usize;
    let least_bytes = match header.coding {
        PnmCoding::BitsAsText | PnmCoding::LevelsAsText | PnmCoding::Bytes => samples,
        PnmCoding::Bits => row_samples.div_ceil(8) * header.height as usize,
        PnmCoding::Words => 2 * samples,
    };
    if cursor.rest.len() < least_bytes {
        return Err(broken("the PNM's pixels end early"));
    }
    header.levels(cursor.rest).ok_or_else(|| broken("the PNM's pixels end early or are no levels"))
}

fn broken(what: &str) -> PixelsError {
    PixelsError::Decode(what.into())
}

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PnmCoding {
    /// 1 is black, as in `Bits`.
    BitsAsText,
    LevelsAsText,
    Bits,
    Bytes,
    /// The high byte is first.
    Words,
}

/// What stands before the pixels.
#[derive(Debug, Clone, Copy)]
struct PnmHeader {
    width: u32,
    height: u32,
    /// Grey, and alpha; or red, green, blue, and alpha.
    channels: usize,
    /// The largest level.
    max: u16,
    coding: PnmCoding,
}

impl PnmHeader {
    fn read(cursor: &mut ByteCursor) -> Option<Self> {
        let &[b'P', kind, space] = cursor.take(3)? else { return None };
        if !is_space(space) {
            return None;
        }
        let (width, height) = (header_number(cursor)?, header_number(cursor)?);
        let max = match kind {
            b'1' | b'4' => 1,
            _ => u16::try_from(header_number(cursor)?).ok().filter(|max| *max > 0)?,
        };
        let coding = match kind {
            b'1' => PnmCoding::BitsAsText,
            b'2' | b'3' => PnmCoding::LevelsAsText,
            b'4' => PnmCoding::Bits,
            b'5' | b'6' => of_bytes(max),
            _ => return None,
        };
        let channels = if matches!(kind, b'3' | b'6') { 3 } else { 1 };
        Some(Self { width, height, channels, max, coding })
    }

    /// Lines of a word and a value each.
    fn read_pam(cursor: &mut ByteCursor) -> Result<Self, PixelsError> {
        /// The longest kind has 21 letters, and a message is to be read.
        const SHOWN_LETTERS: usize = 40;
        let unclear = || broken("the PAM's header has no meaning");
        let [mut width, mut height, mut depth, mut max] = [None; 4];
        let mut kind = String::new();
        if take_line(cursor) != Some(b"P7") {
            return Err(unclear());
        }
        loop {
            let line = take_line(cursor).ok_or_else(unclear)?.trim_ascii();
            let (word, value) =
                line.split_at(line.iter().position(|byte| is_space(*byte)).unwrap_or(line.len()));
            let value = value.trim_ascii();
            match word {
                b"ENDHDR" => break,
                b"WIDTH" => width = number(value),
                b"HEIGHT" => height = number(value),
                b"DEPTH" => depth = number(value),
                b"MAXVAL" => max = number(value),
                b"TUPLTYPE" => kind += &String::from_utf8_lossy(value),
                [] | [b'#', ..] => {}
                _ => return Err(unclear()),
            }
        }
        let channels = match (kind.as_str(), depth) {
            ("" | "BLACKANDWHITE" | "GRAYSCALE", Some(1)) => 1,
            ("BLACKANDWHITE_ALPHA" | "GRAYSCALE_ALPHA", Some(2)) => 2,
            ("" | "RGB", Some(3)) => 3,
            ("RGB_ALPHA", Some(4)) => 4,
            (kind, depth) => {
                let depth = depth.unwrap_or_default();
                let kind: String = kind.chars().take(SHOWN_LETTERS).collect();
                return Err(broken(&format!(
                    "PAM with {depth} samples a pixel of type \"{kind}\" is not supported"
                )));
            }
        };
        let max = max.and_then(|max| u16::try_from(max).ok()).filter(|max| *max > 0).ok_or_else(unclear)?;
        let (width, height) = width.zip(height).ok_or_else(unclear)?;
        Ok(Self { width, height, channels, max, coding: of_bytes(max) })
    }

    /// Reads the pixels.
    fn levels(&self, bytes: &[u8]) -> Option<RgbImage> {
        match self.coding {
            PnmCoding::BitsAsText => {
                let text = without_comments(bytes);
                let mut bits = text.iter().filter(|byte| !is_space(**byte));
                self.picture(|| match bits.next()? {
                    b'0' => Some(1),
                    b'1' => Some(0),
                    _ => None,
                })
            }
            PnmCoding::LevelsAsText => {
                let text = without_comments(bytes);
                let mut numbers = text.split(|byte| is_space(*byte)).filter(|digits| !digits.is_empty());
                self.picture(|| {
                    u16::try_from(number(numbers.next()?)?).ok().filter(|level| *level <= self.max)
                })
            }
            PnmCoding::Bits => {
                let width = self.width as usize;
                let rows = bytes.chunks_exact(width.div_ceil(8));
                let mut bits = rows.flat_map(|row| {
                    row.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).take(width)
                });
                self.picture(|| Some(u16::from(1 - bits.next()?)))
            }
            PnmCoding::Bytes => {
                let mut levels = bytes.iter();
                self.picture(|| levels.next().map(|level| u16::from(*level)))
            }
            PnmCoding::Words => {
                let mut levels = bytes.as_chunks().0.iter();
                self.picture(|| levels.next().map(|level| u16::from_be_bytes(*level)))
            }
        }
    }

    /// Makes a picture of samples, which `next` gives.
    fn picture(&self, mut next: impl FnMut() -> Option<u16>) -> Option<RgbImage> {
        let scale = self.scale();
        // A level above the largest is the largest.
        let mut next = || Some(scale.get(usize::from(next()?)).copied().unwrap_or(u8::MAX));
        from_rows(self.width, self.height, |_, row| {
            for pixel in row.as_chunks_mut::<3>().0 {
                *pixel = if self.channels < 3 { [next()?; 3] } else { [next()?, next()?, next()?] };
                if self.channels.is_multiple_of(2) {
                    let _alpha = next()?;
                }
            }
            Some(())
        })
    }

    /// What each level is from 0 to 255, rounded as Python rounds.
    fn scale(&self) -> Vec<u8> {
        let max = f64::from(self.max);
        let of = |level: u16, most: f64| (f64::from(level) / max * most).round_ties_even();
        let is_deep_grey = self.max > 255 && self.channels < 3;
        (0..=self.max)
            .map(
                |level| {
                    if is_deep_grey {
                        (of(level, 65_535.0) as u16 >> 8) as u8
                    } else {
                        of(level, 255.0) as u8
                    }
                },
            )
            .collect()
    }
}

fn of_bytes(max: u16) -> PnmCoding {
    if max > 255 { PnmCoding::Words } else { PnmCoding::Bytes }
}

/// As in Python.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

fn number(digits: &[u8]) -> Option<u32> {
    let digits = str::from_utf8(digits).ok()?;
    if digits.starts_with('+') { None } else { digits.parse().ok() }
}

/// Takes a number and the one space behind it. A comment runs to the end of its line, even within a number.
fn header_number(cursor: &mut ByteCursor) -> Option<u32> {
    const MOST_DIGITS: usize = 10;
    let mut digits = Vec::new();
    while digits.len() <= MOST_DIGITS {
        match cursor.u8()? {
            b'#' => while !matches!(cursor.u8()?, b'\r' | b'\n') {},
            byte if is_space(byte) && digits.is_empty() => {}
            byte if is_space(byte) => return number(&digits),
            byte => digits.push(byte),
        }
    }
    None
}

fn take_line<'a>(cursor: &mut ByteCursor<'a>) -> Option<&'a [u8]> {
    let end = cursor.rest.iter().position(|byte| *byte == b'\n')?;
    let line = cursor.take(end);
    cursor.u8();
    line
}

/// Text without its comments, the ends of their lines included.
fn without_comments(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'#') {
        return Cow::Borrowed(text);
    }
    let mut is_comment = false;
    let kept = text.iter().filter(|byte| {
        let was_comment = is_comment;
        is_comment = if was_comment { !matches!(byte, b'\r' | b'\n') } else { **byte == b'#' };
        !was_comment && !is_comment
    });
    Cow::Owned(kept.copied().collect())
}
