//! Coefficients → the picture, band by band.
//!
//! A band is some rows of units, and made without its neighbours, on whichever thread is free. Only the
//! rows on either side of a seam between bands may need both; these are made when all bands are.

use super::coefficients::{Blocks, LANES};
use super::colour::Colours;
use super::frame::{Component, Frame, SIDE};
use super::tables::Quantisation;
use super::transform::transform_row;
use super::upsample::Stretch;
use super::{Broken, Decoded, JpegError};
use clipclass_kernels::{Kernel, Simd, dispatch};
use std::sync::Mutex;

/// Pixels of a band: enough to be worth a task, few enough to stay in a second-level cache.
const BAND_PIXELS: usize = 1 << 17;

/// What is needed to make pixels of coefficients.
pub struct PixelOutput<'a> {
    pub frame: &'a Frame,
    /// The factors of each component.
    pub quantisation: &'a [Quantisation],
    pub colours: Colours,
    /// Buffers of bands that are made.
    spare: Mutex<Vec<BandBuffers>>,
}

/// Consecutive lines of a component.
#[derive(Debug, Clone, Default)]
struct Lines {
    /// Which one is the first.
    first: usize,
    samples: Vec<u8>,
    line_bytes: usize,
}

impl Lines {
    fn line(&self, line: usize) -> Option<&[u8]> {
        let start = line.checked_sub(self.first)? * self.line_bytes;
        self.samples.get(start..start + self.line_bytes)
    }
}

/// What a band leaves for its seams: for each component its first and its last line.
#[derive(Debug, Clone, Default)]
pub struct Edges {
    lines: Vec<[Vec<u8>; 2]>,
}

const MISSING: JpegError = Broken("a part of the picture is missing");

impl<'a> PixelOutput<'a> {
    pub fn new(frame: &'a Frame, quantisation: &'a [Quantisation], colours: Colours) -> Self {
        Self { frame, quantisation, colours, spare: Mutex::default() }
    }

    /// Bytes of a row of the picture.
    pub fn row_bytes(&self) -> usize {
        self.frame.width * self.colours.channels()
    }

    /// The picture with these levels.
    pub fn decoded(&self, levels: Vec<u8>) -> Decoded {
        let Frame { width, height, .. } = *self.frame;
        Decoded { width: width as u32, height: height as u32, channels: self.colours.channels(), levels }
    }

    /// Rows of units in a band.
    pub fn band_units(&self) -> usize {
        let unit_pixels = self.frame.max_v * SIDE * self.frame.width;
        (BAND_PIXELS / unit_pixels).max(1)
    }

    /// Rows of pixels in a band.
    pub fn band_rows(&self) -> usize {
        self.band_units() * self.frame.max_v * SIDE
    }

    /// Makes the pixels of a band whose first row of units is `unit` in the picture and `at` in `blocks`.
    ///
    /// *Errors* when the coefficients cannot be those of a picture.
    pub fn make_band(
        &self,
        blocks: &[Blocks],
        unit: usize,
        at: usize,
        levels: &mut [u8],
        edges: &mut Edges,
    ) -> Result<(), JpegError> {
        dispatch(Band { output: self, blocks, unit, at, levels, edges })
    }

    /// Makes the rows above and below each seam.
    ///
    /// *Errors* never, unless a band was left out.
    pub fn make_seams(&self, levels: &mut [u8], edges: &[Edges]) -> Result<(), JpegError> {
        if !self.has_seams() {
            return Ok(());
        }
        let row_bytes = self.row_bytes();
        let mut scratch = BandBuffers::default();
        for (seam, pair) in edges.windows(2).enumerate() {
            let [upper, lower] = pair else { return Err(MISSING) };
            let unit = (seam + 1) * self.band_units();
            let lines = upper.lines.iter().zip(&lower.lines).zip(&self.frame.components);
            let lines: Vec<_> = lines
                .map(|(([_, above], [below, _]), component)| {
                    let first = (unit * component.v * SIDE).saturating_sub(1);
                    Lines { first, samples: [&above[..], below].concat(), line_bytes: below.len() }
                })
                .collect();
            let y = unit * self.frame.max_v * SIDE;
            for y in [y.saturating_sub(1), y] {
                let row = levels.get_mut(y * row_bytes..).and_then(|rest| rest.get_mut(..row_bytes));
                self.make_row(&lines, y, row.ok_or(MISSING)?, &mut scratch)?;
            }
        }
        Ok(())
    }

    /// Whether a row may need lines of two bands.
    fn has_seams(&self) -> bool {
        let frame = self.frame;
        frame.components.iter().any(|component| Stretch::of(component, frame).lines(0, 1).1.is_some())
    }

    /// Makes row `y` of the picture.
    #[inline(always)]
    fn make_row(
        &self,
        lines: &[Lines],
        y: usize,
        to: &mut [u8],
        scratch: &mut BandBuffers,
    ) -> Result<(), JpegError> {
        let frame = self.frame;
        let mut rows = [&[][..]; 4];
        let components = frame.components.iter().zip(lines);
        let buffers = scratch.rows.iter_mut().zip(&mut scratch.sums);
        for ((row, (component, lines)), (buffer, sums)) in rows.iter_mut().zip(components).zip(buffers) {
            let stretch = Stretch::of(component, frame);
            let (near, far) = stretch.lines(y, component.height);
            let cut =
                |line: usize| lines.line(line).and_then(|line| line.get(..component.width)).ok_or(MISSING);
            let far = far.map(cut).transpose()?;
            *row = stretch.row(y, cut(near)?, far, sums, buffer);
        }
        // There are always four rows to convert from; those that are not there do not count.
        let first = rows[0];
        for row in rows.iter_mut().skip(frame.components.len()) {
            *row = first;
        }
        self.colours.convert(rows, to);
        Ok(())
    }
}

/// A band to be made; compiled for each instruction set.
struct Band<'a> {
    output: &'a PixelOutput<'a>,
    blocks: &'a [Blocks],
    unit: usize,
    at: usize,
    levels: &'a mut [u8],
    edges: &'a mut Edges,
}

impl Kernel for Band<'_> {
    type Output = Result<(), JpegError>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Result<(), JpegError> {
        let Self { output, blocks, unit, at, levels, edges } = self;
        let frame = output.frame;
        let row_bytes = output.row_bytes();
        let first_row = unit * frame.max_v * SIDE;
        let rows = levels.len() / row_bytes;
        let mut scratch = output.spare.lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default();
        let mut bands = std::mem::take(&mut scratch.bands);
        bands.resize_with(blocks.len(), Lines::default);
        for (((component, blocks), quantisation), lines) in
            frame.components.iter().zip(blocks).zip(output.quantisation).zip(&mut bands)
        {
            let line_bytes = blocks.groups_wide * LANES * SIDE;
            let block_rows = rows.div_ceil(frame.max_v * SIDE) * component.v;
            (lines.first, lines.line_bytes) = (unit * component.v * SIDE, line_bytes);
            lines.samples.resize(block_rows * SIDE * line_bytes, 0);
            for (row, lines) in lines.samples.chunks_exact_mut(SIDE * line_bytes).enumerate() {
                transform_row(blocks, at * component.v + row, quantisation, lines, line_bytes)?;
            }
        }
        let last_row = first_row + rows;
        let is_last = last_row >= frame.height;
        for (y, row) in (first_row..).zip(levels.chunks_exact_mut(row_bytes)) {
            let is_on_seam = (y == first_row && y > 0) || (y + 1 == last_row && !is_last);
            if !(is_on_seam && output.has_seams()) {
                output.make_row(&bands, y, row, &mut scratch)?;
            }
        }
        if output.has_seams() {
            let edge = |(lines, component): (&Lines, &Component)| {
                let last = lines.first + lines.samples.len() / lines.line_bytes.max(1);
                let last = last.min(component.height).saturating_sub(1);
                [lines.first, last].map(|line| lines.line(line).unwrap_or_default().to_vec())
            };
            edges.lines = bands.iter().zip(&frame.components).map(edge).collect();
        }
        scratch.bands = bands;
        if let Ok(mut spare) = output.spare.lock() {
            spare.push(scratch);
        }
        Ok(())
    }
}

/// Rows that are made on the way.
#[derive(Default)]
struct BandBuffers {
    /// The lines of each component.
    bands: Vec<Lines>,
    rows: [Vec<u8>; 4],
    sums: [Vec<u16>; 4],
}
