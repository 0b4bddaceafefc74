//! A task of a product of narrow numbers: some rows with one panel.

use super::tile::{MAX_TILE_ROWS, PanelFactors, Sums, product};
use super::{Narrow, PANEL, WORD_BYTES};
use crate::matmul::Target;
use crate::output::Region;
use crate::simd::{DotSimd, Simd, Work};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use {
    super::ROW_STEP,
    crate::simd::{amx::MatrixUnit, avx512::Avx512},
    std::cell::RefCell,
};

/// `PANEL` columns of a matrix.
pub(super) struct Panel<'a, N: Narrow> {
    /// *Shape* `[words, PANEL, WORD_BYTES]`.
    pub(super) values: &'a [u8],
    /// The values that are likely wanted next.
    #[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), expect(dead_code))]
    pub(super) ahead: &'a [u8],
    pub(super) columns: &'a N::Columns,
    /// Where sums start, if not at zero.
    pub(super) starts: Option<&'a [N::Sum; PANEL]>,
    /// Of the columns that the matrix has.
    pub(super) bias: Option<&'a [f32]>,
}

/// The product of some rows with one panel.
pub struct PanelProduct<'a, N: Narrow> {
    /// Narrow, as deep as the panel, and padded to whole steps of rows.
    pub(super) x: &'a [u8],
    /// Of each row that is there.
    pub(super) rows: &'a [N::Row],
    pub(super) panel: Panel<'a, N>,
    pub(super) y: Region<'a>,
    pub(super) target: Target,
}

impl<N: Narrow> PanelProduct<'_, N> {
    /// Writes what is made of the sums of rows from `first` to `y`.
    #[inline(always)]
    fn keep<S: Simd>(&mut self, simd: S, sums: &[[N::Sum; PANEL]], first: usize) {
        for column in (0..self.y.columns()).step_by(S::LANES) {
            let columns = (self.y.columns() - column).min(S::LANES);
            let bias = match self.panel.bias {
                Some(bias) => simd.load_some(&bias[column..][..columns]),
                None => simd.splat(0.0),
            };
            for (m, sums) in sums.iter().enumerate() {
                let y = &mut self.y.row(first + m)[column..][..columns];
                let row = self.rows[first + m];
                let mut sum = N::finish(simd, &sums[column..], row, self.panel.columns, column, bias);
                match self.target {
                    Target::Overwrite => {}
                    // SAFETY: what is to be added to is initialised.
                    Target::Add => sum = simd.add(simd.load_some(unsafe { y.assume_init_ref() }), sum),
                    Target::Activate(activation) => sum = activation.apply(simd, sum),
                }
                simd.write_some(y, sum);
            }
        }
    }
}

/// A product, one register tile after another.
pub struct InTiles<'a, N: Narrow>(pub PanelProduct<'a, N>);

impl<N: Narrow, D: DotSimd<Sum = N::Sum>> Work<D> for InTiles<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run(mut self, simd: D) {
        const { assert!(D::TILE_ROWS <= MAX_TILE_ROWS) };
        let block = &mut self.0;
        let row_bytes = block.panel.values.len() / (PANEL * WORD_BYTES) * D::FACTORS.bytes_per_word();
        let mut sums = Sums::zeros();
        // Evenly: a last tile of one row would take nearly as long as a whole one.
        let rows = block.rows.len();
        let tiles = rows.div_ceil(D::TILE_ROWS);
        for tile in 0..tiles {
            let first = rows * tile / tiles;
            let count = rows * (tile + 1) / tiles - first;
            let factors = PanelFactors {
                x: &block.x[first * row_bytes..],
                panel: block.panel.values,
                starts: block.panel.starts,
            };
            product(simd, count, &factors, &mut sums.0);
            block.keep(simd.float(), &sums.0[..count], first);
        }
    }
}

/// A product in the tiles of AMX.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub struct InMatrixUnit<'a, N: Narrow, M>(pub PanelProduct<'a, N>, pub M);

/// Rows whose sums stay in the first-level cache until they are written.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const AMX_ROWS: usize = 4 * ROW_STEP;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
thread_local! {
    /// Sums, of whatever kind.
    static AMX_SUMS: RefCell<Vec<[u32; PANEL]>> = const { RefCell::new(Vec::new()) };
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl<N: Narrow, M: MatrixUnit<Sum = N::Sum>> Work<Avx512> for InMatrixUnit<'_, N, M> {
    type Output = ();

    #[inline(always)]
    fn run(self, float: Avx512) {
        let Self(mut block, unit) = self;
        let row_bytes = block.panel.values.len() / PANEL;
        let rows = block.rows.len();
        let groups = rows.div_ceil(AMX_ROWS);
        let ahead = block.panel.ahead;
        // Not within a closure: it would be compiled without the instructions.
        let mut memory = AMX_SUMS.take();
        memory.resize(AMX_ROWS, [0; PANEL]);
        for (group, first) in (0..rows).step_by(AMX_ROWS).enumerate() {
            let count = (rows - first).min(AMX_ROWS);
            let sums = bytemuck::cast_slice_mut(&mut memory[..count.next_multiple_of(ROW_STEP)]);
            let ahead = &ahead[ahead.len() * group / groups..ahead.len() * (group + 1) / groups];
            unit.multiply(&block.x[first * row_bytes..], block.panel.values, ahead, sums);
            block.keep(float, &sums[..count], first);
        }
        AMX_SUMS.set(memory);
    }
}
