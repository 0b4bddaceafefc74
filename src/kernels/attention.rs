//! Scaled dot-product attention over fused queries, keys and values.

use super::instructions::FloatSet;
use super::output::Region;
use super::simd::{Kernel, MAX_LANES, Simd, dispatch_on};
use super::tile::{Ahead, Factors, Tile, product, transpose};
use rayon::prelude::*;
use std::mem::MaybeUninit;

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
///
/// # Panics
///
/// If the shapes do not fit, or a position is not within its sequence.
pub fn attention<'y>(
    qkv: &[f32],
    heads: Heads,
    queries: Option<&[usize]>,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    attention_on(FloatSet::in_use(), qkv, heads, queries, y)
}

fn attention_on<'y>(
    set: FloatSet,
    qkv: &[f32],
    heads: Heads,
    queries: Option<&[usize]>,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    let Heads { tokens, width, heads: count, .. } = heads;
    let sequences = qkv.len() / (3 * width * tokens);
    let asking = if queries.is_some() { 1 } else { tokens };
    assert!(width % count == 0 && qkv.len() == sequences * tokens * 3 * width);
    assert!(y.len() == sequences * asking * width);
    assert!(queries.is_none_or(|q| q.len() == sequences && q.iter().all(|&t| t < tokens)));

    let mut tasks = Vec::with_capacity(sequences * count);
    let mut region = Region::of(y, width);
    for sequence in 0..sequences {
        let mut row = region.take_rows(asking);
        for head in 0..count {
            let qkv = &qkv[sequence * tokens * 3 * width..][..tokens * 3 * width];
            let first_query = queries.map_or(0, |queries| queries[sequence]);
            tasks.push(Head { qkv, head, heads, first_query, y: row.take_columns(width / count) });
        }
    }
    tasks.into_par_iter().for_each_init(Scratch::default, |scratch, head| {
        dispatch_on(set, HeadWithScratch { head, scratch });
    });
    // SAFETY: every head writes all of its columns, and those are all columns of `y`.
    unsafe { y.assume_init_mut() }
}

/// One head of one sequence.
struct Head<'a> {
    qkv: &'a [f32],
    head: usize,
    heads: Heads,
    first_query: usize,
    /// A row for each token that asks.
    y: Region<'a>,
}

struct HeadWithScratch<'a, 's> {
    head: Head<'a>,
    scratch: &'s mut Scratch,
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

impl Kernel for HeadWithScratch<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Head { qkv, head, heads, first_query, mut y } = self.head;
        let Heads { tokens, width, heads: count, causal } = heads;
        let (head_width, stride, asking) = (width / count, 3 * width, y.rows());
        let group = VECTORS * S::LANES;
        // Rounded up, so that every vector is whole.
        let scores_width = tokens.next_multiple_of(group);
        let values_width = head_width.next_multiple_of(group);
        let (query, key, value) =
            (head * head_width, width + head * head_width, 2 * width + head * head_width);

        // What the last head left is overwritten, or in columns that nothing reads.
        let Scratch { keys, scores, totals, values } = self.scratch;
        keys.resize(head_width * scores_width, 0.0);
        scores.resize(asking * scores_width, 0.0);
        totals.resize(asking, 0.0);
        values.resize(tokens * values_width, 0.0);
        transpose_keys(simd, &qkv[key..], heads, keys, scores_width);
        let q = &qkv[first_query * stride + query..];
        let operands =
            Operands { x: q, x_stride: stride, w: keys, w_stride: scores_width, length: head_width };
        operands.multiply(simd, asking, scores_width, |row, column, sums| {
            scores[row * scores_width + column..][..group].copy_from_slice(sums);
        });
        let scale = 1.0 / (head_width as f32).sqrt();
        let rows = scores.chunks_exact_mut(scores_width).zip(totals.iter_mut());
        for (asking, (row, total)) in rows.enumerate() {
            let seen = if causal { first_query + asking + 1 } else { tokens };
            *total = exponentials(simd, row, seen, scale);
        }

        for (token, to) in values.chunks_exact_mut(values_width).enumerate() {
            to[..head_width].copy_from_slice(&qkv[token * stride + value..][..head_width]);
        }
        let operands =
            Operands { x: scores, x_stride: scores_width, w: values, w_stride: values_width, length: tokens };
        operands.multiply(simd, asking, values_width, |row, column, sums| {
            let columns = (head_width - column).min(group);
            let factor = 1.0 / totals[row];
            let y = &mut y.row(row)[column..][..columns];
            y.iter_mut().zip(sums).for_each(|(y, sum)| {
                y.write(*sum * factor);
            });
        });
    }
}

/// Turns the first `seen` scores into `e^(scale · (score − largest))` and the others into 0, and returns
/// the sum: a softmax but for the division, which can wait. There are whole vectors of scores.
#[inline(always)]
fn exponentials<S: Simd>(simd: S, scores: &mut [f32], seen: usize, scale: f32) -> f32 {
    let (scores, unseen) = scores.split_at_mut(seen.next_multiple_of(S::LANES));
    unseen.fill(0.0);
    scores[seen..].fill(f32::NEG_INFINITY);
    let mut largest = simd.splat(f32::NEG_INFINITY);
    for x in scores.chunks_exact(S::LANES) {
        largest = simd.max(largest, simd.load(x));
    }
    let (factor, offset) = (simd.splat(scale), simd.splat(-scale * simd.largest(largest)));
    for x in scores.chunks_exact_mut(S::LANES) {
        simd.store(x, simd.exp(simd.mul_add(simd.load(x), factor, offset)));
    }
    scores[seen..].fill(0.0);
    let mut sum = simd.splat(0.0);
    for x in scores.chunks_exact(S::LANES) {
        sum = simd.add(sum, simd.load(x));
    }
    simd.sum(sum)
}

/// Turns the keys of a head, its first key at the beginning of `keys`, into one token a column.
#[inline(always)]
fn transpose_keys<S: Simd>(simd: S, keys: &[f32], heads: Heads, to: &mut [f32], to_width: usize) {
    let Heads { tokens, width, heads, .. } = heads;
    let head_width = width / heads;
    for first in (0..tokens).step_by(S::LANES) {
        // Columns beyond the last token repeat it; nothing reads them.
        let rows: [&[f32]; MAX_LANES] = std::array::from_fn(|n| {
            &keys[(first + n % S::LANES).min(tokens - 1) * 3 * width..][..head_width]
        });
        transpose(simd, &rows, head_width, &mut to[first..], to_width);
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
    fn multiply<S: Simd>(
        &self,
        simd: S,
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
                let x = &x[first * x_stride..];
                let w = &w[column..];
                let factors = Factors { x, x_stride, w, w_stride, length, ahead: Ahead::NOTHING };
                product::<S, VECTORS>(simd, rows, &factors, &mut tile);
                for m in 0..rows {
                    keep(first + m, column, &tile.row(m)[..group]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::collect;
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
        let sizes = [(1, 1, 1), (5, 6, 3), (50, 64, 2), (77, 64, 2), (33, 80, 1), (257, 24, 2)];
        // An interpreter takes minutes for more.
        for &(tokens, head_width, count) in if cfg!(miri) { &sizes[..2] } else { &sizes } {
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
                for set in FloatSet::all() {
                    let y = collect(sequences * tokens * width, |y| attention_on(set, &qkv, heads, None, y));
                    close(&y, &want, &format!("{set:?} {heads:?}"));
                    let some = Some(&queries[..]);
                    let y = collect(sequences * width, |y| attention_on(set, &qkv, heads, some, y));
                    close(&y, &wanted, &format!("{set:?} {heads:?}, some tokens"));
                }
            }
        }
    }
}
