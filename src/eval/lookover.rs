//! The labels' embeddings and how often each was there and predicted → what may be wrong with a label
//! set.

use super::classes::ClassCount;
use crate::score::cosines;
use serde::Serialize;

/// Two labels nearly coincide whose cosine is as near to 1, compared with that of the labels on average.
/// Models differ in how far apart their prompts lie, so no cosine says that by itself.
const NEAR: f32 = 0.1;

/// Of so few labels there is no telling what is usual; only the same prompts coincide.
const FEW_LABELS: usize = 4;

/// From here on prompts are the same to an f32.
const SAME: f32 = 0.9999;

/// The most pairs, and names, that are told.
pub(super) const MOST_FINDINGS: usize = 100;

/// Two labels that CLIP can hardly tell apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearPair {
    pub labels: [String; 2],
    pub cosine: f32,
}

/// What may be wrong with a label set; of each, no more than can be looked at.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct LabelFindings {
    /// Labels whose prompts nearly coincide, the nearest first.
    pub coinciding: Vec<NearPair>,
    pub never_predicted: Vec<String>,
    pub not_in_truth: Vec<String>,
}

/// Looks a label set over.
///
/// *Shape* `rows [L, D]`, unit length.
pub fn look_over(names: &[&str], rows: &[f32], dim: usize, classes: &[ClassCount]) -> LabelFindings {
    let chosen = |is_chosen: fn(&ClassCount) -> bool| {
        let chosen = names.iter().zip(classes).filter(|(_, class)| is_chosen(class));
        chosen.take(MOST_FINDINGS).map(|(name, _)| (*name).to_owned()).collect()
    };
    LabelFindings {
        coinciding: near_pairs(names, rows, dim),
        never_predicted: chosen(|class| class.predicted == 0),
        not_in_truth: chosen(|class| class.support == 0),
    }
}

fn near_pairs(names: &[&str], rows: &[f32], dim: usize) -> Vec<NearPair> {
    /// Labels compared with all others at a time.
    const BLOCK: usize = 64;
    let mut pairs = Vec::new();
    let all: Vec<_> = rows.chunks(dim).collect();
    let least = least_cosine(&all, dim);
    for (block, some) in all.chunks(BLOCK).enumerate() {
        let cosines = cosines(some, rows, dim);
        for (i, cosines) in cosines.chunks(all.len()).enumerate() {
            let label = block * BLOCK + i;
            let near = cosines.iter().enumerate().skip(label + 1).filter(|(_, cosine)| **cosine >= least);
            pairs.extend(near.map(|(other, cosine)| (*cosine, label, other)));
        }
        pairs.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        pairs.truncate(MOST_FINDINGS);
    }
    let pair = |(cosine, a, b): (f32, usize, usize)| NearPair {
        labels: [names[a].to_owned(), names[b].to_owned()],
        cosine,
    };
    pairs.into_iter().map(pair).collect()
}

/// The cosine from which on two labels nearly coincide.
fn least_cosine(rows: &[&[f32]], dim: usize) -> f32 {
    if rows.len() < FEW_LABELS {
        return SAME;
    }
    // The square of the sum of unit vectors has all their cosines in it, and theirs with themselves.
    let mut sum = vec![0.0f64; dim];
    rows.iter().for_each(|row| sum.iter_mut().zip(*row).for_each(|(sum, x)| *sum += f64::from(*x)));
    let (square, count) = (sum.iter().map(|x| x * x).sum::<f64>(), rows.len() as f64);
    let mean = (square - count) / (count * (count - 1.0));
    (1.0 - NEAR * (1.0 - mean as f32)).min(SAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_nearly_coincide_and_those_without_use_are_told() {
        let rows = [1.0, 0.0, 0.0, 1.0, 0.98, 0.199, 0.6, -0.8];
        let count = |predicted, support| ClassCount { right: 0, predicted, support };
        let counts = [count(1, 1), count(1, 0), count(0, 2), count(1, 1)];
        let found = look_over(&["cat", "dog", "a cat", "bird"], &rows, 2, &counts);
        assert_eq!(found.coinciding.len(), 1);
        assert_eq!(found.coinciding[0].labels, ["cat", "a cat"]);
        assert_eq!(
            (found.never_predicted, found.not_in_truth),
            (vec!["a cat".to_owned()], vec!["dog".to_owned()])
        );
    }
}
