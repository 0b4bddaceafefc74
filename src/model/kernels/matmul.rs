//! `y = x · wᵀ + b` for row-major matrices.
//!
//! The weights are used as the checkpoint file has them, one output a row: a task turns a few
//! rows of `w` into a panel that fits the first-level cache, multiplies all its rows of `x` with
//! it, and forgets it. That costs one shuffle for some 50 products with an image's tokens, needs
//! no memory, and a mapped file is read once, when its weights are first used.

use super::simd::{Kernel, Simd, dispatch};
use rayon::prelude::*;
use std::ops::Range;

/// Summed elements of a panel: with `PANEL` columns 24 KiB.
const DEPTH: usize = 128;
/// Vectors in a row of a panel.
const VECTORS: usize = 3;
/// Columns of the widest panel, that of AVX-512, which are the rows of `w` in one task.
const PANEL: usize = VECTORS * 16;
/// The most rows of a register tile.
const MAX_TILE_ROWS: usize = 8;
/// Rows of `x` in one task at most: they stay in the second-level cache, and are many enough to
/// repay the panels.
const TASK_ROWS: usize = 384;

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
    let groups = rows.div_ceil(TASK_ROWS);
    for group in 0..groups {
        let first_row = rows * group / groups;
        let rows = rows * (group + 1) / groups - first_row;
        let mut column = 0;
        for weight in weights {
            for first in (0..weight.outputs()).step_by(PANEL) {
                tasks.push(Block {
                    x: x[first_row * inputs..].as_ptr(),
                    rows,
                    inputs,
                    w: weight.values[first * inputs..].as_ptr(),
                    bias: weight.bias.map(|b| b[first..].as_ptr()),
                    // SAFETY: within `y`, whose rows are `width` long.
                    y: unsafe { y.as_mut_ptr().add(first_row * width + column + first) },
                    columns: PANEL.min(weight.outputs() - first),
                    width,
                    target,
                });
            }
            column += weight.outputs();
        }
    }
    tasks.into_par_iter().for_each(|task| dispatch(task));
}

/// The product of some rows of `x` with some rows of `w`.
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

// SAFETY: blocks write to disjoint parts of `y`.
unsafe impl Send for Block {}

/// Rows of `w` side by side: for each summed element one value of every column.
#[repr(align(64))]
struct Panel([f32; DEPTH * PANEL]);

/// The sums of a register tile, a panel's width apart.
#[repr(align(64))]
struct Tile([f32; MAX_TILE_ROWS * PANEL]);

impl Kernel for Block {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut panel = Panel([0.0; DEPTH * PANEL]);
        let mut tile = Tile([0.0; MAX_TILE_ROWS * PANEL]);
        for column in (0..self.columns).step_by(VECTORS * S::LANES) {
            for depth in (0..self.inputs).step_by(DEPTH) {
                let part = Part {
                    columns: (self.columns - column).min(VECTORS * S::LANES),
                    column,
                    length: DEPTH.min(self.inputs - depth),
                    depth,
                };
                // SAFETY: `part` lies within the block.
                unsafe {
                    self.fill::<S>(&part, &mut panel);
                    self.multiply::<S>(&part, &panel, &mut tile);
                }
            }
        }
    }
}

/// What one panel holds: columns of the block, and summed elements.
struct Part {
    column: usize,
    columns: usize,
    depth: usize,
    length: usize,
}

impl Block {
    /// Transposes rows of `w` into the panel; columns beyond the last repeat it.
    #[inline(always)]
    unsafe fn fill<S: Simd>(&self, part: &Part, panel: &mut Panel) {
        let row = |n: usize| unsafe {
            self.w.add((part.column + n.min(part.columns - 1)) * self.inputs + part.depth)
        };
        for half in 0..VECTORS {
            let rows: [*const f32; 16] = std::array::from_fn(|n| row(half * S::LANES + n % S::LANES));
            let to = unsafe { panel.0.as_mut_ptr().add(half * S::LANES) };
            let whole = part.length - part.length % 4;
            for k in (0..whole).step_by(4) {
                unsafe { S::transpose4(&rows, k, to.add(k * VECTORS * S::LANES), VECTORS * S::LANES) };
            }
            for k in whole..part.length {
                for (n, row) in rows.iter().take(S::LANES).enumerate() {
                    unsafe { *to.add(k * VECTORS * S::LANES + n) = *row.add(k) };
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd>(&self, part: &Part, panel: &Panel, scratch: &mut Tile) {
        let tiles = self.rows.div_ceil(S::TILE_ROWS);
        for tile in 0..tiles {
            let first = self.rows * tile / tiles;
            unsafe {
                self.prefetch::<S>(part, PANEL * tile / tiles..PANEL * (tile + 1) / tiles);
                match self.rows * (tile + 1) / tiles - first {
                    1 => self.rows::<S, 1>(first, part, panel, scratch),
                    2 => self.rows::<S, 2>(first, part, panel, scratch),
                    3 => self.rows::<S, 3>(first, part, panel, scratch),
                    4 => self.rows::<S, 4>(first, part, panel, scratch),
                    5 => self.rows::<S, 5>(first, part, panel, scratch),
                    6 => self.rows::<S, 6>(first, part, panel, scratch),
                    7 => self.rows::<S, 7>(first, part, panel, scratch),
                    _ => self.rows::<S, 8>(first, part, panel, scratch),
                }
            }
        }
    }

    /// Asks for some of the rows of `w` that the next panel will be made of, here or in the task
    /// that is likely next: the transposing reads too little of too many rows for the processor
    /// to see what comes.
    #[inline(always)]
    unsafe fn prefetch<S: Simd>(&self, part: &Part, rows: Range<usize>) {
        let last = part.depth + part.length == self.inputs;
        let next = if last {
            self.w.wrapping_add(self.columns * self.inputs)
        } else {
            self.w.wrapping_add(part.depth + part.length)
        };
        for row in rows {
            let row = next.wrapping_add((part.column + row) * self.inputs);
            for k in (0..DEPTH).step_by(16) {
                S::prefetch(row.wrapping_add(k));
            }
        }
    }

    /// `M` rows from `first` with a panel.
    #[inline(always)]
    unsafe fn rows<S: Simd, const M: usize>(
        &self,
        first: usize,
        part: &Part,
        panel: &Panel,
        tile: &mut Tile,
    ) {
        if M > S::TILE_ROWS {
            return;
        }
        unsafe {
            let x = self.x.add(first * self.inputs + part.depth);
            let mut sums = [[S::splat(0.0); VECTORS]; M];
            for k in 0..part.length {
                let w = panel.0.as_ptr().add(k * VECTORS * S::LANES);
                let w: [S::F32; VECTORS] = std::array::from_fn(|v| S::load(w.add(v * S::LANES)));
                for m in 0..M {
                    let x = S::splat(*x.add(m * self.inputs + k));
                    for v in 0..VECTORS {
                        sums[m][v] = S::mul_add(x, w[v], sums[m][v]);
                    }
                }
            }

            // Through memory: sums that a loop of any length may index would not stay in registers.
            for m in 0..M {
                let to = tile.0.as_mut_ptr().add(m * PANEL);
                for v in 0..VECTORS {
                    S::store(to.add(v * S::LANES), sums[m][v]);
                }
            }
            self.keep::<S>(first, M, part, tile);
        }
    }

    /// Adds the bias and what `y` has already, and writes the sums there.
    #[inline(always)]
    unsafe fn keep<S: Simd>(&self, first: usize, rows: usize, part: &Part, tile: &Tile) {
        let keep = part.depth > 0 || self.target == Target::Add;
        let bias = if part.depth == 0 { self.bias } else { None };
        for column in (0..part.columns).step_by(S::LANES) {
            let columns = (part.columns - column).min(S::LANES);
            unsafe {
                let bias = match bias {
                    Some(bias) => load_some::<S>(bias.add(part.column + column), columns),
                    None => S::splat(0.0),
                };
                for m in 0..rows {
                    let y = self.y.add((first + m) * self.width + part.column + column);
                    let mut sum = S::add(S::load(tile.0.as_ptr().add(m * PANEL + column)), bias);
                    if keep {
                        sum = S::add(load_some::<S>(y, columns), sum);
                    }
                    if columns == S::LANES {
                        S::store(y, sum);
                    } else {
                        S::store_part(y, sum, columns);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn load_some<S: Simd>(from: *const f32, len: usize) -> S::F32 {
    unsafe { if len == S::LANES { S::load(from) } else { S::load_part(from, len) } }
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
