//! A picture → a window of it at another size, byte for byte as Pillow's `Image.resize` computes it.
//!
//! Pillow resizes in two passes, mostly along the rows first, with 8-bit values in between and 22-bit
//! fixed-point weights (`src/libImaging/Resample.c`). Here each row, once resized, is added to all
//! output rows that it is a part of: integer sums are the same in any order, so parts of the picture
//! are summed on different threads, and nothing larger than the output is held. Only what the window
//! shows is computed, which makes the middle of a 1 × 65535 picture as cheap as any other.

use super::Filter;
use clipclass_kernels::{Kernel, Simd, dispatch};
use image::RgbImage;
use rayon::prelude::*;
use std::f64::consts::PI;
use std::ops::Range;

/// Bits after the point of a weight: 32, less 8 of the pixel and 2 for the overshoot of the filters.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// Half a level, so that the final shift rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);
/// Pixels of a row that are weighted at once, to have whole vectors of red, green, blue, red, …
const STEP: usize = 8;
/// Multiplications that are worth a further thread.
const THREAD_WORK: usize = 1 << 20;

/// One axis of a resize: the whole axis changes from `from` to `to` pixels, of which `kept` are wanted.
#[derive(Debug, Clone)]
pub struct Axis {
    pub from: u32,
    pub to: u64,
    pub kept: Range<u64>,
}

impl Axis {
    fn len(&self) -> usize {
        (self.kept.end - self.kept.start) as usize
    }

    fn scale(&self) -> f64 {
        f64::from(self.from) / self.to as f64
    }
}

/// Resizes `picture` and returns the kept window, RGB after RGB, row by row.
pub fn resample(picture: &RgbImage, rows: &Axis, columns: &Axis, filter: Filter) -> Vec<u8> {
    let whole = |axis: &Axis| axis.kept == (0..u64::from(axis.from));
    if rows.from as u64 == rows.to && columns.from as u64 == columns.to && whole(rows) && whole(columns) {
        return picture.as_raw().clone();
    }
    match ConvolutionKernel::of(filter) {
        None => nearest(picture, rows, columns),
        Some(kernel) => {
            let (row_weights, column_weights) =
                (ResampleWeights::new(rows, &kernel), ResampleWeights::new(columns, &kernel));
            let column_weights = column_weights.interleaved(columns.from);
            if columns_first(rows, columns) {
                columns_then_rows(picture, &row_weights, &column_weights)
            } else {
                rows_then_columns(picture, &row_weights, &column_weights)
            }
        }
    }
}

/// The nearest pixels. The position advances by additions, as Pillow's does, because their rounding
/// decides which neighbour of a tie is taken (`ImagingScaleAffine` in `src/libImaging/Geometry.c`).
fn nearest(picture: &RgbImage, rows: &Axis, columns: &Axis) -> Vec<u8> {
    let positions = |axis: &Axis| -> Vec<usize> {
        let (mut at, scale) = (axis.scale() * 0.5, axis.scale());
        for _ in 0..axis.kept.start {
            at += scale;
        }
        let position = |_| {
            let position = (at as usize).min(axis.from as usize - 1);
            at += scale;
            position
        };
        axis.kept.clone().map(position).collect()
    };
    let columns = positions(columns);
    let row_bytes = picture.width() as usize * 3;
    let mut window = Vec::new();
    for y in positions(rows) {
        let row = &picture.as_raw()[y * row_bytes..][..row_bytes];
        window.extend(columns.iter().flat_map(|x| &row[x * 3..][..3]));
    }
    window
}

/// A convolution kernel: how far it reaches, and its value at a distance, as Pillow defines them.
struct ConvolutionKernel {
    support: f64,
    at: fn(f64) -> f64,
}

impl ConvolutionKernel {
    fn of(filter: Filter) -> Option<Self> {
        let (support, at): (f64, fn(f64) -> f64) = match filter {
            Filter::Nearest => return None,
            Filter::Box => (0.5, |x| if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }),
            Filter::Bilinear => (1.0, |x| (1.0 - x.abs()).max(0.0)),
            Filter::Hamming => (1.0, |x| match x.abs() {
                0.0 => 1.0,
                x if x >= 1.0 => 0.0,
                // Pillow has these two in single precision.
                x => sinc(x) * (f64::from(0.54f32) + f64::from(0.46f32) * (x * PI).cos()),
            }),
            Filter::Bicubic => (2.0, |x| {
                const A: f64 = -0.5;
                match x.abs() {
                    x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
                    x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
                    _ => 0.0,
                }
            }),
            Filter::Lanczos => {
                (3.0, |x| if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 })
            }
        };
        Some(Self { support, at })
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// What each kept position of an axis is made of.
struct ResampleWeights {
    /// The source positions.
    spans: Vec<Range<usize>>,
    /// Their weights, `stride` for each kept position.
    weights: Vec<i32>,
    stride: usize,
}

impl ResampleWeights {
    /// `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow.
    fn new(axis: &Axis, kernel: &ConvolutionKernel) -> Self {
        let scale = axis.scale();
        let stretch = scale.max(1.0);
        let support = kernel.support * stretch;
        let stride = support.ceil() as usize * 2 + 1;
        let mut spans = Vec::with_capacity(axis.len());
        let mut weights = vec![0; axis.len() * stride];
        let mut exact = Vec::with_capacity(stride);
        for (position, weights) in axis.kept.clone().zip(weights.chunks_exact_mut(stride)) {
            let center = (position as f64 + 0.5) * scale;
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(axis.from as usize);
            let distance = |source: usize| (source as f64 - center + 0.5) * (1.0 / stretch);
            exact.clear();
            exact.extend((start..end).map(|source| (kernel.at)(distance(source))));
            let sum: f64 = exact.iter().sum();
            for (weight, exact) in weights.iter_mut().zip(&exact) {
                let exact = if sum == 0.0 { *exact } else { exact / sum };
                let scaled = exact * f64::from(1 << PRECISION_BITS);
                *weight = (if exact < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32;
            }
            spans.push(start..end);
        }
        Self { spans, weights, stride }
    }

    /// All source positions that matter.
    fn sources(&self) -> Range<usize> {
        match (self.spans.first(), self.spans.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => 0..0,
        }
    }

    /// What kept position `i` is made of, and the weights of that.
    fn span(&self, i: usize) -> (Range<usize>, &[i32]) {
        (self.spans[i].clone(), &self.weights[i * self.stride..])
    }

    /// The same for the columns of a picture `width` pixels wide: each weight stands once for red,
    /// green and blue, and zeros fill up whole steps, behind a span or, where a row ends, before it.
    fn interleaved(&self, width: u32) -> Self {
        let stride = self.stride.next_multiple_of(STEP);
        let mut weights = vec![0; self.spans.len() * stride * 3];
        let mut spans = Vec::with_capacity(self.spans.len());
        for ((span, from), to) in self
            .spans
            .iter()
            .zip(self.weights.chunks_exact(self.stride))
            .zip(weights.chunks_exact_mut(stride * 3))
        {
            let start = span.start.min((width as usize).saturating_sub(stride));
            let taps = to.chunks_exact_mut(3).skip(span.start - start).zip(from).take(span.len());
            taps.for_each(|(tap, weight)| tap.fill(*weight));
            spans.push(start..start + stride);
        }
        Self { spans, weights, stride: stride * 3 }
    }
}

/// Whether Pillow would resize along the columns first: it does when that takes away more than twice
/// as many rows as there are columns to take away. Pillow 13 was found to do so by
/// experiment; earlier versions always begin with the rows.
fn columns_first(rows: &Axis, columns: &Axis) -> bool {
    let lost = |axis: &Axis| i128::from(axis.from) - i128::from(axis.to);
    let changed = |axis: &Axis| u64::from(axis.from) != axis.to;
    changed(columns) && lost(rows) > 0 && lost(rows) > 2 * lost(columns)
}

/// Rows, then columns.
fn rows_then_columns(picture: &RgbImage, rows: &ResampleWeights, columns: &ResampleWeights) -> Vec<u8> {
    let sources = rows.sources();
    let work = sources.len() * columns.weights.len();
    let parts = (work / THREAD_WORK).clamp(1, rayon::current_num_threads());
    let part = |i: usize| {
        let bound = |i| sources.start + sources.len() * i / parts;
        dispatch(SumsOfRows { picture, sources: bound(i)..bound(i + 1), rows, columns })
    };
    let add = |mut sums: Vec<i32>, others: Vec<i32>| {
        sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        sums
    };
    let sums = if parts == 1 {
        part(0)
    } else {
        (0..parts).into_par_iter().map(part).reduce_with(add).unwrap_or_default()
    };
    sums.into_iter().map(|sum| round(sum + HALF)).collect()
}

/// Columns, then rows: the long way is along the columns, and each output row is made for itself.
fn columns_then_rows(picture: &RgbImage, rows: &ResampleWeights, columns: &ResampleWeights) -> Vec<u8> {
    let width = columns.spans.len() * 3;
    let mut window = vec![0; rows.spans.len() * width];
    let row_work = rows.stride * picture.width() as usize * 3;
    window
        .par_chunks_exact_mut(width)
        .enumerate()
        .with_min_len(THREAD_WORK.div_ceil(row_work))
        .for_each(|(i, to)| dispatch(SumOfRows { picture, span: rows.span(i), columns, to }));
    window
}

/// For all output rows, the weighted sums of the rows in `sources`, each resized.
struct SumsOfRows<'a> {
    picture: &'a RgbImage,
    sources: Range<usize>,
    rows: &'a ResampleWeights,
    columns: &'a ResampleWeights,
}

impl Kernel for SumsOfRows<'_> {
    type Output = Vec<i32>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Vec<i32> {
        let Self { picture, sources, rows, columns } = self;
        let row_bytes = picture.width() as usize * 3;
        let width = columns.spans.len() * 3;
        let mut sums = vec![0; rows.spans.len() * width];
        let mut resized = vec![0u8; width];
        let mut padded = vec![0u8; columns.stride.max(row_bytes)];
        let mut active = 0;
        for y in sources {
            let row = &picture.as_raw()[y * row_bytes..][..row_bytes];
            if row_bytes < padded.len() {
                padded[..row_bytes].copy_from_slice(row);
                resize_row(&padded, columns, &mut resized);
            } else {
                resize_row(row, columns, &mut resized);
            }
            while rows.spans[active].end <= y {
                active += 1;
            }
            let touched = rows.spans.iter().enumerate().skip(active).take_while(|(_, span)| span.start <= y);
            for (i, span) in touched.filter(|(_, span)| y < span.end) {
                let weight = rows.weights[i * rows.stride + y - span.start];
                add_weighted(&mut sums[i * width..][..width], &resized, weight);
            }
        }
        sums
    }
}

/// One output row: the weighted sum of the rows it is made of, resized to `to`.
struct SumOfRows<'a> {
    picture: &'a RgbImage,
    /// The rows and their weights.
    span: (Range<usize>, &'a [i32]),
    columns: &'a ResampleWeights,
    to: &'a mut [u8],
}

impl Kernel for SumOfRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { picture, span: (span, weights), columns, to } = self;
        let row_bytes = picture.width() as usize * 3;
        let mut sums = vec![HALF; row_bytes];
        let sources = picture.as_raw()[span.start * row_bytes..span.end * row_bytes].chunks_exact(row_bytes);
        for (row, weight) in sources.zip(weights) {
            add_weighted(&mut sums, row, *weight);
        }
        let mut row: Vec<u8> = sums.into_iter().map(round).collect();
        row.resize(columns.stride.max(row_bytes), 0);
        resize_row(&row, columns, to);
    }
}

/// Resizes one row, which is at least a stride long.
#[inline(always)]
fn resize_row(row: &[u8], columns: &ResampleWeights, to: &mut [u8]) {
    for ((rgb, span), weights) in
        to.chunks_exact_mut(3).zip(&columns.spans).zip(columns.weights.chunks_exact(columns.stride))
    {
        let mut lanes = [0i32; STEP * 3];
        let steps = row[span.start * 3..].chunks_exact(STEP * 3).zip(weights.chunks_exact(STEP * 3));
        for (levels, weights) in steps {
            for ((lane, level), weight) in lanes.iter_mut().zip(levels).zip(weights) {
                *lane += i32::from(*level) * weight;
            }
        }
        // Left to itself the compiler shuffles the lanes, which takes longer than the products.
        let lanes = std::hint::black_box(lanes);
        for (channel, level) in rgb.iter_mut().enumerate() {
            *level = round((0..STEP).map(|i| lanes[i * 3 + channel]).sum::<i32>() + HALF);
        }
    }
}

#[inline(always)]
fn add_weighted(sums: &mut [i32], levels: &[u8], weight: i32) {
    for (sum, level) in sums.iter_mut().zip(levels) {
        *sum += i32::from(*level) * weight;
    }
}

/// A weighted sum of levels, half a level added, as a level.
#[inline(always)]
fn round(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const FILTERS: [Filter; 6] =
        [Filter::Nearest, Filter::Lanczos, Filter::Bilinear, Filter::Bicubic, Filter::Box, Filter::Hamming];

    /// A picture without any regularity.
    fn noise(width: u32, height: u32) -> RgbImage {
        let mut random = Random(1);
        RgbImage::from_fn(width, height, |_, _| image::Rgb(std::array::from_fn(|_| random.byte())))
    }

    fn axis(from: u32, to: u64) -> Axis {
        Axis { from, to, kept: 0..to }
    }

    fn fnv1a(bytes: &[u8]) -> u64 {
        bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
    }

    /// A picture by the name of its formula in `fixtures/README.md`.
    fn golden_source(name: &str, width: u32, height: u32) -> RgbImage {
        let seed = fnv1a(format!("resample {width}x{height}").as_bytes());
        let seed = (seed ^ (seed >> 32)) as u32;
        let noise = |i: u32| {
            let x = i.wrapping_mul(0x9e37_79b9).wrapping_add(seed);
            let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
            let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
            ((x ^ (x >> 16)) >> 24) as u8
        };
        let edge = |x: u32, y: u32, c: u32| if (x * (c + 2) + y * 3) / 8 % 2 == 1 { 255 } else { 0 };
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([0, 1, 2].map(|c| match name {
                "noise" => noise((y * width + x) * 3 + c),
                "edges" => edge(x, y, c),
                other => panic!("no source {other}"),
            }))
        })
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Case {
        source: String,
        from: (u32, u32),
        to: (u64, u64),
        filter: String,
        /// Where the bytes begin, or, for large pictures, a hash of them.
        offset: Option<usize>,
        fnv1a: Option<String>,
    }

    #[test]
    fn every_filter_gives_pillows_bytes() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/golden");
        let cases = std::fs::read(format!("{golden}/resample.json")).unwrap();
        let bytes = std::fs::read(format!("{golden}/resample.bin")).unwrap();
        let Golden { cases } = serde_json::from_slice(&cases).unwrap();
        let mut compared = 0;
        for case in &cases {
            let filter = match case.filter.as_str() {
                "nearest" => Filter::Nearest,
                "lanczos" => Filter::Lanczos,
                "bilinear" => Filter::Bilinear,
                "bicubic" => Filter::Bicubic,
                "box" => Filter::Box,
                "hamming" => Filter::Hamming,
                // Of later versions of Pillow; no preprocessor of a model asks for them.
                "mks2013" | "mks2021" => continue,
                other => panic!("no filter {other}"),
            };
            let picture = golden_source(&case.source, case.from.0, case.from.1);
            let resized =
                resample(&picture, &axis(case.from.1, case.to.1), &axis(case.from.0, case.to.0), filter);
            match (case.offset, &case.fnv1a) {
                (Some(offset), None) => assert!(resized == bytes[offset..][..resized.len()], "{case:?}"),
                (None, Some(hash)) => assert_eq!(format!("{:016x}", fnv1a(&resized)), *hash, "{case:?}"),
                _ => panic!("neither bytes nor hash: {case:?}"),
            }
            compared += 1;
        }
        assert_eq!(compared, 132);
    }

    #[test]
    fn a_window_is_cut_from_the_whole() {
        for (width, height, columns, rows) in [(90, 70, 40, 30), (20, 30, 50, 75), (40, 200, 20, 100)] {
            let picture = noise(width, height);
            for filter in FILTERS {
                let whole = resample(&picture, &axis(height, rows), &axis(width, columns), filter);
                let whole = RgbImage::from_raw(columns as u32, rows as u32, whole).unwrap();
                let expected = image::imageops::crop_imm(&whole, 3, 7, 12, 11).to_image();
                let window = resample(
                    &picture,
                    &Axis { kept: 7..18, ..axis(height, rows) },
                    &Axis { kept: 3..15, ..axis(width, columns) },
                    filter,
                );
                assert!(window == expected.into_raw(), "{filter:?}: {width} × {height}");
            }
        }
    }

    #[test]
    fn parts_on_many_threads_add_up_to_the_whole() {
        let picture = noise(1200, 900);
        let resize = || resample(&picture, &axis(900, 225), &axis(1200, 300), Filter::Bicubic);
        let on =
            |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(resize);
        assert!(on(1) == on(7));
    }
}
