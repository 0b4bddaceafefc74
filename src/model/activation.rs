//! Activation functions on any device.

use super::kernels;
use super::linear::host_slice_mut;
use anyhow::Result;
use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor};

pub use super::kernels::Activation;

impl Activation {
    /// Applies the function to every element, in place where the device can.
    pub fn forward(self, x: Tensor) -> Result<Tensor> {
        if x.device().is_cpu() {
            x.inplace_op1(&self)?;
            return Ok(x);
        }
        Ok(match self {
            Self::QuickGelu => (&x * candle_nn::ops::sigmoid(&(&x * 1.702)?)?)?,
            Self::Gelu => x.gelu_erf()?,
            Self::GeluTanh => x.gelu()?,
        })
    }
}

impl InplaceOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        kernels::activate(host_slice_mut(x, layout)?, *self);
        Ok(())
    }
}
