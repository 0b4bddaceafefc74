//! Softmax of one row.

use super::instructions::FloatSet;
use super::simd::{Kernel, Simd, dispatch_on};

/// Turns `x` into `e^x / Σ e^x`. All of it is NaN where an element is NaN or +∞, or none is a number.
pub fn softmax(x: &mut [f32]) {
    softmax_on(FloatSet::in_use(), x);
}

pub(super) fn softmax_on(set: FloatSet, x: &mut [f32]) {
    dispatch_on(set, Softmax(x));
}

struct Softmax<'a>(&'a mut [f32]);

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let x = self.0;
        let (whole, rest) = x.split_at_mut(x.len() - x.len() % S::LANES);
        let mut largest = simd.splat(f32::NEG_INFINITY);
        for x in whole.chunks_exact(S::LANES) {
            largest = simd.max(largest, simd.load(x));
        }
        let largest = rest.iter().copied().fold(simd.largest(largest), f32::max);
        // What is too small for the exponential is nothing, not its least value.
        let (minus_largest, least) = (simd.splat(-largest), simd.splat(-87.3));
        let minus_least = simd.mul(simd.exp(least), simd.splat(-1.0));
        let mut sum = simd.splat(0.0);
        for x in whole.chunks_exact_mut(S::LANES) {
            let power = simd.add(simd.exp(simd.add(simd.load(x), minus_largest)), minus_least);
            sum = simd.add(sum, power);
            simd.store(x, power);
        }
        let mut total = simd.sum(sum);
        if !rest.is_empty() {
            let mut lanes = [0.0; super::simd::MAX_LANES];
            let power = simd.exp(simd.add(simd.load_some(rest), minus_largest));
            simd.store(&mut lanes, simd.add(power, minus_least));
            rest.copy_from_slice(&lanes[..rest.len()]);
            total += rest.iter().sum::<f32>();
        }
        x.iter_mut().for_each(|x| *x /= total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::random;

    #[test]
    fn every_instruction_set_gives_the_softmax_of_any_length() {
        for len in [1, 2, 7, 8, 33, 1000] {
            let x: Vec<_> = random(len, len as u32).iter().map(|x| 30.0 * x).collect();
            let largest = x.iter().copied().fold(f32::MIN, f32::max);
            let odds: Vec<_> = x.iter().map(|x| f64::from(x - largest).exp()).collect();
            let total: f64 = odds.iter().sum();
            for set in FloatSet::all() {
                let mut y = x.clone();
                softmax_on(set, &mut y);
                for (y, odds) in y.iter().zip(&odds) {
                    let want = odds / total;
                    // The exponential's error, and that of a sum of a thousand.
                    assert!((f64::from(*y) - want).abs() <= 2e-6 * want, "{set:?} {len}: {y} is not {want}");
                }
            }
        }
    }

    #[test]
    fn far_from_the_largest_is_zero_and_what_is_no_number_is_seen() {
        for set in FloatSet::all() {
            let mut x = vec![1e4; 9];
            x[1..].fill(-1e4);
            softmax_on(set, &mut x);
            assert!(x[0] == 1.0 && x[1..].iter().all(|x| *x == 0.0), "{set:?} {x:?}");
            for (at, wrong) in [(0, f32::NAN), (8, f32::NAN), (3, f32::INFINITY)] {
                let mut x = vec![1.0; 9];
                x[at] = wrong;
                softmax_on(set, &mut x);
                assert!(x.iter().all(|x| x.is_nan()), "{set:?} {x:?}");
            }
            let mut x = [f32::NEG_INFINITY; 3];
            softmax_on(set, &mut x);
            assert!(x[0].is_nan());
        }
    }
}
