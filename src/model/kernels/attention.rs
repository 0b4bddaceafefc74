//! Scaled dot-product attention over fused queries, keys and values.

use super::matmul::tile;
use super::simd::{Kernel, Simd, dispatch};
use rayon::prelude::*;
use rten_simd::SimdOp;
use rten_vecmath::Softmax;

/// Rows of probabilities multiplied with the values at a time.
const ROWS: usize = 4;

/// How fused rows `[query, key, value]` divide into sequences and heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Tokens of a sequence, `T`.
    pub tokens: usize,
    /// Width of a token, `E`, over all heads.
    pub width: usize,
    /// Heads of a token.
    pub heads: usize,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
}

/// `softmax(q · kᵀ / √head_width) · v` for each sequence and head.
///
/// With `queries`, one token position for each sequence, only those tokens ask.
///
/// *Shape* `qkv [N·T, 3·E]`, `y [N·T, E]`, or `[N, E]` with `queries`.
pub fn attention(qkv: &[f32], heads: Heads, queries: Option<&[usize]>, y: &mut [f32]) {
    let Heads { tokens, width, heads: count, .. } = heads;
    let sequences = qkv.len() / (3 * width * tokens);
    let asking = if queries.is_some() { 1 } else { tokens };
    assert!(width % count == 0 && qkv.len() == sequences * tokens * 3 * width);
    assert!(y.len() == sequences * asking * width);
    assert!(queries.is_none_or(|q| q.len() == sequences && q.iter().all(|&t| t < tokens)));

    let y = Output(y.as_mut_ptr());
    (0..sequences * count).into_par_iter().for_each(|task| {
        let (sequence, head) = (task / count, task % count);
        let y = &y;
        dispatch(Head {
            qkv: &qkv[sequence * tokens * 3 * width..][..tokens * 3 * width],
            first_query: queries.map_or(0, |queries| queries[sequence]),
            asking,
            // SAFETY: within `y`.
            y: unsafe { y.0.add(sequence * asking * width + head * (width / count)) },
            head,
            heads,
        });
    });
}

struct Output(*mut f32);

// SAFETY: every head writes to columns of its own.
unsafe impl Sync for Output {}

/// One head of one sequence.
struct Head<'a> {
    qkv: &'a [f32],
    head: usize,
    heads: Heads,
    first_query: usize,
    asking: usize,
    y: *mut f32,
}

impl Kernel for Head<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Heads { tokens, causal, .. } = self.heads;
        let mut probabilities = vec![0f32; self.asking * tokens];
        unsafe { self.scores::<S>(&mut probabilities) };
        for (asking, row) in probabilities.chunks_exact_mut(tokens).enumerate() {
            let seen = if causal { self.first_query + asking + 1 } else { tokens };
            Softmax::new_mut(&mut row[..seen]).dispatch();
            row[seen..].fill(0.0);
        }
        unsafe { self.mix::<S>(&probabilities) };
    }
}

impl Head<'_> {
    fn head_width(&self) -> usize {
        self.heads.width / self.heads.heads
    }

    /// `q · kᵀ / √head_width`, `[asking, T]`.
    #[inline(always)]
    unsafe fn scores<S: Simd>(&self, scores: &mut [f32]) {
        let Heads { tokens, width, .. } = self.heads;
        let (stride, length) = (3 * width, self.head_width());
        let scale = 1.0 / (length as f32).sqrt();
        let q = self.qkv[self.first_query * stride + self.head * length..].as_ptr();
        let k = self.qkv[width + self.head * length..].as_ptr();
        for first in (0..self.asking).step_by(2) {
            for token in (0..tokens).step_by(4) {
                let columns = (tokens - token).min(4);
                let (q, k) = unsafe { (q.add(first * stride), k.add(token * stride)) };
                let sums: [[f32; 4]; 2] = match (self.asking - first, columns) {
                    (1, 4) => [unsafe { tile::<S, 1, 4>(q, k, stride, length)[0] }; 2],
                    (1, _) => [unsafe { part::<S>(q, k, stride, length, columns) }; 2],
                    (_, 4) => unsafe { tile::<S, 2, 4>(q, k, stride, length) },
                    _ => [0, 1]
                        .map(|row| unsafe { part::<S>(q.add(row * stride), k, stride, length, columns) }),
                };
                for (row, sums) in sums.iter().enumerate().take(self.asking - first) {
                    for (n, sum) in sums.iter().enumerate().take(columns) {
                        scores[(first + row) * tokens + token + n] = sum * scale;
                    }
                }
            }
        }
    }

    /// `probabilities · v`, written to `y`.
    #[inline(always)]
    unsafe fn mix<S: Simd>(&self, probabilities: &[f32]) {
        let mut first = 0;
        while first < self.asking {
            unsafe {
                if self.asking - first >= ROWS {
                    self.mix_rows::<S, ROWS>(probabilities, first);
                    first += ROWS;
                } else {
                    self.mix_rows::<S, 1>(probabilities, first);
                    first += 1;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn mix_rows<S: Simd, const M: usize>(&self, probabilities: &[f32], first: usize) {
        let Heads { tokens, width, causal, .. } = self.heads;
        let seen = if causal { self.first_query + first + M } else { tokens };
        let length = self.head_width();
        let v = self.qkv[2 * width + self.head * length..].as_ptr();
        let rows: [&[f32]; M] = std::array::from_fn(|m| &probabilities[(first + m) * tokens..][..tokens]);
        for column in (0..length).step_by(S::LANES) {
            let part = (length - column).min(S::LANES);
            unsafe {
                let mut sums = [S::splat(0.0); M];
                for token in 0..seen {
                    let v = v.add(token * 3 * width + column);
                    let v = if part == S::LANES { S::load(v) } else { S::load_part(v, part) };
                    for m in 0..M {
                        sums[m] = S::mul_add(S::splat(rows[m][token]), v, sums[m]);
                    }
                }
                for (m, sums) in sums.into_iter().enumerate() {
                    let y = self.y.add((first + m) * width + column);
                    if part == S::LANES {
                        S::store(y, sums);
                    } else {
                        S::store_part(y, sums, part);
                    }
                }
            }
        }
    }
}

/// The products of one row with fewer than four.
#[inline(always)]
unsafe fn part<S: Simd>(
    q: *const f32,
    k: *const f32,
    stride: usize,
    length: usize,
    columns: usize,
) -> [f32; 4] {
    let mut sums = [0.0; 4];
    for (n, sum) in sums.iter_mut().enumerate().take(columns) {
        *sum = unsafe { tile::<S, 1, 1>(q, k.add(n * stride), stride, length)[0][0] };
    }
    sums
}
