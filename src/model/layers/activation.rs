//! Activation functions in candle's operations; the CPU's are within its [products](super::linear).

use anyhow::Result;
use candle_core::Tensor;

pub use crate::kernels::Activation;

impl Activation {
    /// Applies the function to every element.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::QuickGelu => (x * candle_nn::ops::sigmoid(&(x * 1.702)?)?)?,
            Self::Gelu => x.gelu_erf()?,
            Self::GeluTanh => x.gelu()?,
        })
    }
}
