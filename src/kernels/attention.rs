//! Scaled dot-product attention over fused queries, keys and values.

use super::instructions::FloatSet;
use super::output::Region;
use super::simd::{Kernel, MAX_LANES, Simd, dispatch_on};
use super::tile::{Ahead, Factors, Finish, Tile, lines, product, transpose};
use rayon::prelude::*;
use std::cell::RefCell;
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
    /// How many tokens at their beginning all sequences share: such a token has one row, before those of
    /// the sequences. Only where it is causal are they the same for all.
    pub shared: usize,
}

impl Heads {
    /// How many sequences there are in so many rows.
    ///
    /// # Panics
    ///
    /// If they are no whole sequences, or share what is not the same for all.
    pub fn sequences(self, rows: usize) -> usize {
        let own = self.tokens - self.shared;
        assert!(self.shared == 0 || (self.causal && own > 0 && rows > self.shared));
        let sequences = (rows - self.shared) / own;
        assert!(rows == self.shared + sequences * own);
        sequences
    }

    /// The row of a sequence's token.
    #[inline(always)]
    pub fn row(self, sequence: usize, token: usize) -> usize {
        if token < self.shared { token } else { sequence * (self.tokens - self.shared) + token }
    }
}

/// `softmax(q · kᵀ / √head_width) · v` for each sequence and head.
///
/// With `queries`, one token position for each sequence, only those tokens ask.
///
/// *Shape* `qkv [R, 3·E]`, `y [R, E]`, or `[N, E]` with `queries`; R is `N·T`, or `S + N·(T − S)` where
/// sequences share `S` tokens.
///
/// # Panics
///
/// If the shapes do not fit, or a position is not among its sequence's own.
pub fn attention<'y>(
    qkv: &[f32],
    heads: Heads,
    queries: Option<&[usize]>,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    attention_on(FloatSet::in_use(), qkv, heads, queries, y)
}

pub(super) fn attention_on<'y>(
    set: FloatSet,
    qkv: &[f32],
    heads: Heads,
    queries: Option<&[usize]>,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    let Heads { tokens, width, heads: count, shared, .. } = heads;
    let rows = qkv.len() / (3 * width);
    let sequences = heads.sequences(rows);
    assert!(width % count == 0 && qkv.len() == rows * 3 * width);
    assert!(y.len() == if queries.is_some() { sequences } else { rows } * width);
    assert!(queries.is_none_or(|q| q.len() == sequences && q.iter().all(|t| (shared..tokens).contains(t))));

    let mut tasks = Vec::with_capacity((sequences + 1) * count);
    let mut region = Region::of(y, width);
    let mut ask = |sequence: usize, first_query: usize, asking: usize| {
        let mut row = region.take_rows(asking);
        for head in 0..count {
            let y = row.take_columns(width / count);
            tasks.push(Head { qkv, head, heads, sequence, first_query, y });
        }
    };
    if queries.is_none() && shared > 0 {
        ask(0, 0, shared);
    }
    for sequence in 0..sequences {
        match queries {
            Some(queries) => ask(sequence, queries[sequence], 1),
            None => ask(sequence, shared, tokens - shared),
        }
    }
    tasks.into_par_iter().with_max_len(1).for_each(|head| dispatch_on(set, head));
    // SAFETY: every head writes all of its columns, and those are all columns of `y`.
    unsafe { y.assume_init_mut() }
}

/// One head of one sequence.
struct Head<'a> {
    qkv: &'a [f32],
    head: usize,
    heads: Heads,
    sequence: usize,
    /// The first token that asks.
    first_query: usize,
    /// A row for each token that asks.
    y: Region<'a>,
}

impl Head<'_> {
    /// The head's query, key or value, part 0, 1 or 2, of a token, and all that follows.
    #[inline(always)]
    fn part(&self, part: usize, token: usize) -> &[f32] {
        let Heads { width, heads: count, .. } = self.heads;
        let row = self.heads.row(self.sequence, token);
        &self.qkv[row * 3 * width + part * width + self.head * (width / count)..]
    }
}

/// Memory that a thread uses for one head after another.
#[derive(Default)]
struct Scratch {
    /// The keys in groups of tokens: for each element one value of every token.
    keys: Vec<f32>,
    /// The values in groups of elements: for each token every element of the group.
    values: Vec<f32>,
    /// Scores, then their exponentials, of a few asking tokens, one a row: not of all, or they would
    /// not stay in the cache.
    scores: Vec<f32>,
    /// What each row of them adds up to.
    totals: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Vectors of scores or values taken at a time, a group.
const VECTORS: usize = 2;
/// Scores that are held at a time, 128 KiB: with the keys and values of 577 tokens they stay in the
/// second-level cache.
const SCORES: usize = 32 * 1024;
/// Register tiles of asking tokens whose scores are held at a time where tokens see only those before
/// them: the fewer, the less is multiplied in vain.
const CAUSAL_TILES: usize = 3;

impl Kernel for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (first_query, asking) = (self.first_query, self.y.rows());
        let Heads { width, heads: count, causal, .. } = self.heads;
        // What nobody who asks sees need not be looked at.
        let tokens = if causal { first_query + asking } else { self.heads.tokens };
        let (head_width, stride) = (width / count, 3 * width);
        let group = VECTORS * S::LANES;
        // Not within a closure: it would be compiled without the instructions of `S`.
        let mut scratch = SCRATCH.take();
        let groups = (tokens.div_ceil(group), head_width.div_ceil(group));
        let keys = lines(&mut scratch.keys, groups.0 * head_width * group);
        let values = lines(&mut scratch.values, groups.1 * tokens * group);
        self.fill(simd, tokens, head_width, keys, values);
        let scores_width = tokens.next_multiple_of(group);
        let most_tiles = if causal { CAUSAL_TILES } else { (SCORES / scores_width / S::TILE_ROWS).max(1) };
        let most = asking.min(most_tiles * S::TILE_ROWS);
        let scores = lines(&mut scratch.scores, most * scores_width);
        let totals = lines(&mut scratch.totals, most);
        let blocks = asking.div_ceil(most);
        let mut tile = Tile::new();
        for block in 0..blocks {
            let first = asking * block / blocks;
            let rows = asking * (block + 1) / blocks - first;
            // Tokens that one of these rows sees, and those that a row does.
            let seen = if causal { first_query + first + rows } else { tokens };
            let seen_by = |row: usize| if causal { first_query + first + row + 1 } else { tokens };
            let tiles = rows.div_ceil(S::TILE_ROWS);
            // As even as can be; divided here, once, because tiles of so few products are short.
            let (least, more) = (rows / tiles, rows % tiles);
            let start = |tile: usize| tile * least + tile.min(more);
            let bounds = |tile: usize| start(tile)..start(tile + 1);

            let q = self.part(0, first_query + first);
            // SAFETY: only sums are written.
            let mut to = unsafe { Region::of_initialised(scores, scores_width) };
            for (n, w) in keys.chunks_exact(head_width * group).take(seen.div_ceil(group)).enumerate() {
                for rows in (0..tiles).map(bounds) {
                    let x = &q[rows.start * stride..];
                    let factors = Factors {
                        x,
                        x_stride: stride,
                        w,
                        w_stride: group,
                        length: head_width,
                        ahead: Ahead::NOTHING,
                    };
                    let to = to.part(rows, n * group..(n + 1) * group);
                    product::<S, VECTORS>(simd, &factors, Finish::NOTHING, to);
                }
            }
            let scale = 1.0 / (head_width as f32).sqrt();
            let lines = scores.chunks_exact_mut(scores_width).zip(totals.iter_mut()).take(rows);
            for (row, (scores, total)) in lines.enumerate() {
                *total = exponentials(simd, &mut scores[..seen.next_multiple_of(group)], seen_by(row), scale);
            }
            for (n, w) in values.chunks_exact(tokens * group).enumerate() {
                let columns = (head_width - n * group).min(group);
                for rows in (0..tiles).map(bounds) {
                    let x = &scores[rows.start * scores_width..];
                    let factors = Factors {
                        x,
                        x_stride: scores_width,
                        w,
                        w_stride: group,
                        length: seen,
                        ahead: Ahead::NOTHING,
                    };
                    let to = &mut tile.region();
                    product::<S, VECTORS>(simd, &factors, Finish::NOTHING, to.part(0..rows.len(), 0..group));
                    for (m, row) in rows.enumerate() {
                        let factor = simd.splat(1.0 / totals[row]);
                        let y = &mut self.y.row(first + row)[n * group..][..columns];
                        let sums = tile.row(m);
                        // Not chunks of both, zipped: the compiler may leave the zip's making a call,
                        // with two divisions and without the instructions of `S`, for every row.
                        for v in (0..columns).step_by(S::LANES) {
                            let y = &mut y[v..columns.min(v + S::LANES)];
                            simd.write_some(y, simd.mul(simd.load(&sums[v..]), factor));
                        }
                    }
                }
            }
        }
        SCRATCH.set(scratch);
    }
}

impl Head<'_> {
    /// Puts the keys and values of the first `tokens` tokens in groups. What is in columns that nothing
    /// reads stays.
    #[inline(always)]
    fn fill<S: Simd>(
        &self,
        simd: S,
        tokens: usize,
        head_width: usize,
        to_keys: &mut [f32],
        to_values: &mut [f32],
    ) {
        let group = VECTORS * S::LANES;
        for (n, to) in to_keys.chunks_exact_mut(head_width * group).enumerate() {
            for v in 0..VECTORS {
                let first = n * group + v * S::LANES;
                // Columns beyond the last token repeat it; nothing reads them.
                let rows: [&[f32]; MAX_LANES] = std::array::from_fn(|lane| {
                    &self.part(1, (first + lane % S::LANES).min(tokens - 1))[..head_width]
                });
                transpose(simd, &rows, head_width, &mut to[v * S::LANES..], group);
            }
        }
        for (n, to) in to_values.chunks_exact_mut(tokens * group).enumerate() {
            let columns = (head_width - n * group).min(group);
            for (token, to) in to.chunks_exact_mut(group).enumerate() {
                let from = &self.part(2, token)[n * group..][..columns];
                if columns == group {
                    // Whole vectors, not a call for each token.
                    for v in (0..group).step_by(S::LANES) {
                        simd.store(&mut to[v..], simd.load(&from[v..]));
                    }
                } else {
                    to[..columns].copy_from_slice(from);
                }
            }
        }
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
    let (whole, rest) = scores.split_at_mut(seen - seen % S::LANES);
    let mut sum = simd.splat(0.0);
    for x in whole.chunks_exact_mut(S::LANES) {
        let power = simd.exp(simd.mul_add(simd.load(x), factor, offset));
        sum = simd.add(sum, power);
        simd.store(x, power);
    }
    if !rest.is_empty() {
        simd.store(rest, simd.exp(simd.mul_add(simd.load(rest), factor, offset)));
        // The exponential of −∞ is a little more than 0 here.
        rest[seen % S::LANES..].fill(0.0);
        sum = simd.add(sum, simd.load(rest));
    }
    simd.sum(sum)
}

#[cfg(test)]
mod tests {
    use super::super::output::collect;
    use super::*;
    use crate::random::random;

    /// One token's attention, as the formula has it.
    fn naive(qkv: &[f32], heads: Heads, query: usize) -> Vec<f32> {
        let Heads { tokens, width, heads: count, causal, .. } = heads;
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
                let heads = Heads { tokens, width, heads: count, causal, shared: 0 };
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

    #[test]
    fn shared_tokens_change_no_digit() {
        for (tokens, shared, sequences) in [(5, 1, 3), (9, 8, 4), (40, 17, 2), (77, 33, 1)] {
            let (width, own) = (48, tokens - shared);
            let qkv = random((shared + sequences * own) * 3 * width, 5);
            let heads = Heads { tokens, width, heads: 2, causal: true, shared };
            let rows = |n: usize| (0..tokens).map(move |t| heads.row(n, t));
            let of_rows = |from: &[f32], wide: usize| -> Vec<f32> {
                let row = |row: usize| from[row * wide..][..wide].to_vec();
                (0..sequences).flat_map(rows).flat_map(row).collect()
            };
            let (apart, alone) = (of_rows(&qkv, 3 * width), Heads { shared: 0, ..heads });
            let queries: Vec<_> = (0..sequences).map(|n| (shared + n).min(tokens - 1)).collect();
            for set in FloatSet::all() {
                let y = collect(qkv.len() / 3, |y| attention_on(set, &qkv, heads, None, y));
                let want = collect(apart.len() / 3, |y| attention_on(set, &apart, alone, None, y));
                assert!(of_rows(&y, width) == want, "{set:?} {heads:?}");
                let some = |qkv, heads| {
                    collect(sequences * width, |y| attention_on(set, qkv, heads, Some(&queries), y))
                };
                assert!(some(&qkv, heads) == some(&apart, alone), "{set:?} {heads:?}, some tokens");
            }
        }
    }
}
