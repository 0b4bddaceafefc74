//! Activation functions, in place.

use rayon::prelude::*;
use rten_simd::SimdUnaryOp;
use rten_vecmath::{ApproxGelu, Gelu, Swish};

/// Elements in one task.
const TASK_ELEMENTS: usize = 16 * 1024;

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

/// Applies `activation` to every element.
pub fn activate(values: &mut [f32], activation: Activation) {
    values.par_chunks_mut(TASK_ELEMENTS).for_each(|chunk| match activation {
        Activation::QuickGelu => Swish { alpha: 1.702 }.map_mut(chunk),
        Activation::Gelu => Gelu {}.map_mut(chunk),
        Activation::GeluTanh => ApproxGelu {}.map_mut(chunk),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

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
        // More than one task, not a whole number of vectors.
        let x: Vec<_> = (0..2 * TASK_ELEMENTS + 5).map(|i| (i % 1001) as f32 / 100.0 - 5.0).collect();
        for (activation, formula) in formulas {
            let mut y = x.clone();
            activate(&mut y, activation);
            for (x, y) in x.iter().zip(&y) {
                let want = formula(f64::from(*x)) as f32;
                assert!((y - want).abs() < 2e-6, "{activation:?}({x}) is {y}, not {want}");
            }
        }
    }
}
