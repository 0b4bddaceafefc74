//! Scores of images and which of them have a label → how well the label ranks them.

/// Average precision: the mean of the precision at each image that has the label, images of one score
/// being one step (scikit-learn's `average_precision_score`). Absent where no image has the label.
pub fn average_precision(mut images: Vec<(f32, bool)>) -> Option<f64> {
    images.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let having = images.iter().filter(|image| image.1).count();
    if having == 0 {
        return None;
    }
    let (mut seen, mut found, mut sum) = (0, 0, 0.0);
    for step in images.chunk_by(|a, b| a.0 == b.0) {
        let more = step.iter().filter(|image| image.1).count();
        seen += step.len();
        found += more;
        sum += more as f64 / having as f64 * (found as f64 / seen as f64);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_is_averaged_over_the_images_that_have_the_label() {
        let ap = |images: &[(f32, bool)]| average_precision(images.to_vec());
        assert_eq!(ap(&[(0.1, false), (0.9, true), (0.8, true)]), Some(1.0));
        assert_eq!(ap(&[(0.9, false), (0.8, true)]), Some(0.5));
        assert_eq!(ap(&[(0.5, false), (0.5, true)]), Some(0.5));
        assert_eq!(ap(&[(0.5, false)]), None);
    }
}
