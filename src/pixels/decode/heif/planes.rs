//! Samples as decoders of films give them: luma, and chroma of the same or half the size.

use super::items::Colours;
use super::not_decoded;
use crate::pixels::PixelsError;

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

/// Puts a picture of `size` together from tiles of one size, row by row; what hangs over is cut off.
pub fn assembled(size: (u32, u32), columns: usize, tiles: &[Planes]) -> Result<Planes, PixelsError> {
    let first = &tiles[0];
    let form = |tile: &Planes| {
        let chroma = tile.chroma.as_ref().map(|chroma| (chroma.step, chroma.blue.bits));
        (tile.size, tile.luma.bits, chroma, tile.colours)
    };
    if tiles.iter().any(|tile| form(tile) != form(first)) {
        return Err(not_decoded("HEIF with a grid of pictures that are coded differently"));
    }
    if let Some(Chroma { step, .. }) = first.chroma
        && (!first.size.0.is_multiple_of(step.0) || !first.size.1.is_multiple_of(step.1))
    {
        return Err(not_decoded("HEIF with a grid whose pictures share samples"));
    }
    let plane = |step: (u32, u32), of: &dyn Fn(&Planes) -> &Plane| {
        let (width, height) = plane_size(size, step);
        let (tile_width, tile_height) = plane_size(first.size, step);
        let mut samples = vec![0; width * height];
        for (number, tile) in tiles.iter().enumerate() {
            let (left, top) = (number % columns * tile_width, number / columns * tile_height);
            let kept = tile_width.min(width - left);
            let rows = samples.chunks_exact_mut(width).skip(top);
            for (to, from) in rows.zip(of(tile).samples.chunks_exact(tile_width)) {
                to[left..left + kept].copy_from_slice(&from[..kept]);
            }
        }
        Plane { bits: of(first).bits, samples }
    };
    fn chroma_of(tile: &Planes) -> &Chroma {
        tile.chroma.as_ref().expect("all tiles have the form of the first")
    }
    let chroma = first.chroma.as_ref().map(|chroma| Chroma {
        step: chroma.step,
        blue: plane(chroma.step, &|tile| &chroma_of(tile).blue),
        red: plane(chroma.step, &|tile| &chroma_of(tile).red),
    });
    Ok(Planes { size, luma: plane((1, 1), &|tile| &tile.luma), chroma, colours: first.colours })
}
