//! The inner loop of all products of f32: a tile of sums in registers.

use super::output::Region;
use super::simd::{MAX_LANES, Simd};

/// The most rows of a register tile.
pub(super) const MAX_TILE_ROWS: usize = 8;
/// The most columns of a register tile.
pub(super) const MAX_TILE_COLUMNS: usize = 3 * MAX_LANES;
/// Elements in a line of the cache.
const LINE: usize = 16;
/// Elements in one round of the inner loop. With one, a processor that takes four instructions at a time
/// is busier with counting and addresses than its multipliers are.
const STEPS: usize = 4;

/// Memory for the sums of a register tile, one row after the other.
#[repr(align(64))]
pub(super) struct Tile(pub(super) [f32; MAX_TILE_ROWS * MAX_TILE_COLUMNS]);

impl Tile {
    pub(super) fn new() -> Self {
        Self([0.0; MAX_TILE_ROWS * MAX_TILE_COLUMNS])
    }

    /// The sums of one row.
    #[inline(always)]
    pub(super) fn row(&self, m: usize) -> &[f32] {
        &self.0[m * MAX_TILE_COLUMNS..][..MAX_TILE_COLUMNS]
    }

    /// All of it, to write sums to.
    #[inline(always)]
    pub(super) fn region(&mut self) -> Region<'_> {
        // SAFETY: only sums are written.
        unsafe { Region::of_initialised(&mut self.0, MAX_TILE_COLUMNS) }
    }
}

/// Memory to ask for during a product, a little at a time: all at once, it would keep the product
/// waiting.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// Rows as long as the product, `stride` apart; they may be anywhere.
    pub(super) rows: *const f32,
    pub(super) stride: usize,
    pub(super) count: usize,
}

impl Ahead {
    /// Nothing to ask for.
    pub(super) const NOTHING: Self = Self { rows: std::ptr::null(), stride: 0, count: 0 };

    /// Asks for the line of each row that has its element `k`.
    #[inline(always)]
    fn prefetch<S: Simd>(&self, simd: S, k: usize) {
        for row in 0..self.count {
            simd.prefetch(self.rows.wrapping_add(row * self.stride + k));
        }
    }
}

/// What [`product`] multiplies: rows of `x`, `x_stride` apart, and `length` rows of vectors, `w_stride`
/// apart.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    pub(super) x: &'a [f32],
    pub(super) x_stride: usize,
    pub(super) w: &'a [f32],
    pub(super) w_stride: usize,
    pub(super) length: usize,
    pub(super) ahead: Ahead,
}

/// What is done to the sums before they are written.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// What is added to each of them, a value for each column.
    pub(super) bias: Option<&'a [f32]>,
    /// Whether they are added to what is there, which is initialised.
    pub(super) add: bool,
}

impl Finish<'_> {
    /// Nothing.
    pub(super) const NOTHING: Self = Self { bias: None, add: false };
}

/// The products of as many rows as `y` has, at most [`Simd::TILE_ROWS`], with `V` vectors, its columns.
///
/// Written from the registers: through memory and back they would cost a tenth of all products.
///
/// # Panics
///
/// If there are more rows than that, other columns, or fewer factors.
#[inline(always)]
pub(super) fn product<S: Simd, const V: usize>(simd: S, factors: &Factors, finish: Finish, y: Region) {
    match y.rows() {
        1 => product_of::<S, V, 1>(simd, factors, finish, y),
        2 => product_of::<S, V, 2>(simd, factors, finish, y),
        3 => product_of::<S, V, 3>(simd, factors, finish, y),
        4 => product_of::<S, V, 4>(simd, factors, finish, y),
        5 => product_of::<S, V, 5>(simd, factors, finish, y),
        6 => product_of::<S, V, 6>(simd, factors, finish, y),
        7 => product_of::<S, V, 7>(simd, factors, finish, y),
        8 => product_of::<S, V, 8>(simd, factors, finish, y),
        _ => unreachable!("a tile has at most {MAX_TILE_ROWS} rows"),
    }
}

#[inline(always)]
fn product_of<S: Simd, const V: usize, const M: usize>(
    simd: S,
    factors: &Factors,
    finish: Finish,
    mut y: Region,
) {
    // Constant, so that LLVM never sees the tiles that are too large.
    if const { M > S::TILE_ROWS } {
        unreachable!("a tile has at most {} rows", S::TILE_ROWS);
    }
    let Factors { x, x_stride, w, w_stride, length, ahead } = *factors;
    assert!(length > 0 && (M - 1) * x_stride + length <= x.len());
    assert!((length - 1) * w_stride + V * S::LANES <= w.len());
    assert!(y.rows() == M && y.columns() == V * S::LANES);
    let (x, w) = (x.as_ptr(), w.as_ptr());
    let mut sums = [[simd.splat(0.0); V]; M];
    for line in (0..length).step_by(LINE) {
        ahead.prefetch(simd, line);
        let end = length.min(line + LINE);
        let mut k = line;
        // SAFETY: in both loops k < length, so the vectors and factors are within `w` and `x`, by the
        // assertions above.
        unsafe {
            while k + STEPS <= end {
                for k in k..k + STEPS {
                    add_products(simd, x.add(k), x_stride, w.add(k * w_stride), &mut sums);
                }
                k += STEPS;
            }
            while k < end {
                add_products(simd, x.add(k), x_stride, w.add(k * w_stride), &mut sums);
                k += 1;
            }
        }
    }
    if let Some(bias) = finish.bias {
        for v in 0..V {
            let bias = simd.load(&bias[v * S::LANES..]);
            for m in 0..M {
                sums[m][v] = simd.add(sums[m][v], bias);
            }
        }
    }
    for m in 0..M {
        let y = y.row(m);
        for v in 0..V {
            let y = &mut y[v * S::LANES..][..S::LANES];
            let mut sum = sums[m][v];
            if finish.add {
                // SAFETY: what is added to is initialised.
                sum = simd.add(simd.load(unsafe { y.assume_init_ref() }), sum);
            }
            simd.write_some(y, sum);
        }
    }
}

/// Adds the products of one element of each row, `x_stride` apart, with one vector of each of `V`.
///
/// # Safety
///
/// `M` rows of `x`, and `V` vectors from `w`, can be read.
#[inline(always)]
unsafe fn add_products<S: Simd, const V: usize, const M: usize>(
    simd: S,
    x: *const f32,
    x_stride: usize,
    w: *const f32,
    sums: &mut [[S::F32; V]; M],
) {
    // Not `from_fn`: its closure may be left a call, without the instructions of `S`.
    let mut columns = [simd.splat(0.0); V];
    for v in 0..V {
        // SAFETY: the caller's.
        columns[v] = unsafe { simd.load_ptr(w.add(v * S::LANES)) };
    }
    for m in 0..M {
        // SAFETY: the caller's.
        let x = simd.splat(unsafe { *x.add(m * x_stride) });
        for v in 0..V {
            sums[m][v] = simd.mul_add(x, columns[v], sums[m][v]);
        }
    }
}

/// The first `len` elements of memory that is kept for many products, from the beginning of a line of
/// the cache: a vector that lies in two lines takes twice as long to load. What they are is what the
/// last product left.
pub(super) fn lines(memory: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if memory.len() < len + LINE {
        memory.resize(len + LINE, 0.0);
    }
    let start = memory.as_ptr().align_offset(size_of::<f32>() * LINE).min(LINE);
    &mut memory[start..][..len]
}

/// Turns the first `length` elements of rows around: row k of `to`, `to_stride` long, begins with
/// element k of each of the first `LANES` rows.
///
/// # Panics
///
/// If a row, or `to`, is shorter than that.
#[inline(always)]
pub(super) fn transpose<S: Simd>(
    simd: S,
    rows: &[&[f32]; MAX_LANES],
    length: usize,
    to: &mut [f32],
    to_stride: usize,
) {
    assert!(rows.iter().all(|row| row.len() >= length));
    assert!(length == 0 || (length - 1) * to_stride + S::LANES <= to.len());
    let whole = length - length % 4;
    for k in (0..whole).step_by(4) {
        let from: [*const f32; MAX_LANES] = std::array::from_fn(|n| rows[n].as_ptr().wrapping_add(k));
        // SAFETY: k + 4 ≤ length, which rows and `to` have, by the assertions above.
        unsafe { simd.transpose4(&from, to.as_mut_ptr().add(k * to_stride), to_stride) };
    }
    for k in whole..length {
        for (n, row) in rows.iter().take(S::LANES).enumerate() {
            to[k * to_stride + n] = row[k];
        }
    }
}
