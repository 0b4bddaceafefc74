//! `y ≈ x · wᵀ + b` in 8-bit integers.
//!
//! A weight matrix has one scale for each output, found when it is loaded; `x` has one for each
//! row, found when it comes. Products of integers are summed exactly, so every instruction set
//! gives the same sums, and a row the same result alone as among others.

mod bytes;
mod product;
mod tile;

use super::activation::Activation;
use super::instructions::{FloatSet, Int8Set};
use super::matmul::{Target, Weight};
use super::output::Region;
use super::simd::{Factors, Kernel, Simd, dispatch, dispatch_on};
use bytes::Bytes;
use product::{Panel, PanelProduct};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Columns of a panel.
pub(super) const PANEL: usize = 32;
/// Summed elements that AMX takes at a time; depths are padded to it with zeros.
pub(super) const DEPTH_STEP: usize = 64;
/// Rows that AMX takes at a time; quantised rows are padded to it.
pub(super) const ROW_STEP: usize = 32;
/// Of the rows of `x` in one task, as many as stay in the second-level cache.
const TASK_BYTES: usize = 384 * 1024;
/// The most elements whose products, each at most 255 · 127, an i32 can sum.
const MAX_DEPTH: usize = 1 << 16;

/// Weight matrices side by side, quantised.
///
/// The values lie in panels of `PANEL` outputs: four consecutive inputs of each output, then the
/// next four, which is how `vpdpbusd` and AMX take them.
pub struct Int8Matrix {
    values: Bytes,
    /// What a sum is multiplied with, for each output.
    scales: Vec<f32>,
    /// −128 times the sum of each output's values: where sums start if `x` is taken as `x + 128`.
    offsets: Vec<i32>,
    bias: Option<Vec<f32>>,
    inputs: usize,
    outputs: usize,
}

impl Int8Matrix {
    /// Quantises matrices whose outputs follow one another; absent where the sums could overflow.
    ///
    /// # Panics
    ///
    /// If the matrices differ in their inputs.
    pub fn quantize(weights: &[Weight]) -> Option<Self> {
        let inputs = weights[0].inputs;
        assert!(weights.iter().all(|w| w.inputs == inputs && w.values.len() % inputs == 0));
        if inputs > MAX_DEPTH {
            return None;
        }
        let rows: Vec<_> = weights.iter().flat_map(|w| w.values.chunks_exact(inputs)).collect();
        let outputs = rows.len();
        let panels = outputs.div_ceil(PANEL);
        let mut values = Bytes::zeros(panels * panel_bytes(inputs));
        let mut scales = vec![0.0; panels * PANEL];
        let mut offsets = vec![0; panels * PANEL];
        values
            .par_chunks_mut(panel_bytes(inputs))
            .zip(scales.par_chunks_mut(PANEL))
            .zip(offsets.par_chunks_mut(PANEL))
            .zip(rows.par_chunks(PANEL))
            .for_each(|(((values, scales), offsets), rows)| {
                dispatch(FillPanel { rows, values, scales, offsets });
            });
        let bias = weights.iter().any(|w| w.bias.is_some()).then(|| {
            let bias =
                |w: &Weight| w.bias.map_or_else(|| vec![0.0; w.values.len() / inputs], <[f32]>::to_vec);
            weights.iter().flat_map(bias).collect()
        });
        Some(Self { values, scales, offsets, bias, inputs, outputs })
    }

    /// Panel `index` for the columns that the matrix has there.
    fn panel(&self, index: usize) -> Panel<'_> {
        let first = index * PANEL;
        let bytes = panel_bytes(self.inputs);
        let (values, ahead) = self.values[index * bytes..].split_at(bytes);
        Panel {
            values,
            ahead: &ahead[..bytes.min(ahead.len())],
            scales: &self.scales[first..][..PANEL],
            offsets: &self.offsets[first..][..PANEL],
            bias: self.bias.as_ref().map(|bias| &bias[first..PANEL.min(self.outputs - first) + first]),
        }
    }
}

/// The padded depth of a row.
fn padded_depth(inputs: usize) -> usize {
    inputs.next_multiple_of(DEPTH_STEP)
}

fn panel_bytes(inputs: usize) -> usize {
    padded_depth(inputs) * PANEL
}

/// Quantises some rows of weights into one panel.
struct FillPanel<'a> {
    rows: &'a [&'a [f32]],
    values: &'a mut [i8],
    scales: &'a mut [f32],
    offsets: &'a mut [i32],
}

impl Kernel for FillPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut values = vec![0; padded_depth(self.rows[0].len())];
        for (n, row) in self.rows.iter().enumerate() {
            self.scales[n] = quantize(row, &mut values[..row.len()], |bits| bits as i8);
            let sum: i32 = values.iter().map(|&v| i32::from(v)).sum();
            self.offsets[n] = -128 * sum;
            let places = self.values.chunks_exact_mut(4).skip(n).step_by(PANEL);
            places.zip(values.chunks_exact(4)).for_each(|(place, four)| place.copy_from_slice(four));
        }
    }
}

/// Rounds `x / scale` to −127 … 127 and returns the scale. `keep` is given bits of which the lowest are
/// the rounded number, two's complement.
#[inline(always)]
fn quantize<T>(x: &[f32], to: &mut [T], keep: impl Fn(u32) -> T) -> f32 {
    // As integers, so that the compiler may reorder; a NaN is the largest and stays one.
    let largest = x.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest);
    let factor = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    // What adding this, 1.5 · 2²³, leaves of the number in the lowest bits is rounded.
    const ROUND: f32 = 12_582_912.0;
    for (x, to) in x.iter().zip(to) {
        *to = keep((x * factor + ROUND).to_bits());
    }
    largest / 127.0
}

/// Multiplies the rows of `x` with a matrix, and gives the products or the activation of them.
///
/// *Shape* `x [R, inputs]`, `y [R, outputs]`, row-major.
///
/// # Panics
///
/// If the shapes do not fit.
pub fn matmul_int8<'y>(
    x: &[f32],
    w: &Int8Matrix,
    activation: Option<Activation>,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    matmul_on(Int8Set::in_use(), x, w, activation, y)
}

/// Multiplies the rows of `x` with a matrix, and adds the products to `y`.
///
/// *Shape* `x [R, inputs]`, `y [R, outputs]`, row-major.
///
/// # Panics
///
/// If the shapes do not fit.
pub fn matmul_int8_add(x: &[f32], w: &Int8Matrix, y: &mut [f32]) {
    matmul_add_on(Int8Set::in_use(), x, w, y);
}

pub(super) fn matmul_on<'y>(
    set: Int8Set,
    x: &[f32],
    w: &Int8Matrix,
    activation: Option<Activation>,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    multiply(set, x, w, Region::of(y, w.outputs), activation.into());
    // SAFETY: a product writes every element.
    unsafe { y.assume_init_mut() }
}

fn matmul_add_on(set: Int8Set, x: &[f32], w: &Int8Matrix, y: &mut [f32]) {
    // SAFETY: only sums are written.
    let y = unsafe { Region::of_initialised(y, w.outputs) };
    multiply(set, x, w, y, Target::Add);
}

/// Writes every element of `y`.
fn multiply(set: Int8Set, x: &[f32], w: &Int8Matrix, mut y: Region, target: Target) {
    let rows = x.len() / w.inputs;
    assert!(x.len() == rows * w.inputs && y.rows() == rows && y.columns() == w.outputs);
    let (values, scales) = quantize_rows(set, x, w.inputs);

    let row_bytes = padded_depth(w.inputs) * set.factors().bytes();
    let groups = rows.div_ceil((TASK_BYTES / row_bytes).next_multiple_of(ROW_STEP));
    let mut tasks = Vec::new();
    for group in 0..groups {
        // Whole steps, so that none reaches into the next group.
        let steps = rows.div_ceil(ROW_STEP);
        let first = steps * group / groups * ROW_STEP;
        let last = steps * (group + 1) / groups * ROW_STEP;
        let (x, scales) = (&values[first * row_bytes..last * row_bytes], &scales[first..last.min(rows)]);
        let mut row = y.take_rows(scales.len());
        for panel in 0..w.outputs.div_ceil(PANEL) {
            let y = row.take_columns(PANEL.min(row.columns()));
            tasks.push(PanelProduct { x, scales, panel: w.panel(panel), y, target });
        }
    }
    // One by one: what a thread has in store when the system takes it away, the others can do.
    tasks.into_par_iter().with_max_len(1).for_each(|block| block.run(set));
}

/// The rows of `x`, padded to whole steps, and the scale of each.
fn quantize_rows(set: Int8Set, x: &[f32], inputs: usize) -> (Bytes, Vec<f32>) {
    /// Rows of one task.
    const GROUP: usize = 16;
    let rows = x.len() / inputs;
    let row_bytes = padded_depth(inputs) * set.factors().bytes();
    let mut values = Bytes::zeros(rows.next_multiple_of(ROW_STEP) * row_bytes);
    let mut scales = vec![0.0; rows];
    let factors = set.factors();
    values
        .par_chunks_mut(GROUP * row_bytes)
        .zip(scales.par_chunks_mut(GROUP))
        .zip(x.par_chunks(GROUP * inputs))
        .for_each(|((values, scales), x)| {
            dispatch_on(FloatSet::in_use(), QuantizeRows { x, inputs, values, scales, factors });
        });
    (values, scales)
}

struct QuantizeRows<'a> {
    x: &'a [f32],
    inputs: usize,
    values: &'a mut [i8],
    scales: &'a mut [f32],
    factors: Factors,
}

impl Kernel for QuantizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { x, inputs, values, scales, factors } = self;
        let row_bytes = padded_depth(inputs) * factors.bytes();
        let rows = x.chunks_exact(inputs).zip(values.chunks_exact_mut(row_bytes));
        for ((x, values), scale) in rows.zip(scales) {
            let values = &mut values[..inputs * factors.bytes()];
            *scale = match factors {
                Factors::Signed => quantize(x, values, |bits| bits as i8),
                Factors::Unsigned => quantize(x, values, |bits| bits as i8 ^ i8::MIN),
                Factors::Wide => quantize(x, bytemuck::cast_slice_mut(values), |bits| bits as i16),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::collect;
    use super::super::tests::random;
    use super::*;

    fn exact(x: &[f32], w: &[f32], inputs: usize, outputs: usize) -> Vec<f64> {
        let row = |r: &[f32], c: &[f32]| r.iter().zip(c).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        x.chunks_exact(inputs)
            .flat_map(|r| w.chunks_exact(inputs).take(outputs).map(move |c| row(r, c)))
            .collect()
    }

    fn product(set: Int8Set, x: &[f32], w: &Int8Matrix) -> Vec<f32> {
        collect(x.len() / w.inputs * w.outputs, |y| matmul_on(set, x, w, None, y))
    }

    #[test]
    fn every_instruction_set_gives_the_same_sums_close_to_the_exact_ones() {
        let sizes = [(1, 1, 1), (5, 67, 33), (50, 768, 96), (17, 130, 31), (33, 64, 32), (150, 192, 40)];
        // An interpreter takes minutes for more.
        for &(rows, inputs, outputs) in if cfg!(miri) { &sizes[..2] } else { &sizes } {
            let (x, w) = (random(rows * inputs, 1), random(outputs * inputs, 2));
            let bias = random(outputs, 3);
            let weight = Weight { values: &w, bias: Some(&bias), inputs };
            let matrix = Int8Matrix::quantize(&[weight]).expect("few inputs");
            let exact = exact(&x, &w, inputs, outputs);
            let before = random(rows * outputs, 4);
            let product = |set, target| {
                let mut y = before.clone();
                match target {
                    Target::Add => matmul_add_on(set, &x, &matrix, &mut y),
                    Target::Overwrite => y = collect(y.len(), |y| matmul_on(set, &x, &matrix, None, y)),
                    Target::Activate(a) => y = collect(y.len(), |y| matmul_on(set, &x, &matrix, Some(a), y)),
                }
                y
            };
            for target in [Target::Overwrite, Target::Add, Target::Activate(Activation::QuickGelu)] {
                let portable = product(Int8Set::Portable, target);
                for set in Int8Set::all() {
                    for (y, portable) in product(set, target).iter().zip(&portable) {
                        // Less than a step of the sums, 1 / 127²; scaling them rounds.
                        assert!((y - portable).abs() < 2e-5, "{set:?} {rows} × {inputs} × {outputs}");
                    }
                }
                // Half a step of each operand, summed over `inputs` products: three deviations.
                let tolerance = 3.0 * (2.0f64 * inputs as f64 / 3.0 / 12.0).sqrt() / 127.0 + 0.01;
                for (i, y) in portable.iter().enumerate() {
                    let sum = exact[i] + f64::from(bias[i % outputs]);
                    let want = match target {
                        Target::Overwrite => sum,
                        Target::Add => sum + f64::from(before[i]),
                        Target::Activate(_) => sum / (1.0 + (-1.702 * sum).exp()),
                    };
                    assert!((f64::from(*y) - want).abs() < tolerance * 2.0, "{y} is not {want}");
                }
            }
        }
    }

    #[test]
    fn extreme_values_do_not_saturate() {
        let (inputs, outputs) = (256, 32);
        for (x, w) in [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)] {
            let (xs, ws) = (vec![x; inputs], vec![w; inputs * outputs]);
            let matrix =
                Int8Matrix::quantize(&[Weight { values: &ws, bias: None, inputs }]).expect("few inputs");
            for set in Int8Set::all() {
                let y = product(set, &xs, &matrix);
                assert!(y.iter().all(|y| (y - x * w * 256.0).abs() < 1e-3), "{set:?}: {y:?}");
            }
        }
    }

    #[test]
    fn row_is_the_same_alone_as_among_others() {
        let (rows, inputs, outputs) = if cfg!(miri) { (520, 2, 3) } else { (1100, 64, 40) };
        let (x, w) = (random(rows * inputs, 5), random(outputs * inputs, 6));
        let matrix = Int8Matrix::quantize(&[Weight { values: &w, bias: None, inputs }]).expect("few inputs");
        for set in Int8Set::all() {
            let all = product(set, &x, &matrix);
            for row in [0, rows / 2 - 39, rows / 2, rows - 1] {
                let alone = product(set, &x[row * inputs..][..inputs], &matrix);
                assert_eq!(alone, all[row * outputs..][..outputs], "{set:?}");
            }
        }
    }

    #[test]
    fn zero_rows_give_the_bias() {
        let weight = [0.0; 8];
        let matrix = Int8Matrix::quantize(&[Weight { values: &weight, bias: Some(&[3.0, 4.0]), inputs: 4 }]);
        let matrix = matrix.expect("few inputs");
        let y = collect(2, |y| matmul_int8(&[0.0; 4], &matrix, None, y));
        assert_eq!(y, [3.0, 4.0]);
    }

    #[test]
    fn matrix_too_deep_for_exact_sums_is_refused() {
        let values = vec![1.0; MAX_DEPTH + 1];
        let weight = Weight { values: &values, bias: None, inputs: MAX_DEPTH + 1 };
        assert!(Int8Matrix::quantize(&[weight]).is_none());
    }
}
