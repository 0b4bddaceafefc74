//! Scaled dot-product attention over fused queries, keys and values.

use super::matmul::{Ahead, Factors, Tile, product};
use super::simd::{Isa, Kernel, Simd, dispatch};
use rayon::prelude::*;

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
    attention_on(Isa::of_this_machine(), qkv, heads, queries, y);
}

fn attention_on(isa: Isa, qkv: &[f32], heads: Heads, queries: Option<&[usize]>, y: &mut [f32]) {
    let Heads { tokens, width, heads: count, .. } = heads;
    let sequences = qkv.len() / (3 * width * tokens);
    let asking = if queries.is_some() { 1 } else { tokens };
    assert!(width % count == 0 && qkv.len() == sequences * tokens * 3 * width);
    assert!(y.len() == sequences * asking * width);
    assert!(queries.is_none_or(|q| q.len() == sequences && q.iter().all(|&t| t < tokens)));

    let y = Output(y.as_mut_ptr());
    (0..sequences * count).into_par_iter().for_each_init(Scratch::default, |scratch, task| {
        let (sequence, head) = (task / count, task % count);
        let y = &y;
        let head = Head {
            qkv: &qkv[sequence * tokens * 3 * width..][..tokens * 3 * width],
            first_query: queries.map_or(0, |queries| queries[sequence]),
            asking,
            // SAFETY: within `y`.
            y: unsafe { y.0.add(sequence * asking * width + head * (width / count)) },
            head,
            heads,
            scratch,
        };
        dispatch(isa, head);
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
    scratch: &'a mut Scratch,
}

/// Memory that a thread uses for one head after another.
#[derive(Default)]
struct Scratch {
    /// The keys, one token a column.
    keys: Vec<f32>,
    /// Scores, then their exponentials, one asking token a row.
    scores: Vec<f32>,
    /// What each row of them adds up to.
    totals: Vec<f32>,
    /// The values, one token a row.
    values: Vec<f32>,
}

/// Vectors of scores or values taken at a time.
const VECTORS: usize = 2;

impl Kernel for Head<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Heads { tokens, width, heads, causal } = self.heads;
        let (head_width, stride) = (width / heads, 3 * width);
        let group = VECTORS * S::LANES;
        // Rounded up, so that every vector is whole.
        let scores_width = tokens.next_multiple_of(group);
        let values_width = head_width.next_multiple_of(group);
        let (query, key, value) =
            (self.head * head_width, width + self.head * head_width, 2 * width + self.head * head_width);

        // What the last head left is overwritten, or in columns that nothing reads.
        let Scratch { keys, scores, totals, values } = self.scratch;
        keys.resize(head_width * scores_width, 0.0);
        scores.resize(self.asking * scores_width, 0.0);
        totals.resize(self.asking, 0.0);
        values.resize(tokens * values_width, 0.0);
        unsafe { transpose_keys::<S>(&self.qkv[key..], self.heads, keys, scores_width) };
        let q = &self.qkv[self.first_query * stride + query..];
        let operands =
            Operands { x: q, x_stride: stride, w: keys, w_stride: scores_width, length: head_width };
        unsafe {
            operands.multiply::<S>(self.asking, scores_width, |row, column, sums| {
                scores[row * scores_width + column..][..group].copy_from_slice(sums);
            });
        }
        let scale = 1.0 / (head_width as f32).sqrt();
        let rows = scores.chunks_exact_mut(scores_width).zip(totals.iter_mut());
        for (asking, (row, total)) in rows.enumerate() {
            let seen = if causal { self.first_query + asking + 1 } else { tokens };
            *total = unsafe { exponentials::<S>(row, seen, scale) };
        }

        for (token, to) in values.chunks_exact_mut(values_width).enumerate() {
            to[..head_width].copy_from_slice(&self.qkv[token * stride + value..][..head_width]);
        }
        let operands =
            Operands { x: scores, x_stride: scores_width, w: values, w_stride: values_width, length: tokens };
        unsafe {
            operands.multiply::<S>(self.asking, values_width, |row, column, sums| {
                let columns = (head_width - column).min(group);
                // SAFETY: this head's own columns of `y`.
                let y = std::slice::from_raw_parts_mut(self.y.add(row * width + column), columns);
                let factor = 1.0 / totals[row];
                y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum * factor);
            });
        }
    }
}

/// Turns the first `seen` scores into `e^(scale · (score − largest))` and the others into 0, and returns
/// the sum: a softmax but for the division, which can wait.
#[inline(always)]
unsafe fn exponentials<S: Simd>(scores: &mut [f32], seen: usize, scale: f32) -> f32 {
    scores[seen..].fill(f32::NEG_INFINITY);
    unsafe {
        let lanes = |i: usize| scores.as_ptr().add(i);
        let mut largest = S::load(lanes(0));
        for i in (S::LANES..scores.len()).step_by(S::LANES) {
            largest = S::max(largest, S::load(lanes(i)));
        }
        let (factor, offset) = (S::splat(scale), S::splat(-scale * S::largest(largest)));
        let mut sum = S::splat(0.0);
        for i in (0..seen).step_by(S::LANES) {
            let power = S::exp(S::mul_add(S::load(scores.as_ptr().add(i)), factor, offset));
            S::store(scores.as_mut_ptr().add(i), power);
        }
        scores[seen..].fill(0.0);
        for i in (0..seen).step_by(S::LANES) {
            sum = S::add(sum, S::load(scores.as_ptr().add(i)));
        }
        S::sum(sum)
    }
}

/// Turns the keys of a head, its first key at the beginning of `keys`, into one token a column.
#[inline(always)]
unsafe fn transpose_keys<S: Simd>(keys: &[f32], heads: Heads, to: &mut [f32], to_width: usize) {
    let Heads { tokens, width, heads, .. } = heads;
    let head_width = width / heads;
    let whole = head_width - head_width % 4;
    for first in (0..tokens).step_by(S::LANES) {
        // Columns beyond the last token repeat it; nothing reads them.
        let rows: [*const f32; 16] =
            std::array::from_fn(|n| keys[(first + n).min(tokens - 1) * 3 * width..].as_ptr());
        for k in (0..whole).step_by(4) {
            unsafe { S::transpose4(&rows, k, to.as_mut_ptr().add(k * to_width + first), to_width) };
        }
        for k in whole..head_width {
            for (n, row) in rows.iter().take(S::LANES).enumerate() {
                to[k * to_width + first + n] = unsafe { *row.add(k) };
            }
        }
    }
}

/// A product of small matrices, the second with one summed element a row.
struct Operands<'a> {
    x: &'a [f32],
    x_stride: usize,
    w: &'a [f32],
    w_stride: usize,
    length: usize,
}

impl Operands<'_> {
    /// Calls `keep` with each row, the first of some columns, and their sums.
    #[inline(always)]
    unsafe fn multiply<S: Simd>(
        &self,
        rows: usize,
        columns: usize,
        mut keep: impl FnMut(usize, usize, &[f32]),
    ) {
        let Self { x, x_stride, w, w_stride, length } = *self;
        let group = VECTORS * S::LANES;
        let mut tile = Tile::new();
        for column in (0..columns).step_by(group) {
            for first in (0..rows).step_by(S::TILE_ROWS) {
                let rows = (rows - first).min(S::TILE_ROWS);
                let factors = Factors {
                    x: x[first * x_stride..].as_ptr(),
                    x_stride,
                    w: w[column..].as_ptr(),
                    w_stride,
                    length,
                    ahead: Ahead::nothing(),
                };
                unsafe { product::<S, VECTORS>(rows, &factors, &mut tile) };
                for m in 0..rows {
                    keep(first + m, column, &tile.row(m)[..group]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::random;
    use super::*;

    /// One token's attention, as the formula has it.
    fn naive(qkv: &[f32], heads: Heads, query: usize) -> Vec<f32> {
        let Heads { tokens, width, heads: count, causal } = heads;
        let head_width = width / count;
        let row = |token: usize, part: usize| &qkv[token * 3 * width + part * width..][..width];
        let mut y = Vec::new();
        for head in 0..count {
            let of = |token, part| {
                row(token, part)[head * head_width..][..head_width].iter().map(|&v| f64::from(v))
            };
            let seen = if causal { query + 1 } else { tokens };
            let scores = (0..seen).map(|t| of(query, 0).zip(of(t, 1)).map(|(q, k)| q * k).sum::<f64>());
            let odds: Vec<_> = scores.map(|s| (s / (head_width as f64).sqrt()).exp()).collect();
            let total: f64 = odds.iter().sum();
            for i in 0..head_width {
                let value = |t: usize| f64::from(row(t, 2)[head * head_width + i]);
                y.push((odds.iter().enumerate().map(|(t, p)| p * value(t)).sum::<f64>() / total) as f32);
            }
        }
        y
    }

    fn close(y: &[f32], want: &[f32], what: &str) {
        let worst = y.iter().zip(want).map(|(y, want)| (y - want).abs()).fold(0.0, f32::max);
        // The approximation of the exponential, on values below 1.
        assert!(y.len() == want.len() && worst < 2e-6, "{what}: off by {worst}");
    }

    #[test]
    fn every_instruction_set_attends_in_any_sizes() {
        for (tokens, head_width, count) in
            [(1, 1, 1), (5, 6, 3), (50, 64, 2), (77, 64, 2), (33, 80, 1), (257, 24, 2)]
        {
            let width = head_width * count;
            let sequences = 3;
            let qkv = random(sequences * tokens * 3 * width, tokens as u32);
            for causal in [false, true] {
                let heads = Heads { tokens, width, heads: count, causal };
                let sequence = |n: usize| &qkv[n * tokens * 3 * width..][..tokens * 3 * width];
                let want: Vec<_> = (0..sequences)
                    .flat_map(|n| (0..tokens).flat_map(move |t| naive(sequence(n), heads, t)))
                    .collect();
                let queries = [0, tokens / 2, tokens - 1];
                let wanted: Vec<_> =
                    (0..sequences).flat_map(|n| naive(sequence(n), heads, queries[n])).collect();
                for isa in Isa::all_of_this_machine() {
                    let mut y = vec![0.0; sequences * tokens * width];
                    attention_on(isa, &qkv, heads, None, &mut y);
                    close(&y, &want, &format!("{isa:?} {heads:?}"));
                    let mut y = vec![0.0; sequences * width];
                    attention_on(isa, &qkv, heads, Some(&queries), &mut y);
                    close(&y, &wanted, &format!("{isa:?} {heads:?}, some tokens"));
                }
            }
        }
    }
}
