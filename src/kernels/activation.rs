//! Activation functions.

use super::simd::Simd;

/// An activation function that CLIP models use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(1.702 x)`, of OpenAI's models.
    QuickGelu,
    /// `x/2 · (1 + erf(x/√2))`, of LAION's and DataComp's models.
    Gelu,
    /// `x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
}

impl Activation {
    /// The function of every lane.
    #[inline(always)]
    pub(super) fn apply<S: Simd>(self, simd: S, x: S::F32) -> S::F32 {
        match self {
            Self::QuickGelu => times_sigmoid(simd, x, simd.mul(x, simd.splat(1.702))),
            Self::Gelu => {
                let half = simd.mul(x, simd.splat(0.5));
                let scaled = simd.mul(x, simd.splat(std::f32::consts::FRAC_1_SQRT_2));
                simd.mul_add(half, erf(simd, scaled), half)
            }
            Self::GeluTanh => {
                // (1 + tanh z) / 2 = sigmoid 2z.
                let twice = simd.splat(2.0 * 0.797_884_6);
                let cubic = simd.mul_add(simd.mul(x, x), simd.splat(0.044715), simd.splat(1.0));
                times_sigmoid(simd, x, simd.mul(simd.mul(x, cubic), twice))
            }
        }
    }
}

/// `x / (1 + e⁻ᶻ)`.
#[inline(always)]
fn times_sigmoid<S: Simd>(simd: S, x: S::F32, z: S::F32) -> S::F32 {
    simd.div(x, simd.add(simd.splat(1.0), simd.exp(simd.mul(z, simd.splat(-1.0)))))
}

/// The error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
fn erf<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    const TERMS: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
    let negative = simd.mul(x, simd.splat(-1.0));
    let size = simd.max(x, negative);
    let one = simd.splat(1.0);
    let t = simd.div(one, simd.mul_add(size, simd.splat(0.327_591_1), one));
    let sum = simd.polynomial(t, &TERMS);
    let tail = simd.mul(simd.mul(sum, t), simd.exp(simd.mul(x, negative)));
    let erf = simd.add(one, simd.mul(tail, simd.splat(-1.0)));
    // With the sign of x, which the division by |x| gives; erf 0 is 0 here, too.
    simd.mul(erf, simd.div(x, simd.max(simd.splat(f32::MIN_POSITIVE), size)))
}

#[cfg(test)]
mod tests {
    use super::super::instructions::FloatSet;
    use super::super::simd::{Kernel, dispatch_on};
    use super::*;

    struct All<'a>(Activation, &'a mut [f32]);

    impl Kernel for All<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for x in self.1.chunks_exact_mut(S::LANES) {
                simd.store(x, self.0.apply(simd, simd.load(x)));
            }
        }
    }

    #[test]
    fn activations_are_what_their_formulas_say() {
        /// The error function by its series, for |x| < 4.
        fn erf(x: f64) -> f64 {
            let (mut term, mut sum) = (x, x);
            for n in 1..100 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        }
        let quick = |x: f64| x / (1.0 + (-1.702 * x).exp());
        let gelu = |x: f64| x / 2.0 * (1.0 + erf(x / 2f64.sqrt()));
        let tanh = |x: f64| {
            x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        };
        let formulas: [(Activation, &dyn Fn(f64) -> f64); 3] =
            [(Activation::QuickGelu, &quick), (Activation::Gelu, &gelu), (Activation::GeluTanh, &tanh)];
        let x: Vec<_> = (0..=1024).map(|i| i as f32 / 100.0 - 5.12).take(1024).collect();
        for set in FloatSet::all() {
            for (activation, formula) in formulas {
                let mut y = x.clone();
                dispatch_on(set, All(activation, &mut y));
                for (x, y) in x.iter().zip(&y) {
                    let want = formula(f64::from(*x)) as f32;
                    assert!((y - want).abs() < 2e-6, "{set:?} {activation:?}({x}) is {y}, not {want}");
                }
            }
        }
    }

    #[test]
    fn far_values_stay_numbers_and_what_is_not_a_number_stays_so() {
        for set in FloatSet::all() {
            for activation in [Activation::QuickGelu, Activation::Gelu, Activation::GeluTanh] {
                let mut y = [-1e4, -90.0, 0.0, 90.0, 1e4, f32::NAN, 0.0, 0.0].repeat(2);
                dispatch_on(set, All(activation, &mut y));
                assert!(y[0].abs() < 1e-30 && y[1].abs() < 1e-30 && y[2] == 0.0, "{set:?} {y:?}");
                assert!(y[3] == 90.0 && y[4] == 1e4 && y[5].is_nan(), "{set:?} {y:?}");
            }
        }
    }
}
