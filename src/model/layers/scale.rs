//! What the outcome of half a block is multiplied with, on any device.

use super::backend::Backend;
use super::linear::{host_slice, host_slice_mut};
use super::weights::{Values, View};
use anyhow::Result;
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};

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
            Self::Host(_) => {
                sum.inplace_op2(x, self)?;
                Ok(sum)
            }
            Self::Device(scale) => Ok((sum + x.broadcast_mul(scale)?)?),
        }
    }
}

impl InplaceOp2 for LayerScale {
    fn name(&self) -> &'static str {
        "layer-scale-add"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        x: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<()> {
        let Self::Host(scale) = self else { unreachable!("called on a CPU") };
        let (x, sum) = (host_slice(x, layout)?, host_slice_mut(sum, sum_layout)?);
        for (x, sum) in x.chunks_exact(scale.len()).zip(sum.chunks_exact_mut(scale.len())) {
            for ((sum, x), scale) in sum.iter_mut().zip(x).zip(scale.iter()) {
                *sum += x * scale;
            }
        }
        Ok(())
    }
}
