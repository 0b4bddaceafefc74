//! A picture in AV1 → samples, by rav1d.
//!
//! rav1d is dav1d translated to Rust and has nothing but dav1d's functions for C to call it by. So this
//! file is, beside the memory map, the one place outside `kernels` with `unsafe`: it hands rav1d a slice
//! that it copies, and copies samples out of the pictures that it gets back. What is between is rav1d's own
//! business, within one thread.
//!
//! A stream is handed over piece by piece, so that one with a thousand pictures, of which the last is
//! shown, does not decode them all. All of it happens apart, for a panic cannot unwind through functions
//! for C.

#![allow(unsafe_code)]

use super::items::{Coded, Colours};
use super::planes::{Chroma, Plane, Planes, plane_size};
use super::{check_size, not_decoded};
use crate::PixelsError;
use crate::decode::apart::{Deadline, Interface, apart};
use crate::decode::check_memory;
use rav1d::include::dav1d::data::Dav1dData;
use rav1d::include::dav1d::dav1d::{Dav1dContext, Dav1dLogger, Dav1dSettings};
use rav1d::include::dav1d::headers::{
    DAV1D_PIXEL_LAYOUT_I400, DAV1D_PIXEL_LAYOUT_I420, DAV1D_PIXEL_LAYOUT_I422, DAV1D_PIXEL_LAYOUT_I444,
};
use rav1d::include::dav1d::picture::Dav1dPicture;
use rav1d::src::lib::{
    dav1d_close, dav1d_data_create, dav1d_data_unref, dav1d_default_settings, dav1d_get_picture, dav1d_open,
    dav1d_picture_unref, dav1d_send_data,
};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::slice;

/// The most pictures that are decoded for the one that is shown: a few layers, and what they refer to.
const MAX_FRAMES: usize = 16;
/// Memory for a pixel of a picture: two bytes for a sample, in rav1d's picture and in a copy of it, and
/// what rav1d notes of it.
const PIXEL_BYTES: u64 = 14;

/// Decodes a picture.
///
/// *Errors* when it is damaged or too large.
pub fn decode(coded: &Coded, deadline: Deadline) -> Result<Planes, PixelsError> {
    let pixels = u64::from(coded.size.0) * u64::from(coded.size.1);
    check_memory(pixels * PIXEL_BYTES)?;
    let stream = coded.bytes.to_vec();
    let interface = Interface::C { most_bytes: pixels * PIXEL_BYTES };
    apart(deadline, interface, move || decode_stream(&stream, pixels))
}

/// Decodes the picture of a stream, and of those before it what it needs. None may have more than so many
/// pixels.
fn decode_stream(stream: &[u8], pixels: u64) -> Result<Planes, PixelsError> {
    let mut decoder = Decoder::open(pixels)?;
    let mut frames = 0;
    for unit in units(stream) {
        let Unit { begins_frame, bytes } = unit.ok_or_else(damaged)?;
        frames += usize::from(begins_frame);
        if frames > MAX_FRAMES {
            return Err(PixelsError::Limit(format!(
                "more than {MAX_FRAMES} pictures are coded for the one shown"
            )));
        }
        // Others may refer to any of them, so they stay.
        check_memory(pixels * PIXEL_BYTES * frames.max(1) as u64)?;
        decoder.send(bytes)?;
        if let Some(picture) = decoder.picture() {
            return picture.planes();
        }
    }
    // Of several layers the last may be missing.
    decoder.picture().ok_or_else(damaged)?.planes()
}

fn damaged() -> PixelsError {
    PixelsError::Decode("the coded picture is damaged or cut short".into())
}

/// What an AV1 stream consists of (its OBUs).
struct Unit<'a> {
    begins_frame: bool,
    bytes: &'a [u8],
}

/// Splits a stream into its units; none after one that is damaged.
fn units(mut rest: &[u8]) -> impl Iterator<Item = Option<Unit<'_>>> {
    const FRAME_HEADER: u8 = 3;
    const FRAME: u8 = 6;
    std::iter::from_fn(move || {
        let &header = rest.first()?;
        let length = || {
            let mut at = 1 + usize::from(header >> 2 & 1);
            if header >> 1 & 1 == 0 {
                return Some(rest.len());
            }
            let mut size = 0u64;
            for place in 0..8 {
                let byte = *rest.get(at)?;
                at += 1;
                size |= u64::from(byte & 0x7f) << (7 * place);
                if byte & 0x80 == 0 {
                    return at.checked_add(usize::try_from(size).ok()?);
                }
            }
            None
        };
        let split = length().and_then(|length| rest.split_at_checked(length));
        let Some((bytes, after)) = split else {
            rest = &[];
            return Some(None);
        };
        rest = after;
        Some(Some(Unit { begins_frame: matches!(header >> 3 & 0xf, FRAME | FRAME_HEADER), bytes }))
    })
}

/// An open decoder.
struct Decoder(Option<Dav1dContext>);

impl Decoder {
    /// A decoder of pictures of at most so many pixels.
    fn open(pixels: u64) -> Result<Self, PixelsError> {
        let mut settings = MaybeUninit::<Dav1dSettings>::uninit();
        // SAFETY: The pointer is that of room for settings, which may be written to and need not be valid.
        unsafe { dav1d_default_settings(NonNull::from(&mut settings).cast()) };
        // SAFETY: The function has written all of them.
        let mut settings = unsafe { settings.assume_init() };
        settings.n_threads = 1;
        settings.max_frame_delay = 1;
        settings.all_layers = 0;
        settings.frame_size_limit = u32::try_from(pixels).unwrap_or(u32::MAX);
        // SAFETY: A logger without a function calls nothing.
        settings.logger = unsafe { Dav1dLogger::new(None, None) };
        let mut decoder = Self(None);
        // SAFETY: Both pointers are those of values that live until the call returns.
        let opened =
            unsafe { dav1d_open(Some(NonNull::from(&mut decoder.0)), Some(NonNull::from(&mut settings))) };
        if opened.0 < 0 || decoder.0.is_none() {
            return Err(PixelsError::Decode("the decoder of AV1 does not start".into()));
        }
        Ok(decoder)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), PixelsError> {
        let mut data = Dav1dData::default();
        // SAFETY: The pointer is that of a value that may be written to.
        let room = unsafe { dav1d_data_create(Some(NonNull::from(&mut data)), bytes.len()) };
        let room = NonNull::new(room).ok_or_else(damaged)?;
        // SAFETY: rav1d has made room for as many bytes, which nobody else knows of yet.
        unsafe { room.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        // SAFETY: The decoder is open until it is dropped; `data` was made by `dav1d_data_create` and
        // may be read and written.
        let sent = unsafe { dav1d_send_data(self.0, Some(NonNull::from(&mut data))) };
        // SAFETY: As above; what was taken is no longer in it.
        unsafe { dav1d_data_unref(Some(NonNull::from(&mut data))) };
        if sent.0 < 0 { Err(damaged()) } else { Ok(()) }
    }

    /// The next picture to show, if there is one.
    fn picture(&mut self) -> Option<Picture> {
        let mut picture = Picture(Dav1dPicture::default());
        // SAFETY: The decoder is open until it is dropped; the pointer is that of a value that may be
        // written to and holds nothing yet.
        let got = unsafe { dav1d_get_picture(self.0, Some(NonNull::from(&mut picture.0))) };
        (got.0 == 0).then_some(picture)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: The pointer is that of what `dav1d_open` wrote, and nothing uses the decoder after this.
        // Pictures that are still held own their samples.
        unsafe { dav1d_close(Some(NonNull::from(&mut self.0))) };
    }
}

/// A decoded picture, whose samples it owns.
struct Picture(Dav1dPicture);

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: The picture is one that `dav1d_get_picture` wrote, or the empty default.
        unsafe { dav1d_picture_unref(Some(NonNull::from(&mut self.0))) };
    }
}

impl Picture {
    fn planes(&self) -> Result<Planes, PixelsError> {
        let parameters = &self.0.p;
        let (Ok(width), Ok(height)) = (u32::try_from(parameters.w), u32::try_from(parameters.h)) else {
            return Err(damaged());
        };
        check_size((width, height))?;
        let step = match parameters.layout {
            DAV1D_PIXEL_LAYOUT_I400 => None,
            DAV1D_PIXEL_LAYOUT_I420 => Some((2, 2)),
            DAV1D_PIXEL_LAYOUT_I422 => Some((2, 1)),
            DAV1D_PIXEL_LAYOUT_I444 => Some((1, 1)),
            _ => return Err(not_decoded("AV1 with an unknown layout of samples")),
        };
        let plane = |number, step| self.plane(number, plane_size((width, height), step));
        let chroma = match step {
            None => None,
            Some(step) => Some(Chroma { step, blue: plane(1, step)?, red: plane(2, step)? }),
        };
        let sequence = self.0.seq_hdr.ok_or_else(damaged)?;
        // SAFETY: The picture holds the header that the pointer leads to.
        let sequence = unsafe { sequence.as_ref() };
        let colours = Colours {
            primaries: sequence.pri as u16,
            matrix: sequence.mtrx as u16,
            is_full_range: sequence.color_range != 0,
        };
        Ok(Planes { size: (width, height), luma: plane(0, (1, 1))?, chroma, colours: Some(colours) })
    }

    /// A copy of one of the planes.
    fn plane(&self, number: usize, (width, height): (usize, usize)) -> Result<Plane, PixelsError> {
        let bits = u32::try_from(self.0.p.bpc).map_err(|_| damaged())?;
        let first = self.0.data[number].ok_or_else(damaged)?;
        let stride_bytes = self.0.stride[usize::from(number > 0)];
        let mut samples = Vec::with_capacity(width * height);
        for y in 0..height {
            // SAFETY: A picture's plane has `height` rows, `stride_bytes` apart, of at least `width` samples, of
            // one byte up to 8 bits and of two above, aligned for them; all of them are initialised, and
            // nobody writes to a picture that was handed out.
            unsafe {
                let row = first.as_ptr().byte_offset(y as isize * stride_bytes);
                if bits == 8 {
                    samples.extend(
                        slice::from_raw_parts(row.cast::<u8>(), width)
                            .iter()
                            .map(|&sample| u16::from(sample)),
                    );
                } else {
                    samples.extend_from_slice(slice::from_raw_parts(row.cast::<u16>(), width));
                }
            }
        }
        Ok(Plane { bits, samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_split_into_its_units() {
        // A delimiter, a frame with an extension of its header, a frame to the end.
        let stream = [0x12, 0, 0x36, 0, 2, 7, 8, 0x30, 1, 2, 3];
        let found: Vec<_> =
            units(&stream).map(|unit| unit.map(|unit| (unit.begins_frame, unit.bytes.len()))).collect();
        assert_eq!(found, [Some((false, 2)), Some((true, 5)), Some((true, 4))]);
    }

    #[test]
    fn a_unit_longer_than_the_stream_ends_it() {
        let found: Vec<_> = units(&[0x32, 0x85, 1, 0]).map(|unit| unit.is_some()).collect();
        assert_eq!(found, [false]);
    }
}
