//! A TIFF → RGB: its first picture, as Pillow reads it, partly by itself and partly with libtiff.
//!
//! ```text
//! directory ─▶ layout ─▶ chunk: fax │ lzw │ jpeg │ … ─▶ samples ─▶ colour: lab, ycbcr ─▶ RGB
//! ```
//!
//! All of it is done here: the `tiff` crate refuses half of what Pillow writes, and gives samples in its
//! own choice of forms, not Pillow's.

mod chunk;
mod colour;
mod directory;
mod fax;
mod lab;
mod layout;
mod samples;
mod ycbcr;

pub use directory::TiffDirectory;

use crate::PixelsError;
use crate::decode::apart::Deadline;
use image::RgbImage;
use layout::{TiffLayout, TiffPlanes};

/// Decodes the first picture.
///
/// *Errors* when it is not whole, too large, or of a kind that is not read.
pub fn decode(file: &[u8]) -> Result<RgbImage, PixelsError> {
    let directory = TiffDirectory::first(file).ok_or_else(|| broken("the TIFF has no directory"))?;
    let layout = TiffLayout::read(&directory)?;
    let mut picture = RgbImage::new(layout.width as u32, layout.height as u32);
    let deadline = Deadline::of(file);
    let across = layout.chunks_across();
    let bands = picture.chunks_mut(layout.width * 3 * layout.chunk_height);
    for (band, levels) in bands.enumerate() {
        for column in 0..across {
            // Chunks may share their bytes, so that their number says nothing of the work.
            deadline.check()?;
            fill(file, &layout, band * across + column, column, levels)?;
        }
    }
    Ok(picture)
}

/// Decodes the chunk of this number, of all planes, into its columns of rows of the picture.
fn fill(
    file: &[u8],
    layout: &TiffLayout,
    number: usize,
    column: usize,
    levels: &mut [u8],
) -> Result<(), PixelsError> {
    let picture_row = layout.width * 3;
    let rows = if layout.is_tiled { layout.chunk_height } else { levels.len() / picture_row };
    // Samples that are looked at.
    let channels = layout.alpha.map_or(layout.colours.channels(), |alpha| alpha + 1);
    let (planes, channels, per_plane) = match layout.planes {
        TiffPlanes::Together => (1, layout.samples, layout.samples),
        TiffPlanes::Apart => (channels, channels, 1),
    };
    let plane = |plane| chunk::read_chunk(file, layout, number + plane * layout.chunks_in_plane(), rows);
    let planes = (0..planes).map(plane).collect::<Result<Vec<_>, _>>()?;
    let mut pixels = vec![0; layout.chunk_width * channels];
    for (y, row) in levels.chunks_exact_mut(picture_row).enumerate() {
        for (at, plane) in planes.iter().enumerate() {
            let row_bytes = layout.row_bytes();
            let from = plane.get(y * row_bytes..(y + 1) * row_bytes).unwrap_or_default();
            let to = pixels.get_mut(at..).unwrap_or_default();
            samples::to_bytes(from, layout.sample, layout.order, to, channels / per_plane);
        }
        let start = column * layout.chunk_width * 3;
        let end = (start + layout.chunk_width * 3).min(row.len());
        let to = row.get_mut(start..end).unwrap_or_default();
        layout.colours.convert(&pixels, channels, layout.alpha, to);
    }
    Ok(())
}

fn broken(what: &str) -> PixelsError {
    PixelsError::Decode(what.to_owned())
}

fn unsupported(feature: &str) -> PixelsError {
    PixelsError::Decode(format!("TIFF with {feature} is not supported; convert the image first"))
}
