//! `y = x · wᵀ + b` for row-major matrices.
//!
//! The weights are used as the checkpoint file has them, one output a row: a task turns a few
//! rows of `w` into a panel that fits the second-level cache, multiplies all its rows of `x` with
//! it, and forgets it. That needs no memory, and a mapped file is read once, when its weights are
//! first used. Panels that were kept made one image 7 % faster and eight 2 %: not worth as much
//! memory again as the weights.

use super::activation::Activation;
use super::instructions::FloatSet;
use super::output::Region;
use super::simd::{Kernel, Simd, dispatch_on};
use super::tile::{Ahead, Factors, Finish, MAX_TILE_COLUMNS, Tile, lines, product, transpose};
use rayon::prelude::*;
use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Rows of `x` in one task at most: of each as many elements as a panel is deep, at most 600 KiB, stay
/// in the second-level cache beside it.
const TASK_ROWS: usize = 200;
/// Rows of `x` for each further panel in a task: with many rows it is they that should be read once,
/// with few it is `w`, each row from its beginning to its end.
const ROWS_PER_PANEL: usize = 96;
/// Panels in a task at most.
const TASK_PANELS: usize = 4;

/// Where the products go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// `y` is overwritten.
    Overwrite,
    /// The products are added to `y`, which is initialised.
    Add,
    /// `y` is overwritten with the function of the products.
    Activate(Activation),
}

impl From<Option<Activation>> for Target {
    fn from(activation: Option<Activation>) -> Self {
        activation.map_or(Self::Overwrite, Self::Activate)
    }
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

/// Multiplies the rows of `x` with several weight matrices side by side, and gives
/// `y[r] = [x[r] · w₀ᵀ + b₀, x[r] · w₁ᵀ + b₁, …]`, or the activation of that.
///
/// *Shape* `x [R, inputs]`, `y [R, Σ outputs]`, row-major.
///
/// # Panics
///
/// If the shapes do not fit.
pub fn matmul<'y>(
    x: &[f32],
    weights: &[Weight],
    activation: Option<Activation>,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    matmul_on(FloatSet::in_use(), x, weights, activation, y)
}

/// Multiplies the rows of `x` with several weight matrices side by side, and adds the products to `y`.
///
/// *Shape* `x [R, inputs]`, `y [R, Σ outputs]`, row-major.
///
/// # Panics
///
/// If the shapes do not fit.
pub fn matmul_add(x: &[f32], weights: &[Weight], y: &mut [f32]) {
    matmul_add_on(FloatSet::in_use(), x, weights, y);
}

pub(super) fn matmul_on<'y>(
    set: FloatSet,
    x: &[f32],
    weights: &[Weight],
    activation: Option<Activation>,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    multiply(set, x, weights, Region::of(y, width(weights)), activation.into());
    // SAFETY: a product writes every element.
    unsafe { y.assume_init_mut() }
}

pub(super) fn matmul_add_on(set: FloatSet, x: &[f32], weights: &[Weight], y: &mut [f32]) {
    // SAFETY: only sums are written.
    let y = unsafe { Region::of_initialised(y, width(weights)) };
    multiply(set, x, weights, y, Target::Add);
}

fn width(weights: &[Weight]) -> usize {
    weights.iter().map(Weight::outputs).sum()
}

/// Writes every element of `y`.
fn multiply(set: FloatSet, x: &[f32], weights: &[Weight], mut y: Region, target: Target) {
    let inputs = weights[0].inputs;
    let rows = x.len() / inputs;
    assert!(weights.iter().all(|w| w.inputs == inputs && w.values.len() % inputs == 0));
    assert!(weights.iter().all(|w| w.bias.is_none_or(|b| b.len() == w.outputs())));
    assert!(x.len() == rows * inputs && y.rows() == rows && y.columns() == width(weights));

    let mut tasks = Vec::new();
    let groups = rows.div_ceil(TASK_ROWS);
    // Two tasks for each thread even out what else the machine does.
    let panels = groups * y.columns().div_ceil(MAX_TILE_COLUMNS) / (2 * rayon::current_num_threads());
    let columns = MAX_TILE_COLUMNS * panels.min(rows / ROWS_PER_PANEL).clamp(1, TASK_PANELS);
    for group in 0..groups {
        let first = rows * group / groups;
        let rows = rows * (group + 1) / groups - first;
        let mut row = y.take_rows(rows);
        for weight in weights {
            for output in (0..weight.outputs()).step_by(columns) {
                let outputs = columns.min(weight.outputs() - output);
                tasks.push(BlockProduct {
                    x: &x[first * inputs..][..rows * inputs],
                    w: &weight.values[output * inputs..],
                    bias: weight.bias.map(|b| &b[output..][..outputs]),
                    inputs,
                    y: row.take_columns(outputs),
                    target,
                });
            }
        }
    }
    // One by one: what a thread has in store when the system takes it away, the others can do.
    tasks.into_par_iter().with_max_len(1).for_each(|task| dispatch_on(set, task));
}

/// The product of some rows of `x` with as many rows of `w` as `y` has columns.
struct BlockProduct<'a> {
    x: &'a [f32],
    /// Its own rows, and those behind, which the next task may want.
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    inputs: usize,
    y: Region<'a>,
    target: Target,
}

thread_local! {
    /// Rows of `w` side by side: for each summed element one value of every column.
    static PANEL: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Kernel for BlockProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // Not within a closure: it would be compiled without the instructions of `S`.
        let mut memory = PANEL.take();
        let panel = lines(&mut memory, S::DEPTH * S::TILE_VECTORS * S::LANES);
        match S::TILE_VECTORS {
            2 => self.multiply::<S, 2>(simd, panel),
            3 => self.multiply::<S, 3>(simd, panel),
            other => unreachable!("tiles of {other} vectors"),
        }
        PANEL.set(memory);
    }
}

/// What one panel holds: columns of the block, and summed elements.
struct PanelPart {
    column: usize,
    columns: usize,
    depth: usize,
    length: usize,
}

impl BlockProduct<'_> {
    #[inline(always)]
    fn multiply<S: Simd, const V: usize>(mut self, simd: S, panel: &mut [f32]) {
        let mut sums = Tile::new();
        let columns = self.y.columns();
        for depth in (0..self.inputs).step_by(S::DEPTH) {
            for column in (0..columns).step_by(V * S::LANES) {
                let part = PanelPart {
                    columns: (columns - column).min(V * S::LANES),
                    column,
                    length: S::DEPTH.min(self.inputs - depth),
                    depth,
                };
                self.fill::<S, V>(simd, &part, panel);
                self.multiply_part::<S, V>(simd, &part, panel, &mut sums);
            }
        }
    }

    /// Transposes rows of `w` into the panel; columns beyond the last repeat it.
    #[inline(always)]
    fn fill<S: Simd, const V: usize>(&self, simd: S, part: &PanelPart, panel: &mut [f32]) {
        for v in 0..V {
            let rows = std::array::from_fn(|n| {
                let column = part.column + (v * S::LANES + n % S::LANES).min(part.columns - 1);
                &self.w[column * self.inputs + part.depth..][..part.length]
            });
            transpose(simd, &rows, part.length, &mut panel[v * S::LANES..], V * S::LANES);
        }
    }

    #[inline(always)]
    fn multiply_part<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        part: &PanelPart,
        panel: &[f32],
        sums: &mut Tile,
    ) {
        let width = V * S::LANES;
        let mut bias = [0.0; MAX_TILE_COLUMNS];
        let finish = Finish {
            bias: self.bias.filter(|_| part.depth == 0).map(|values| {
                bias[..part.columns].copy_from_slice(&values[part.column..][..part.columns]);
                &bias[..width]
            }),
            add: part.depth > 0 || self.target == Target::Add,
        };
        let activation = match self.target {
            Target::Activate(activation) if part.depth + part.length == self.inputs => Some(activation),
            _ => None,
        };
        let tiles = self.y.rows().div_ceil(S::TILE_ROWS);
        for tile in 0..tiles {
            let first = self.y.rows() * tile / tiles;
            let rows = self.y.rows() * (tile + 1) / tiles - first;
            let factors = Factors {
                x: &self.x[first * self.inputs + part.depth..],
                x_stride: self.inputs,
                w: panel,
                w_stride: width,
                length: part.length,
                ahead: self.ahead(part, width, tile, tiles),
            };
            let mut y = self.y.part(first..first + rows, part.column..part.column + part.columns);
            let whole = part.columns == width;
            let mut spare = sums.region();
            if !whole && finish.add {
                for m in 0..rows {
                    spare.row(m)[..part.columns].copy_from_slice(y.row(m));
                }
            }
            // Called once, for it is long: each call is compiled for itself.
            let to = if whole { &mut y } else { &mut spare };
            product::<S, V>(simd, &factors, finish, to.part(0..rows, 0..width));
            if !whole {
                for m in 0..rows {
                    y.row(m).copy_from_slice(&spare.row(m)[..part.columns]);
                }
            }
            if let Some(activation) = activation {
                // SAFETY: the sums are written.
                unsafe { activate(simd, activation, y) };
            }
        }
    }

    /// Part `tile` of `tiles` of what the next panel, `count` rows, will be made of, here or in the
    /// task that is likely next. Transposing reads too little of too many rows for the processor
    /// to see what comes.
    #[inline(always)]
    fn ahead(&self, part: &PanelPart, count: usize, tile: usize, tiles: usize) -> Ahead {
        let columns = self.y.columns();
        let (column, depth) = (part.column + part.columns, part.depth + part.length);
        let (column, depth) = match (column < columns, depth < self.inputs) {
            (true, _) => (column, part.depth),
            (false, true) => (0, depth),
            (false, false) => (columns, 0),
        };
        let first = count * tile / tiles;
        let rows = self.w.as_ptr().wrapping_add((column + first) * self.inputs + depth);
        Ahead { rows, stride: self.inputs, count: count * (tile + 1) / tiles - first }
    }
}

/// Overwrites elements with the function of them.
///
/// # Safety
///
/// They are initialised.
#[inline(always)]
unsafe fn activate<S: Simd>(simd: S, activation: Activation, mut y: Region) {
    for row in 0..y.rows() {
        for y in y.row(row).chunks_mut(S::LANES) {
            // SAFETY: the caller's.
            let x = simd.load_some(unsafe { y.assume_init_ref() });
            simd.write_some(y, activation.apply(simd, x));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::collect;
    use super::*;
    use crate::random::random;

    /// A product with `set` into new memory, or added to `before`.
    fn product_on(set: FloatSet, x: &[f32], weights: &[Weight], target: Target, before: &[f32]) -> Vec<f32> {
        let mut y = before.to_vec();
        match target {
            Target::Add => matmul_add_on(set, x, weights, &mut y),
            Target::Overwrite => y = collect(y.len(), |y| matmul_on(set, x, weights, None, y)),
            Target::Activate(a) => y = collect(y.len(), |y| matmul_on(set, x, weights, Some(a), y)),
        }
        y
    }

    #[test]
    fn every_instruction_set_multiplies_any_sizes() {
        // Odd sizes, one of each, more than a panel, a tile, a depth and a task.
        let sizes = [
            (1, 1, [1, 1, 1]),
            (5, 67, [3, 49, 1]),
            (50, 131, [64, 48, 100]),
            (1030, 30, [9, 200, 50]),
            (97, 300, [500, 1, 7]),
            (9, 1600, [50, 1, 7]),
        ];
        // An interpreter takes minutes for more.
        let sizes = if cfg!(miri) { &[(5, 7, [3, 49, 1]), (3, 800, [1, 2, 1])][..] } else { &sizes };
        for &(rows, inputs, outputs) in sizes {
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
            for set in FloatSet::all() {
                for target in [Target::Overwrite, Target::Add, Target::Activate(Activation::QuickGelu)] {
                    let y = product_on(set, &x, &weights, target, &before);
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
                            "{set:?} {rows} × {inputs}, {i}: {y} is not {want}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn row_is_the_same_alone_as_among_others() {
        let (rows, inputs, outputs) = if cfg!(miri) { (210, 5, 3) } else { (1100, 200, 60) };
        let (x, values) = (random(rows * inputs, 5), random(outputs * inputs, 6));
        let weights = [Weight { values: &values, bias: None, inputs }];
        for set in FloatSet::all() {
            let product =
                |x: &[f32]| collect(x.len() / inputs * outputs, |y| matmul_on(set, x, &weights, None, y));
            let all = product(&x);
            for row in [0, 7, rows / 2 - 39, rows - 1] {
                let alone = product(&x[row * inputs..][..inputs]);
                assert_eq!(alone, all[row * outputs..][..outputs], "{set:?}");
            }
        }
    }

    #[test]
    fn no_rows_are_no_work() {
        let weights = [Weight { values: &[1.0; 8], bias: None, inputs: 4 }];
        assert!(matmul(&[], &weights, None, &mut []).is_empty());
    }
}
