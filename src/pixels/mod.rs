//! Encoded image bytes → [`Pixels`]: decode, orient, RGB, resize, crop, normalise.
//!
//! OpenAI's transform with Pillow's arithmetic: a network answers differently to an image that was
//! resized by other means. So the resize is our own, and what is done to odd images is what Pillow and
//! torchvision do.
//!
//! A package of its own, with what decoding cannot do without: [`formats`], which knows a file by its first
//! bytes, and [`bug`], which makes of a decoder's panic the failure of one image.
//!
//! flate2 is used here as it is in `net` (gzip answers) and `input` (gzip shards): text chunks of PNG
//! are packed by zlib, and wrong checksums are put right. Each room unpacks bytes of its own; there is
//! nothing in it that one would hand to another.

pub mod bug;
mod decode;
pub mod formats;
mod orient;
#[cfg(test)]
#[path = "../random.rs"]
mod random;
mod resample;

use crate::formats::Foreign;
use image::RgbImage;
use resample::{Axis, resample};

/// A decoded picture: upright, RGB, 8 bits a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture(pub RgbImage);

impl Picture {
    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.0.width()
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.0.height()
    }

    /// The picture in small: no side longer than `longest_px`, none enlarged.
    pub fn thumbnail(&self, longest_px: u32) -> Self {
        let (width, height) = (self.width(), self.height());
        let longest = width.max(height);
        if longest <= longest_px {
            return self.clone();
        }
        let axis = |from: u32| {
            let to = (u64::from(from) * u64::from(longest_px) / u64::from(longest)).max(1);
            Axis { from, to, kept: 0..to }
        };
        let (rows, columns) = (axis(height), axis(width));
        let levels = resample(&self.0, &rows, &columns, Filter::Bicubic);
        let thumbnail = RgbImage::from_raw(columns.to as u32, rows.to as u32, levels);
        Self(thumbnail.expect("the window is of the thumbnail's size"))
    }

    /// The levels: RGB after RGB, row by row.
    pub fn levels(&self) -> &[u8] {
        self.0.as_raw()
    }
}

/// Why bytes give no pixels.
#[derive(Debug, thiserror::Error)]
pub enum PixelsError {
    #[error("the file is empty")]
    Empty,
    #[error(
        "not an image in a format clipclass reads (JPEG, PNG, WebP, HEIC, AVIF, JPEG XL, GIF, BMP, TIFF, PNM, TGA, \
         icons, QOI, DDS, farbfeld, Radiance HDR, OpenEXR)"
    )]
    Format,
    /// Something known that is no picture clipclass reads.
    #[error("{0}")]
    Foreign(Foreign),
    #[error("{0}")]
    Decode(String),
    #[error("{0}")]
    Limit(String),
    #[error("{0}")]
    Size(String),
}

impl PixelsError {
    /// The word for it in a record.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Format | Self::Foreign(_) => "format",
            Self::Decode(_) => "decode",
            Self::Limit(_) => "limit",
            Self::Size(_) => "size",
        }
    }
}

/// How an encoded image becomes the network's input; read from the model's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    /// Target of the resize, absent when the model's configuration turns resizing off.
    pub resize: Option<Resize>,
    /// Interpolation of the resize.
    pub filter: Filter,
    /// Height and width of the centre crop in pixels, absent when turned off.
    pub crop: Option<(u32, u32)>,
    /// What a byte is multiplied with; `1.0` when rescaling is turned off.
    pub rescale: f64,
    /// Mean subtracted from each channel after rescaling.
    pub mean: [f32; 3],
    /// Standard deviation each channel is divided by.
    pub std: [f32; 3],
    /// Height and width of the network's input in pixels.
    pub image_size: u32,
}

impl Transform {
    /// Resizes, crops and normalises.
    ///
    /// *Errors* when the result is not of the network's size.
    pub fn apply(&self, picture: &Picture) -> Result<Pixels, PixelsError> {
        let levels = self.resize_and_crop(picture)?;
        let plane = levels.height() as usize * levels.width() as usize;
        let mut values = Vec::with_capacity(3 * plane);
        for channel in 0..3 {
            let table = self.normalised(channel);
            values.extend(levels.as_raw().iter().skip(channel).step_by(3).map(|l| table[usize::from(*l)]));
        }
        Ok(Pixels { height: levels.height() as usize, width: levels.width() as usize, values })
    }

    /// Resizes and crops: what [`Self::apply`] normalises.
    ///
    /// *Errors* when the result is not of the network's size.
    pub fn resize_and_crop(&self, Picture(picture): &Picture) -> Result<RgbImage, PixelsError> {
        let (height, width) = (picture.height(), picture.width());
        let (rows, columns) = match self.resize {
            None => (height.into(), width.into()),
            Some(Resize::Exact { height, width }) => (height.into(), width.into()),
            Some(Resize::LongestEdge { long, .. }) => longest_edge(height, width, long)?,
            Some(Resize::ShortestEdge(short)) => {
                let long = |long: u32, of: u32| u64::from(short) * u64::from(long) / u64::from(of);
                if width <= height {
                    (long(height, width), short.into())
                } else {
                    (short.into(), long(width, height))
                }
            }
        };
        let crop = match (self.crop, self.resize) {
            (Some((height, width)), _) => (height.into(), width.into()),
            (None, Some(Resize::LongestEdge { long, .. })) => (long.into(), long.into()),
            (None, _) => (rows, columns),
        };
        let size = self.image_size;
        if crop != (size.into(), size.into()) {
            return Err(PixelsError::Size(format!(
                "the model's preprocessing makes {} × {} pixels of it, the network takes {size} × {size}",
                crop.1, crop.0
            )));
        }
        let (rows, top) = centre(height, rows, size);
        let (columns, left) = centre(width, columns, size);
        let kept = |axis: &Axis| (axis.kept.end - axis.kept.start) as usize;
        let (kept_rows, kept_columns) = (kept(&rows), kept(&columns));
        let window = resample(picture, &rows, &columns, self.filter);
        if (kept_rows, kept_columns) == (size as usize, size as usize) {
            return Ok(RgbImage::from_raw(size, size, window).expect("the window is of the crop's size"));
        }
        let fill = match self.resize {
            Some(Resize::LongestEdge { fill, .. }) => fill,
            _ => 0,
        };
        let mut cropped = RgbImage::from_pixel(size, size, image::Rgb([fill; 3]));
        let padded_rows = cropped.chunks_exact_mut(size as usize * 3).skip(top);
        for (to, from) in padded_rows.zip(window.chunks_exact(kept_columns * 3)) {
            to[left * 3..][..from.len()].copy_from_slice(from);
        }
        Ok(cropped)
    }

    /// The values of a channel's 256 levels.
    fn normalised(&self, channel: usize) -> [f32; 256] {
        std::array::from_fn(|level| {
            ((level as f64 * self.rescale) as f32 - self.mean[channel]) / self.std[channel]
        })
    }
}

/// Height and width of a picture whose long side becomes `long` pixels, rounded as Python rounds
/// (`open_clip/transform.py`, `ResizeKeepRatio`).
fn longest_edge(height: u32, width: u32, long: u32) -> Result<(u64, u64), PixelsError> {
    let ratio = f64::from(height.max(width)) / f64::from(long);
    let side = |from: u32| (f64::from(from) / ratio).round_ties_even() as u64;
    let (rows, columns) = (side(height), side(width));
    if rows == 0 || columns == 0 {
        return Err(PixelsError::Size(format!(
            "the model's preprocessing makes {columns} × {rows} pixels of its {width} × {height}: it is too thin"
        )));
    }
    Ok((rows, columns))
}

/// The part of an axis that a centre crop to `size` keeps, and the zeros put before it. An odd rest is
/// split as torchvision's `center_crop` splits it.
fn centre(from: u32, to: u64, size: u32) -> (Axis, usize) {
    let size = u64::from(size);
    if to < size {
        return (Axis { from, to, kept: 0..to }, ((size - to) / 2) as usize);
    }
    let rest = to - size;
    // Half of the rest, and of two equally near whole numbers the even one.
    let start = rest / 2 + u64::from(rest % 4 == 3);
    (Axis { from, to, kept: start..start + size }, 0)
}

/// Target of the resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// The short side becomes this many pixels; the aspect ratio stays.
    ShortestEdge(u32),
    /// Both sides are given; the aspect ratio may change.
    Exact { height: u32, width: u32 },
    /// The long side becomes this many pixels; the aspect ratio stays, and levels of `fill` on both
    /// sides make a square of it.
    LongestEdge { long: u32, fill: u8 },
}

/// Interpolation filters, with Pillow's definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    Nearest,
    Lanczos,
    Bilinear,
    Bicubic,
    Box,
    Hamming,
}

/// One normalised image: `[3, H, W]` f32, channel by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels {
    pub height: usize,
    pub width: usize,
    pub values: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform(resize: Option<Resize>, size: u32) -> Transform {
        Transform {
            resize,
            filter: Filter::Bicubic,
            crop: Some((size, size)),
            rescale: 1.0 / 255.0,
            mean: [0.5, 0.25, 0.0],
            std: [0.5, 0.25, 1.0],
            image_size: size,
        }
    }

    fn picture(width: u32, height: u32, level: impl Fn(u32, u32) -> u8) -> Picture {
        Picture(RgbImage::from_fn(width, height, |x, y| image::Rgb([level(x, y), 0, 255])))
    }

    fn reds(image: &RgbImage) -> Vec<u8> {
        image.pixels().map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn values_are_planes_of_normalised_levels() {
        let pixels = transform(None, 2).apply(&picture(2, 2, |x, y| (255 * x * y) as u8)).unwrap();
        assert_eq!((pixels.height, pixels.width), (2, 2));
        assert_eq!(pixels.values, [-1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn an_odd_rest_is_split_as_torchvision_splits_it() {
        // (5 - 2) / 2 rounds to 2, (7 - 2) / 2 to 2, (3 - 2) / 2 to 0: halves go to the even number.
        for (size, start) in [(5, 2), (7, 2), (3, 0), (4, 1)] {
            assert_eq!(centre(size, size.into(), 2).0.kept.start, start, "{size}");
        }
    }

    #[test]
    fn a_portrait_picture_is_cropped_from_its_centre() {
        let cropped = transform(None, 2).resize_and_crop(&picture(2, 6, |_, y| y as u8)).unwrap();
        assert_eq!(reds(&cropped), [2, 2, 3, 3]);
    }

    #[test]
    fn a_thumbnail_keeps_the_shape_and_is_never_larger() {
        let size = |width, height| {
            let small = picture(width, height, |_, _| 9).thumbnail(10);
            assert!(small.levels().chunks_exact(3).all(|pixel| pixel == [9, 0, 255]));
            (small.width(), small.height())
        };
        assert_eq!((size(40, 20), size(20, 40), size(9, 3)), ((10, 5), (5, 10), (9, 3)));
        assert_eq!(size(5000, 1), (10, 1));
    }

    #[test]
    fn a_picture_smaller_than_the_crop_is_padded_with_zeros() {
        let cropped = transform(None, 4).resize_and_crop(&picture(1, 2, |_, _| 9)).unwrap();
        assert_eq!(reds(&cropped), [0, 0, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_long_side_is_truncated() {
        // 3 · 5 / 4 = 3.75: three rows are left and none is cut off.
        let long = transform(Some(Resize::ShortestEdge(3)), 3);
        let exact = transform(Some(Resize::Exact { height: 3, width: 3 }), 3);
        let picture = picture(4, 5, |x, y| (40 * x + 10 * y) as u8);
        assert_eq!(long.resize_and_crop(&picture).unwrap(), exact.resize_and_crop(&picture).unwrap());
    }

    #[test]
    fn long_side_fits_and_the_rest_is_filled() {
        let longest = |long, fill| Transform {
            crop: None,
            ..transform(Some(Resize::LongestEdge { long, fill }), long)
        };
        let fitted = longest(4, 7).resize_and_crop(&picture(8, 4, |_, _| 9)).unwrap();
        assert_eq!(reds(&fitted), [7, 7, 7, 7, 9, 9, 9, 9, 9, 9, 9, 9, 7, 7, 7, 7]);
        // 5 · 2 / 4 = 2.5 rows, rounded to the even number.
        let fitted = longest(2, 7).resize_and_crop(&picture(4, 5, |_, _| 9)).unwrap();
        assert_eq!(reds(&fitted), [9; 4]);
        let error = longest(4, 0).resize_and_crop(&picture(100, 1, |_, _| 9)).unwrap_err();
        assert!(error.kind() == "size" && error.to_string().contains("too thin"), "{error}");
    }

    #[test]
    fn a_thin_picture_costs_no_more_than_its_centre() {
        for (width, height) in [(1, 65_535), (65_535, 1)] {
            for filter in [Filter::Nearest, Filter::Bicubic] {
                let transform = Transform { filter, ..transform(Some(Resize::ShortestEdge(224)), 224) };
                let cropped = transform.resize_and_crop(&picture(width, height, |_, _| 7)).unwrap();
                assert!(cropped.pixels().all(|pixel| pixel.0 == [7, 0, 255]), "{width} × {height}");
            }
        }
    }

    #[test]
    fn a_result_that_is_not_the_networks_size_is_an_error() {
        let uncropped = Transform { crop: None, ..transform(Some(Resize::ShortestEdge(8)), 8) };
        let error = uncropped.apply(&picture(10, 20, |_, _| 0)).unwrap_err();
        assert_eq!(error.kind(), "size");
        assert!(error.to_string().contains("8 × 16"), "{error}");
        assert!(uncropped.apply(&picture(10, 10, |_, _| 0)).is_ok());
    }
}
