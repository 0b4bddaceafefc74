//! Which class was taken for which → precision, recall and F1, and the confusions that matter.

use serde::Serialize;
use std::collections::{BTreeSet, HashMap};

/// How often a class was there, was predicted, and both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassCount {
    pub right: u64,
    pub predicted: u64,
    pub support: u64,
}

impl ClassCount {
    /// Share of its predictions that are right; 0 where there are none, as scikit-learn has it.
    pub fn precision(self) -> f64 {
        ratio(self.right, self.predicted)
    }

    /// Share of its images that are found; 0 where there are none.
    pub fn recall(self) -> f64 {
        ratio(self.right, self.support)
    }

    /// The harmonic mean of both.
    pub fn f1(self) -> f64 {
        ratio(2 * self.right, self.predicted + self.support)
    }

    /// Whether it is in the truth or among the predictions, and so in a mean over classes.
    fn occurs(self) -> bool {
        self.predicted + self.support > 0
    }
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// Mean F1 of the classes that are in the truth or among the predictions.
pub fn macro_f1(classes: &[ClassCount]) -> Option<f64> {
    mean(classes.iter().filter(|class| class.occurs()).map(|class| class.f1()))
}

/// Mean recall of the classes that are in the truth.
pub fn balanced_accuracy(classes: &[ClassCount]) -> Option<f64> {
    mean(classes.iter().filter(|class| class.support > 0).map(|class| class.recall()))
}

/// F1 of all classes' counts together.
pub fn micro_f1(classes: &[ClassCount]) -> Option<f64> {
    let sum = classes.iter().fold(ClassCount::default(), |sum, class| ClassCount {
        right: sum.right + class.right,
        predicted: sum.predicted + class.predicted,
        support: sum.support + class.support,
    });
    sum.occurs().then(|| sum.f1())
}

/// How often each class was taken for each. The class after the last label is none of them.
#[derive(Debug, Clone, Default)]
pub struct Confusion {
    /// By truth and prediction; most pairs never occur.
    counts: HashMap<(u32, u32), u64>,
}

/// One class that was taken for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confused<'a> {
    pub label: &'a str,
    pub prediction: &'a str,
    pub images: u64,
}

impl Confusion {
    /// Adds an image.
    pub fn add(&mut self, truth: usize, prediction: usize) {
        *self.counts.entry((truth as u32, prediction as u32)).or_default() += 1;
    }

    /// The counts of each class.
    pub fn classes(&self, classes: usize) -> Vec<ClassCount> {
        let mut counts = vec![ClassCount::default(); classes];
        for (&(truth, prediction), &images) in &self.counts {
            counts[truth as usize].support += images;
            counts[prediction as usize].predicted += images;
            if truth == prediction {
                counts[truth as usize].right += images;
            }
        }
        counts
    }

    /// The whole matrix, a row for each truth.
    pub fn matrix(&self, classes: usize) -> Vec<Vec<u64>> {
        let mut matrix = vec![vec![0; classes]; classes];
        for (&(truth, prediction), &images) in &self.counts {
            matrix[truth as usize][prediction as usize] = images;
        }
        matrix
    }

    /// The pairs that are confused most often, the most frequent first.
    pub fn worst<'a>(&self, names: &[&'a str], most: usize) -> Vec<Confused<'a>> {
        let confused = |((truth, prediction), images): ((usize, usize), u64)| Confused {
            label: names[truth],
            prediction: names[prediction],
            images,
        };
        self.worst_pairs().into_iter().take(most).map(confused).collect()
    }

    /// How many pairs of classes are confused at all.
    pub fn pairs(&self) -> usize {
        self.counts.keys().filter(|(truth, prediction)| truth != prediction).count()
    }

    fn worst_pairs(&self) -> Vec<((usize, usize), u64)> {
        let mut pairs: Vec<_> =
            self.counts.iter().filter(|((truth, prediction), _)| truth != prediction).collect();
        pairs.sort_unstable_by_key(|(pair, images)| (std::cmp::Reverse(**images), **pair));
        let pair = |(pair, images): (&(u32, u32), &u64)| ((pair.0 as usize, pair.1 as usize), *images);
        pairs.into_iter().map(pair).collect()
    }

    /// The classes that are confused most often, at most so many, in their own order.
    pub fn most_confused(&self, most: usize) -> Vec<usize> {
        let mut chosen = BTreeSet::new();
        for ((truth, prediction), _) in self.worst_pairs() {
            let more = [truth, prediction].into_iter().filter(|class| !chosen.contains(class)).count();
            if chosen.len() + more <= most {
                chosen.extend([truth, prediction]);
            }
        }
        chosen.into_iter().collect()
    }

    /// The matrix of some classes, whose last row and column are all others.
    pub fn matrix_with_rest(&self, chosen: &[usize]) -> Vec<Vec<u64>> {
        let rest = chosen.len();
        let place_of: HashMap<_, _> = chosen.iter().map(|class| *class as u32).zip(0..).collect();
        let place = |class: u32| place_of.get(&class).copied().unwrap_or(rest);
        let mut matrix = vec![vec![0; rest + 1]; rest + 1];
        for (&(truth, prediction), &images) in &self.counts {
            matrix[place(truth)][place(prediction)] += images;
        }
        matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_never_occurs_is_in_no_mean() {
        let mut confusion = Confusion::default();
        for (truth, prediction) in [(0, 0), (0, 1), (1, 1), (1, 1)] {
            confusion.add(truth, prediction);
        }
        let classes = confusion.classes(3);
        assert_eq!(classes[2], ClassCount::default());
        // F1 of the two is 2/3 and 4/5, recall 1/2 and 1.
        assert!((macro_f1(&classes).unwrap() - (2.0 / 3.0 + 0.8) / 2.0).abs() < 1e-12);
        assert_eq!((balanced_accuracy(&classes), micro_f1(&classes)), (Some(0.75), Some(0.75)));
        assert_eq!(confusion.matrix(2), [[1, 1], [0, 2]]);
        assert_eq!(confusion.worst(&["a", "b"], 9), [Confused { label: "a", prediction: "b", images: 1 }]);
        assert_eq!((macro_f1(&[]), micro_f1(&[]), balanced_accuracy(&[])), (None, None, None));
    }

    #[test]
    fn a_matrix_of_the_classes_that_are_confused_most_counts_all_others_together() {
        let mut confusion = Confusion::default();
        let pairs = [(0, 1), (0, 1), (5, 4), (5, 4), (5, 4), (2, 3), (3, 3), (1, 1), (6, 0)];
        pairs.iter().for_each(|(truth, prediction)| confusion.add(*truth, *prediction));
        assert_eq!(confusion.pairs(), 4);
        let chosen = confusion.most_confused(4);
        assert_eq!(chosen, [0, 1, 4, 5]);
        assert_eq!(
            confusion.matrix_with_rest(&chosen),
            [[0, 2, 0, 0, 0], [0, 1, 0, 0, 0], [0; 5], [0, 0, 3, 0, 0], [1, 0, 0, 0, 2]]
        );
        // Where only one more fits, a pair that needs two is passed over for one that needs one.
        assert_eq!(confusion.most_confused(5), [0, 1, 4, 5, 6]);
    }
}
