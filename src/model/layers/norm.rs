//! Layer normalisation on any device.

use super::backend::Backend;
use super::linear::host_slice;
use super::weights::{Values, View, Weights};
use crate::kernels::{self, collect};
use anyhow::Result;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

/// The tensors of one normalisation: weight and bias `[E]`.
pub struct LayerNormWeights {
    weight: View,
    bias: View,
    eps: f32,
}

impl LayerNormWeights {
    /// `{name}.weight` and `{name}.bias`.
    pub fn find(weights: &Weights, name: &str, width: usize, eps: f32) -> Result<Self> {
        Ok(Self {
            weight: weights.view(&format!("{name}.weight"), &[width])?,
            bias: weights.view(&format!("{name}.bias"), &[width])?,
            eps,
        })
    }
}

/// `(x - mean) / √(variance + eps) · weight + bias` over the last dimension.
pub struct LayerNorm {
    place: NormPlace,
    eps: f32,
}

enum NormPlace {
    Host { weight: Values, bias: Values },
    Device { weight: Tensor, bias: Tensor },
}

impl LayerNorm {
    /// Loads the weights.
    pub fn load(weights: &LayerNormWeights, backend: &Backend) -> Result<Self> {
        let LayerNormWeights { weight, bias, eps } = weights;
        let place = match backend {
            Backend::Kernels(_) => NormPlace::Host { weight: weight.values()?, bias: bias.values()? },
            Backend::Operations { device, dtype } => NormPlace::Device {
                weight: weight.tensor(device, *dtype)?,
                bias: bias.tensor(device, *dtype)?,
            },
        };
        Ok(Self { place, eps: *eps })
    }

    /// *Shape* `x [R, E] → [R, E]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.place {
            NormPlace::Host { .. } => Ok(x.apply_op1_no_bwd(self)?),
            NormPlace::Device { weight, bias } => Ok(candle_nn::ops::layer_norm(x, weight, bias, self.eps)?),
        }
    }
}

impl CustomOp1 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let NormPlace::Host { weight, bias } = &self.place else { unreachable!("called on a CPU") };
        let x = host_slice(x, layout)?;
        let y = collect(x.len(), |y| kernels::layer_norm(x, weight, bias, self.eps, y));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}
