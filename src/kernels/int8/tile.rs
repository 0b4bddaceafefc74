//! The inner loop of products of 8-bit integers: a tile of sums in registers.

use super::PANEL;
use crate::kernels::simd::{Factors, Int8Simd};

/// The most rows of a register tile.
pub(super) const MAX_TILE_ROWS: usize = 11;

/// Sums of a tile's rows with a panel.
#[repr(align(64))]
pub(super) struct Sums(pub(super) [[i32; PANEL]; MAX_TILE_ROWS]);

/// What [`product`] multiplies: rows of `x`, a panel's depth apart, and a panel.
#[derive(Clone, Copy)]
pub(super) struct Int8Factors<'a> {
    pub(super) x: &'a [i8],
    pub(super) panel: &'a [i8],
    /// Where the sums start if `x` is unsigned.
    pub(super) offsets: &'a [i32],
}

/// The products of `rows` rows, at most [`Int8Simd::TILE_ROWS`], with all columns of a panel.
///
/// # Panics
///
/// If there are more rows than that, or fewer factors.
#[inline(always)]
pub(super) fn product<I: Int8Simd>(simd: I, rows: usize, factors: &Int8Factors, to: &mut [[i32; PANEL]]) {
    match I::TILE_VECTORS {
        1 => product_of_vectors::<I, 1>(simd, rows, factors, to),
        2 => product_of_vectors::<I, 2>(simd, rows, factors, to),
        4 => product_of_vectors::<I, 4>(simd, rows, factors, to),
        other => unreachable!("tiles of {other} vectors"),
    }
}

#[inline(always)]
fn product_of_vectors<I: Int8Simd, const V: usize>(
    simd: I,
    rows: usize,
    factors: &Int8Factors,
    to: &mut [[i32; PANEL]],
) {
    if V != I::TILE_VECTORS {
        return;
    }
    for column in (0..PANEL).step_by(V * I::LANES) {
        match rows {
            1 => product_of::<I, V, 1>(simd, column, factors, to),
            2 => product_of::<I, V, 2>(simd, column, factors, to),
            3 => product_of::<I, V, 3>(simd, column, factors, to),
            4 => product_of::<I, V, 4>(simd, column, factors, to),
            5 => product_of::<I, V, 5>(simd, column, factors, to),
            6 => product_of::<I, V, 6>(simd, column, factors, to),
            7 => product_of::<I, V, 7>(simd, column, factors, to),
            8 => product_of::<I, V, 8>(simd, column, factors, to),
            9 => product_of::<I, V, 9>(simd, column, factors, to),
            10 => product_of::<I, V, 10>(simd, column, factors, to),
            11 => product_of::<I, V, 11>(simd, column, factors, to),
            _ => unreachable!("a tile has at most {MAX_TILE_ROWS} rows"),
        }
    }
}

#[inline(always)]
fn product_of<I: Int8Simd, const V: usize, const M: usize>(
    simd: I,
    column: usize,
    factors: &Int8Factors,
    to: &mut [[i32; PANEL]],
) {
    if M > I::TILE_ROWS {
        unreachable!("a tile has at most {} rows", I::TILE_ROWS);
    }
    let Int8Factors { x, panel, offsets } = *factors;
    let depth = panel.len() / PANEL;
    let x_bytes = I::FACTORS.bytes();
    assert!(depth.is_multiple_of(4) && M * depth * x_bytes <= x.len());
    assert!(offsets.len() == PANEL && column + V * I::LANES <= PANEL && to.len() >= M);
    let (x, panel) = (x.as_ptr(), panel[..depth * PANEL].as_ptr());
    let start: [I::I32; V] = std::array::from_fn(|v| {
        if I::FACTORS == Factors::Unsigned {
            // SAFETY: these columns are within the panel's.
            unsafe { simd.load_sums_ptr(offsets.as_ptr().add(column + v * I::LANES)) }
        } else {
            simd.zero()
        }
    });
    let mut sums = [start; M];
    for k in (0..depth).step_by(4) {
        // SAFETY: k + 4 ≤ depth, which rows of `x` and the panel have, by the assertions above.
        unsafe {
            let w = panel.add(k * PANEL + 4 * column);
            let w: [I::W; V] = std::array::from_fn(|v| simd.load_w_ptr(w.add(4 * v * I::LANES)));
            for m in 0..M {
                let x = simd.load_x_ptr(x.add((m * depth + k) * x_bytes));
                for v in 0..V {
                    sums[m][v] = simd.add_products(sums[m][v], x, w[v]);
                }
            }
        }
    }
    for m in 0..M {
        for v in 0..V {
            let to = &mut to[m][column + v * I::LANES..][..I::LANES];
            // SAFETY: the slice has `LANES` elements.
            unsafe { simd.store_sums_ptr(to.as_mut_ptr(), sums[m][v]) };
        }
    }
}
