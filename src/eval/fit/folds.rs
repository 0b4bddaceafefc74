//! Images → parts that are alike, so that what is fitted to some can be measured on others.

use crate::eval::random::{Random, SEED};
use crate::eval::sample::{Sample, SampleTruth};
use std::collections::BTreeMap;

/// How many parts there are.
pub const FOLDS: usize = 5;

/// The part of each image, with about as many of each label in every part; the same for the same images.
pub fn folds(sample: &Sample) -> Vec<usize> {
    let mut of_label: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
    for image in 0..sample.len() {
        let label = match sample.truth(image) {
            SampleTruth::Labels(labels) => labels.first().copied(),
            SampleTruth::None => None,
        };
        of_label.entry(label).or_default().push(image);
    }
    let mut random = Random::new(SEED);
    let mut folds = vec![0; sample.len()];
    // Each label goes on where the one before ended, so that parts are of one size.
    let mut next = 0;
    for mut images in of_label.into_values() {
        random.shuffle(&mut images);
        for image in images {
            folds[image] = next % FOLDS;
            next += 1;
        }
    }
    folds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_share_of_every_label() {
        let mut sample = Sample::new(2);
        for i in 0..103 {
            let truth = if i % 4 == 3 { SampleTruth::None } else { SampleTruth::Labels([i % 4].into()) };
            sample.offer([0.0, 0.0].into_iter(), truth);
        }
        let folds = folds(&sample);
        for fold in 0..FOLDS {
            let images: Vec<_> = (0..103).filter(|&image| folds[image] == fold).collect();
            assert!((20..=21).contains(&images.len()));
            for label in 0..3 {
                assert!((5..=6).contains(&images.iter().filter(|&&image| sample.has(image, label)).count()));
            }
        }
    }
}
