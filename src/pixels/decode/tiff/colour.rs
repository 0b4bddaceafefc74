//! Samples, a byte each → RGB.

use super::directory::TiffDirectory;
use super::lab;
use super::layout::{TiffPacking, TiffSample};
use super::ycbcr::YCbCrTables;
use super::{broken, unsupported};
use crate::PixelsError;
use crate::decode::Palette;
use crate::decode::jpeg::under_black;

pub const PHOTOMETRIC: u16 = 262;
const COLOUR_MAP: u16 = 320;

/// What the samples of a pixel are. Those beyond are alpha, or nothing that is known.
#[derive(Debug, Clone)]
pub enum TiffColours {
    /// Levels from black to white, or from white to black, each so far apart.
    Grey {
        step: u8,
        zero: GreyZero,
    },
    Indexed(Box<Palette>),
    Rgb,
    Cmyk,
    YCbCr(Box<YCbCrTables>),
    Lab,
}

/// What grey of level 0 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GreyZero {
    Black,
    White,
}

impl TiffColours {
    /// *Errors* when the samples are not of a kind that is read, or fewer than the colours need.
    pub fn read(
        directory: &TiffDirectory,
        sample: TiffSample,
        samples: usize,
        packing: TiffPacking,
    ) -> Result<Self, PixelsError> {
        let depth = match sample {
            TiffSample::Bits(bits) => Some(bits),
            TiffSample::Signed(_) | TiffSample::Float => None,
        };
        let grey = |zero| {
            let step = depth.filter(|bits| *bits < 8).map_or(1, |bits| 255 / ((1 << bits) - 1));
            Self::Grey { step: step as u8, zero }
        };
        let (name, colours) = match (directory.whole(PHOTOMETRIC).unwrap_or(0), depth) {
            (0, Some(_)) => ("", Some(grey(GreyZero::White))),
            (1, _) => ("", Some(grey(GreyZero::Black))),
            // Pillow takes a single sample for brightness.
            (6, Some(8)) if samples == 1 => ("", Some(grey(GreyZero::Black))),
            (0, _) => ("grey from white to black", None),
            (2, Some(8 | 16)) => ("", Some(Self::Rgb)),
            (2, _) => ("RGB", None),
            (3, Some(..=8)) => ("", Some(Self::Indexed(Box::new(read_palette(directory, depth)?)))),
            (3, _) => ("a palette", None),
            (4, _) => ("a mask instead of colours", None),
            (5, Some(8 | 16)) => ("", Some(Self::Cmyk)),
            (5, _) => ("inks", None),
            (6, Some(8)) if packing == TiffPacking::None => {
                ("", Some(Self::YCbCr(Box::new(YCbCrTables::pillow()))))
            }
            (6, Some(8)) => {
                let tables = YCbCrTables::libtiff(directory);
                let tables = tables.ok_or_else(|| broken("the TIFF's YCbCr coefficients are not valid"))?;
                ("", Some(Self::YCbCr(Box::new(tables))))
            }
            (6, _) => ("YCbCr", None),
            (8, Some(8)) => ("", Some(Self::Lab)),
            (8..=10, _) => ("Lab of a rare kind", None),
            (32803, _) => ("a camera's raw mosaic", None),
            (32844 | 32845, _) => ("LogLuv colours", None),
            (34892, _) => ("a camera's linear colours", None),
            _ => ("colours of an unknown kind", None),
        };
        let colours = colours.ok_or_else(|| unsupported(&format!("{name} in samples of {sample}")))?;
        if samples < colours.channels() {
            return Err(broken("the TIFF has fewer samples than its colours need"));
        }
        Ok(colours)
    }

    /// How many samples the colours are made of.
    pub fn channels(&self) -> usize {
        match self {
            Self::Grey { .. } | Self::Indexed(_) => 1,
            Self::Rgb | Self::YCbCr(_) | Self::Lab => 3,
            Self::Cmyk => 4,
        }
    }

    pub fn is_ycbcr(&self) -> bool {
        matches!(self, Self::YCbCr(_))
    }

    /// Converts pixels of `channels` samples, of which the one at `alpha` was multiplied with the others.
    pub fn convert(&self, pixels: &[u8], channels: usize, alpha: Option<usize>, to: &mut [u8]) {
        let to = to.as_chunks_mut().0.iter_mut();
        let pixels = to.zip(pixels.chunks_exact(channels));
        match (self, alpha) {
            (Self::Grey { step, zero }, _) => pixels.for_each(|(to, pixel)| {
                let level = divided(pixel[0].wrapping_mul(*step), alpha.map(|alpha| pixel[alpha]));
                *to = [if *zero == GreyZero::White { 255 - level } else { level }; 3];
            }),
            (Self::Indexed(palette), _) => pixels.for_each(|(to, pixel)| *to = palette.colour(pixel[0])),
            (Self::Rgb, None) => pixels.for_each(|(to, pixel)| *to = [pixel[0], pixel[1], pixel[2]]),
            (Self::Rgb, Some(alpha)) => pixels.for_each(|(to, pixel)| {
                *to = [pixel[0], pixel[1], pixel[2]].map(|level| divided(level, Some(pixel[alpha])));
            }),
            (Self::Cmyk, _) => pixels.for_each(|(to, pixel)| {
                *to = [pixel[0], pixel[1], pixel[2]].map(|ink| under_black(255 - ink, 255 - pixel[3]));
            }),
            (Self::YCbCr(tables), _) => {
                pixels.for_each(|(to, pixel)| *to = tables.rgb([pixel[0], pixel[1], pixel[2]]));
            }
            (Self::Lab, _) => pixels.for_each(|(to, pixel)| *to = lab::rgb([pixel[0], pixel[1], pixel[2]])),
        }
    }
}

/// A level before it was multiplied with alpha.
fn divided(level: u8, alpha: Option<u8>) -> u8 {
    match alpha.map(u32::from) {
        None => level,
        Some(0) => 0,
        Some(alpha) => (u32::from(level) * 255 / alpha).min(255) as u8,
    }
}

/// Reads a palette, of which every number of 16 bits is cut to its high byte.
fn read_palette(directory: &TiffDirectory, depth: Option<usize>) -> Result<Palette, PixelsError> {
    let colours = 1_usize << depth.unwrap_or(8);
    let values = directory.values(COLOUR_MAP);
    let value = |index| values.and_then(|values| values.whole(index));
    // Some programs write numbers of 8 bits.
    let shift = if (0..3 * colours).all(|index| value(index).unwrap_or(0) < 256) { 0 } else { 8 };
    let level = |index| value(index).map(|value| (value >> shift) as u8);
    let colour = |index| Some([level(index)?, level(index + colours)?, level(index + 2 * colours)?]);
    let listed: Option<Vec<_>> = (0..colours).map(colour).collect();
    Ok(Palette::new(listed.ok_or_else(|| broken("the TIFF's palette is not whole"))?))
}
