//! `y = x · wᵀ + b` for row-major matrices.
//!
//! The weights are used as the checkpoint file has them, one output a row, so a mapped file needs
//! neither copying nor packing before the first product. Both operands are contiguous along the
//! summed dimension: a register tile of up to `TILE_ROWS` rows of `x` by four rows of `w` holds
//! vectors of partial sums that are added across their lanes at the end.

use super::simd::{Kernel, Simd, dispatch};
use rayon::prelude::*;

/// Summed elements taken at a time, so that a tile's rows of `x` stay in the first-level cache.
const DEPTH: usize = 1024;
/// Rows of `w` in one task: with `DEPTH` columns they stay in the second-level cache.
const TASK_COLUMNS: usize = 32;

/// Where the products go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `y` is overwritten.
    Overwrite,
    /// The products are added to `y`.
    Add,
}

/// One weight matrix: `[outputs, inputs]` row-major, with a bias per output where there is one.
#[derive(Clone, Copy)]
pub struct Weight<'a> {
    pub values: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub inputs: usize,
}

impl Weight<'_> {
    fn outputs(&self) -> usize {
        self.values.len() / self.inputs
    }
}

/// Multiplies the rows of `x` with several weight matrices side by side: `y[r] = [x[r] · w₀ᵀ + b₀, x[r] · w₁ᵀ + b₁, …]`.
///
/// *Shape* `x [R, inputs]`, `y [R, Σ outputs]`, row-major.
pub fn matmul(x: &[f32], weights: &[Weight], y: &mut [f32], target: Target) {
    let inputs = weights[0].inputs;
    let width: usize = weights.iter().map(Weight::outputs).sum();
    let rows = x.len() / inputs;
    assert!(weights.iter().all(|w| w.inputs == inputs && w.values.len() % inputs == 0));
    assert!(weights.iter().all(|w| w.bias.is_none_or(|b| b.len() == w.outputs())));
    assert!(x.len() == rows * inputs && y.len() == rows * width);

    let mut tasks = Vec::new();
    let mut column = 0;
    for weight in weights {
        for first in (0..weight.outputs()).step_by(TASK_COLUMNS) {
            let columns = TASK_COLUMNS.min(weight.outputs() - first);
            tasks.push(Block {
                x: x.as_ptr(),
                rows,
                inputs,
                w: weight.values[first * inputs..].as_ptr(),
                bias: weight.bias.map(|b| b[first..].as_ptr()),
                // SAFETY: within `y`, whose rows are `width` long.
                y: unsafe { y.as_mut_ptr().add(column + first) },
                columns,
                width,
                target,
            });
        }
        column += weight.outputs();
    }
    tasks.into_par_iter().for_each(|task| dispatch(task));
}

/// The product of all rows of `x` with some rows of `w`.
struct Block {
    x: *const f32,
    rows: usize,
    inputs: usize,
    w: *const f32,
    bias: Option<*const f32>,
    y: *mut f32,
    columns: usize,
    width: usize,
    target: Target,
}

// SAFETY: blocks write to disjoint columns of `y`.
unsafe impl Send for Block {}
unsafe impl Sync for Block {}

impl Kernel for Block {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let tiles = self.rows.div_ceil(S::TILE_ROWS);
            for depth in (0..self.inputs).step_by(DEPTH) {
                for tile in 0..tiles {
                    let first = self.rows * tile / tiles;
                    let rows = self.rows * (tile + 1) / tiles - first;
                    match rows {
                        1 => self.rows::<S, 1>(first, depth),
                        2 => self.rows::<S, 2>(first, depth),
                        3 => self.rows::<S, 3>(first, depth),
                        4 => self.rows::<S, 4>(first, depth),
                        5 => self.rows::<S, 5>(first, depth),
                        _ => self.rows::<S, 6>(first, depth),
                    }
                }
            }
        }
    }
}

impl Block {
    /// `M` rows from `first`, all columns, the summed elements from `depth`.
    #[inline(always)]
    unsafe fn rows<S: Simd, const M: usize>(&self, first: usize, depth: usize) {
        unsafe {
            let length = DEPTH.min(self.inputs - depth);
            let x = self.x.add(first * self.inputs + depth);
            let keep = depth > 0 || self.target == Target::Add;
            let bias = if depth == 0 { self.bias } else { None };
            for column in (0..self.columns).step_by(4) {
                let columns = (self.columns - column).min(4);
                let w = self.w.add(column * self.inputs + depth);
                let sums = match columns {
                    1 => tile::<S, M, 1>(x, w, self.inputs, length),
                    2 => tile::<S, M, 2>(x, w, self.inputs, length),
                    3 => tile::<S, M, 3>(x, w, self.inputs, length),
                    _ => tile::<S, M, 4>(x, w, self.inputs, length),
                };
                for (m, sums) in sums.iter().enumerate() {
                    let y = self.y.add((first + m) * self.width + column);
                    for (n, sum) in sums.iter().enumerate().take(columns) {
                        let bias = bias.map_or(0.0, |b| *b.add(column + n));
                        let kept = if keep { *y.add(n) } else { 0.0 };
                        *y.add(n) = kept + sum + bias;
                    }
                }
            }
        }
    }
}

/// The products of `M` rows of `x` with `N ≤ 4` rows of `w`, over `length` elements.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const M: usize, const N: usize>(
    x: *const f32,
    w: *const f32,
    stride: usize,
    length: usize,
) -> [[f32; 4]; M] {
    unsafe {
        let zero = S::splat(0.0);
        let mut sums = [[zero; N]; M];
        let mut k = 0;
        while k + S::LANES <= length {
            let w: [S::F32; N] = std::array::from_fn(|n| S::load(w.add(n * stride + k)));
            for m in 0..M {
                let x = S::load(x.add(m * stride + k));
                for n in 0..N {
                    sums[m][n] = S::mul_add(x, w[n], sums[m][n]);
                }
            }
            k += S::LANES;
        }
        if k < length {
            let rest = length - k;
            let w: [S::F32; N] = std::array::from_fn(|n| S::load_part(w.add(n * stride + k), rest));
            for m in 0..M {
                let x = S::load_part(x.add(m * stride + k), rest);
                for n in 0..N {
                    sums[m][n] = S::mul_add(x, w[n], sums[m][n]);
                }
            }
        }
        sums.map(|row| S::sum4(std::array::from_fn(|n| if n < N { row[n] } else { zero })))
    }
}
