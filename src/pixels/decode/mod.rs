//! Encoded bytes → [`Picture`]: the format is sniffed, the first frame decoded and turned upright, and
//! its colours brought to RGB as Pillow's `convert("RGB")` does: alpha is dropped, of 16 bits the high
//! byte is kept, colour profiles are ignored.
//!
//! Of the image crate's decoders those of PNG, WebP, QOI, farbfeld, Radiance and OpenEXR are used. For the
//! other formats that it has, Pillow reads more than it does, or otherwise.
//!
//! What a picture costs is limited, whatever its file says: [`MAX_PIXELS`], [`MAX_DECODE_BYTES`], and for
//! time either the work that a file of its size can ask for, or a deadline (`apart.rs`).
//!
//! Where Pillow is known to be wrong, its way is not followed: 16-bit grey, which it clips at 255, is
//! scaled like 16-bit colour. Where it guesses, clipclass refuses: a JPEG broken in the middle is an
//! error, not a picture with a grey rest.

mod apart;
mod bmp;
mod boxes;
mod cursor;
mod dds;
mod gif;
mod heif;
mod icon;
mod jpeg;
mod jxl;
mod light;
mod lzw;
mod mend;
mod openexr;
mod palette;
mod pnm;
mod radiance;
mod raw;
mod tga;
mod tiff;
mod webp;

pub use jpeg::{APP1, SOS, Segments};
pub use tiff::TiffDirectory;

use super::orient::{orientation, turn};
use super::{Picture, PixelsError};
use crate::bug;
use crate::formats::Content;
use cursor::ByteCursor;
use image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use palette::Palette;
use std::borrow::Cow;
use std::io::Cursor;

/// The most pixels of a picture: where Pillow, too, takes it for a decompression bomb.
const MAX_PIXELS: u64 = 178_956_970;
/// The most memory that decoding a picture may take: 12 bytes for each of its pixels. Where a decoder
/// needs more, fewer pixels are allowed.
const MAX_DECODE_BYTES: u64 = 2 << 30;

impl Picture {
    /// Decodes the first frame of an encoded image and turns it upright.
    ///
    /// *Errors* when the bytes are not a whole image, have more than 178,956,970 pixels, or take more than
    /// 2 GiB of memory or more than half a minute, and half a minute for each MiB, to decode.
    pub fn decode(bytes: &[u8]) -> Result<Self, PixelsError> {
        if bytes.is_empty() {
            return Err(PixelsError::Empty);
        }
        let decode = || match Content::of(bytes) {
            Content::Heif => heif::decode(bytes),
            Content::JpegXl => jxl::decode(bytes),
            Content::Foreign(foreign) => Err(PixelsError::Foreign(foreign)),
            Content::Picture | Content::Unknown => decode_and_turn(bytes),
        };
        // Decoders are written for valid files; hostile ones find the assertion that does not hold.
        let picture = bug::caught(decode).unwrap_or_else(|_| Err(makes_decoder_fail()))?;
        Ok(Self(picture))
    }
}

/// Decodes a picture that says beside its pixels which way up they are.
fn decode_and_turn(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    // The crate knows neither big TIFFs nor those with a header in the wrong order.
    let format = if TiffDirectory::begins(bytes) {
        ImageFormat::Tiff
    } else {
        match image::guess_format(bytes) {
            Ok(format) => format,
            Err(_) if bytes.starts_with(mend::OLD_HDR_MARK) => ImageFormat::Hdr,
            Err(_) if icon::is_cursor(bytes) => return icon::decode_cursor(bytes),
            Err(_) if bmp::begins_bare(bytes) => return bmp::decode_bare(bytes),
            Err(_) if tga::begins(bytes) => return tga::decode(bytes),
            Err(_) => return Err(PixelsError::Format),
        }
    };
    let picture = match format {
        ImageFormat::Jpeg => decode_jpeg(bytes),
        ImageFormat::Bmp => bmp::decode(bytes),
        ImageFormat::Gif => gif::decode(bytes),
        ImageFormat::Tiff => match raw::in_tiff(bytes) {
            Some(raw) => Err(PixelsError::Foreign(raw)),
            None => tiff::decode(bytes),
        },
        ImageFormat::Pnm => pnm::decode(bytes),
        ImageFormat::Ico => icon::decode(bytes),
        ImageFormat::Dds => dds::decode(bytes),
        ImageFormat::Png
        | ImageFormat::WebP
        | ImageFormat::Qoi
        | ImageFormat::Farbfeld
        | ImageFormat::Hdr
        | ImageFormat::OpenExr => decode_other(bytes, format),
        _ => Err(PixelsError::Format),
    };
    Ok(turn(picture?, orientation(bytes, format)))
}

fn makes_decoder_fail() -> PixelsError {
    PixelsError::Decode("the file makes its decoder fail".into())
}

fn check_size(width: u64, height: u64) -> Result<(), PixelsError> {
    if width == 0 || height == 0 {
        return Err(PixelsError::Decode("the picture has no pixels".into()));
    }
    if width.saturating_mul(height) > MAX_PIXELS {
        return Err(PixelsError::Limit(format!(
            "{width} × {height} pixels are more than the limit of {MAX_PIXELS}; shrink the image first"
        )));
    }
    Ok(())
}

/// *Errors* when a picture cannot be decoded without so much memory, rounded up.
fn check_memory(bytes: u64) -> Result<(), PixelsError> {
    if bytes > MAX_DECODE_BYTES {
        return Err(PixelsError::Limit(format!(
            "decoding takes {} MiB of memory, more than the limit of {}; shrink the image first",
            bytes >> 20,
            MAX_DECODE_BYTES >> 20
        )));
    }
    Ok(())
}

/// Makes a picture row by row, or none if a row cannot be made.
fn from_rows(
    width: u32,
    height: u32,
    mut fill: impl FnMut(usize, &mut [u8]) -> Option<()>,
) -> Option<RgbImage> {
    let mut picture = RgbImage::new(width, height);
    let rows = picture.chunks_exact_mut(3 * width as usize).enumerate();
    for (row, levels) in rows {
        fill(row, levels)?;
    }
    Some(picture)
}

fn decode_jpeg(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    let jpeg::Decoded { width, height, levels, .. } = jpeg::decode(bytes, MAX_PIXELS)?;
    rgb(width, height, levels)
}

fn decode_other(bytes: &[u8], format: ImageFormat) -> Result<RgbImage, PixelsError> {
    match format {
        ImageFormat::WebP => webp::check_pictures(bytes)?,
        ImageFormat::OpenExr => openexr::check_parts(bytes)?,
        ImageFormat::Hdr => radiance::check_header(bytes)?,
        _ => {}
    }
    let bytes = match format {
        ImageFormat::Png => mend::mend_png(bytes),
        ImageFormat::WebP => mend::mend_webp(bytes),
        ImageFormat::Hdr => mend::mend_hdr(bytes),
        _ => Cow::Borrowed(bytes),
    };
    let bytes = &bytes[..];
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODE_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    let pixels = u64::from(width) * u64::from(height);
    let levels_bytes = decoder.total_bytes();
    check_memory(match format {
        ImageFormat::WebP => webp::memory(bytes, pixels)?,
        // The crate makes another copy.
        ImageFormat::OpenExr => levels_bytes.saturating_mul(2).saturating_add(3 * pixels),
        _ => levels_bytes.saturating_add(3 * pixels),
    })?;
    let color = decoder.color_type();
    let mut levels = vec![0; usize::try_from(levels_bytes).map_err(|_| too_much_memory())?];
    decoder.read_image(&mut levels)?;
    rgb(width, height, to_rgb(levels, color)?)
}

fn rgb(width: u32, height: u32, levels: Vec<u8>) -> Result<RgbImage, PixelsError> {
    RgbImage::from_raw(width, height, levels)
        .ok_or_else(|| PixelsError::Decode("the decoder left pixels out".into()))
}

fn too_much_memory() -> PixelsError {
    let limit = MAX_DECODE_BYTES >> 20;
    PixelsError::Limit(format!("decoding takes more memory than the limit of {limit} MiB"))
}

/// Levels of any colour type to RGB.
fn to_rgb(levels: Vec<u8>, color: ColorType) -> Result<Vec<u8>, PixelsError> {
    /// Index of the high byte of 16 bits.
    const H: usize = cfg!(target_endian = "little") as usize;
    fn pick<const BYTES: usize>(levels: &[u8], [r, g, b]: [usize; 3]) -> Vec<u8> {
        let mut rgb = vec![0; levels.len() / BYTES * 3];
        for (rgb, pixel) in rgb.chunks_exact_mut(3).zip(levels.chunks_exact(BYTES)) {
            rgb.copy_from_slice(&[pixel[r], pixel[g], pixel[b]]);
        }
        rgb
    }
    Ok(match color {
        ColorType::Rgb8 => levels,
        ColorType::L8 => pick::<1>(&levels, [0; 3]),
        ColorType::La8 => pick::<2>(&levels, [0; 3]),
        ColorType::Rgba8 => pick::<4>(&levels, [0, 1, 2]),
        ColorType::L16 => pick::<2>(&levels, [H; 3]),
        ColorType::La16 => pick::<4>(&levels, [H; 3]),
        ColorType::Rgb16 => pick::<6>(&levels, [H, H + 2, H + 4]),
        ColorType::Rgba16 => pick::<8>(&levels, [H, H + 2, H + 4]),
        ColorType::Rgb32F => light::levels(&levels, 3),
        ColorType::Rgba32F => light::levels(&levels, 4),
        other => {
            return Err(PixelsError::Decode(format!(
                "colours of type {other:?} are not supported; convert the image to 8 bits a channel"
            )));
        }
    })
}

impl From<jpeg::JpegError> for PixelsError {
    fn from(error: jpeg::JpegError) -> Self {
        match error {
            jpeg::JpegError::Limit(_) => Self::Limit(error.to_string()),
            _ => Self::Decode(error.to_string()),
        }
    }
}

impl From<ImageError> for PixelsError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Limits(_) => too_much_memory(),
            ImageError::IoError(error) => Self::Decode(error.to_string()),
            other => Self::Decode(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use image::codecs::jpeg::JpegEncoder;
    use image::{DynamicImage, GrayImage, ImageBuffer, Rgb, RgbaImage};

    const FORMATS: [ImageFormat; 6] = [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ];

    fn gradient() -> RgbImage {
        RgbImage::from_fn(13, 9, |x, y| Rgb([(20 * x) as u8, (25 * y) as u8, 100]))
    }

    /// A TIFF with a strip of unpacked samples; the crate's own encoder is not built in.
    fn encode_tiff(image: &DynamicImage) -> Vec<u8> {
        let color = image.color();
        let samples = u32::from(color.channel_count());
        let bits = u32::from(color.bits_per_pixel()) / samples;
        let photometric = if samples < 3 { 1 } else { 2 };
        let order = if cfg!(target_endian = "little") { b"II*\0\x08\0\0\0" } else { b"MM\0*\0\0\0\x08" };
        let entries = [
            (256, image.width()),
            (257, image.height()),
            (258, bits),
            (262, photometric),
            (273, 8 + 2 + 6 * 12 + 4),
            (277, samples),
        ];
        let mut bytes = [&order[..], &(entries.len() as u16).to_ne_bytes()].concat();
        for (tag, value) in entries {
            let tag = [u16::to_ne_bytes(tag), 4_u16.to_ne_bytes()].concat();
            bytes.extend([&tag[..], &1_u32.to_ne_bytes(), &value.to_ne_bytes()].concat());
        }
        bytes.extend([0; 4]);
        bytes.extend(image.as_bytes());
        bytes
    }

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        if format == ImageFormat::Tiff {
            return encode_tiff(&image.into());
        }
        let mut bytes = Vec::new();
        image.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes
    }

    fn kind(bytes: &[u8]) -> &'static str {
        Picture::decode(bytes).unwrap_err().kind()
    }

    #[test]
    fn lossless_formats_come_back_as_they_were() {
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff] {
            assert_eq!(Picture::decode(&encode(gradient(), format)).unwrap().0, gradient(), "{format:?}");
        }
    }

    #[test]
    fn alpha_is_dropped_and_grey_spread() {
        let clear = RgbaImage::from_pixel(2, 2, image::Rgba([1, 2, 3, 0]));
        let picture = Picture::decode(&encode(clear, ImageFormat::Png)).unwrap();
        assert_eq!(picture.levels(), [1, 2, 3].repeat(4));
        let grey = GrayImage::from_pixel(2, 2, image::Luma([77]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            assert_eq!(Picture::decode(&encode(grey.clone(), format)).unwrap().levels(), [77; 12]);
        }
    }

    #[test]
    fn of_16_bits_the_high_byte_is_kept() {
        let colour: ImageBuffer<Rgb<u16>, _> = ImageBuffer::from_pixel(1, 1, Rgb([0x12ff, 0x00ff, 0xff00]));
        let grey: ImageBuffer<image::Luma<u16>, _> = ImageBuffer::from_pixel(1, 1, image::Luma([0x80ff]));
        for format in [ImageFormat::Png, ImageFormat::Tiff] {
            let levels =
                |image: DynamicImage| Picture::decode(&encode(image, format)).unwrap().levels().to_vec();
            assert_eq!(levels(colour.clone().into()), [0x12, 0x00, 0xff]);
            assert_eq!(levels(grey.clone().into()), [0x80; 3]);
        }
    }

    #[test]
    fn what_is_no_image_is_told_apart_from_a_broken_one() {
        assert_eq!(kind(b""), "empty");
        assert_eq!(kind(b"just text"), "format");
        for format in FORMATS {
            let bytes = encode(gradient(), format);
            assert_eq!(kind(&bytes[..bytes.len() / 2]), "decode", "{format:?}");
        }
    }

    #[test]
    fn a_jpeg_cut_anywhere_is_an_error() {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&gradient()).unwrap();
        for end in 3..bytes.len() {
            assert_eq!(kind(&bytes[..end]), "decode", "{end} of {}", bytes.len());
        }
    }

    #[test]
    fn a_jpeg_may_be_followed_by_anything() {
        let mut bytes = encode(gradient(), ImageFormat::Jpeg);
        let alone = Picture::decode(&bytes).unwrap();
        bytes.extend(b"a short film");
        assert_eq!(Picture::decode(&bytes).unwrap(), alone);
    }

    #[test]
    fn a_decompression_bomb_is_refused_with_its_size_and_the_limit() {
        // A BMP header that promises 60,000 × 60,000 pixels.
        let mut bytes = encode(gradient(), ImageFormat::Bmp);
        bytes[18..22].copy_from_slice(&60_000i32.to_le_bytes());
        bytes[22..26].copy_from_slice(&60_000i32.to_le_bytes());
        let error = Picture::decode(&bytes).unwrap_err();
        assert_eq!(error.kind(), "limit", "{error}");
        let message = error.to_string();
        assert!(message.contains("60000 × 60000") && message.contains("178956970"), "{message}");
    }

    #[test]
    fn damaged_files_never_bring_the_process_down() {
        let mut random = Random(7);
        let mut random = |below: usize| random.below(below);
        let (mut accepted, mut refused) = (0, 0);
        for format in FORMATS {
            let intact = encode(gradient(), format);
            for _ in 0..300 {
                let mut bytes = intact.clone();
                for _ in 0..1 + random(4) {
                    let at = random(bytes.len());
                    bytes[at] = random(256) as u8;
                }
                bytes.truncate(bytes.len() - random(4).pow(4));
                match Picture::decode(&bytes) {
                    Ok(_) => accepted += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
    }
}
