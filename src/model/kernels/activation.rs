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
