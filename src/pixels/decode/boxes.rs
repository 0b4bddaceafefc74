//! The boxes that HEIF and JPEG XL are made of (ISO/IEC 14496-12): bytes → names and bodies, and numbers
//! in them.

use crate::PixelsError;

/// What is wrong with a file whose boxes do not hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file's boxes are damaged or cut short")]
pub struct Damaged;

impl From<Damaged> for PixelsError {
    fn from(damaged: Damaged) -> Self {
        Self::Decode(damaged.to_string())
    }
}

/// Reads big-endian numbers one after another.
#[derive(Debug, Clone, Copy)]
pub struct Numbers<'a>(pub &'a [u8]);

impl<'a> Numbers<'a> {
    /// The next `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A number of `length` bytes, at most eight.
    pub fn number(&mut self, length: usize) -> Result<u64, Damaged> {
        Ok(self.bytes(length)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub fn u8(&mut self) -> Result<u8, Damaged> {
        Ok(self.number(1)? as u8)
    }

    pub fn u16(&mut self) -> Result<u16, Damaged> {
        Ok(self.number(2)? as u16)
    }

    pub fn u32(&mut self) -> Result<u32, Damaged> {
        Ok(self.number(4)? as u32)
    }

    /// A name of four letters.
    pub fn name(&mut self) -> Result<[u8; 4], Damaged> {
        Ok(self.u32()?.to_be_bytes())
    }

    /// The version and the flags that some boxes begin with.
    pub fn version_and_flags(&mut self) -> Result<(u8, u32), Damaged> {
        Ok((self.u8()?, self.number(3)? as u32))
    }
}

/// The boxes that stand one after another in `bytes`: their names and bodies. The last may be cut short,
/// as that of a file's pictures, whose bytes are looked at later.
pub fn boxes(bytes: &[u8]) -> impl Iterator<Item = Result<([u8; 4], &[u8]), Damaged>> {
    let mut rest = Numbers(bytes);
    std::iter::from_fn(move || {
        if rest.0.is_empty() {
            return None;
        }
        let mut next = || {
            let before = rest.0.len() as u64;
            let (size, name) = (u64::from(rest.u32()?), rest.name()?);
            let size = if size == 1 { rest.number(8)? } else { size };
            let header = before - rest.0.len() as u64;
            let length = match size {
                // To the end of what the box is in.
                0 => rest.0.len() as u64,
                size => size.checked_sub(header).ok_or(Damaged)?,
            };
            Ok((name, rest.bytes((rest.0.len() as u64).min(length) as usize)?))
        };
        let next = next();
        if next.is_err() {
            rest.0 = &[];
        }
        Some(next)
    })
}

/// The body of the first box of a name.
pub fn first_box<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Result<Option<&'a [u8]>, Damaged> {
    for found in boxes(bytes) {
        match found? {
            (found, body) if found == *name => return Ok(Some(body)),
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_have_sizes_of_three_kinds() {
        let mut bytes = b"\0\0\0\x0aabcdxy".to_vec();
        bytes.extend(b"\0\0\0\x01efgh\0\0\0\0\0\0\0\x11z");
        bytes.extend(b"\0\0\0\0ijklto the end");
        let found: Vec<_> = boxes(&bytes).map(|found| found.unwrap()).collect();
        assert_eq!(found, [(*b"abcd", &b"xy"[..]), (*b"efgh", b"z"), (*b"ijkl", b"to the end")]);
    }

    #[test]
    fn a_size_smaller_than_its_header_ends_the_boxes() {
        let found: Vec<_> = boxes(b"\0\0\0\x07abcdefgh").collect();
        assert_eq!(found, [Err(Damaged)]);
    }
}
