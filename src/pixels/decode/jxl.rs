//! JPEG XL → RGB, by jxl-oxide. A file that was made from a JPEG without loss gives that JPEG back, to the
//! bit, and is then decoded like any other.

use super::apart::{Deadline, Interface, apart};
use super::boxes::boxes;
use super::{MAX_DECODE_BYTES, MAX_PIXELS, check_memory, check_size, decode_and_turn, rgb, too_much_memory};
use crate::PixelsError;
use crate::orient::{exif_orientation, turn};
use image::RgbImage;
use jxl_oxide::{
    AllocTracker, AuxBoxData, InitializeResult, JpegReconstructionStatus, JxlImage, JxlThreadPool,
    PixelFormat,
};
use std::error::Error;

/// How many bytes are handed over before frames are counted again.
const PIECE_BYTES: usize = 64 << 10;
/// What jxl-oxide may take for its buffers; the levels are beyond that.
const MAX_BUFFER_BYTES: u64 = MAX_DECODE_BYTES - 3 * MAX_PIXELS;
/// Memory that patches may take, for each pixel of their frame: there is one for every four, and one place
/// to take them from for every 16.
const PATCHES_PIXEL_BYTES: u64 = 32;
/// And splines: there is one for every four pixels, of 128 numbers.
const SPLINES_PIXEL_BYTES: u64 = 144;
/// The longest that splines may be together. Each pixel of them is kept, and drawn as a square.
const MAX_SPLINES_PX: u64 = 1 << 22;

/// What is in a file.
enum Found {
    Picture(RgbImage),
    /// A whole JPEG.
    Jpeg(Vec<u8>),
}

/// Decodes the first frame that is shown, upright.
///
/// *Errors* when the file is damaged, cut short before the end of that frame, or too large.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, PixelsError> {
    let owned = bytes.to_vec();
    // How long it takes is decided by what is coded, and jxl-oxide cannot be stopped.
    match apart(Deadline::of(bytes), Interface::Rust, move || find(&owned))? {
        Found::Picture(picture) => Ok(picture),
        Found::Jpeg(whole) => decode_and_turn(&whole),
    }
}

fn find(bytes: &[u8]) -> Result<Found, PixelsError> {
    let image = load(bytes)?;
    if image.jpeg_reconstruction_status() == JpegReconstructionStatus::Available {
        let mut whole = Vec::new();
        image.reconstruct_jpeg(&mut whole).map_err(damaged)?;
        return Ok(Found::Jpeg(whole));
    }
    if let PixelFormat::Cmyk | PixelFormat::Cmyka = image.pixel_format() {
        return Err(PixelsError::Decode(
            "JPEG XL in CMYK, which clipclass does not decode; convert the image to RGB".into(),
        ));
    }
    let picture = render(&image)?;
    // The stream turns its picture itself. What Exif says beside it counts only if that is nothing.
    let exif = if image.image_header().metadata.orientation == 1 { exif(bytes, &image) } else { None };
    Ok(Found::Picture(match exif {
        Some(exif) => turn(picture, exif_orientation(exif)),
        None => picture,
    }))
}

/// Exif of a file, from the box that has it. Some leave out the number that says where it begins.
fn exif<'a>(bytes: &'a [u8], image: &'a JxlImage) -> Option<&'a [u8]> {
    let plain = boxes(bytes).map_while(Result::ok).find(|(name, _)| name == b"Exif").map(|(_, body)| body);
    if let Some(plain) = plain.filter(|body| body.starts_with(b"II") || body.starts_with(b"MM")) {
        return Some(plain);
    }
    match image.aux_boxes().first_exif() {
        Ok(AuxBoxData::Data(exif)) => exif.payload().get(exif.tiff_header_offset() as usize..),
        _ => None,
    }
}

/// Reads headers up to the end of the first frame that is shown.
fn load(bytes: &[u8]) -> Result<JxlImage, PixelsError> {
    let new = JxlImage::builder().pool(JxlThreadPool::none());
    let mut unread = new.alloc_tracker(AllocTracker::with_limit(MAX_BUFFER_BYTES as usize)).build_uninit();
    let mut pieces = bytes.chunks(PIECE_BYTES);
    let mut image = loop {
        let piece = pieces.next().ok_or_else(cut_short)?;
        unread.feed_bytes(piece).map_err(damaged)?;
        match unread.try_init().map_err(damaged)? {
            InitializeResult::NeedMoreData(more) => unread = more,
            InitializeResult::Initialized(image) => break image,
        }
    };
    check_size(image.width().into(), image.height().into())?;
    check_frames(&image)?;
    for piece in pieces {
        let fed = image.feed_bytes(piece);
        check_frames(&image)?;
        // What comes after the picture may be damaged.
        match fed {
            Err(error) if image.num_loaded_keyframes() == 0 => return Err(damaged(error)),
            Err(_) => break,
            Ok(_) => {}
        }
    }
    if image.num_loaded_keyframes() == 0 {
        return Err(cut_short());
    }
    check_splines(&image)?;
    // Where Exif is expected and does not come, there is none.
    let _ = image.finalize();
    Ok(image)
}

/// A picture may be put together from any number of frames, each of any size. More than would fill the
/// largest picture are refused, before any of them is decoded.
fn check_frames(image: &JxlImage) -> Result<(), PixelsError> {
    let mut pixels = 0;
    for frame in (0..).map_while(|number| image.frame(number)) {
        let header = frame.header();
        let frame_pixels = u64::from(header.width) * u64::from(header.height);
        pixels += frame_pixels;
        // Both may be told in no bytes at all, so that what the file has of them bounds nothing.
        if header.flags.patches() {
            check_memory(frame_pixels * PATCHES_PIXEL_BYTES)?;
        }
        if header.flags.splines() {
            check_memory(frame_pixels * SPLINES_PIXEL_BYTES)?;
        }
        if header.is_keyframe() {
            break;
        }
    }
    if pixels > MAX_PIXELS {
        return Err(PixelsError::Limit(format!(
            "the frames of the picture have {pixels} pixels together, more than the limit of {MAX_PIXELS}"
        )));
    }
    Ok(())
}

/// Curves may be longer than any picture: also these are refused before they are drawn.
fn check_splines(image: &JxlImage) -> Result<(), PixelsError> {
    for frame in (0..).map_while(|number| image.frame(number)) {
        if frame.header().flags.splines()
            && let Some(told) = frame.try_parse_lf_global::<i32>()
        {
            let told = told.map_err(|error| PixelsError::Decode(error.to_string()))?;
            let splines = told.splines.iter().flat_map(|splines| &splines.quant_splines);
            let length = splines.fold(0, |sum: u64, spline| sum.saturating_add(spline.manhattan_distance));
            if length > MAX_SPLINES_PX {
                return Err(PixelsError::Limit(format!(
                    "the picture has curves of {length} pixels, more than the limit of {MAX_SPLINES_PX}; save the image anew"
                )));
            }
        }
        if frame.header().is_keyframe() {
            break;
        }
    }
    Ok(())
}

fn render(image: &JxlImage) -> Result<RgbImage, PixelsError> {
    let rendered = image.render_frame(0).map_err(damaged)?;
    let mut stream = rendered.stream_no_alpha();
    let (width, height) = (stream.width(), stream.height());
    check_size(width.into(), height.into())?;
    let channels = stream.channels() as usize;
    let mut levels = vec![0; width as usize * height as usize * channels];
    if stream.write_to_buffer::<u8>(&mut levels) != levels.len() {
        return Err(cut_short());
    }
    match channels {
        1 => rgb(width, height, levels.iter().flat_map(|level| [*level; 3]).collect()),
        3 => rgb(width, height, levels),
        other => Err(PixelsError::Decode(format!("JPEG XL with {other} channels of colour"))),
    }
}

fn cut_short() -> PixelsError {
    PixelsError::Decode("the file ends before its picture".into())
}

fn damaged(error: Box<dyn Error + Send + Sync>) -> PixelsError {
    // The crate's type for it has no name outside of it.
    let message = format!("{:#}", anyhow::Error::from_boxed(error));
    if message.contains("failed to allocate") { too_much_memory() } else { PixelsError::Decode(message) }
}
