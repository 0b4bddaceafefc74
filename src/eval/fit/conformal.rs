//! Probabilities of the labels that images have → the least probability of a label in a prediction set.

/// The least probability of split conformal prediction with the score 1 − p (Sadinle et al. 2019): of
/// images that are like these, a share of at least `coverage`, and at most 1 / (n + 1) more where no two
/// probabilities are equal, have their label in the set. Absent where there are too few images to say.
pub fn set_probability(mut probabilities: Vec<f32>, coverage: f32) -> Option<f32> {
    // The decimal that the user wrote, so that 1 − 0.9 is a tenth.
    let coverage: f64 = coverage.to_string().parse().unwrap_or(f64::from(coverage));
    // A hair more than the product, which may fall below a whole number by a rounding.
    let missed = ((1.0 - coverage) * (probabilities.len() + 1) as f64 + 1e-9) as usize;
    let place = missed.checked_sub(1)?;
    probabilities.sort_unstable_by(f32::total_cmp);
    probabilities.get(place).copied()
}

/// How many images there have to be for that.
pub fn images_for(coverage: f32) -> usize {
    let needed = |images: &usize| set_probability(vec![0.0; *images], coverage).is_some();
    let about = (1.0 / (1.0 - f64::from(coverage))) as usize;
    (about.saturating_sub(3)..).find(needed).unwrap_or(about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::random::Random;

    #[test]
    fn the_tenth_of_nineteen_and_one_more_is_the_second() {
        let probabilities: Vec<f32> = (1..=19).map(|i| i as f32 / 20.0).collect();
        assert_eq!(set_probability(probabilities.clone(), 0.9), Some(0.1));
        assert_eq!(set_probability(probabilities[..8].to_vec(), 0.9), None);
        assert_eq!(set_probability(probabilities[..9].to_vec(), 0.9), Some(0.05));
        assert_eq!([0.5, 0.9, 0.99, 0.999].map(images_for), [1, 9, 99, 999]);
    }

    #[test]
    fn over_many_splits_the_coverage_is_within_the_bounds_of_the_theory() {
        let (images, splits, coverage) = (400, 200, 0.9);
        let mut random = Random::new(2);
        let all: Vec<f32> = (0..images).map(|_| random.below(1 << 24) as f32 / (1 << 24) as f32).collect();
        let half = images / 2;
        let (mut covered, mut order) = (0, (0..images).collect::<Vec<_>>());
        for _ in 0..splits {
            random.shuffle(&mut order);
            let fitted: Vec<_> = order[..half].iter().map(|&i| all[i]).collect();
            let least = set_probability(fitted, coverage).unwrap();
            covered += order[half..].iter().filter(|&&i| all[i] >= least).count();
        }
        let mean = covered as f64 / (splits * (images - half)) as f64;
        // The coverage of one split has a standard deviation of 0.03, their mean one of 0.002.
        let (low, high) = (0.9 - 0.007, 0.9 + 1.0 / (half + 1) as f64 + 0.007);
        assert!((low..=high).contains(&mean), "{mean}");
    }
}
