//! `y = x · wᵀ + b` for row-major matrices.
//!
//! The weights are used as the checkpoint file has them, one output a row: a task turns a few
//! rows of `w` into a panel that fits the second-level cache, multiplies all its rows of `x` with
//! it, and forgets it. That needs no memory, and a mapped file is read once, when its weights are
//! first used. Panels that were kept made one image 7 % faster and eight 2 %: not worth as much
//! memory again as the weights.

use super::activation::Activation;
use super::simd::{Isa, Kernel, Simd, dispatch};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Summed elements of a panel: with `PANEL` columns 144 KiB. Panels of 36 KiB, which the first-level
/// cache holds, cost more where the sums are written and read back between them.
const DEPTH: usize = 768;
/// Vectors in a row of a panel.
const VECTORS: usize = 3;
/// Columns of the widest panel, that of AVX-512, which are the rows of `w` in one task.
const PANEL: usize = VECTORS * 16;
/// Elements in a line of the cache.
const LINE: usize = 16;
/// The most rows of a register tile.
const MAX_TILE_ROWS: usize = 8;
/// Rows of `x` in one task at most: `DEPTH` elements of each, 600 KiB, stay in the second-level
/// cache beside a panel.
const TASK_ROWS: usize = 200;
/// Rows of `x` for each further panel in a task: with many rows it is they that should be read once,
/// with few it is `w`, each row from its beginning to its end.
const ROWS_PER_PANEL: usize = 96;
/// Panels in a task at most.
const TASK_PANELS: usize = 4;

/// Where the products go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `y` is overwritten.
    Overwrite,
    /// The products are added to `y`.
    Add,
    /// `y` is overwritten with the function of the products.
    Activate(Activation),
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
    matmul_on(Isa::of_this_machine(), x, weights, y, target);
}

fn matmul_on(isa: Isa, x: &[f32], weights: &[Weight], y: &mut [f32], target: Target) {
    let inputs = weights[0].inputs;
    let width: usize = weights.iter().map(Weight::outputs).sum();
    let rows = x.len() / inputs;
    assert!(weights.iter().all(|w| w.inputs == inputs && w.values.len() % inputs == 0));
    assert!(weights.iter().all(|w| w.bias.is_none_or(|b| b.len() == w.outputs())));
    assert!(x.len() == rows * inputs && y.len() == rows * width);

    let mut tasks = Vec::new();
    let groups = rows.div_ceil(TASK_ROWS);
    // Two tasks for each thread even out what else the machine does.
    let panels = groups * width.div_ceil(PANEL) / (2 * rayon::current_num_threads());
    let columns = PANEL * panels.min(rows / ROWS_PER_PANEL).clamp(1, TASK_PANELS);
    for group in 0..groups {
        let first_row = rows * group / groups;
        let rows = rows * (group + 1) / groups - first_row;
        let mut column = 0;
        for weight in weights {
            for first in (0..weight.outputs()).step_by(columns) {
                tasks.push(Block {
                    x: x[first_row * inputs..].as_ptr(),
                    rows,
                    inputs,
                    w: weight.values[first * inputs..].as_ptr(),
                    bias: weight.bias.map(|b| b[first..].as_ptr()),
                    // SAFETY: within `y`, whose rows are `width` long.
                    y: unsafe { y.as_mut_ptr().add(first_row * width + column + first) },
                    columns: columns.min(weight.outputs() - first),
                    width,
                    target,
                });
            }
            column += weight.outputs();
        }
    }
    tasks.into_par_iter().for_each(|task| dispatch(isa, task));
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
struct Panel(#[expect(dead_code, reason = "written and read through a pointer")] [f32; DEPTH * PANEL]);

/// The sums of a register tile, a panel's width apart.
#[repr(align(64))]
pub(super) struct Tile(pub(super) [f32; MAX_TILE_ROWS * PANEL]);

impl Tile {
    pub(super) fn new() -> Self {
        Self([0.0; MAX_TILE_ROWS * PANEL])
    }

    /// The sums of one row.
    pub(super) fn row(&self, m: usize) -> &[f32] {
        &self.0[m * PANEL..][..PANEL]
    }
}

impl Kernel for Block {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut panel = MaybeUninit::<Panel>::uninit();
        let mut tile = Tile::new();
        for depth in (0..self.inputs).step_by(DEPTH) {
            for column in (0..self.columns).step_by(VECTORS * S::LANES) {
                let part = Part {
                    columns: (self.columns - column).min(VECTORS * S::LANES),
                    column,
                    length: DEPTH.min(self.inputs - depth),
                    depth,
                };
                let panel = panel.as_mut_ptr().cast();
                // SAFETY: `part` lies within the block; of the panel that is read which was filled.
                unsafe {
                    self.fill::<S>(&part, panel);
                    self.multiply::<S>(&part, panel, &mut tile);
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
    unsafe fn fill<S: Simd>(&self, part: &Part, panel: *mut f32) {
        let row = |n: usize| unsafe {
            self.w.add((part.column + n.min(part.columns - 1)) * self.inputs + part.depth)
        };
        for half in 0..VECTORS {
            let rows: [*const f32; 16] = std::array::from_fn(|n| row(half * S::LANES + n % S::LANES));
            let to = unsafe { panel.add(half * S::LANES) };
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
    unsafe fn multiply<S: Simd>(&self, part: &Part, panel: *const f32, sums: &mut Tile) {
        let tiles = self.rows.div_ceil(S::TILE_ROWS);
        for tile in 0..tiles {
            let first = self.rows * tile / tiles;
            let rows = self.rows * (tile + 1) / tiles - first;
            unsafe {
                let factors = Factors {
                    x: self.x.add(first * self.inputs + part.depth),
                    x_stride: self.inputs,
                    w: panel,
                    w_stride: VECTORS * S::LANES,
                    length: part.length,
                    ahead: self.ahead::<S>(part, tile, tiles),
                };
                product::<S, VECTORS>(rows, &factors, sums);
                self.keep::<S>(first, rows, part, sums);
            }
        }
    }

    /// Part `tile` of `tiles` of what the next panel will be made of, here or in the task that is
    /// likely next. Transposing reads too little of too many rows for the processor to see
    /// what comes.
    #[inline(always)]
    fn ahead<S: Simd>(&self, part: &Part, tile: usize, tiles: usize) -> Ahead {
        let (column, depth) = (part.column + part.columns, part.depth + part.length);
        let (column, depth) = match (column < self.columns, depth < self.inputs) {
            (true, _) => (column, part.depth),
            (false, true) => (0, depth),
            (false, false) => (self.columns, 0),
        };
        let count = VECTORS * S::LANES;
        let first = count * tile / tiles;
        let rows = self.w.wrapping_add((column + first) * self.inputs + depth);
        Ahead { rows, stride: self.inputs, count: count * (tile + 1) / tiles - first }
    }

    /// Adds the bias and what `y` has already, and writes the sums there.
    #[inline(always)]
    unsafe fn keep<S: Simd>(&self, first: usize, rows: usize, part: &Part, tile: &Tile) {
        let keep = part.depth > 0 || self.target == Target::Add;
        let last = part.depth + part.length == self.inputs;
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
                    if let (Target::Activate(activation), true) = (self.target, last) {
                        sum = activation.apply::<S>(sum);
                    }
                    store_some::<S>(y, sum, columns);
                }
            }
        }
    }
}

/// The first `len ≤ LANES` elements from `from`, then zeros.
#[inline(always)]
pub(super) unsafe fn load_some<S: Simd>(from: *const f32, len: usize) -> S::F32 {
    unsafe { if len == S::LANES { S::load(from) } else { S::load_part(from, len) } }
}

/// Writes the first `len ≤ LANES` elements to `to`.
#[inline(always)]
pub(super) unsafe fn store_some<S: Simd>(to: *mut f32, x: S::F32, len: usize) {
    unsafe { if len == S::LANES { S::store(to, x) } else { S::store_part(to, x, len) } }
}

/// Memory to ask for during a product, a little at a time: all at once, it would keep the product
/// waiting.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// Rows of `DEPTH` elements, `stride` apart.
    rows: *const f32,
    stride: usize,
    count: usize,
}

impl Ahead {
    /// Nothing to ask for.
    pub(super) fn nothing() -> Self {
        Self { rows: std::ptr::null(), stride: 0, count: 0 }
    }

    /// Asks for the line of each row that has its element `k`.
    #[inline(always)]
    fn prefetch<S: Simd>(&self, k: usize) {
        for row in 0..self.count {
            S::prefetch(self.rows.wrapping_add(row * self.stride + k));
        }
    }
}

/// What [`product`] multiplies: rows of `x`, `x_stride` apart, and `length` rows of vectors, `w_stride`
/// apart.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    pub(super) x: *const f32,
    pub(super) x_stride: usize,
    pub(super) w: *const f32,
    pub(super) w_stride: usize,
    pub(super) length: usize,
    pub(super) ahead: Ahead,
}

/// The products of `rows` rows, at most [`Simd::TILE_ROWS`], with `V` vectors.
///
/// # Safety
///
/// The factors must be there, and so must the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn product<S: Simd, const V: usize>(rows: usize, factors: &Factors, to: &mut Tile) {
    unsafe {
        match rows {
            1 => product_of::<S, V, 1>(factors, to),
            2 => product_of::<S, V, 2>(factors, to),
            3 => product_of::<S, V, 3>(factors, to),
            4 => product_of::<S, V, 4>(factors, to),
            5 => product_of::<S, V, 5>(factors, to),
            6 => product_of::<S, V, 6>(factors, to),
            7 => product_of::<S, V, 7>(factors, to),
            _ => product_of::<S, V, 8>(factors, to),
        }
    }
}

#[inline(always)]
unsafe fn product_of<S: Simd, const V: usize, const M: usize>(factors: &Factors, to: &mut Tile) {
    let Factors { x, x_stride, w, w_stride, length, ahead } = *factors;
    if M > S::TILE_ROWS {
        unreachable!("a tile has at most {} rows", S::TILE_ROWS);
    }
    unsafe {
        let mut sums = [[S::splat(0.0); V]; M];
        for line in (0..length).step_by(LINE) {
            ahead.prefetch::<S>(line);
            for k in line..length.min(line + LINE) {
                let w = w.add(k * w_stride);
                let w: [S::F32; V] = std::array::from_fn(|v| S::load(w.add(v * S::LANES)));
                for m in 0..M {
                    let x = S::splat(*x.add(m * x_stride + k));
                    for v in 0..V {
                        sums[m][v] = S::mul_add(x, w[v], sums[m][v]);
                    }
                }
            }
        }
        // Through memory: sums that a loop of any length may index would not stay in registers.
        for m in 0..M {
            for v in 0..V {
                S::store(to.0.as_mut_ptr().add(m * PANEL + v * S::LANES), sums[m][v]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::random;
    use super::*;

    #[test]
    fn every_instruction_set_multiplies_any_sizes() {
        // Odd sizes, one of each, more than a panel, a tile, a depth and a task.
        for (rows, inputs, outputs) in [
            (1, 1, [1, 1, 1]),
            (5, 67, [3, 49, 1]),
            (50, 131, [64, 48, 100]),
            (1030, 30, [9, 200, 50]),
            (97, 300, [500, 1, 7]),
            (9, 1600, [50, 1, 7]),
        ] {
            let x = random(rows * inputs, 1);
            let values = outputs.map(|n| random(n * inputs, n as u32));
            let bias = random(outputs[1], 3);
            let weights =
                [0, 1, 2].map(|i| Weight { values: &values[i], bias: (i == 1).then_some(&bias[..]), inputs });
            let width = outputs.iter().sum::<usize>();
            let before = random(rows * width, 4);
            let mut want = Vec::new();
            for x in x.chunks_exact(inputs) {
                for weight in &weights {
                    for (n, w) in weight.values.chunks_exact(inputs).enumerate() {
                        let sum: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                        want.push(sum as f32 + weight.bias.map_or(0.0, |bias| bias[n]));
                    }
                }
            }
            for isa in Isa::all_of_this_machine() {
                for target in [Target::Overwrite, Target::Add, Target::Activate(Activation::QuickGelu)] {
                    let mut y = before.clone();
                    matmul_on(isa, &x, &weights, &mut y, target);
                    for (i, y) in y.iter().enumerate() {
                        let want = match target {
                            Target::Overwrite => want[i],
                            Target::Add => want[i] + before[i],
                            Target::Activate(_) => want[i] / (1.0 + (-1.702 * want[i]).exp()),
                        };
                        // Rounding of sums of products below 1.
                        let tolerance = 2e-5 + 1e-6 * want.abs();
                        assert!(
                            (y - want).abs() < tolerance,
                            "{isa:?} {rows} × {inputs}, {i}: {y} is not {want}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn row_is_the_same_alone_as_among_others() {
        let (rows, inputs, outputs) = (1100, 200, 60);
        let (x, values) = (random(rows * inputs, 5), random(outputs * inputs, 6));
        let weights = [Weight { values: &values, bias: None, inputs }];
        for isa in Isa::all_of_this_machine() {
            let mut all = vec![0.0; rows * outputs];
            matmul_on(isa, &x, &weights, &mut all, Target::Overwrite);
            for row in [0, 7, 511, 1099] {
                let mut alone = vec![0.0; outputs];
                matmul_on(isa, &x[row * inputs..][..inputs], &weights, &mut alone, Target::Overwrite);
                assert_eq!(alone, all[row * outputs..][..outputs], "{isa:?}");
            }
        }
    }

    #[test]
    fn no_rows_are_no_work() {
        let weights = [Weight { values: &[1.0; 8], bias: None, inputs: 4 }];
        matmul(&[], &weights, &mut [], Target::Overwrite);
    }
}
