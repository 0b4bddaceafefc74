//! Coefficients → samples: the inverse cosine transform, in the integers that libjpeg calls ISLOW.
//!
//! Loeffler, Ligtenberg and Moschytz's algorithm with constants of 13 bits, columns first, eight blocks
//! at once. Damaged files may go beyond 16 bits in between; there the sums wrap and the results of the
//! columns saturate, as they do in the vector registers of libjpeg-turbo.

use super::JpegError;
use super::coefficients::{Blocks, Group, LANES};
use super::frame::SIDE;
use super::sequential::DC_TOO_LARGE;
use super::tables::Quantisation;

/// Bits after the point of a constant.
const CONSTANT_BITS: u32 = 13;
/// Bits that the columns' results have more than the samples.
const EXTRA_BITS: u32 = 2;

/// For each row and column of a block its coefficient's place in zigzag order (T.81 figure A.6).
#[rustfmt::skip]
const ZIGZAG: [[usize; SIDE]; SIDE] = [
    [ 0,  1,  5,  6, 14, 15, 27, 28],
    [ 2,  4,  7, 13, 16, 26, 29, 42],
    [ 3,  8, 12, 17, 25, 30, 41, 43],
    [ 9, 11, 18, 24, 31, 40, 44, 53],
    [10, 19, 23, 32, 39, 45, 52, 54],
    [20, 22, 33, 38, 46, 51, 55, 60],
    [21, 34, 37, 47, 50, 56, 59, 61],
    [35, 36, 48, 49, 57, 58, 62, 63],
];

/// One coefficient, sample or sum of eight blocks.
type Lanes<T> = [T; LANES];
/// The samples of eight blocks: eight lines, and in each the eight samples of every block.
type Samples = [Lanes<[u8; SIDE]>; SIDE];

/// Transforms row `row` of `blocks` into lines of `line_bytes` samples.
///
/// *Errors* when a block is brighter than any can be.
#[inline(always)]
pub fn transform_row(
    blocks: &Blocks,
    row: usize,
    quantisation: &Quantisation,
    lines: &mut [u8],
    line_bytes: usize,
) -> Result<(), JpegError> {
    let factors = quantisation.map(|factor| factor as i16);
    let first = row * blocks.groups_wide;
    let groups = blocks.groups.iter().zip(&blocks.last).skip(first).take(blocks.groups_wide);
    let mut samples = [[[0; SIDE]; LANES]; SIDE];
    for (i, (group, last)) in groups.enumerate() {
        if !is_in_range(group, quantisation) {
            return Err(DC_TOO_LARGE);
        }
        match last.iter().fold(0, |reach, last| reach.max(*last)) {
            0 => transform::<1>(group, &factors, &mut samples),
            // These are in the first four rows and columns.
            1..10 => transform::<4>(group, &factors, &mut samples),
            _ => transform::<8>(group, &factors, &mut samples),
        }
        for (line, samples) in lines.chunks_exact_mut(line_bytes).zip(&samples) {
            let to = line.as_chunks_mut::<{ LANES * SIDE }>().0.get_mut(i);
            if let Some(to) = to {
                to.copy_from_slice(samples.as_flattened());
            }
        }
    }
    Ok(())
}

/// Whether the DC coefficients are below what would need more than 16 bits.
#[inline(always)]
fn is_in_range(group: &Group, quantisation: &Quantisation) -> bool {
    let factor = i32::from(quantisation[0]);
    group[0].iter().fold(true, |is, dc| is & (i32::from(*dc).wrapping_mul(factor).unsigned_abs() < 1 << 13))
}

/// Transforms a group whose coefficients beyond the first `N` rows and columns are 0.
#[inline(always)]
fn transform<const N: usize>(group: &Group, factors: &[i16; 64], samples: &mut Samples) {
    // What the columns give: rows of columns.
    let mut between = [[[0i16; LANES]; SIDE]; SIDE];
    for column in 0..N {
        let places: [usize; SIDE] = std::array::from_fn(|row| ZIGZAG[row][column % SIDE] % 64);
        let inputs: [(&Lanes<i16>, i16); SIDE] = places.map(|place| (&group[place], factors[place]));
        let mut outputs = [[0i16; LANES]; SIDE];
        for lane in 0..LANES {
            let input = std::array::from_fn(|row| {
                if row < N { inputs[row].0[lane].wrapping_mul(inputs[row].1) } else { 0 }
            });
            let output = butterfly(input);
            for row in 0..SIDE {
                let level = descale(output[row], CONSTANT_BITS - EXTRA_BITS);
                outputs[row][lane] = level.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
            }
        }
        for row in 0..SIDE {
            between[row][column % SIDE] = outputs[row];
        }
    }
    for (between, samples) in between.iter().zip(samples) {
        // Four samples in each number, the first in its lowest byte.
        let mut halves = [[0u32; LANES]; 2];
        for lane in 0..LANES {
            let output =
                butterfly(std::array::from_fn(|column| if column < N { between[column][lane] } else { 0 }));
            let level = |column: usize| {
                (descale(output[column], CONSTANT_BITS + EXTRA_BITS + 3).clamp(-128, 127) + 128) as u32
            };
            halves[0][lane] = level(0) | level(1) << 8 | level(2) << 16 | level(3) << 24;
            halves[1][lane] = level(4) | level(5) << 8 | level(6) << 16 | level(7) << 24;
        }
        for lane in 0..LANES {
            let both = u64::from(halves[0][lane]) | u64::from(halves[1][lane]) << 32;
            samples[lane] = both.to_le_bytes();
        }
    }
}

/// The transform of eight numbers, times 8192.
#[inline(always)]
fn butterfly(input: [i16; SIDE]) -> [i32; SIDE] {
    /// A constant in 13 bits.
    const fn fixed(constant: f64) -> i32 {
        (constant * (1 << CONSTANT_BITS) as f64 + 0.5) as i32
    }
    let times = |value: i32, constant: i32| value.wrapping_mul(constant);
    let [_, x1, x2, x3, _, x5, x6, x7] = input.map(i32::from);
    // The even part. Of these sums 16 bits are kept.
    let sum = i32::from(input[0].wrapping_add(input[4])) << CONSTANT_BITS;
    let difference = i32::from(input[0].wrapping_sub(input[4])) << CONSTANT_BITS;
    let turned = times(x2 + x6, const { fixed(0.541196100) });
    let low = turned.wrapping_sub(times(x6, const { fixed(1.847759065) }));
    let high = turned.wrapping_add(times(x2, const { fixed(0.765366865) }));
    let even = [
        sum.wrapping_add(high),
        difference.wrapping_add(low),
        difference.wrapping_sub(low),
        sum.wrapping_sub(high),
    ];
    // The odd part.
    let z3 = i32::from(input[7].wrapping_add(input[3]));
    let z4 = i32::from(input[5].wrapping_add(input[1]));
    let z5 = times(z3 + z4, const { fixed(1.175875602) });
    let z3 = z5.wrapping_sub(times(z3, const { fixed(1.961570560) }));
    let z4 = z5.wrapping_sub(times(z4, const { fixed(0.390180644) }));
    let z1 = times(x7 + x1, const { fixed(0.899976223) });
    let z2 = times(x5 + x3, const { fixed(2.562915447) });
    let odd = [
        times(x1, const { fixed(1.501321110) }).wrapping_add(z4).wrapping_sub(z1),
        times(x3, const { fixed(3.072711026) }).wrapping_add(z3).wrapping_sub(z2),
        times(x5, const { fixed(2.053119869) }).wrapping_add(z4).wrapping_sub(z2),
        times(x7, const { fixed(0.298631336) }).wrapping_add(z3).wrapping_sub(z1),
    ];
    let (first, last) = ([0, 1, 2, 3], [3, 2, 1, 0]);
    let [a, b, c, d] = first.map(|i: usize| even[i].wrapping_add(odd[i]));
    let [e, f, g, h] = last.map(|i: usize| even[i].wrapping_sub(odd[i]));
    [a, b, c, d, e, f, g, h]
}

/// Divides by 2^`bits` and rounds.
#[inline(always)]
fn descale(value: i32, bits: u32) -> i32 {
    value.wrapping_add(1 << (bits - 1)) >> bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    /// The transform as T.81 A.3.3 defines it.
    fn defined(coefficients: &[[i16; SIDE]; SIDE]) -> [[f64; SIDE]; SIDE] {
        let scale = |k: usize| if k == 0 { 0.5f64.sqrt() } else { 1.0 };
        let wave = |at: usize, k: usize| ((2 * at + 1) as f64 * k as f64 * PI / 16.0).cos() * scale(k);
        std::array::from_fn(|y| {
            std::array::from_fn(|x| {
                let terms = (0..64).map(|i| {
                    let (v, u) = (i / SIDE, i % SIDE);
                    f64::from(coefficients[v][u]) * wave(x, u) * wave(y, v)
                });
                (terms.sum::<f64>() / 4.0 + 128.0).clamp(0.0, 255.0)
            })
        })
    }

    #[test]
    fn samples_are_those_of_the_definition_to_a_level() {
        let mut state = 1u32;
        for reach in [1, 10, 64] {
            let mut blocks = Blocks::new(LANES, 1);
            let mut expected = Vec::new();
            for lane in 0..LANES {
                let mut coefficients = [[0; SIDE]; SIDE];
                for (row, places) in ZIGZAG.iter().enumerate() {
                    for (column, place) in places.iter().enumerate().filter(|(_, place)| **place < reach) {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let coefficient = (state >> 24) as i16 - 128;
                        blocks.groups[0][*place][lane] = coefficient;
                        coefficients[row][column] = coefficient * 2;
                    }
                }
                blocks.last[0][lane] = reach as u8 - 1;
                expected.push(defined(&coefficients));
            }
            let mut lines = vec![0; SIDE * SIDE * LANES];
            transform_row(&blocks, 0, &[2; 64], &mut lines, SIDE * LANES).unwrap();
            for (i, level) in lines.iter().enumerate() {
                let (y, x) = (i / (SIDE * LANES), i % (SIDE * LANES));
                let exact = expected[x / SIDE][y][x % SIDE];
                assert!((f64::from(*level) - exact).abs() < 1.0, "{level} at {x}, {y}, not {exact}");
            }
        }
    }

    #[test]
    fn a_block_brighter_than_any_is_refused() {
        let mut blocks = Blocks::new(1, 1);
        blocks.groups[0][0][0] = 8191;
        let mut lines = vec![0; SIDE * SIDE * LANES];
        assert!(transform_row(&blocks, 0, &[1; 64], &mut lines, SIDE * LANES).is_ok());
        assert!(transform_row(&blocks, 0, &[2; 64], &mut lines, SIDE * LANES).is_err());
    }
}
