//! Samples as decoders of films give them: luma, and chroma of the same or half the size.

use super::super::boxes::Damaged;
use super::items::Colours;
use super::not_decoded;
use crate::PixelsError;

/// A picture's samples, plane by plane, rows without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planes {
    /// Width and height in pixels.
    pub size: (u32, u32),
    pub luma: Plane,
    /// Blue and red; absent in grey pictures.
    pub chroma: Option<Chroma>,
    /// What the samples mean, where the coded picture says it.
    pub colours: Option<Colours>,
}

/// The two planes of colour differences, one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chroma {
    /// How many pixels a sample is wide and high: 1 or 2.
    pub step: (u32, u32),
    pub blue: Plane,
    pub red: Plane,
}

/// Samples of so many bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    pub bits: u32,
    pub samples: Vec<u16>,
}

impl Planes {
    /// Gives each pixel samples of chroma of its own. A shared one is in the middle of its pixels, and
    /// between middles lies a straight line.
    pub fn with_chroma_for_each_pixel(self) -> Self {
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let chroma = self.chroma.map(|chroma| {
            let (columns, rows) = chroma.size(self.size);
            let spread = |plane: Plane| {
                let sample = |x: usize, y: usize| u32::from(plane.samples[y * columns + x]);
                let blended = |x, y| {
                    let (near_x, far_x) = neighbours(x, chroma.step.0, columns);
                    let (near_y, far_y) = neighbours(y, chroma.step.1, rows);
                    let near_row = 3 * sample(near_x, near_y) + sample(far_x, near_y);
                    let far_row = 3 * sample(near_x, far_y) + sample(far_x, far_y);
                    ((3 * near_row + far_row + 8) / 16) as u16
                };
                let samples = (0..width * height).map(|i| blended(i % width, i / width)).collect();
                Plane { bits: plane.bits, samples }
            };
            Chroma { step: (1, 1), blue: spread(chroma.blue), red: spread(chroma.red) }
        });
        Self { chroma, ..self }
    }
}

/// The sample that a pixel lies in and the next nearest one, of so many samples in a row.
pub fn neighbours(pixel: usize, step: u32, samples: usize) -> (usize, usize) {
    if step == 1 {
        return (pixel, pixel);
    }
    let near = pixel / 2;
    (near, if pixel.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(samples - 1) })
}

impl Plane {
    /// The high 8 bits of a sample.
    pub fn cut(&self, sample: u16) -> u8 {
        (sample >> (self.bits - 8)) as u8
    }
}

impl Chroma {
    /// Width and height of the planes of a picture.
    pub fn size(&self, size: (u32, u32)) -> (usize, usize) {
        plane_size(size, self.step)
    }
}

/// Width and height of a plane of a picture whose samples are so many pixels wide and high.
pub fn plane_size((width, height): (u32, u32), step: (u32, u32)) -> (usize, usize) {
    (width.div_ceil(step.0) as usize, height.div_ceil(step.1) as usize)
}

/// A picture that is put together from tiles of one form, row by row; what hangs over is cut off.
pub struct Assembly {
    size: (u32, u32),
    columns: usize,
    /// How many tiles are in place.
    placed: usize,
    /// The form of the first tile, and what is there of the picture.
    begun: Option<(TileForm, Planes)>,
}

/// What all tiles have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TileForm {
    size: (u32, u32),
    luma_bits: u32,
    /// Step and bits.
    chroma: Option<((u32, u32), u32)>,
    colours: Option<Colours>,
}

impl TileForm {
    fn of(tile: &Planes) -> Self {
        let chroma = tile.chroma.as_ref().map(|chroma| (chroma.step, chroma.blue.bits));
        Self { size: tile.size, luma_bits: tile.luma.bits, chroma, colours: tile.colours }
    }

    /// A picture of `size` without samples.
    ///
    /// *Errors* when its tiles do not end where their samples end.
    fn empty(&self, size: (u32, u32)) -> Result<Planes, PixelsError> {
        let plane = |step, bits| {
            let (width, height) = plane_size(size, step);
            Plane { bits, samples: vec![0; width * height] }
        };
        if let Some((step, _)) = self.chroma
            && (!self.size.0.is_multiple_of(step.0) || !self.size.1.is_multiple_of(step.1))
        {
            return Err(not_decoded("HEIF with a grid whose pictures share samples"));
        }
        let chroma =
            self.chroma.map(|(step, bits)| Chroma { step, blue: plane(step, bits), red: plane(step, bits) });
        Ok(Planes { size, luma: plane((1, 1), self.luma_bits), chroma, colours: self.colours })
    }
}

impl Assembly {
    /// A picture of `size` with so many tiles in a row.
    pub fn new(size: (u32, u32), columns: usize) -> Self {
        Self { size, columns, placed: 0, begun: None }
    }

    /// Puts the next tile in its place.
    ///
    /// *Errors* when its form differs from the first one's.
    pub fn add(&mut self, tile: Planes) -> Result<(), PixelsError> {
        let form = TileForm::of(&tile);
        let (first, whole) = match &mut self.begun {
            Some(begun) => begun,
            None => self.begun.insert((form, form.empty(self.size)?)),
        };
        if form != *first {
            return Err(not_decoded("HEIF with a grid of pictures that are coded differently"));
        }
        let place = (self.placed % self.columns, self.placed / self.columns);
        self.placed += 1;
        let copy = |step, whole: &mut Plane, tile: &Plane| {
            let (width, _) = plane_size(self.size, step);
            let (tile_width, tile_height) = plane_size(form.size, step);
            let (left, top) = (place.0 * tile_width, place.1 * tile_height);
            let kept = tile_width.min(width - left);
            let rows = whole.samples.chunks_exact_mut(width).skip(top);
            for (to, from) in rows.zip(tile.samples.chunks_exact(tile_width)) {
                to[left..left + kept].copy_from_slice(&from[..kept]);
            }
        };
        copy((1, 1), &mut whole.luma, &tile.luma);
        if let (Some(whole), Some(tile)) = (&mut whole.chroma, &tile.chroma) {
            copy(tile.step, &mut whole.blue, &tile.blue);
            copy(tile.step, &mut whole.red, &tile.red);
        }
        Ok(())
    }

    /// The whole picture.
    ///
    /// *Errors* when there was no tile.
    pub fn finish(self) -> Result<Planes, PixelsError> {
        self.begun.map(|(_, whole)| whole).ok_or(Damaged.into())
    }
}
