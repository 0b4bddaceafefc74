//! What the outcome of half a block is multiplied with, on any device.

use super::backend::Backend;
use super::linear::add_on_host;
use super::weights::{Values, View};
use anyhow::Result;
use candle_core::Tensor;

/// A factor for each element of a row, `[E]`.
pub enum LayerScale {
    Host(Values),
    Device(Tensor),
}

impl LayerScale {
    /// Loads the factors.
    pub fn load(scale: &View, backend: &Backend) -> Result<Self> {
        Ok(match backend {
            Backend::Kernels(_) => Self::Host(scale.values()?),
            Backend::Operations { device, dtype } => Self::Device(scale.tensor(device, *dtype)?),
        })
    }

    /// `sum + x · scale`, where the device can in place of `sum`.
    ///
    /// *Shape* `x [R, E]`, `sum [R, E] → [R, E]`.
    pub fn add_to(&self, sum: Tensor, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Host(scale) => add_on_host(sum, x, |x, sum| {
                for (x, sum) in x.chunks_exact(scale.len()).zip(sum.chunks_exact_mut(scale.len())) {
                    for ((sum, x), scale) in sum.iter_mut().zip(x).zip(scale.iter()) {
                        *sum += x * scale;
                    }
                }
            }),
            Self::Device(scale) => Ok((sum + x.broadcast_mul(scale)?)?),
        }
    }
}
