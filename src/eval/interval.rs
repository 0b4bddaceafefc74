//! A share of images, and how sure it is.

use serde::Serialize;

/// The standard normal distribution's 97.5 % point.
const Z_95: f64 = 1.959_963_984_540_054;

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    pub count: u64,
    pub of: u64,
}

/// An interval that has the true share 95 times in 100.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval(pub f64, pub f64);

impl Share {
    /// Adds an image that counts or does not.
    pub fn add(&mut self, counts: bool) {
        self.count += u64::from(counts);
        self.of += 1;
    }

    /// The share, unless it is of nothing.
    pub fn value(self) -> Option<f64> {
        (self.of > 0).then(|| self.count as f64 / self.of as f64)
    }

    /// Wilson's interval, which stays within 0 and 1 and holds for few images, too (Wilson 1927).
    pub fn interval(self) -> Option<Interval> {
        let (p, n) = (self.value()?, self.of as f64);
        let z2 = Z_95 * Z_95;
        let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z_95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        Some(Interval((centre - half).max(0.0), (centre + half).min(1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_nothing_there_is_no_share_and_of_few_a_wide_interval() {
        assert_eq!((Share::default().value(), Share::default().interval()), (None, None));
        let Interval(low, high) = Share { count: 5, of: 5 }.interval().unwrap();
        // By the formula, 1 / (1 + z²/5).
        assert!((low - 0.565_518).abs() < 1e-6 && high == 1.0, "{low} {high}");
    }
}
