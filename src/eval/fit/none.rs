//! The best labels of images that have one and of images that have none → when an image is none of the
//! labels.

use crate::labels::NoneRule;
use std::cmp::Reverse;

/// The largest share of the known images that a rule may lose on those that it is fitted to: less than the
/// 5 % that it is to lose at most, as it loses more of others.
const MOST_LOST: f64 = 0.04;

/// Levels of each threshold that are tried, from none to all that may be lost.
const LEVELS: usize = 16;

/// What is said of an image's best label.
const QUANTITIES: usize = 4;

/// Its probability, its cosine, its contrast, and its margin.
pub type BestLabel = [f32; QUANTITIES];

/// A choice of levels, one of each quantity.
type Levels = [usize; QUANTITIES];

/// Of all thresholds that lose no more of the known images than may be lost, those that together reject most
/// of the images that are none. `lost` of the known ones were lost before, of so many in `known_in_all`.
pub fn fit_none(known: &[BestLabel], none: &[BestLabel], lost: usize, known_in_all: usize) -> NoneRule {
    let budget =
        ((MOST_LOST * known_in_all as f64) as usize).saturating_sub(lost).min(known.len().saturating_sub(1));
    let thresholds = std::array::from_fn(|quantity| levels(known, quantity, budget));
    let known_passing = passing(known, &thresholds);
    let none_passing = passing(none, &thresholds);
    let mut best: Option<(u32, Reverse<u32>, usize)> = None;
    for (choice, (kept, taken)) in known_passing.into_iter().zip(none_passing).enumerate() {
        // Of equals the one that keeps most, and then the first, which has the lowest thresholds.
        let found = (taken, Reverse(kept), choice);
        if known.len() - (kept as usize) <= budget && best.is_none_or(|best| found < best) {
            best = Some(found);
        }
    }
    // The first choice rejects nothing.
    let levels = levels_of(best.map_or(0, |(_, _, choice)| choice));
    let least = |quantity: usize| thresholds[quantity][levels[quantity]];
    NoneRule { threshold: least(0), min_cosine: least(1), min_contrast: least(2), min_margin: least(3) }
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

/// Where a choice of levels stands among all.
fn place(levels: Levels) -> usize {
    levels.into_iter().fold(0, |place, level| place * LEVELS + level)
}

/// The choice of levels that stands there.
fn levels_of(place: usize) -> Levels {
    std::array::from_fn(|quantity| place / stride(quantity) % LEVELS)
}

/// How far choices are apart that differ by one level of a quantity.
fn stride(quantity: usize) -> usize {
    LEVELS.pow((QUANTITIES - 1 - quantity) as u32)
}

/// How many images pass with each choice of levels.
fn passing(images: &[BestLabel], thresholds: &[Vec<Option<f32>>; QUANTITIES]) -> Vec<u32> {
    let mut counts = vec![0; stride(0) * LEVELS];
    for best in images {
        // Levels rise, so an image passes all up to one, and the first rejects none.
        let highest = |quantity: usize| {
            let passes = |least: &Option<f32>| least.is_none_or(|least| best[quantity] >= least);
            thresholds[quantity].partition_point(passes) - 1
        };
        counts[place(std::array::from_fn(highest))] += 1;
    }
    // From counts of images whose highest levels these are to those that pass them, a quantity at a time.
    for quantity in 0..QUANTITIES {
        for place in (0..counts.len()).rev() {
            if levels_of(place)[quantity] + 1 < LEVELS {
                counts[place] += counts[place + stride(quantity)];
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
        let known =
            (0..200).map(|i| [0.9, if i % 100 == 0 { 0.15 } else { 0.3 + i as f32 * 1e-4 }, 0.1, 0.8]);
        let none = (0..50).map(|i| [0.95, 0.2 + i as f32 * 1e-4, 0.1, 0.9]);
        (known.collect(), none.collect())
    }

    #[test]
    fn the_quantity_that_tells_is_found_and_no_other_is_used() {
        let (known, none) = images();
        let rule = fit_none(&known, &none, 0, 200);
        assert_eq!((rule.threshold, rule.min_contrast, rule.min_margin), (None, None, None));
        let cosine = rule.min_cosine.unwrap();
        assert!(cosine > 0.205 && cosine <= 0.3001, "{cosine}");
        let contrasted = |images: Vec<BestLabel>| -> Vec<_> {
            images.into_iter().map(|[a, b, c, d]| [a, c, b, d]).collect()
        };
        let rule = fit_none(&contrasted(known), &contrasted(none), 0, 200);
        assert_eq!((rule.min_cosine, rule.min_contrast), (None, Some(cosine)));
    }

    #[test]
    fn no_more_of_the_known_are_lost_than_may_be() {
        let (known, none) = images();
        // Eight of 200 may be lost, and eight were.
        let rule = fit_none(&known, &none, 8, 200);
        let least = [rule.threshold, rule.min_cosine, rule.min_contrast, rule.min_margin];
        let passes = |best: &BestLabel| {
            best.iter().zip(least).all(|(value, least)| least.is_none_or(|least| *value >= least))
        };
        assert!(known.iter().all(passes));
    }

    #[test]
    fn images_that_pass_are_counted_at_every_choice_of_levels() {
        let known: Vec<BestLabel> =
            (0..97).map(|i| [5, 11, 31, 43].map(|step| (i * step % 97) as f32)).collect();
        let thresholds = std::array::from_fn(|quantity| levels(&known, quantity, 60));
        let counts = passing(&known, &thresholds);
        for choice in [[0, 0, 0, 0], [3, 0, 7, 1], [15, 15, 15, 15], [1, 14, 2, 0], [9, 9, 0, 9]] {
            let passes = |best: &&BestLabel| {
                let reaches =
                    |(q, &level): (usize, &usize)| thresholds[q][level].is_none_or(|least| best[q] >= least);
                choice.iter().enumerate().all(reaches)
            };
            assert_eq!(levels_of(place(choice)), choice);
            assert_eq!(counts[place(choice)] as usize, known.iter().filter(passes).count(), "{choice:?}");
        }
    }
}
