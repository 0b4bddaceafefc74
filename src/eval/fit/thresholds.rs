//! Values of a label and which images have it → the threshold of the label.

/// What a threshold is chosen for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ChosenFor {
    /// The best F1.
    F1,
    /// As many images as a precision allows.
    Precision(f32),
}

/// A value of a label for an image, and whether the image has it.
pub type Labelled = (f32, bool);

/// The threshold that serves its purpose best on these images.
///
/// `usual` is what holds unless images say otherwise: for F1 it is left only where the difference is larger
/// than chance makes it, and never for less. Without it the best threshold is taken as it is.
pub fn fit_threshold(mut images: Vec<Labelled>, usual: Option<f32>, chosen_for: ChosenFor) -> f32 {
    images.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let cuts = cuts(&images);
    let having = images.iter().filter(|image| image.1).count();
    match chosen_for {
        ChosenFor::F1 => {
            let f1 = |cut: &Cut| 2.0 * cut.right as f64 / (cut.given + having) as f64;
            let best = cuts.iter().filter(|cut| usual.is_none_or(|usual| cut.threshold > usual));
            // Of equals the first gives the fewest images.
            let best = best.fold(None::<&Cut>, |best, cut| match best {
                Some(best) if f1(best) >= f1(cut) => Some(best),
                _ => Some(cut),
            });
            match (usual, best) {
                (None, best) => best.map_or(f32::MAX, |cut| cut.threshold),
                (Some(usual), None) => usual,
                (Some(usual), Some(best)) => {
                    let rejected =
                        images.iter().filter(|(value, _)| *value >= usual && *value < best.threshold);
                    let (lost, mended) = rejected.fold((0u32, 0u32), |(lost, mended), (_, has)| {
                        if *has { (lost + 1, mended) } else { (lost, mended + 1) }
                    });
                    // Two standard deviations of as many coin tosses.
                    let chance = 2.0 * f64::from(lost + mended).sqrt();
                    if f64::from(mended) - f64::from(lost) > chance { best.threshold } else { usual }
                }
            }
        }
        ChosenFor::Precision(precision) => {
            let is_precise = |cut: &&Cut| cut.right as f64 >= f64::from(precision) * cut.given as f64;
            let lowest = cuts.iter().rfind(is_precise);
            // Nothing that was seen passes where no cut is precise enough.
            let above_all = || images.first().map_or(f32::MAX, |image| image.0.next_up());
            let threshold = lowest.map_or_else(above_all, |cut| cut.threshold);
            usual.map_or(threshold, |usual| threshold.max(usual))
        }
    }
}

/// A threshold between two values that were seen.
struct Cut {
    threshold: f32,
    /// How many images pass, and how many of them have the label.
    given: usize,
    right: usize,
}

/// All thresholds that make a difference, from above.
fn cuts(images: &[Labelled]) -> Vec<Cut> {
    let (mut given, mut right) = (0, 0);
    let mut cuts = Vec::new();
    for step in images.chunk_by(|a, b| a.0 == b.0) {
        given += step.len();
        right += step.iter().filter(|image| image.1).count();
        let value = step[0].0;
        let middle = images.get(given).map_or(value, |next| f32::midpoint(value, next.0));
        let is_between = images.get(given).is_none_or(|next| middle > next.0);
        cuts.push(Cut { threshold: if is_between { middle } else { value }, given, right });
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGES: [Labelled; 6] =
        [(0.875, true), (0.75, true), (0.625, false), (0.5, true), (0.25, false), (0.125, false)];

    #[test]
    fn the_best_f1_is_found_in_the_middle_of_a_gap() {
        // Three of four right and all found: 6/7; the first two alone: 4/5.
        assert_eq!(fit_threshold(IMAGES.to_vec(), None, ChosenFor::F1), 0.375);
        assert_eq!(fit_threshold(vec![(0.75, true), (0.25, false)], None, ChosenFor::F1), 0.5);
    }

    #[test]
    fn as_many_images_are_given_as_the_precision_allows() {
        let at = |precision| fit_threshold(IMAGES.to_vec(), None, ChosenFor::Precision(precision));
        assert_eq!((at(1.0), at(0.75), at(0.5)), (0.6875, 0.375, 0.125));
        let never = fit_threshold(vec![(0.9, false), (0.8, true)], None, ChosenFor::Precision(0.9));
        assert!(never > 0.9 && never < 0.91, "{never}");
    }

    #[test]
    fn the_usual_threshold_is_left_only_for_more_than_chance() {
        let few = [(0.9, true), (0.2, false), (0.1, false)];
        assert_eq!(fit_threshold(few.to_vec(), Some(0.0), ChosenFor::F1), 0.0);
        let many = [vec![(0.9, true); 50], vec![(0.1, false); 20]].concat();
        assert_eq!(fit_threshold(many, Some(0.0), ChosenFor::F1), 0.5);
        let below = [vec![(0.9, true); 50], vec![(-0.1, true); 50]].concat();
        assert_eq!(fit_threshold(below, Some(0.0), ChosenFor::F1), 0.0);
    }

    #[test]
    fn neighbours_among_floats_are_told_apart() {
        let high = 0.5f32.next_up();
        let threshold = fit_threshold(vec![(high, true), (0.5, false)], None, ChosenFor::F1);
        assert!(high >= threshold && threshold > 0.5);
    }
}
