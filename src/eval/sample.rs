//! Cosines of images and what they show, kept for what cannot be summed up in passing: average precision
//! and whatever is fitted. Of very many images a random sample is kept, so that memory stays flat.

use super::random::{Random, SEED};

/// The most cosines that are kept, in 256 MiB: four million images of 16 labels, or 67,000 of 1,000.
const MOST_COSINES: usize = 64 << 20;

/// What an image of a sample shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SampleTruth {
    /// Positions of its labels; exactly one where each image has one.
    Labels(Box<[u32]>),
    /// None of the labels.
    None,
}

/// Images, each with as good a chance as any.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Cosines of an image: of the labels, and of the decoys after them.
    width: usize,
    most: usize,
    cosines: Vec<f32>,
    truths: Vec<SampleTruth>,
    seen: u64,
    random: Random,
}

impl Sample {
    /// One for images of so many labels and decoys.
    pub fn new(width: usize) -> Self {
        Self::with_room(width, MOST_COSINES)
    }

    fn with_room(width: usize, most_cosines: usize) -> Self {
        Self {
            width,
            most: (most_cosines / width).max(1),
            cosines: Vec::new(),
            truths: Vec::new(),
            seen: 0,
            random: Random::new(SEED),
        }
    }

    /// Offers an image (Vitter's algorithm R).
    ///
    /// *Shape* `cosines [L + decoys]`.
    pub fn offer(&mut self, cosines: impl Iterator<Item = f32>, truth: SampleTruth) {
        self.seen += 1;
        if self.truths.len() < self.most {
            self.cosines.extend(cosines);
            self.truths.push(truth);
            return;
        }
        let place = self.random.below(self.seen) as usize;
        if place < self.most {
            let row = &mut self.cosines[place * self.width..][..self.width];
            row.iter_mut().zip(cosines).for_each(|(old, new)| *old = new);
            self.truths[place] = truth;
        }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.truths.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.truths.is_empty()
    }

    /// How many images were offered.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The cosines of an image, `[L + decoys]`.
    pub fn cosines(&self, image: usize) -> &[f32] {
        &self.cosines[image * self.width..][..self.width]
    }

    /// What an image shows.
    pub fn truth(&self, image: usize) -> &SampleTruth {
        &self.truths[image]
    }

    /// Whether an image has a label.
    pub fn has(&self, image: usize, label: usize) -> bool {
        match &self.truths[image] {
            SampleTruth::Labels(labels) => labels.contains(&(label as u32)),
            SampleTruth::None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_bounded_and_every_image_has_the_same_chance() {
        let mut sample = Sample::with_room(2, 200);
        for i in 0..10_000 {
            sample.offer([i as f32, 0.0].into_iter(), SampleTruth::None);
        }
        assert_eq!((sample.len(), sample.seen()), (100, 10_000));
        // The mean of 100 of them is off by more than 1,200 once in 30,000 seeds, and the seed is fixed.
        let mean: f32 = (0..100).map(|i| sample.cosines(i)[0]).sum::<f32>() / 100.0;
        assert!((mean - 5000.0).abs() < 1200.0, "{mean}");
    }
}
