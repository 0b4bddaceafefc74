//! A picture in HEVC → samples, by heic-decoder. It takes whole files, and gets one that holds the
//! picture and nothing else: so grids, turns and alpha are dealt with once for all codings.

use super::items::{Coded, Colours};
use super::planes::{Chroma, Plane, Planes};
use super::{check_size, not_decoded};
use crate::pixels::PixelsError;
use heic_decoder::HeifError;

/// Decodes a picture.
///
/// *Errors* when it is damaged or of a kind that heic-decoder does not know.
pub fn decode(coded: &Coded) -> Result<Planes, PixelsError> {
    let file = file_of(coded);
    // The coded picture may be larger than what is shown of it.
    let probed = heic_decoder::probe(&file)?;
    check_size((probed.coded_width as u32, probed.coded_height as u32))?;
    let image = heic_decoder::decode(&file)?;
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
