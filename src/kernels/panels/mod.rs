//! `y ≈ x · wᵀ + b` in numbers narrower than f32: 8-bit integers or bf16.
//!
//! The weights are made narrow when they are loaded and kept in panels; the rows of `x` when they come.
//! Four bytes of a row, a *word*, are what instructions for narrow numbers multiply and sum at a time,
//! whatever the numbers are. So all kinds of them share panels, tasks and tiles, and differ in what
//! [`Narrow`] says.

mod bytes;
mod product;
mod tile;

pub(super) use product::{InTiles, PanelProduct};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use product::InMatrixUnit;

use super::activation::Activation;
use super::instructions::FloatSet;
use super::matmul::{Target, Weight};
use super::output::Region;
use super::simd::{Factors, Kernel, Simd, dispatch, dispatch_on};
use bytemuck::Pod;
use bytes::Bytes;
use product::Panel;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Columns of a panel.
pub(super) const PANEL: usize = 32;
/// Bytes of a word.
pub(super) const WORD_BYTES: usize = 4;
/// Bytes of a row that AMX takes at a time; rows are padded to it with zeros.
pub(super) const STEP_BYTES: usize = 64;
/// Rows that AMX takes at a time; rows of zeros are added to make it.
pub(super) const ROW_STEP: usize = 32;
/// Of the rows of `x` in one task, as many as stay in the second-level cache.
const TASK_BYTES: usize = 384 * 1024;

/// A kind of number narrower than f32, in which matrices are multiplied.
pub trait Narrow: Sized + 'static {
    /// The instruction sets with products of such numbers.
    type Set: Copy + Send + Sync;
    /// A sum of products, of four bytes.
    type Sum: Pod + Send + Sync;
    /// What is known of the columns of a panel besides their numbers.
    type Columns: Default + Send + Sync;
    /// What is known of a row of `x` besides its numbers.
    type Row: Copy + Default + Send + Sync;
    /// Numbers in a word.
    const PER_WORD: usize;

    /// The best set that may be used.
    fn set_in_use() -> Self::Set;
    /// How a set takes the factors.
    fn factors(set: Self::Set) -> Factors;
    /// Writes one output's weights, column `n` of its panel, to the beginning of `to`.
    ///
    /// Implementations are `#[inline(always)]`, here and below, so that they are compiled with the
    /// instructions of their callers.
    fn write_weights(weights: &[f32], to: &mut [u8], columns: &mut Self::Columns, n: usize);
    /// Writes a row of `x` to the beginning of `to`.
    fn write_row(x: &[f32], factors: Factors, to: &mut [u8]) -> Self::Row;
    /// Where the sums of a panel start, if not at zero.
    fn starts(columns: &Self::Columns, factors: Factors) -> Option<&[Self::Sum; PANEL]>;
    /// The products of a row with the columns from `column`, of which these are the sums, plus `bias`.
    fn finish<S: Simd>(
        simd: S,
        sums: &[Self::Sum],
        row: Self::Row,
        columns: &Self::Columns,
        column: usize,
        bias: S::F32,
    ) -> S::F32;
    /// Does the product with the instructions of `set`.
    fn run(set: Self::Set, product: PanelProduct<Self>);
}

/// Weight matrices side by side, in narrow numbers.
///
/// They lie in panels of `PANEL` outputs: a word of each output, then the next word of each.
pub struct PanelMatrix<N: Narrow> {
    values: Bytes,
    /// Of each panel.
    columns: Vec<N::Columns>,
    bias: Option<Vec<f32>>,
    inputs: usize,
    outputs: usize,
}

impl<N: Narrow> PanelMatrix<N> {
    /// Makes matrices narrow whose outputs follow one another.
    ///
    /// # Panics
    ///
    /// If the matrices differ in their inputs.
    pub(super) fn of(weights: &[Weight]) -> Self {
        let inputs = weights[0].inputs;
        assert!(weights.iter().all(|w| w.inputs == inputs && w.values.len() % inputs == 0));
        let rows: Vec<_> = weights.iter().flat_map(|w| w.values.chunks_exact(inputs)).collect();
        let outputs = rows.len();
        let panel_bytes = words::<N>(inputs) * WORD_BYTES * PANEL;
        let mut values = Bytes::zeros(outputs.div_ceil(PANEL) * panel_bytes);
        let columns = values
            .par_chunks_mut(panel_bytes)
            .zip(rows.par_chunks(PANEL))
            .map(|(panel, rows)| dispatch(FillPanel::<N> { rows, panel, columns: N::Columns::default() }))
            .collect();
        let bias = weights.iter().any(|w| w.bias.is_some()).then(|| {
            let bias =
                |w: &Weight| w.bias.map_or_else(|| vec![0.0; w.values.len() / inputs], <[f32]>::to_vec);
            weights.iter().flat_map(bias).collect()
        });
        Self { values, columns, bias, inputs, outputs }
    }

    /// Panel `index` for the columns that the matrix has there.
    fn panel(&self, index: usize, factors: Factors) -> Panel<'_, N> {
        let first = index * PANEL;
        let bytes = words::<N>(self.inputs) * WORD_BYTES * PANEL;
        let (values, ahead) = self.values[index * bytes..].split_at(bytes);
        let columns = &self.columns[index];
        Panel {
            values,
            ahead: &ahead[..bytes.min(ahead.len())],
            columns,
            starts: N::starts(columns, factors),
            bias: self.bias.as_ref().map(|bias| &bias[first..PANEL.min(self.outputs - first) + first]),
        }
    }
}

/// The words of a row, padded.
fn words<N: Narrow>(inputs: usize) -> usize {
    inputs.div_ceil(N::PER_WORD).next_multiple_of(STEP_BYTES / WORD_BYTES)
}

/// Makes a panel of some rows of weights.
struct FillPanel<'a, N: Narrow> {
    rows: &'a [&'a [f32]],
    panel: &'a mut [u8],
    columns: N::Columns,
}

impl<N: Narrow> Kernel for FillPanel<'_, N> {
    type Output = N::Columns;

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) -> N::Columns {
        let mut values = Bytes::zeros(self.panel.len() / PANEL);
        for (n, row) in self.rows.iter().enumerate() {
            N::write_weights(row, &mut values, &mut self.columns, n);
            let places = self.panel.chunks_exact_mut(WORD_BYTES).skip(n).step_by(PANEL);
            places.zip(values.chunks_exact(WORD_BYTES)).for_each(|(place, word)| place.copy_from_slice(word));
        }
        self.columns
    }
}

/// Multiplies the rows of `x` with a matrix, and gives the products or the activation of them.
///
/// *Shape* `x [R, inputs]`, `y [R, outputs]`, row-major.
///
/// # Panics
///
/// If the shapes do not fit.
pub fn matmul_panels<'y, N: Narrow>(
    x: &[f32],
    w: &PanelMatrix<N>,
    activation: Option<Activation>,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    matmul_panels_on(N::set_in_use(), x, w, activation, y)
}

/// Multiplies the rows of `x` with a matrix, and adds the products to `y`.
///
/// *Shape* `x [R, inputs]`, `y [R, outputs]`, row-major.
///
/// # Panics
///
/// If the shapes do not fit.
pub fn matmul_panels_add<N: Narrow>(x: &[f32], w: &PanelMatrix<N>, y: &mut [f32]) {
    matmul_panels_add_on(N::set_in_use(), x, w, y);
}

pub(super) fn matmul_panels_on<'y, N: Narrow>(
    set: N::Set,
    x: &[f32],
    w: &PanelMatrix<N>,
    activation: Option<Activation>,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    multiply(set, x, w, Region::of(y, w.outputs), activation.into());
    // SAFETY: a product writes every element.
    unsafe { y.assume_init_mut() }
}

pub(super) fn matmul_panels_add_on<N: Narrow>(set: N::Set, x: &[f32], w: &PanelMatrix<N>, y: &mut [f32]) {
    // SAFETY: only sums are written.
    let y = unsafe { Region::of_initialised(y, w.outputs) };
    multiply(set, x, w, y, Target::Add);
}

/// Writes every element of `y`.
fn multiply<N: Narrow>(set: N::Set, x: &[f32], w: &PanelMatrix<N>, mut y: Region, target: Target) {
    let rows = x.len() / w.inputs;
    assert!(x.len() == rows * w.inputs && y.rows() == rows && y.columns() == w.outputs);
    let factors = N::factors(set);
    let row_bytes = words::<N>(w.inputs) * factors.bytes_per_word();
    let (values, kept) = narrow_rows::<N>(x, w.inputs, row_bytes, factors);

    let groups = rows.div_ceil((TASK_BYTES / row_bytes).next_multiple_of(ROW_STEP));
    let mut tasks = Vec::new();
    for group in 0..groups {
        // Whole steps, so that none reaches into the next group.
        let steps = rows.div_ceil(ROW_STEP);
        let first = steps * group / groups * ROW_STEP;
        let last = steps * (group + 1) / groups * ROW_STEP;
        let (x, rows) = (&values[first * row_bytes..last * row_bytes], &kept[first..last.min(rows)]);
        let mut row = y.take_rows(rows.len());
        for panel in 0..w.outputs.div_ceil(PANEL) {
            let y = row.take_columns(PANEL.min(row.columns()));
            tasks.push(PanelProduct { x, rows, panel: w.panel(panel, factors), y, target });
        }
    }
    // One by one: what a thread has in store when the system takes it away, the others can do.
    tasks.into_par_iter().with_max_len(1).for_each(|task| N::run(set, task));
}

/// The rows of `x`, padded to whole steps, and what is known of each.
fn narrow_rows<N: Narrow>(
    x: &[f32],
    inputs: usize,
    row_bytes: usize,
    factors: Factors,
) -> (Bytes, Vec<N::Row>) {
    /// Rows of one task.
    const TASK_ROWS: usize = 16;
    let rows = x.len() / inputs;
    let mut values = Bytes::zeros(rows.next_multiple_of(ROW_STEP) * row_bytes);
    let mut kept = vec![N::Row::default(); rows];
    values
        .par_chunks_mut(TASK_ROWS * row_bytes)
        .zip(kept.par_chunks_mut(TASK_ROWS))
        .zip(x.par_chunks(TASK_ROWS * inputs))
        .for_each(|((values, kept), x)| {
            let work = NarrowRows::<N> { x, inputs, values, row_bytes, kept, factors };
            dispatch_on(FloatSet::in_use(), work);
        });
    (values, kept)
}

struct NarrowRows<'a, N: Narrow> {
    x: &'a [f32],
    inputs: usize,
    values: &'a mut [u8],
    row_bytes: usize,
    kept: &'a mut [N::Row],
    factors: Factors,
}

impl<N: Narrow> Kernel for NarrowRows<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let rows = self.x.chunks_exact(self.inputs).zip(self.values.chunks_exact_mut(self.row_bytes));
        for ((x, values), kept) in rows.zip(self.kept) {
            *kept = N::write_row(x, self.factors, values);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::output::collect;
    use super::*;

    /// A product with `set` into new memory, or added to `before`.
    pub fn product_on<N: Narrow>(
        set: N::Set,
        x: &[f32],
        w: &PanelMatrix<N>,
        target: Target,
        before: &[f32],
    ) -> Vec<f32> {
        let new = |activation| {
            collect(x.len() / w.inputs * w.outputs, |y| matmul_panels_on(set, x, w, activation, y))
        };
        match target {
            Target::Add => {
                let mut y = before.to_vec();
                matmul_panels_add_on(set, x, w, &mut y);
                y
            }
            Target::Overwrite => new(None),
            Target::Activate(activation) => new(Some(activation)),
        }
    }

    /// The products of the rows of `x` and of `w`, `inputs` long.
    pub fn exact(x: &[f32], w: &[f32], inputs: usize) -> Vec<f64> {
        let row = |r: &[f32], c: &[f32]| r.iter().zip(c).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        x.chunks_exact(inputs).flat_map(|r| w.chunks_exact(inputs).map(move |c| row(r, c))).collect()
    }
}
