//! A JPEG → RGB, byte for byte as libjpeg-turbo decodes it for Pillow.
//!
//! Written from ITU-T T.81, with the choices that the standard leaves open made as libjpeg makes them:
//! the transform in 13-bit integers, chroma upsampled with a triangle filter, colours in 16-bit fixed
//! point. A network answers differently to other levels, and no other decoder in Rust has these.
//!
//! ```text
//! segments ─▶ tables, frame, scan ─▶ intervals ─▶ huffman │ arithmetic ─▶ coefficients
//!                                                                              │
//!                                      RGB ◀─ output ◀─ colour ◀─ upsample ◀─ transform
//! ```
//!
//! Nothing here trusts the file: what would have to be guessed is refused, and no index can fail.

mod arithmetic;
mod arithmetic_model;
mod bits;
mod coefficients;
mod colour;
mod frame;
mod huffman;
mod intervals;
mod output;
mod picture;
mod progressive;
mod scan;
mod segments;
mod sequential;
mod tables;
mod transform;
mod upsample;

pub use colour::under_black;
pub use picture::{PartColours, decode, decode_part};
pub use segments::{APP1, SOS, Segments};

/// A decoded JPEG.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    pub width: u32,
    pub height: u32,
    /// 3 for RGB.
    pub channels: usize,
    /// Pixel after pixel, row by row.
    pub levels: Vec<u8>,
}

/// Why a JPEG is not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// The file is damaged.
    #[error("{0}")]
    Broken(&'static str),
    /// The file is in order, as far as can be told, and uses what this decoder does not have.
    #[error("{0} is not supported; convert the image first")]
    Unsupported(String),
    /// The file asks for more than it may have.
    #[error("{0}")]
    Limit(String),
}

use JpegError::Broken;

/// The end of a file came before the end of its picture.
const ENDS_EARLY: JpegError = Broken("unexpected end of file");
