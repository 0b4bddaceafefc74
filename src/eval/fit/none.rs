//! The best labels of images that have one and of images that have none → when an image is none of the
//! labels.

use crate::labels::NoneRule;

/// The largest share of the known images that a rule may lose on those that it is fitted to: less than the
/// 5 % that it is to lose at most, as it loses more of others.
const MOST_LOST: f64 = 0.035;

/// Levels of each threshold that are tried, from none to all that may be lost.
const LEVELS: usize = 16;

/// What is said of an image's best label: its probability, its cosine, and its margin.
pub type BestLabel = [f32; 3];

/// The three thresholds that together reject most of the images that are none, for what they lose of the
/// known ones. `lost` of these were lost before, of so many in `known_in_all`.
pub fn fit_none(known: &[BestLabel], none: &[BestLabel], lost: usize, known_in_all: usize) -> NoneRule {
    let budget =
        ((MOST_LOST * known_in_all as f64) as usize).saturating_sub(lost).min(known.len().saturating_sub(1));
    let thresholds: [Vec<Option<f32>>; 3] = [0, 1, 2].map(|quantity| levels(known, quantity, budget));
    let known_passing = passing(known, &thresholds);
    let none_passing = passing(none, &thresholds);
    let share = |count: u32, of: usize| f64::from(count) / of.max(1) as f64;
    let mut best = (f64::NEG_INFINITY, [0; 3]);
    for a in 0..LEVELS {
        for b in 0..LEVELS {
            for c in 0..LEVELS {
                let kept = known_passing[a][b][c];
                if known.len() - (kept as usize) > budget {
                    continue;
                }
                // Youden's index: the share of the one kind that passes less that of the other.
                let index = share(kept, known.len()) - share(none_passing[a][b][c], none.len());
                // Of equals the first has the lowest thresholds.
                if index > best.0 {
                    best = (index, [a, b, c]);
                }
            }
        }
    }
    let [a, b, c] = best.1;
    NoneRule { threshold: thresholds[0][a], min_cosine: thresholds[1][b], min_margin: thresholds[2][c] }
}

/// Thresholds of one quantity, which lose more and more of the known.
fn levels(known: &[BestLabel], quantity: usize, budget: usize) -> Vec<Option<f32>> {
    let mut values: Vec<_> = known.iter().map(|best| best[quantity]).collect();
    values.sort_unstable_by(f32::total_cmp);
    let level = |i: usize| match i {
        0 => None,
        i => {
            let lost = budget * (i - 1) / (LEVELS - 2);
            let above = *values.get(lost)?;
            let below = lost.checked_sub(1).map_or(above, |below| values[below]);
            let middle = f32::midpoint(below, above);
            Some(if middle > below { middle } else { above })
        }
    };
    (0..LEVELS).map(level).collect()
}

/// How many images pass with each choice of levels.
fn passing(images: &[BestLabel], thresholds: &[Vec<Option<f32>>; 3]) -> Vec<Vec<Vec<u32>>> {
    let mut counts = vec![vec![vec![0u32; LEVELS]; LEVELS]; LEVELS];
    for best in images {
        // Levels rise, so an image passes all up to one, and the first rejects none.
        let highest = |quantity: usize| {
            let passes = |least: &Option<f32>| least.is_none_or(|least| best[quantity] >= least);
            thresholds[quantity].partition_point(passes) - 1
        };
        counts[highest(0)][highest(1)][highest(2)] += 1;
    }
    // From counts of images whose highest levels these are to those that pass them.
    for a in (0..LEVELS).rev() {
        for b in (0..LEVELS).rev() {
            for c in (0..LEVELS).rev() {
                let at = |a: usize, b: usize, c: usize| {
                    counts.get(a).and_then(|x| x.get(b)).and_then(|x| x.get(c)).copied().unwrap_or(0)
                };
                let (one, two, three) = (
                    at(a + 1, b, c) + at(a, b + 1, c) + at(a, b, c + 1),
                    at(a + 1, b + 1, c) + at(a + 1, b, c + 1) + at(a, b + 1, c + 1),
                    at(a + 1, b + 1, c + 1),
                );
                counts[a][b][c] += one + three - two;
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known images of which one in a hundred is doubtful, and images that are none, told by the cosine.
    fn images() -> (Vec<BestLabel>, Vec<BestLabel>) {
        let known = (0..200).map(|i| [0.9, if i % 100 == 0 { 0.15 } else { 0.3 + i as f32 * 1e-4 }, 0.8]);
        let none = (0..50).map(|i| [0.95, 0.2 + i as f32 * 1e-4, 0.9]);
        (known.collect(), none.collect())
    }

    #[test]
    fn the_quantity_that_tells_is_found_and_no_other_is_used() {
        let (known, none) = images();
        let rule = fit_none(&known, &none, 0, 200);
        assert_eq!((rule.threshold, rule.min_margin), (None, None));
        let cosine = rule.min_cosine.unwrap();
        assert!(cosine > 0.205 && cosine <= 0.3001, "{cosine}");
    }

    #[test]
    fn no_more_of_the_known_are_lost_than_may_be() {
        let (known, none) = images();
        // Seven of 200 may be lost, and eight were.
        let rule = fit_none(&known, &none, 8, 200);
        let passes = |best: &BestLabel| {
            best[0] >= rule.threshold.unwrap_or(0.0)
                && best[1] >= rule.min_cosine.unwrap_or(-1.0)
                && best[2] >= rule.min_margin.unwrap_or(0.0)
        };
        assert!(known.iter().all(passes));
    }

    #[test]
    fn images_that_pass_are_counted_at_every_choice_of_levels() {
        let value = |i: usize, step: usize| (i * step % 97) as f32;
        let known: Vec<BestLabel> = (0..97).map(|i| [value(i, 5), value(i, 11), value(i, 31)]).collect();
        let thresholds = [0, 1, 2].map(|quantity| levels(&known, quantity, 60));
        let counts = passing(&known, &thresholds);
        for [a, b, c] in [[0, 0, 0], [3, 0, 7], [15, 15, 15], [1, 14, 2], [9, 9, 0]] {
            let passes = |best: &&BestLabel| {
                [a, b, c]
                    .iter()
                    .enumerate()
                    .all(|(q, &level)| thresholds[q][level].is_none_or(|least| best[q] >= least))
            };
            assert_eq!(counts[a][b][c] as usize, known.iter().filter(passes).count(), "{a} {b} {c}");
        }
    }
}
