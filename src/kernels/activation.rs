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
    ///
    /// # Safety
    ///
    /// The machine must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd>(self, x: S::F32) -> S::F32 {
        unsafe {
            match self {
                Self::QuickGelu => times_sigmoid::<S>(x, S::mul(x, S::splat(1.702))),
                Self::Gelu => {
                    let half = S::mul(x, S::splat(0.5));
                    S::mul_add(half, erf::<S>(S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2))), half)
                }
                Self::GeluTanh => {
                    // (1 + tanh z) / 2 = sigmoid 2z.
                    let twice = S::splat(2.0 * 0.797_884_6);
                    let cubic = S::mul_add(S::mul(x, x), S::splat(0.044715), S::splat(1.0));
                    times_sigmoid::<S>(x, S::mul(S::mul(x, cubic), twice))
                }
            }
        }
    }
}

/// `x / (1 + e⁻ᶻ)`.
#[inline(always)]
unsafe fn times_sigmoid<S: Simd>(x: S::F32, z: S::F32) -> S::F32 {
    unsafe { S::div(x, S::add(S::splat(1.0), S::exp(S::mul(z, S::splat(-1.0))))) }
}

/// The error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
unsafe fn erf<S: Simd>(x: S::F32) -> S::F32 {
    const TERMS: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
    unsafe {
        let negative = S::mul(x, S::splat(-1.0));
        let size = S::max(x, negative);
        let one = S::splat(1.0);
        let t = S::div(one, S::mul_add(size, S::splat(0.327_591_1), one));
        let sum = S::polynomial(t, &TERMS);
        let tail = S::mul(S::mul(sum, t), S::exp(S::mul(x, negative)));
        let erf = S::add(one, S::mul(tail, S::splat(-1.0)));
        // With the sign of x, which the division by |x| gives; erf 0 is 0 here, too.
        S::mul(erf, S::div(x, S::max(S::splat(f32::MIN_POSITIVE), size)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Isa, Kernel, dispatch};
    use super::*;

    struct All<'a>(Activation, &'a mut [f32]);

    impl Kernel for All<'_> {
        unsafe fn run<S: Simd>(self) {
            for x in self.1.chunks_exact_mut(S::LANES) {
                unsafe { S::store(x.as_mut_ptr(), self.0.apply::<S>(S::load(x.as_ptr()))) };
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
        for isa in Isa::all_of_this_machine() {
            for (activation, formula) in formulas {
                let mut y = x.clone();
                dispatch(isa, All(activation, &mut y));
                for (x, y) in x.iter().zip(&y) {
                    let want = formula(f64::from(*x)) as f32;
                    assert!((y - want).abs() < 2e-6, "{isa:?} {activation:?}({x}) is {y}, not {want}");
                }
            }
        }
    }

    #[test]
    fn far_values_stay_numbers_and_what_is_not_a_number_stays_so() {
        for isa in Isa::all_of_this_machine() {
            for activation in [Activation::QuickGelu, Activation::Gelu, Activation::GeluTanh] {
                let mut y = [-1e4, -90.0, 0.0, 90.0, 1e4, f32::NAN, 0.0, 0.0].repeat(2);
                dispatch(isa, All(activation, &mut y));
                assert!(y[0].abs() < 1e-30 && y[1].abs() < 1e-30 && y[2] == 0.0, "{isa:?} {y:?}");
                assert!(y[3] == 90.0 && y[4] == 1e4 && y[5].is_nan(), "{isa:?} {y:?}");
            }
        }
    }
}
