//! Samples → RGB of 8 bits (ITU-T H.273): chroma is spread over its pixels, the matrix of the file
//! applied, the result rounded. Where libheif and libavif reckon in whole numbers (`fixed.rs`), the same is
//! done here; all else is reckoned in floats, as they do.
//!
//! Primaries and transfer functions stay as they are, as in Pillow.

use super::fixed::Fixed;
use super::items::{Coding, Colours};
use super::not_decoded;
use super::planes::{Chroma, Plane, Planes, neighbours};
use crate::PixelsError;
use crate::decode::rgb;
use image::RgbImage;
use rayon::prelude::*;

/// How a sample of chroma becomes that of several pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upsampling {
    /// All of them have it, as in libheif.
    Nearest,
    /// It is in their middle, and between middles lies a straight line, as in libavif.
    Bilinear,
}

/// How RGB is made of luma and chroma.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Matrix {
    /// Shares of red and blue in luma.
    Weights { red: f32, blue: f32 },
    /// Green, blue and red are stored.
    Identity,
    /// Luma, green and orange.
    YCgCo,
}

impl Matrix {
    fn new(matrix: u16, primaries: u16) -> Result<Self, PixelsError> {
        let weights = |red, blue| Ok(Self::Weights { red, blue });
        match (matrix, primaries) {
            (0, _) => Ok(Self::Identity),
            (1, _) | (12, 1) => weights(0.2126, 0.0722),
            // What is not said is BT.601 to libheif and libavif.
            (2 | 5 | 6, _) | (12, 5 | 6) => weights(0.299, 0.114),
            (4, _) => weights(0.30, 0.11),
            (7, _) => weights(0.212, 0.087),
            (8, _) => Ok(Self::YCgCo),
            (9, _) | (12, 9) => weights(0.2627, 0.0593),
            _ => Err(not_decoded(&format!("a picture with the colour matrix {matrix} of H.273"))),
        }
    }
}

/// Samples of some bits → 0 to 1, or −0.5 to 0.5.
#[derive(Debug, Clone, Copy)]
struct Scale {
    zero: f32,
    factor: f32,
}

impl Scale {
    fn luma(bits: u32, is_full_range: bool, coding: Coding) -> Self {
        Self::new(bits, 0, if is_full_range { None } else { Some((16, 219.0, 1.1689)) }, coding)
    }

    fn chroma(bits: u32, is_full_range: bool, coding: Coding) -> Self {
        Self::new(
            bits,
            1 << (bits - 1),
            if is_full_range { None } else { Some((128, 224.0, 1.1429)) },
            coding,
        )
    }

    /// Of limited range: what is zero in 8 bits, the range, and the factor that libheif has for it.
    fn new(bits: u32, zero: u32, limited: Option<(u32, f32, f32)>, coding: Coding) -> Self {
        let most = ((1u32 << bits) - 1) as f32;
        let of_8_bits = 1 << (bits - 8);
        match (limited, coding) {
            (None, _) => Self { zero: zero as f32, factor: 1.0 / most },
            (Some((zero, range, _)), Coding::Av1) => {
                Self { zero: (zero * of_8_bits) as f32, factor: 1.0 / (range * of_8_bits as f32) }
            }
            (Some((zero, _, factor)), Coding::Hevc) => {
                Self { zero: (zero * of_8_bits) as f32, factor: factor / most }
            }
        }
    }

    fn apply(self, sample: f32) -> f32 {
        (sample - self.zero) * self.factor
    }
}

/// Makes RGB of samples, as Pillow's decoder for this coding does. Where nothing says what they mean, they
/// are BT.601 of full range.
///
/// *Errors* when the matrix is none that is known.
pub fn to_rgb(planes: &Planes, colours: Option<Colours>, coding: Coding) -> Result<RgbImage, PixelsError> {
    let colours = colours.unwrap_or(Colours { primaries: 2, matrix: 2, is_full_range: true });
    let is_full_range = colours.is_full_range;
    let matrix = Matrix::new(colours.matrix, colours.primaries)?;
    let bits = planes.luma.bits;
    let luma_scale = Scale::luma(bits, is_full_range, coding);
    let level = |value| level(value, bits, coding);
    let Some(chroma) = &planes.chroma else {
        return by_rows(planes, |_| {}, |(), _, luma| [level(luma_scale.apply(luma.into())); 3]);
    };
    if matrix == Matrix::Identity && chroma.step != (1, 1) {
        return Err(PixelsError::Decode(
            "a picture of green, blue and red with fewer samples of some".into(),
        ));
    }
    if let Some(fixed) = Fixed::new(matrix, is_full_range, coding, chroma.step) {
        return by_rows(
            planes,
            |y| fixed.chroma_rows(planes.size, chroma, y),
            |[blue, red], x, luma| fixed.rgb(planes.luma.cut(luma), blue[x], red[x]),
        );
    }
    let upsampling = match coding {
        Coding::Hevc => Upsampling::Nearest,
        Coding::Av1 => Upsampling::Bilinear,
    };
    let scale_of = |chroma: &Plane| match matrix {
        Matrix::Identity => Scale::luma(chroma.bits, is_full_range, coding),
        _ => Scale::chroma(chroma.bits, is_full_range, coding),
    };
    let (blue_scale, red_scale) = (scale_of(&chroma.blue), scale_of(&chroma.red));
    let rows = |y| [&chroma.blue, &chroma.red].map(|plane| spread(planes.size, chroma, plane, y, upsampling));
    by_rows(planes, rows, |[blue, red], x, luma| {
        matrix
            .rgb(luma_scale.apply(luma.into()), blue_scale.apply(blue[x]), red_scale.apply(red[x]))
            .map(level)
    })
}

/// Makes a picture of luma and of what `prepare` makes ready for a row.
fn by_rows<T>(
    planes: &Planes,
    prepare: impl Fn(usize) -> T + Sync,
    pixel: impl Fn(&T, usize, u16) -> [u8; 3] + Sync,
) -> Result<RgbImage, PixelsError> {
    let (width, height) = planes.size;
    let row_samples = width as usize;
    let mut levels = vec![0; 3 * row_samples * height as usize];
    let rows =
        levels.par_chunks_exact_mut(3 * row_samples).zip(planes.luma.samples.par_chunks_exact(row_samples));
    rows.enumerate().for_each(|(y, (row, luma))| {
        let prepared = prepare(y);
        for (x, (levels, &luma)) in row.chunks_exact_mut(3).zip(luma).enumerate() {
            levels.copy_from_slice(&pixel(&prepared, x, luma));
        }
    });
    rgb(width, height, levels)
}

impl Matrix {
    fn rgb(self, luma: f32, blue: f32, red: f32) -> [f32; 3] {
        match self {
            Self::Identity => [red, luma, blue],
            Self::YCgCo => [luma - blue + red, luma + blue, luma - blue - red],
            Self::Weights { red: kr, blue: kb } => {
                let (red, blue) = (luma + 2.0 * (1.0 - kr) * red, luma + 2.0 * (1.0 - kb) * blue);
                [red, (luma - kr * red - kb * blue) / (1.0 - kr - kb), blue]
            }
        }
    }
}

/// Rounds a value from 0 to 1 to 8 bits, libheif by way of the bits that the samples have.
fn level(value: f32, bits: u32, coding: Coding) -> u8 {
    // Values outside 0 to 1 become its ends.
    match coding {
        Coding::Av1 => (value * 255.0 + 0.5) as u8,
        Coding::Hevc => {
            let most = (1u32 << bits) - 1;
            (((value * most as f32 + 0.5) as u32).min(most) >> (bits - 8)) as u8
        }
    }
}

/// A sample of chroma for each pixel of row `y`.
fn spread(size: (u32, u32), chroma: &Chroma, plane: &Plane, y: usize, upsampling: Upsampling) -> Vec<f32> {
    let (columns, rows) = chroma.size(size);
    let ((near_y, far_y), step_x) = (neighbours(y, chroma.step.1, rows), chroma.step.0);
    let sample = |x: usize, y: usize| f32::from(plane.samples[y * columns + x]);
    let pixels = 0..size.0 as usize;
    match upsampling {
        Upsampling::Nearest => pixels.map(|x| sample(x / step_x as usize, near_y)).collect(),
        Upsampling::Bilinear => {
            let between: Vec<_> =
                (0..columns).map(|x| 0.75 * sample(x, near_y) + 0.25 * sample(x, far_y)).collect();
            let blend = |x| {
                let (near, far) = neighbours(x, step_x, columns);
                0.75 * between[near] + 0.25 * between[far]
            };
            pixels.map(blend).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(bits: u32, samples: &[u16]) -> Planes {
        let luma = Plane { bits, samples: samples.to_vec() };
        Planes { size: (samples.len() as u32, 1), luma, chroma: None, colours: None }
    }

    fn colours(matrix: u16, is_full_range: bool) -> Option<Colours> {
        Some(Colours { primaries: 2, matrix, is_full_range })
    }

    #[test]
    fn more_than_8_bits_are_scaled() {
        let picture = to_rgb(&grey(10, &[0, 2, 3, 512, 1023]), None, Coding::Av1).unwrap();
        let levels: Vec<_> = picture.pixels().map(|pixel| pixel[0]).collect();
        assert_eq!(levels, [0, 0, 1, 128, 255]);
    }

    #[test]
    fn limited_range_is_stretched_and_what_is_outside_cut() {
        let picture = to_rgb(&grey(8, &[0, 16, 235, 255]), colours(1, false), Coding::Av1).unwrap();
        let levels: Vec<_> = picture.pixels().map(|pixel| pixel[0]).collect();
        assert_eq!(levels, [0, 0, 255, 255]);
    }

    #[test]
    fn each_matrix_gives_red_for_the_samples_of_red() {
        // 255, 0, 0 in each, and how far a rounded sample may be off.
        for (matrix, luma, blue, red) in
            [(1, 54, 99, 255), (6, 76, 85, 255), (9, 67, 92, 255), (0, 0, 0, 255)]
        {
            let plane = |sample| Plane { bits: 8, samples: vec![sample] };
            let chroma = Some(Chroma { step: (1, 1), blue: plane(blue), red: plane(red) });
            let planes = Planes { size: (1, 1), luma: plane(luma), chroma, colours: None };
            for coding in [Coding::Hevc, Coding::Av1] {
                let pixel = *to_rgb(&planes, colours(matrix, true), coding).unwrap().get_pixel(0, 0);
                assert!(pixel[0] >= 252 && pixel[1] <= 2 && pixel[2] <= 2, "{matrix} {coding:?}: {pixel:?}");
            }
        }
    }

    #[test]
    fn chroma_lies_between_its_neighbours_only_where_that_is_asked() {
        let plane = Plane { bits: 8, samples: vec![0, 100, 200, 100] };
        let chroma = Chroma { step: (2, 2), blue: plane.clone(), red: plane.clone() };
        let spread = |upsampling, y| spread((4, 4), &chroma, &plane, y, upsampling);
        assert_eq!(spread(Upsampling::Nearest, 1), [0.0, 0.0, 100.0, 100.0]);
        assert_eq!(spread(Upsampling::Bilinear, 0), [0.0, 25.0, 75.0, 100.0]);
        assert_eq!(spread(Upsampling::Bilinear, 1), [50.0, 62.5, 87.5, 100.0]);
    }

    #[test]
    fn an_unknown_matrix_is_refused() {
        let error = to_rgb(&grey(8, &[1]), colours(14, true), Coding::Hevc).unwrap_err();
        assert!(error.to_string().contains("colour matrix 14"), "{error}");
    }
}
