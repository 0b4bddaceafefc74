//! Logits and truth → the temperature that makes the probabilities of labels most likely.

use rayon::prelude::*;

/// Temperatures that are not left: outside of them the images tell little.
const LEAST: f64 = 0.05;
const MOST: f64 = 20.0;

/// Images whose sums are added up together.
const BLOCK: usize = 256;

/// How logits become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Softmax,
    Sigmoid,
}

/// The temperature that minimises the mean negative log-likelihood (Guo et al. 2017).
///
/// In its inverse that is convex, so Newton's steps lead there. `logits` gives those of an image and
/// whether each label is one of its own.
pub fn fit_temperature(
    images: &[usize],
    link: Link,
    logits: impl Fn(usize) -> Vec<(f64, bool)> + Sync,
) -> f64 {
    let mut inverse = 1.0f64;
    for _ in 0..100 {
        // Summed in blocks, so that threads change no digit.
        let block = |images: &[usize]| {
            let derivatives = |&image: &usize| derivatives(&logits(image), link, inverse);
            images.iter().map(derivatives).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1))
        };
        let blocks: Vec<_> = images.par_chunks(BLOCK).map(block).collect();
        let (first, second) = blocks.into_iter().fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
        let step = if second > 0.0 {
            inverse - first / second
        } else {
            inverse * if first > 0.0 { 0.5 } else { 2.0 }
        };
        let next = step.clamp(inverse / 2.0, inverse * 2.0).clamp(1.0 / MOST, 1.0 / LEAST);
        let is_there = (next / inverse - 1.0).abs() < 1e-9;
        inverse = next;
        if is_there {
            break;
        }
    }
    1.0 / inverse
}

/// The first and the second derivative of an image's loss by the inverse of the temperature.
fn derivatives(logits: &[(f64, bool)], link: Link, inverse: f64) -> (f64, f64) {
    match link {
        Link::Softmax => {
            let largest = logits.iter().map(|(z, _)| z * inverse).fold(f64::NEG_INFINITY, f64::max);
            let (mut sum, mut mean, mut square, mut own) = (0.0, 0.0, 0.0, 0.0);
            for (z, is_own) in logits {
                let weight = (z * inverse - largest).exp();
                sum += weight;
                mean += weight * z;
                square += weight * z * z;
                if *is_own {
                    own = *z;
                }
            }
            let mean = mean / sum;
            (mean - own, (square / sum - mean * mean).max(0.0))
        }
        Link::Sigmoid => {
            let derivatives = |(z, is_own): &(f64, bool)| {
                let p = 1.0 / (1.0 + (-z * inverse).exp());
                ((p - f64::from(u8::from(*is_own))) * z, p * (1.0 - p) * z * z)
            };
            logits.iter().map(derivatives).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::random::Random;

    /// Images of three labels, drawn with the probabilities that their logits have at a temperature.
    fn drawn(temperature: f64) -> Vec<Vec<(f64, bool)>> {
        let mut random = Random::new(1);
        let mut uniform = move || random.below(1 << 30) as f64 / (1u64 << 30) as f64;
        let image = |_| {
            let logits: Vec<f64> = (0..3).map(|_| 8.0 * uniform()).collect();
            let weights: Vec<f64> = logits.iter().map(|z| (z / temperature).exp()).collect();
            let mut left = uniform() * weights.iter().sum::<f64>();
            let own = weights.iter().position(|weight| {
                left -= weight;
                left < 0.0
            });
            logits.into_iter().enumerate().map(|(i, z)| (z, i == own.unwrap_or(2))).collect()
        };
        (0..20_000).map(image).collect()
    }

    #[test]
    fn the_temperature_that_images_were_drawn_at_is_found() {
        for temperature in [0.5, 1.0, 3.0] {
            let images = drawn(temperature);
            let all: Vec<_> = (0..images.len()).collect();
            let fitted = fit_temperature(&all, Link::Softmax, |image| images[image].clone());
            // Of 20,000 images the standard error is about 0.02.
            assert!((fitted / temperature - 1.0).abs() < 0.06, "{temperature}: {fitted}");
        }
    }

    #[test]
    fn images_that_are_all_right_do_not_lead_to_no_temperature_at_all() {
        let fitted = fit_temperature(&[0, 1], Link::Softmax, |_| vec![(3.0, true), (0.0, false)]);
        assert_eq!(fitted, LEAST);
        let fitted = fit_temperature(&[0], Link::Sigmoid, |_| vec![(-3.0, true), (2.0, false)]);
        assert_eq!(fitted, MOST);
    }
}
