//! Activation functions in candle's operations; the CPU's are within its [products](super::linear).

use anyhow::Result;
use candle_core::Tensor;

pub use crate::kernels::Activation;

/// Applies the function to every element.
pub(super) fn activate(activation: Activation, x: &Tensor) -> Result<Tensor> {
    Ok(match activation {
        Activation::QuickGelu => (x * candle_nn::ops::sigmoid(&(x * 1.702)?)?)?,
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
    })
}
