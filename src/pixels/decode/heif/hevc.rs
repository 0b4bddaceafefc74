//! A picture in HEVC → samples, by heic-decoder. It takes whole files, and gets one that holds the
//! picture and nothing else: so grids, turns and alpha are dealt with once for all codings.

use super::super::boxes::{Damaged, Numbers};
use super::items::{Coded, Colours};
use super::planes::{Chroma, Plane, Planes};
use super::{check_size, not_decoded};
use crate::PixelsError;
use crate::decode::check_memory;
use heic_decoder::HeifError;

/// Memory that heic-decoder takes for a sample: four bytes, a flag, and a copy without what is cut off.
const SAMPLE_BYTES: u64 = 9;
/// And for a pixel: what it notes of each, and a copy of its luma while edges are smoothed.
const PIXEL_BYTES: u64 = 6;

/// How many pixels are cut off a picture at most, across and down: as many as a unit of coding has.
const MAX_CUT_PX: u32 = 64;

/// Decodes a picture.
///
/// *Errors* when it is damaged, too large or of a kind that heic-decoder does not know.
pub fn decode(coded: &Coded) -> Result<Planes, PixelsError> {
    // The coded picture may be larger than what is shown of it.
    for CodedForm { size, samples_per_2_pixels } in coded_forms(coded.configuration)? {
        check_size(size)?;
        let fits = |coded: u32, shown: u32| coded <= shown.saturating_add(MAX_CUT_PX);
        if !fits(size.0, coded.size.0) || !fits(size.1, coded.size.1) {
            return Err(PixelsError::Decode("a larger picture is coded than the file says".into()));
        }
        let pixels = u64::from(size.0) * u64::from(size.1);
        check_memory(pixels * PIXEL_BYTES + pixels * samples_per_2_pixels * SAMPLE_BYTES / 2)?;
    }
    let image = heic_decoder::decode(&file_of(coded))?;
    let plane = |bits, samples: Vec<i32>| Plane {
        bits,
        samples: samples.into_iter().map(|sample| sample as u16).collect(),
    };
    let step = match image.chroma_format_idc {
        0 => None,
        1 => Some((2, 2)),
        2 => Some((2, 1)),
        _ => Some((1, 1)),
    };
    let chroma = step.map(|step| Chroma {
        step,
        blue: plane(image.bit_depth_chroma, image.cb),
        red: plane(image.bit_depth_chroma, image.cr),
    });
    // Where a stream says nothing, its range is limited.
    let unsaid = Colours { primaries: 2, matrix: 2, is_full_range: false };
    let colours = image.color_info.map_or(unsaid, |colours| Colours {
        primaries: colours.color_primaries,
        matrix: colours.matrix_coefficients,
        is_full_range: colours.full_range,
    });
    Ok(Planes {
        size: (image.width as u32, image.height as u32),
        luma: plane(image.bit_depth_luma, image.y),
        chroma,
        colours: Some(colours),
    })
}

impl From<HeifError> for PixelsError {
    fn from(error: HeifError) -> Self {
        match error {
            HeifError::Unsupported(what) => not_decoded(&format!("HEVC of a rare kind ({what})")),
            HeifError::LimitExceeded(what) => Self::Limit(what.to_owned()),
            error => Self::Decode(format!("the coded picture is damaged: {error}")),
        }
    }
}

/// What a sequence parameter set says of its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CodedForm {
    /// Width and height in pixels, before anything is cut off.
    size: (u32, u32),
    samples_per_2_pixels: u64,
}

/// The forms in the body of `hvcC`; heic-decoder takes one of them.
fn coded_forms(configuration: &[u8]) -> Result<Vec<CodedForm>, Damaged> {
    const SEQUENCE_PARAMETERS: u8 = 33;
    let mut numbers = Numbers(configuration);
    numbers.bytes(22)?;
    let mut forms = Vec::new();
    for _ in 0..numbers.u8()? {
        let _kind = numbers.u8()?;
        for _ in 0..numbers.u16()? {
            let length = numbers.u16()?;
            let unit = numbers.bytes(length.into())?;
            if let [header, _, parameters @ ..] = unit
                && header >> 1 & 0x3f == SEQUENCE_PARAMETERS
            {
                forms.push(coded_form(parameters).ok_or(Damaged)?);
            }
        }
    }
    Ok(forms)
}

/// The form that a sequence parameter set begins with (ITU-T H.265, 7.3.2.2).
fn coded_form(parameters: &[u8]) -> Option<CodedForm> {
    let mut bits = HevcBits { bytes: unescaped(parameters), at: 0 };
    bits.number(4)?;
    let sublayers = bits.number(3)?;
    // Whether layers are nested, and the profile and level of all of them.
    bits.number(1 + 88 + 8)?;
    let mut profile_bits = 0;
    for _ in 0..sublayers {
        profile_bits += 88 * bits.number(1)? + 8 * bits.number(1)?;
    }
    if sublayers > 0 {
        profile_bits += 2 * (8 - sublayers);
    }
    bits.number(profile_bits)?;
    let _id = bits.golomb()?;
    let samples_per_2_pixels = match bits.golomb()? {
        0 => 2,
        1 => 3,
        2 => 4,
        _ => {
            let _planes_apart = bits.number(1)?;
            6
        }
    };
    Some(CodedForm { size: (bits.golomb()?, bits.golomb()?), samples_per_2_pixels })
}

/// The bytes of a unit without those that keep it from looking like the begin of one.
fn unescaped(unit: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        bytes.push(byte);
    }
    bytes
}

/// The bits of a unit, the high ones of a byte first.
struct HevcBits {
    bytes: Vec<u8>,
    at: usize,
}

impl HevcBits {
    fn bit(&mut self) -> Option<u32> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit.into())
    }

    /// A number of `length` bits, of which the last 32 count.
    fn number(&mut self, length: u32) -> Option<u32> {
        (0..length).try_fold(0, |number: u32, _| Some(number << 1 | self.bit()?))
    }

    /// A number that says by zeros how long it is.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
        }
        if zeros > 31 {
            return None;
        }
        Some((1 << zeros) - 1 + self.number(zeros)?)
    }
}

/// The smallest HEIC file that a coded picture fits in.
fn file_of(coded: &Coded) -> Vec<u8> {
    let (width, height) = coded.size;
    let size = full(b"ispe", &[&width.to_be_bytes(), &height.to_be_bytes()]);
    let properties = boxed(b"ipco", &[&boxed(b"hvcC", &[coded.configuration]), &size]);
    // One item, 1, has properties 1 and 2.
    let owned = full(b"ipma", &[&[0, 0, 0, 1, 0, 1, 2, 0x81, 2]]);
    let item = boxed(b"infe", &[&[2, 0, 0, 0, 0, 1, 0, 0], b"hvc1", &[0]]);
    let meta = |offset: u32| {
        let length = coded.bytes.len() as u32;
        full(
            b"meta",
            &[
                &full(b"hdlr", &[&[0; 4], b"pict", &[0; 13]]),
                &full(b"pitm", &[&[0, 1]]),
                // Offsets and lengths of four bytes: one item with one extent.
                &full(
                    b"iloc",
                    &[&[0x44, 0, 0, 1, 0, 1, 0, 0, 0, 1], &offset.to_be_bytes(), &length.to_be_bytes()],
                ),
                &full(b"iinf", &[&[0, 1], &item]),
                &boxed(b"iprp", &[&properties, &owned]),
            ],
        )
    };
    let kind = boxed(b"ftyp", &[b"heic\0\0\0\0mif1heic"]);
    let header_bytes = kind.len() + meta(0).len() + 8;
    [kind, meta(header_bytes as u32), boxed(b"mdat", &[&coded.bytes])].concat()
}

fn boxed(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], name, &body].concat()
}

/// A box that begins with version 0 and no flags.
fn full(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    boxed(name, &[&[0; 4], &parts.concat()])
}
