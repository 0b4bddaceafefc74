//! Probabilities and what came true → how far they can be believed.

use super::interval::{Interval, Share};
use crate::score::Scoring;
use serde::Serialize;

/// Bins of probability, as many as Guo et al. (2017) have.
const BINS: usize = 15;

/// Sums over images, or over pairs of image and label where each label has a probability of its own.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    bins: [Bin; BINS],
    brier: f64,
    log_loss: f64,
    observations: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    share: Share,
    probability: f64,
}

/// One bar of the reliability diagram.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReliabilityBin {
    pub from: f64,
    pub to: f64,
    pub images: u64,
    /// Mean probability of the predictions.
    pub probability: Option<f64>,
    /// Share of them that is right.
    pub accuracy: Option<f64>,
    #[serde(skip)]
    pub interval: Option<Interval>,
}

/// Logits → probabilities, in f64.
///
/// *Shape* `[L + decoys]` → `[L + decoys]`.
pub fn probabilities(scoring: Scoring, logits: &[f32]) -> Vec<f64> {
    let logits = logits.iter().map(|logit| f64::from(*logit));
    match scoring {
        Scoring::Sigmoid { .. } => logits.map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
        Scoring::Softmax { .. } => {
            let largest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
            let mut exps: Vec<_> = logits.map(|logit| (logit - largest).exp()).collect();
            let sum: f64 = exps.iter().sum();
            exps.iter_mut().for_each(|exp| *exp /= sum);
            exps
        }
    }
}

/// Minus the logarithm of the softmax at `label`, which does not underflow as the probability does.
pub fn softmax_loss(logits: &[f32], label: usize) -> f64 {
    let logits = logits.iter().map(|logit| f64::from(*logit));
    let at_label = logits.clone().nth(label).unwrap_or(f64::NEG_INFINITY);
    let largest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + logits.map(|logit| (logit - largest).exp()).sum::<f64>().ln() - at_label
}

/// Minus the logarithm of the probability of what is so, for a label of a sigmoid.
pub fn sigmoid_loss(logit: f32, is_so: bool) -> f64 {
    let logit = if is_so { f64::from(logit) } else { -f64::from(logit) };
    // ln(1 + exp(-x)), without an overflow.
    (-logit).max(0.0) + (-logit.abs()).exp().ln_1p()
}

impl Calibration {
    /// Adds an image of one label by softmax: the logits of labels and decoys, of which `labels` are
    /// labels, the position of its label, and that of the best.
    pub fn add_softmax(&mut self, logits: &[f32], labels: usize, truth: usize, best: usize) {
        let probabilities = probabilities(Scoring::Softmax { scale: 1.0 }, logits);
        self.bin(probabilities[best], truth == best);
        let error = |(label, p): (usize, &f64)| (p - f64::from(u8::from(label == truth))).powi(2);
        self.brier += probabilities[..labels].iter().enumerate().map(error).sum::<f64>();
        self.log_loss += softmax_loss(logits, truth);
        self.observations += 1;
    }

    /// Adds an image by sigmoid: the logits of the labels, and which of them it has. Each label is an
    /// observation; bins are of the `best` one alone where each image has one.
    pub fn add_sigmoid(&mut self, logits: &[f32], has: impl Fn(usize) -> bool, best: Option<usize>) {
        for (label, &logit) in logits.iter().enumerate() {
            let p = 1.0 / (1.0 + (-f64::from(logit)).exp());
            if best.is_none_or(|best| best == label) {
                self.bin(p, has(label));
            }
            self.brier += (p - f64::from(u8::from(has(label)))).powi(2);
            self.log_loss += sigmoid_loss(logit, has(label));
            self.observations += 1;
        }
    }

    fn bin(&mut self, probability: f64, is_right: bool) {
        // (0, 1/15], (1/15, 2/15], …
        let bin = ((probability * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        self.bins[bin].share.add(is_right);
        self.bins[bin].probability += probability;
    }

    /// Expected calibration error: how far probability and accuracy are apart in a bin, on average.
    pub fn ece(&self) -> Option<f64> {
        let of: u64 = self.bins.iter().map(|bin| bin.share.of).sum();
        let gap = |bin: &Bin| (bin.share.count as f64 - bin.probability).abs();
        (of > 0).then(|| self.bins.iter().map(gap).sum::<f64>() / of as f64)
    }

    /// Mean squared error of the probabilities: summed over the labels of an image by softmax, so from 0
    /// to 2; the mean over labels by sigmoid.
    pub fn brier(&self) -> Option<f64> {
        self.mean(self.brier)
    }

    /// Mean of minus the logarithm of the probability of what is so.
    pub fn log_loss(&self) -> Option<f64> {
        self.mean(self.log_loss)
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.observations > 0).then(|| sum / self.observations as f64)
    }

    /// The bars of the reliability diagram, empty ones included.
    pub fn reliability(&self) -> Vec<ReliabilityBin> {
        let bar = |(i, bin): (usize, &Bin)| ReliabilityBin {
            from: i as f64 / BINS as f64,
            to: (i + 1) as f64 / BINS as f64,
            images: bin.share.of,
            probability: (bin.share.of > 0).then(|| bin.probability / bin.share.of as f64),
            accuracy: bin.share.value(),
            interval: bin.share.interval(),
        };
        self.bins.iter().enumerate().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_stay_finite_where_probabilities_underflow() {
        assert!((softmax_loss(&[0.0, 2000.0], 0) - 2000.0).abs() < 1e-9);
        assert!((sigmoid_loss(-2000.0, true) - 2000.0).abs() < 1e-9);
        assert!((sigmoid_loss(0.0, true) - 2f64.ln()).abs() < 1e-12);
        assert!((sigmoid_loss(1.5, false) - (1.0 + 1.5f64.exp()).ln()).abs() < 1e-12);
    }

    #[test]
    fn a_bin_begins_above_its_lower_edge() {
        let mut calibration = Calibration::default();
        calibration.bin(0.2, true);
        calibration.bin(0.0, false);
        calibration.bin(1.0, true);
        let filled: Vec<_> = calibration
            .reliability()
            .iter()
            .map(|bin| bin.images)
            .enumerate()
            .filter(|bin| bin.1 > 0)
            .collect();
        assert_eq!(filled, [(0, 1), (2, 1), (14, 1)]);
        assert!((calibration.ece().unwrap() - 0.8 / 3.0).abs() < 1e-12);
    }
}
