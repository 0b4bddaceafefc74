//! Samples → RGB in whole numbers, as the libraries behind Pillow do it: libyuv within libavif, for AVIF of
//! the usual matrices, and libheif for 4:2:0 of full range.
//!
//! Of samples of 10 or 12 bits both take the high 8 before, which scales them and rounds down; where
//! reckoning is in floats, samples keep their bits to the end. A level scaled otherwise may be one higher,
//! but Pillow's pictures, which networks are shown, are these.

use super::colour::Matrix;
use super::items::Coding;
use super::planes::{Chroma, Plane, neighbours};

/// Factors of luma and chroma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    /// In 64ths: chroma is blended of four samples and rounded.
    Libyuv {
        /// In 65,536ths of 64ths of 257ths.
        luma: u32,
        bias: i32,
        blue: i32,
        green_of_blue: i32,
        green_of_red: i32,
        red: i32,
    },
    /// In 256ths: chroma is that of the nearest sample.
    Libheif { blue: i32, green_of_blue: i32, green_of_red: i32, red: i32 },
}

impl Fixed {
    /// How a picture's samples are made RGB of, if it is in whole numbers.
    pub fn new(matrix: Matrix, is_full_range: bool, coding: Coding, step: (u32, u32)) -> Option<Self> {
        let Matrix::Weights { red: kr, blue: kb } = matrix else { return None };
        let (red, blue) = (2.0 * (1.0 - kr), 2.0 * (1.0 - kb));
        let (of_red, of_blue) = (red * kr / (1.0 - kr - kb), blue * kb / (1.0 - kr - kb));
        match coding {
            Coding::Av1 => {
                // BT.601, BT.709 and BT.2020: libyuv knows no others.
                if ![0.299, 0.2126, 0.2627].contains(&kr) {
                    return None;
                }
                let stretch: f32 = if is_full_range { 1.0 } else { 255.0 / 224.0 };
                // No factor may leave a signed byte by more than one.
                let factor = |of: f32| ((of * stretch * 64.0).round() as i32).min(128);
                let (luma, bias) = match (is_full_range, kr == 0.2627) {
                    (true, _) => (16_320, 32),
                    (false, false) => (18_997, -1160),
                    (false, true) => (19_003, -1160),
                };
                Some(Self::Libyuv {
                    luma,
                    bias,
                    blue: factor(blue),
                    green_of_blue: factor(of_blue),
                    green_of_red: factor(of_red),
                    red: factor(red),
                })
            }
            Coding::Hevc if is_full_range && step == (2, 2) => {
                let factor = |of: f32| (of * 256.0).round() as i32;
                Some(Self::Libheif {
                    blue: factor(blue),
                    green_of_blue: -factor(of_blue),
                    green_of_red: -factor(of_red),
                    red: factor(red),
                })
            }
            Coding::Hevc => None,
        }
    }

    /// Blue and red for each pixel of row `y`.
    pub fn chroma_rows(self, size: (u32, u32), chroma: &Chroma, y: usize) -> [Vec<u8>; 2] {
        let (columns, rows) = chroma.size(size);
        let (near_y, far_y) = neighbours(y, chroma.step.1, rows);
        let width = size.0 as usize;
        let row = |plane: &Plane| -> Vec<u8> {
            let sample = |x: usize, y: usize| u32::from(plane.cut(plane.samples[y * columns + x]));
            let blended = |x: usize| {
                let (near, far) = neighbours(x, chroma.step.0, columns);
                // The last pixel is not blended with the sample before.
                let far = if x + 1 == width { near } else { far };
                let (near_row, far_row) = (sample(near, near_y), sample(near, far_y));
                let sum = 9 * near_row + 3 * sample(far, near_y) + 3 * far_row + sample(far, far_y);
                ((sum + 8) / 16) as u8
            };
            match self {
                Self::Libyuv { .. } if chroma.step != (1, 1) => (0..width).map(blended).collect(),
                _ => (0..width).map(|x| sample(x / chroma.step.0 as usize, near_y) as u8).collect(),
            }
        };
        [row(&chroma.blue), row(&chroma.red)]
    }

    /// The colour of a pixel.
    pub fn rgb(self, luma: u8, blue: u8, red: u8) -> [u8; 3] {
        let (cb, cr) = (i32::from(blue) - 128, i32::from(red) - 128);
        let levels = match self {
            Self::Libyuv { luma: luma_factor, bias, blue, green_of_blue, green_of_red, red } => {
                let luma = ((u32::from(luma) * 257 * luma_factor) >> 16) as i32 + bias;
                [luma + cr * red, luma - (cb * green_of_blue + cr * green_of_red), luma + cb * blue]
                    .map(|level| level >> 6)
            }
            Self::Libheif { blue, green_of_blue, green_of_red, red } => {
                [cr * red, cb * green_of_blue + cr * green_of_red, cb * blue]
                    .map(|offset| i32::from(luma) + ((offset + 128) >> 8))
            }
        };
        levels.map(|level| level.clamp(0, 255) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libyuv(kr: f32, kb: f32, is_full_range: bool) -> [i32; 4] {
        match Fixed::new(Matrix::Weights { red: kr, blue: kb }, is_full_range, Coding::Av1, (1, 1)) {
            Some(Fixed::Libyuv { blue, green_of_blue, green_of_red, red, .. }) => {
                [blue, green_of_blue, green_of_red, red]
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn factors_are_those_that_libyuv_lists() {
        assert_eq!(libyuv(0.299, 0.114, true), [113, 22, 46, 90]);
        assert_eq!(libyuv(0.299, 0.114, false), [128, 25, 52, 102]);
        assert_eq!(libyuv(0.2126, 0.0722, true), [119, 12, 30, 101]);
        assert_eq!(libyuv(0.2126, 0.0722, false), [128, 14, 34, 115]);
        assert_eq!(libyuv(0.2627, 0.0593, true), [120, 11, 37, 94]);
        assert_eq!(libyuv(0.2627, 0.0593, false), [128, 12, 42, 107]);
    }

    #[test]
    fn grey_stays_grey() {
        for coding in [Coding::Av1, Coding::Hevc] {
            let fixed =
                Fixed::new(Matrix::Weights { red: 0.299, blue: 0.114 }, true, coding, (2, 2)).unwrap();
            assert!((0..=255).all(|level| fixed.rgb(level, 128, 128) == [level; 3]), "{coding:?}");
        }
    }
}
