//! The tags of a directory → what its picture is made of: chunks, which are strips or tiles, and samples.

use super::colour::{PHOTOMETRIC, TiffColours};
use super::directory::{ByteOrder, TiffDirectory, TiffValues};
use super::fax::FaxScheme;
use super::{broken, unsupported};
use crate::PixelsError;
use crate::decode::jpeg::PartColours;
use crate::decode::{MAX_DECODE_BYTES, MAX_PIXELS, check_memory, check_size};
use std::fmt;

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const BITS: u16 = 258;
const COMPRESSION: u16 = 259;
const FILL_ORDER: u16 = 266;
const STRIP_OFFSETS: u16 = 273;
const SAMPLES: u16 = 277;
const STRIP_ROWS: u16 = 278;
const STRIP_BYTES: u16 = 279;
const PLANES: u16 = 284;
const GROUP3_OPTIONS: u16 = 292;
const PREDICTOR: u16 = 317;
const TILE_WIDTH: u16 = 322;
const TILE_HEIGHT: u16 = 323;
const TILE_OFFSETS: u16 = 324;
const TILE_BYTES: u16 = 325;
const EXTRA_SAMPLES: u16 = 338;
const SAMPLE_FORMAT: u16 = 339;
const JPEG_TABLES: u16 = 347;
const SUBSAMPLING: u16 = 530;

/// What says how samples are to be understood, each with a value that holds where the tag is absent. Where
/// it is there and cannot be read, that value would be a guess.
const MEANINGS: [(u16, &str); 11] = [
    (BITS, "bits of a sample"),
    (COMPRESSION, "compression"),
    (PHOTOMETRIC, "colours"),
    (FILL_ORDER, "order of bits"),
    (SAMPLES, "samples of a pixel"),
    (STRIP_ROWS, "rows of a strip"),
    (PLANES, "planes"),
    (PREDICTOR, "predictor"),
    (EXTRA_SAMPLES, "extra samples"),
    (SAMPLE_FORMAT, "kind of samples"),
    (SUBSAMPLING, "subsampling"),
];

/// As many as Pillow takes.
const MAX_SAMPLES: usize = 6;

/// How the bytes of a chunk are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TiffPacking {
    None,
    Fax(FaxScheme),
    Lzw,
    Jpeg,
    Deflate,
    PackBits,
    Lzma,
    Zstandard,
}

impl TiffPacking {
    /// *Errors* with the name of one that is not unpacked.
    fn read(directory: &TiffDirectory) -> Result<Self, PixelsError> {
        let two_dimensional = || directory.whole(GROUP3_OPTIONS).is_some_and(|options| options & 1 != 0);
        let name = match directory.whole(COMPRESSION).unwrap_or(1) {
            1 => return Ok(Self::None),
            2 => return Ok(Self::Fax(FaxScheme::Runs { align_bits: 8 })),
            3 => return Ok(Self::Fax(FaxScheme::Group3 { two_dimensional: two_dimensional() })),
            4 => return Ok(Self::Fax(FaxScheme::Group4)),
            5 => return Ok(Self::Lzw),
            7 => return Ok(Self::Jpeg),
            8 | 32946 => return Ok(Self::Deflate),
            32771 => return Ok(Self::Fax(FaxScheme::Runs { align_bits: 16 })),
            32773 => return Ok(Self::PackBits),
            34925 => return Ok(Self::Lzma),
            50000 => return Ok(Self::Zstandard),
            6 => "old-style JPEG",
            9 | 10 | 34661 => "JBIG",
            22610 => "JPEG XR",
            32766 => "NeXT",
            32809 => "ThunderScan",
            32908 | 32909 => "Pixar",
            33003 | 33004 | 33005 | 34712 => "JPEG 2000",
            34676 | 34677 => "SGI LogLuv",
            34887 => "LERC",
            34892 => "lossy DNG",
            34927 | 50001 => "WebP",
            50002 | 52546 => "JPEG XL",
            number => return Err(unsupported(&format!("compression of number {number}"))),
        };
        Err(unsupported(&format!("{name} compression")))
    }

    /// Whether differences may be packed instead of samples.
    fn has_predictor(self) -> bool {
        matches!(self, Self::Lzw | Self::Deflate | Self::Lzma | Self::Zstandard)
    }
}

/// What is packed in place of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predictor {
    None,
    /// The difference from the pixel to the left.
    Difference,
    /// The same of the bytes of floating-point numbers, the high ones of a row first.
    Float,
}

/// What a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TiffSample {
    /// A whole number of 1, 2, 4, 8, 12 or 16 bits.
    Bits(usize),
    /// A whole number with a sign, of 16 or 32 bits.
    Signed(usize),
    /// A floating-point number of 32 bits.
    Float,
}

impl TiffSample {
    pub fn bits(self) -> usize {
        match self {
            Self::Bits(bits) | Self::Signed(bits) => bits,
            Self::Float => 32,
        }
    }

    /// *Errors* when samples differ, or are of a kind that is not read.
    fn read(directory: &TiffDirectory, samples: usize) -> Result<Self, PixelsError> {
        let bits =
            same(directory, BITS, samples, 1).ok_or_else(|| unsupported("samples of several sizes"))?;
        let format = same(directory, SAMPLE_FORMAT, samples, 1);
        let format = format.ok_or_else(|| unsupported("samples of several kinds"))?;
        Ok(match (format, bits) {
            (1 | 4, 1 | 2 | 4 | 8 | 12 | 16) => Self::Bits(bits as usize),
            // Eight bits with a sign are taken for eight without by Pillow, too.
            (2, 8) => Self::Bits(8),
            // Pillow takes 32 bits for such with a sign.
            (1, 32) | (2, 16 | 32) => Self::Signed(bits as usize),
            (3, 32) => Self::Float,
            (3, _) => return Err(unsupported(&format!("floating-point samples of {bits} bits"))),
            (5 | 6, _) => return Err(unsupported("complex samples")),
            _ => return Err(unsupported(&format!("samples of {bits} bits"))),
        })
    }
}

impl fmt::Display for TiffSample {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Bits(bits) => write!(f, "{bits} bits"),
            Self::Signed(bits) => write!(f, "{bits} bits with a sign"),
            Self::Float => write!(f, "floating-point numbers"),
        }
    }
}

/// The value that a tag has for all samples.
fn same(directory: &TiffDirectory, tag: u16, samples: usize, default: u64) -> Option<u64> {
    let Some(values) = directory.values(tag) else { return Some(default) };
    let first = values.whole(0)?;
    // One value may stand for all, and some files have more than they have samples.
    let counted = values.count().min(samples);
    (counted == 1 || counted == samples).then_some(())?;
    (1..counted).all(|index| values.whole(index) == Some(first)).then_some(first)
}

/// Whether the samples of a pixel are in one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TiffPlanes {
    Together,
    Apart,
}

/// What a picture is made of.
#[derive(Debug, Clone)]
pub struct TiffLayout<'a> {
    pub width: usize,
    pub height: usize,
    pub order: ByteOrder,
    pub packing: TiffPacking,
    pub predictor: Predictor,
    /// The low bits of a byte come first.
    pub is_bit_reversed: bool,
    pub sample: TiffSample,
    /// Samples of a pixel.
    pub samples: usize,
    pub planes: TiffPlanes,
    pub colours: TiffColours,
    /// Which sample the colours were multiplied with.
    pub alpha: Option<usize>,
    /// Pixels of brightness for each of colour, across and down.
    pub subsampling: (usize, usize),
    pub jpeg_tables: Option<&'a [u8]>,
    /// What the components of a chunk are that is a JPEG.
    pub jpeg_colours: PartColours,
    /// A strip is as wide as the picture.
    pub chunk_width: usize,
    /// The last strip may have fewer rows, a tile not.
    pub chunk_height: usize,
    pub is_tiled: bool,
    pub offsets: TiffValues<'a>,
    pub byte_counts: Option<TiffValues<'a>>,
}

impl<'a> TiffLayout<'a> {
    /// *Errors* when the tags make no picture, too large a one, or one of a kind that is not read.
    pub fn read(directory: &TiffDirectory<'a>) -> Result<Self, PixelsError> {
        let whole = |tag| directory.whole(tag).map(|value| usize::try_from(value).unwrap_or(usize::MAX));
        let missing = || broken("the TIFF does not say how large it is");
        let (width, height) = (whole(WIDTH).ok_or_else(missing)?, whole(HEIGHT).ok_or_else(missing)?);
        check_size(width as u64, height as u64)?;
        if let Some((_, meaning)) = MEANINGS.iter().find(|(tag, _)| directory.is_broken(*tag)) {
            return Err(broken(&format!("the TIFF's tag for the {meaning} cannot be read")));
        }
        let packing = TiffPacking::read(directory)?;
        let samples = whole(SAMPLES).unwrap_or(1);
        if !(1..=MAX_SAMPLES).contains(&samples) {
            return Err(unsupported(&format!("{samples} samples a pixel")));
        }
        let sample = TiffSample::read(directory, samples)?;
        let planes = match whole(PLANES) {
            Some(2) if samples > 1 => TiffPlanes::Apart,
            _ => TiffPlanes::Together,
        };
        let mut colours = TiffColours::read(directory, sample, samples, packing)?;
        let mut jpeg_colours = PartColours::Stored;
        if packing == TiffPacking::Jpeg && colours.is_ycbcr() && planes == TiffPlanes::Together {
            (jpeg_colours, colours) = (PartColours::YCbCr, TiffColours::Rgb);
        }
        let extra = |index| directory.values(EXTRA_SAMPLES).and_then(|values| values.whole(index));
        let alpha =
            (colours.channels()..samples).find(|sample| extra(sample - colours.channels()) == Some(1));
        let is_tiled = whole(TILE_WIDTH).is_some() && whole(TILE_HEIGHT).is_some();
        let (chunk_width, chunk_height) = if is_tiled {
            (whole(TILE_WIDTH).unwrap_or(0), whole(TILE_HEIGHT).unwrap_or(0))
        } else {
            (width, whole(STRIP_ROWS).unwrap_or(height).min(height))
        };
        let (offsets, byte_counts) = if is_tiled && directory.values(TILE_OFFSETS).is_some() {
            (directory.values(TILE_OFFSETS), directory.values(TILE_BYTES))
        } else {
            (directory.values(STRIP_OFFSETS), directory.values(STRIP_BYTES))
        };
        let predictor = match whole(PREDICTOR).filter(|_| packing.has_predictor()).unwrap_or(1) {
            1 => Predictor::None,
            2 if matches!(sample.bits(), 8 | 16 | 32) => Predictor::Difference,
            3 if sample == TiffSample::Float => Predictor::Float,
            number => return Err(unsupported(&format!("predictor {number} of {} bits", sample.bits()))),
        };
        let subsampling = directory.values(SUBSAMPLING);
        let subsampling = |index| subsampling.map_or(Some(2), |values| values.whole(index));
        let layout = Self {
            width,
            height,
            order: directory.order(),
            packing,
            predictor,
            is_bit_reversed: whole(FILL_ORDER) == Some(2),
            sample,
            samples,
            planes,
            alpha,
            subsampling: match (subsampling(0), subsampling(1)) {
                (Some(across @ (1 | 2 | 4)), Some(down @ (1 | 2 | 4))) => (across as usize, down as usize),
                _ if colours.is_ycbcr() => return Err(broken("the TIFF's colours have no valid size")),
                _ => (1, 1),
            },
            colours,
            jpeg_colours,
            jpeg_tables: directory.values(JPEG_TABLES).map(|values| values.bytes),
            chunk_width,
            chunk_height,
            is_tiled,
            offsets: offsets.ok_or_else(|| broken("the TIFF does not say where its pixels are"))?,
            byte_counts,
        };
        layout.check()?;
        Ok(layout)
    }

    /// *Errors* when chunks are not of a sensible size, or tell of something that is not read.
    fn check(&self) -> Result<(), PixelsError> {
        if self.chunk_width == 0 || self.chunk_height == 0 {
            return Err(broken("the TIFF's strips or tiles have no pixels"));
        }
        let across = self.chunks_across().saturating_mul(self.chunk_width);
        let down = self.height.div_ceil(self.chunk_height).saturating_mul(self.chunk_height);
        let pixels = (across as u64).saturating_mul(down as u64);
        if pixels > MAX_PIXELS {
            return Err(PixelsError::Limit(format!(
                "the strips or tiles have {pixels} pixels, more than the limit of {MAX_PIXELS}; save the image anew"
            )));
        }
        let chunk_bytes = self.row_bytes() as u64 * self.chunk_height as u64;
        let together = match (self.planes, self.colours.is_ycbcr()) {
            (TiffPlanes::Apart, _) => self.samples as u64,
            // A progressive one also has its coefficients, of two bytes each.
            (TiffPlanes::Together, _) if self.packing == TiffPacking::Jpeg => 3,
            // Unpacked, and with as many colours as brightness.
            (TiffPlanes::Together, true) => 2,
            (TiffPlanes::Together, false) => 1,
        };
        check_memory(self.picture_bytes() + chunk_bytes.saturating_mul(together))?;
        if matches!(self.packing, TiffPacking::Fax(_)) && (self.sample.bits(), self.samples) != (1, 1) {
            return Err(broken("the TIFF has CCITT codes for more than black and white"));
        }
        if self.packing == TiffPacking::Jpeg && self.sample != TiffSample::Bits(8) {
            return Err(unsupported(&format!("JPEG compression of {} bits", self.sample.bits())));
        }
        let subsampled = self.colours.is_ycbcr() && self.subsampling != (1, 1);
        if subsampled && self.planes == TiffPlanes::Apart && self.packing != TiffPacking::None {
            return Err(unsupported("fewer colours than brightness, in planes"));
        }
        if subsampled && self.samples != 3 {
            return Err(unsupported("fewer colours than brightness, and alpha"));
        }
        if subsampled && self.predictor != Predictor::None {
            return Err(unsupported("fewer colours than brightness, and a predictor"));
        }
        if self.alpha.is_some() && !matches!(self.colours, TiffColours::Grey { .. } | TiffColours::Rgb) {
            return Err(unsupported("colours of this kind that are multiplied with alpha"));
        }
        Ok(())
    }

    fn picture_bytes(&self) -> u64 {
        self.width as u64 * self.height as u64 * 3
    }

    /// The most pixels of a chunk that is a JPEG. The last may have more than is shown of it, and each of
    /// their samples takes three bytes until all are decoded.
    pub fn max_jpeg_pixels(&self) -> u64 {
        let pixels = (MAX_DECODE_BYTES - self.picture_bytes()) / (3 * self.chunk_samples() as u64);
        pixels.min(MAX_PIXELS)
    }

    /// How many chunks a plane has.
    pub fn chunks_in_plane(&self) -> usize {
        self.chunks_across() * self.height.div_ceil(self.chunk_height)
    }

    /// How many bytes a chunk is told to have, if at all.
    pub fn byte_count(&self, number: usize) -> Option<usize> {
        let count = self.byte_counts?.whole(number).filter(|count| *count > 0)?;
        Some(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Pixels of brightness for each of colour in a chunk that has so many bytes if all are equal.
    pub fn chunk_subsampling(&self, number: usize, bytes: usize) -> (usize, usize) {
        match self.packing {
            _ if !self.colours.is_ycbcr() || self.planes == TiffPlanes::Apart => (1, 1),
            // Pillow does not look at the tag, and not all programs write it.
            TiffPacking::None if self.byte_count(number).is_none_or(|count| count >= bytes) => (1, 1),
            _ => self.subsampling,
        }
    }

    pub fn chunks_across(&self) -> usize {
        self.width.div_ceil(self.chunk_width)
    }

    /// The samples of a pixel that are in one chunk.
    pub fn chunk_samples(&self) -> usize {
        if self.planes == TiffPlanes::Apart { 1 } else { self.samples }
    }

    /// The bytes of a row of a chunk.
    pub fn row_bytes(&self) -> usize {
        (self.chunk_width * self.chunk_samples() * self.sample.bits()).div_ceil(8)
    }
}
