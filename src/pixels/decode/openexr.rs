//! The header of an OpenEXR → whether its parts are within the limits. The crate that decodes them looks at
//! the size of the screen alone, and makes memory for what the parts say of themselves.

use super::cursor::ByteCursor;
use super::{check_memory, check_size};
use crate::PixelsError;

/// The bit of the version that says that there are several headers.
const SEVERAL_PARTS: u32 = 1 << 12;
/// A channel takes at least so many bytes of the list of channels: a letter and its end, and what it is.
const CHANNEL_BYTES: u64 = 18;
/// The most attributes of a file. Honest ones have a few dozen a part; each is kept, in ten times its bytes.
const MAX_ATTRIBUTES: usize = 20_000;
/// The most that a sample takes.
const SAMPLE_BYTES: u64 = 4;

/// *Errors* when a part has more pixels than are allowed, or takes more memory, when there are too many
/// attributes, or when the header ends early.
pub fn check_parts(bytes: &[u8]) -> Result<(), PixelsError> {
    let cut = || PixelsError::Decode("the header of the OpenEXR cannot be read".into());
    let mut cursor = ByteCursor { rest: bytes };
    let version = cursor.take(4).and_then(|_| cursor.u32()).ok_or_else(cut)?;
    let mut attributes = 0;
    loop {
        let part = Part::read(&mut cursor).ok_or_else(cut)?;
        attributes += part.as_ref().map_or(0, |part| part.attributes);
        if attributes > MAX_ATTRIBUTES {
            return Err(PixelsError::Limit(format!(
                "the OpenEXR has {attributes} attributes, more than the limit of {MAX_ATTRIBUTES}; save the image anew"
            )));
        }
        match part {
            Some(part) => part.check()?,
            None => return Ok(()),
        }
        if version & SEVERAL_PARTS == 0 {
            return Ok(());
        }
    }
}

/// What is held at a time of one part.
#[derive(Default)]
struct Part {
    attributes: usize,
    channels: u64,
    /// Width and height of the pixels that are there, and of a tile.
    areas: Vec<[u64; 2]>,
}

impl Part {
    /// The next header, or none after the last; none at all where it ends early.
    fn read(cursor: &mut ByteCursor) -> Option<Option<Self>> {
        let mut part = Self::default();
        loop {
            let name = text(cursor)?;
            if name.is_empty() {
                return Some((part.attributes > 0).then_some(part));
            }
            part.attributes += 1;
            text(cursor)?;
            let length = cursor.u32()?;
            let mut value = ByteCursor { rest: cursor.take(usize::try_from(length).ok()?)? };
            match name {
                b"channels" => part.channels = u64::from(length) / CHANNEL_BYTES + 1,
                b"dataWindow" => {
                    let mut number = || value.u32().map(|number| i64::from(number as i32));
                    let [left, top, right, bottom] = [number()?, number()?, number()?, number()?];
                    let side = |first, last| u64::try_from(last - first + 1).unwrap_or(0);
                    part.areas.push([side(left, right), side(top, bottom)]);
                }
                b"tiles" => part.areas.push([value.u32()?.into(), value.u32()?.into()]),
                _ => {}
            }
        }
    }

    fn check(&self) -> Result<(), PixelsError> {
        for [width, height] in &self.areas {
            check_size(*width, *height)?;
            check_memory((width * height).saturating_mul(self.channels.saturating_mul(SAMPLE_BYTES)))?;
        }
        Ok(())
    }
}

/// Bytes up to a zero, which is taken too.
fn text<'a>(cursor: &mut ByteCursor<'a>) -> Option<&'a [u8]> {
    let length = cursor.rest.iter().position(|byte| *byte == 0)?;
    let text = cursor.take(length)?;
    cursor.take(1)?;
    Some(text)
}
