//! The inner loop of products of narrow numbers: a tile of sums in registers.

use super::{PANEL, WORD_BYTES};
use crate::simd::DotSimd;
use bytemuck::Zeroable;

/// The most rows of a register tile.
pub(super) const MAX_TILE_ROWS: usize = 11;

/// Sums of a tile's rows with a panel.
#[repr(align(64))]
pub(super) struct Sums<T>(pub(super) [[T; PANEL]; MAX_TILE_ROWS]);

impl<T: Zeroable + Copy> Sums<T> {
    pub(super) fn zeros() -> Self {
        Self([[T::zeroed(); PANEL]; MAX_TILE_ROWS])
    }
}

/// What [`product`] multiplies: rows of `x`, a panel's depth apart, and a panel.
#[derive(Clone, Copy)]
pub(super) struct PanelFactors<'a, T> {
    pub(super) x: &'a [u8],
    pub(super) panel: &'a [u8],
    /// Where the sums start, if not at zero.
    pub(super) starts: Option<&'a [T; PANEL]>,
}

/// The products of `rows` rows, at most [`DotSimd::TILE_ROWS`], with all columns of a panel.
///
/// # Panics
///
/// If there are more rows than that, or fewer factors.
#[inline(always)]
pub(super) fn product<D: DotSimd>(
    simd: D,
    rows: usize,
    factors: &PanelFactors<D::Sum>,
    to: &mut [[D::Sum; PANEL]],
) {
    match D::TILE_VECTORS {
        1 => product_of_vectors::<D, 1>(simd, rows, factors, to),
        2 => product_of_vectors::<D, 2>(simd, rows, factors, to),
        4 => product_of_vectors::<D, 4>(simd, rows, factors, to),
        other => unreachable!("tiles of {other} vectors"),
    }
}

#[inline(always)]
fn product_of_vectors<D: DotSimd, const V: usize>(
    simd: D,
    rows: usize,
    factors: &PanelFactors<D::Sum>,
    to: &mut [[D::Sum; PANEL]],
) {
    // Constant, here and below, so that LLVM never sees the tiles that are too large.
    if const { V != D::TILE_VECTORS } {
        return;
    }
    for column in (0..PANEL).step_by(V * D::LANES) {
        match rows {
            1 => product_of::<D, V, 1>(simd, column, factors, to),
            2 => product_of::<D, V, 2>(simd, column, factors, to),
            3 => product_of::<D, V, 3>(simd, column, factors, to),
            4 => product_of::<D, V, 4>(simd, column, factors, to),
            5 => product_of::<D, V, 5>(simd, column, factors, to),
            6 => product_of::<D, V, 6>(simd, column, factors, to),
            7 => product_of::<D, V, 7>(simd, column, factors, to),
            8 => product_of::<D, V, 8>(simd, column, factors, to),
            9 => product_of::<D, V, 9>(simd, column, factors, to),
            10 => product_of::<D, V, 10>(simd, column, factors, to),
            11 => product_of::<D, V, 11>(simd, column, factors, to),
            _ => unreachable!("a tile has at most {MAX_TILE_ROWS} rows"),
        }
    }
}

#[inline(always)]
fn product_of<D: DotSimd, const V: usize, const M: usize>(
    simd: D,
    column: usize,
    factors: &PanelFactors<D::Sum>,
    to: &mut [[D::Sum; PANEL]],
) {
    if const { M > D::TILE_ROWS } {
        unreachable!("a tile has at most {} rows", D::TILE_ROWS);
    }
    let PanelFactors { x, panel, starts } = *factors;
    let words = panel.len() / (PANEL * WORD_BYTES);
    let x_bytes = D::FACTORS.bytes_per_word();
    assert!(M * words * x_bytes <= x.len() && column + V * D::LANES <= PANEL && to.len() >= M);
    let start: [D::Sums; V] = std::array::from_fn(|v| match starts {
        // SAFETY: these columns are within the panel's.
        Some(starts) => unsafe { simd.load_sums_ptr(starts.as_ptr().add(column + v * D::LANES)) },
        None => simd.zero(),
    });
    let mut sums = [start; M];
    // Rows at a distance in bytes from one pointer: more pointers would not fit the registers.
    let (mut x, row_bytes) = (x.as_ptr(), words * x_bytes);
    let mut panel = panel.as_ptr().wrapping_add(column * WORD_BYTES);
    for _ in 0..words {
        // SAFETY: rows of `x` and the panel have as many words, by the assertions above.
        unsafe {
            let w: [D::W; V] = std::array::from_fn(|v| simd.load_w_ptr(panel.add(v * D::LANES * WORD_BYTES)));
            for m in 0..M {
                let x = simd.load_x_ptr(x.add(m * row_bytes));
                for v in 0..V {
                    sums[m][v] = simd.add_products(sums[m][v], x, w[v]);
                }
            }
        }
        x = x.wrapping_add(x_bytes);
        panel = panel.wrapping_add(PANEL * WORD_BYTES);
    }
    for m in 0..M {
        for v in 0..V {
            let to = &mut to[m][column + v * D::LANES..][..D::LANES];
            // SAFETY: the slice has `LANES` elements.
            unsafe { simd.store_sums_ptr(to.as_mut_ptr(), sums[m][v]) };
        }
    }
}
