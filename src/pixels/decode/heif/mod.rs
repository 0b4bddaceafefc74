//! HEIC and AVIF → RGB: the container says what is coded where, a decoder gives the samples, and these
//! become colours and are turned as the container says.
//!
//! Exif says which way is up as well, for programs that do not know HEIF; it is not asked, as libheif and
//! libavif do not ask it. Alpha is another picture in the file and is not decoded.

mod av1;
mod colour;
mod fixed;
mod hevc;
mod items;
mod planes;

use super::super::orient::turn;
use super::apart::Deadline;
use super::{check_size as check_pixels, rgb};
use crate::PixelsError;
use image::RgbImage;
use image::metadata::Orientation;
use items::{Change, CleanAperture, Coded, Coding, Described, Source};
use planes::{Assembly, Chroma, Planes};
use rayon::prelude::*;

/// Tiles of a grid that are decoded at the same time have so many pixels together, unless one alone has
/// more.
const AT_ONCE_PIXELS: u64 = 16 << 20;

/// Decodes the primary picture of a file.
///
/// *Errors* when it is damaged, too large, or of a kind that is not decoded.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    let Described { size, colours, source, changes } = items::describe(bytes)?;
    let deadline = Deadline::of(bytes);
    let (planes, coding) = match source {
        Source::Coded(coded) => (samples(&coded, deadline)?, coded.coding),
        Source::Grid { columns, tiles } => (assembled(size, columns, &tiles, deadline)?, tiles[0].coding),
    };
    let planes = if coding == Coding::Hevc && tears_chroma(&changes, &planes)? {
        planes.with_chroma_for_each_pixel()
    } else {
        planes
    };
    let picture = colour::to_rgb(&planes, colours.or(planes.colours), coding)?;
    drop(planes);
    changes.into_iter().try_fold(picture, changed)
}

/// What is wrong with a file that others may be able to show.
fn not_decoded(what: &str) -> PixelsError {
    PixelsError::Decode(format!("{what}, which clipclass does not decode; convert the image to JPEG or PNG"))
}

fn check_size((width, height): (u32, u32)) -> Result<(), PixelsError> {
    check_pixels(width.into(), height.into())
}

/// Decodes the tiles of a grid, and puts them together.
fn assembled(
    size: (u32, u32),
    columns: usize,
    tiles: &[Coded],
    deadline: Deadline,
) -> Result<Planes, PixelsError> {
    let mut assembly = Assembly::new(size, columns);
    let (width, height) = tiles[0].size;
    let at_once = AT_ONCE_PIXELS / (u64::from(width) * u64::from(height)).max(1);
    for tiles in tiles.chunks((at_once as usize).max(1)) {
        deadline.check()?;
        let decoded: Vec<_> =
            tiles.par_iter().map(|tile| samples(tile, deadline)).collect::<Result<_, _>>()?;
        decoded.into_iter().try_for_each(|tile| assembly.add(tile))?;
    }
    assembly.finish()
}

/// Decodes a coded picture, which has to be of the size that the container says.
fn samples(coded: &Coded, deadline: Deadline) -> Result<Planes, PixelsError> {
    let planes = match coded.coding {
        Coding::Hevc => hevc::decode(coded)?,
        Coding::Av1 => av1::decode(coded, deadline)?,
    };
    if planes.size != coded.size {
        let ((width, height), (said_width, said_height)) = (planes.size, coded.size);
        return Err(PixelsError::Decode(format!(
            "a picture of {width} × {height} pixels where the file says {said_width} × {said_height}"
        )));
    }
    Ok(planes)
}

/// Whether samples of chroma that pixels share would no longer lie on those pixels, since the picture is
/// turned by an odd side. libheif, which turns samples and not colours, spreads them over the pixels
/// before that, and not in the way it does otherwise.
///
/// In two places its way is not followed. Along an even side it spreads the last row or column as if it
/// were twice as long; and samples of 4:2:2 that are turned upside down in an odd width it leaves torn.
fn tears_chroma(changes: &[Change], planes: &Planes) -> Result<bool, PixelsError> {
    let Some(Chroma { step: step @ (2, _), .. }) = planes.chroma else { return Ok(false) };
    let (mut width, mut height) = planes.size;
    for change in changes {
        let is_odd_across = !width.is_multiple_of(2);
        let is_odd_down = step.1 == 2 && !height.is_multiple_of(2);
        let tears = match change {
            Change::Turn(0) => false,
            // Samples that are wide and not high would have to become high.
            Change::Turn(1 | 3) if step.0 != step.1 => true,
            Change::Turn(1) => is_odd_across,
            Change::Turn(3) => is_odd_down,
            Change::Turn(_) => is_odd_across || !height.is_multiple_of(2),
            Change::MirrorLeftRight => is_odd_across || is_odd_down,
            Change::MirrorTopBottom => step.1 == 2 && (is_odd_across || is_odd_down),
            Change::Crop(aperture) => {
                let columns = kept(width, aperture.width, aperture.right)?;
                let rows = kept(height, aperture.height, aperture.down)?;
                (width, height) = (columns.end - columns.start, rows.end - rows.start);
                !columns.start.is_multiple_of(step.0) || !rows.start.is_multiple_of(step.1)
            }
        };
        if tears {
            return Ok(true);
        }
        if let Change::Turn(1 | 3) = change {
            (width, height) = (height, width);
        }
    }
    Ok(false)
}

fn changed(picture: RgbImage, change: Change) -> Result<RgbImage, PixelsError> {
    Ok(match change {
        Change::Turn(0) => picture,
        Change::Turn(1) => turn(picture, Orientation::Rotate270),
        Change::Turn(2) => turn(picture, Orientation::Rotate180),
        Change::Turn(_) => turn(picture, Orientation::Rotate90),
        Change::MirrorLeftRight => turn(picture, Orientation::FlipHorizontal),
        Change::MirrorTopBottom => turn(picture, Orientation::FlipVertical),
        Change::Crop(aperture) => cropped(&picture, aperture)?,
    })
}

fn cropped(picture: &RgbImage, aperture: CleanAperture) -> Result<RgbImage, PixelsError> {
    let columns = kept(picture.width(), aperture.width, aperture.right)?;
    let rows = kept(picture.height(), aperture.height, aperture.down)?;
    let row_bytes = 3 * picture.width() as usize;
    let kept_bytes = 3 * columns.start as usize..3 * columns.end as usize;
    let levels = picture.as_raw().chunks_exact(row_bytes).skip(rows.start as usize).take(rows.len());
    let levels = levels.flat_map(|row| &row[kept_bytes.clone()]).copied().collect();
    rgb(columns.end - columns.start, rows.end - rows.start, levels)
}

/// The part of an axis that a clean aperture leaves: its length, and how far its centre is from the middle.
fn kept(
    full: u32,
    (length, of): (u32, u32),
    (offset, offset_of): (i32, u32),
) -> Result<std::ops::Range<u32>, PixelsError> {
    let outside = || PixelsError::Decode("the file keeps a part of the picture that is not in it".into());
    if of == 0 || offset_of == 0 {
        return Err(outside());
    }
    // Parts of pixels cannot be kept; libheif and libavif round alike.
    let length = (i64::from(length) + i64::from(of) / 2) / i64::from(of);
    let (full, offset_of) = (i64::from(full), i64::from(offset_of));
    let twice_start = (full - length) * offset_of + 2 * i64::from(offset);
    let start = twice_start.div_euclid(2 * offset_of);
    if length < 1 || start < 0 || start + length > full {
        return Err(outside());
    }
    Ok(start as u32..(start + length) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_aperture_is_placed_by_its_centre() {
        assert_eq!(kept(10, (4, 1), (0, 1)).unwrap(), 3..7);
        assert_eq!(kept(10, (4, 1), (-2, 1)).unwrap(), 1..5);
        assert_eq!(kept(9, (8, 2), (3, 2)).unwrap(), 4..8);
        for (length, offset) in
            [((11, 1), (0, 1)), ((4, 1), (4, 1)), ((4, 0), (0, 1)), ((4, 1), (0, 0)), ((0, 1), (0, 1))]
        {
            assert!(kept(10, length, offset).is_err(), "{length:?} {offset:?}");
        }
    }
}
