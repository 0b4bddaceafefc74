//! A task of a product of 8-bit integers: some rows with one panel.

use super::PANEL;
use super::tile::{Int8Factors, MAX_TILE_ROWS, Sums, product};
use crate::kernels::instructions::Int8Set;
use crate::kernels::matmul::Target;
use crate::kernels::output::Region;
use crate::kernels::simd::portable::Portable;
use crate::kernels::simd::{Factors, Int8Simd, Simd, Work};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use {
    super::ROW_STEP,
    crate::kernels::simd::{amx::Amx, avx512::Avx512},
    std::cell::RefCell,
};

/// `PANEL` columns of a matrix.
pub(super) struct Panel<'a> {
    /// *Shape* `[depth / 4, PANEL, 4]`.
    pub(super) values: &'a [i8],
    /// The values that are likely wanted next.
    #[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), expect(dead_code))]
    pub(super) ahead: &'a [i8],
    pub(super) scales: &'a [f32],
    pub(super) offsets: &'a [i32],
    /// Of the columns that the matrix has.
    pub(super) bias: Option<&'a [f32]>,
}

/// The product of some rows with one panel.
pub(super) struct PanelProduct<'a> {
    /// Quantised, as deep as the panel, and padded to whole steps of rows.
    pub(super) x: &'a [i8],
    /// Of each row that is there.
    pub(super) scales: &'a [f32],
    pub(super) panel: Panel<'a>,
    pub(super) y: Region<'a>,
    pub(super) target: Target,
}

impl Int8Set {
    /// How its products take the factors.
    pub(super) fn factors(self) -> Factors {
        fn of<I: Int8Simd>(_: I) -> Factors {
            I::FACTORS
        }
        match self {
            Self::Portable => of(Portable),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => of(token),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(token) => of(token),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(token) => of(token),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(token) => of(token),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx(_) => Factors::Signed,
        }
    }
}

impl PanelProduct<'_> {
    /// Writes the products to `y`.
    pub(super) fn run(self, set: Int8Set) {
        match set {
            Int8Set::Portable => InTiles(self).run(Portable),
            #[cfg(target_arch = "x86_64")]
            Int8Set::Avx2(token) => token.enable(InTiles(self)),
            #[cfg(target_arch = "x86_64")]
            Int8Set::AvxVnni(token) => token.enable(InTiles(self)),
            #[cfg(target_arch = "x86_64")]
            Int8Set::Avx512Vnni(token) => token.enable(InTiles(self)),
            #[cfg(target_arch = "aarch64")]
            Int8Set::NeonDot(token) => token.enable(InTiles(self)),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Int8Set::Amx(token) => token.float().enable(InMatrixUnit(self, token)),
        }
    }

    /// Scales the sums of rows from `first`, and writes them to `y`.
    #[inline(always)]
    fn keep<S: Simd>(&mut self, simd: S, sums: &[[i32; PANEL]], first: usize) {
        for column in (0..self.y.columns()).step_by(S::LANES) {
            let columns = (self.y.columns() - column).min(S::LANES);
            let scale = simd.load(&self.panel.scales[column..]);
            let bias = match self.panel.bias {
                Some(bias) => simd.load_some(&bias[column..][..columns]),
                None => simd.splat(0.0),
            };
            for (m, sums) in sums.iter().enumerate() {
                let y = &mut self.y.row(first + m)[column..][..columns];
                let scale = simd.mul(scale, simd.splat(self.scales[first + m]));
                let mut sum = simd.mul_add(simd.load_i32(&sums[column..]), scale, bias);
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

/// A block, one register tile after another.
struct InTiles<'a>(PanelProduct<'a>);

impl<I: Int8Simd> Work<I> for InTiles<'_> {
    type Output = ();

    #[inline(always)]
    fn run(mut self, simd: I) {
        const { assert!(I::TILE_ROWS <= MAX_TILE_ROWS) };
        let block = &mut self.0;
        let depth = block.panel.values.len() / PANEL;
        let mut sums = Sums([[0; PANEL]; MAX_TILE_ROWS]);
        // Evenly: a last tile of one row would take nearly as long as a whole one.
        let rows = block.scales.len();
        let tiles = rows.div_ceil(I::TILE_ROWS);
        for tile in 0..tiles {
            let first = rows * tile / tiles;
            let count = rows * (tile + 1) / tiles - first;
            let factors = Int8Factors {
                x: &block.x[first * depth * I::FACTORS.bytes()..],
                panel: block.panel.values,
                offsets: block.panel.offsets,
            };
            product(simd, count, &factors, &mut sums.0);
            block.keep(simd.float(), &sums.0[..count], first);
        }
    }
}

/// A block in the tiles of AMX.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
struct InMatrixUnit<'a>(PanelProduct<'a>, Amx);

/// Rows whose sums stay in the first-level cache until they are scaled.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const AMX_ROWS: usize = 4 * ROW_STEP;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
thread_local! {
    static AMX_SUMS: RefCell<Vec<[i32; PANEL]>> = const { RefCell::new(Vec::new()) };
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl Work<Avx512> for InMatrixUnit<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, float: Avx512) {
        let Self(mut block, amx) = self;
        let depth = block.panel.values.len() / PANEL;
        let rows = block.scales.len();
        let groups = rows.div_ceil(AMX_ROWS);
        let ahead = block.panel.ahead;
        // Not within a closure: it would be compiled without the instructions.
        let mut memory = AMX_SUMS.take();
        memory.resize(AMX_ROWS, [0; PANEL]);
        for (group, first) in (0..rows).step_by(AMX_ROWS).enumerate() {
            let count = (rows - first).min(AMX_ROWS);
            let sums = &mut memory[..count.next_multiple_of(ROW_STEP)];
            let ahead = &ahead[ahead.len() * group / groups..ahead.len() * (group + 1) / groups];
            amx.multiply(&block.x[first * depth..], block.panel.values, ahead, sums);
            block.keep(float, &sums[..count], first);
        }
        AMX_SUMS.set(memory);
    }
}
