//! Who computes the steps of a tower: the CPU's kernels or candle's operations.
//!
//! It is decided here, once for a checkpoint; towers and layers are handed the decision.

use super::precision::Precision;
use crate::kernels;
use anyhow::{Result, bail};
use candle_core::{DType, Device};

/// Who computes the steps of a tower, and in what.
#[derive(Debug, Clone)]
pub enum Backend {
    /// The [kernels], on a CPU.
    Kernels(Products),
    /// candle's operations on `device`, a GPU, on tensors of `dtype`.
    Operations { device: Device, dtype: DType },
}

/// What the kernels compute a linear layer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// 32-bit floats, with the weights where they lie.
    F32,
    /// bf16, with rounded weights.
    Bf16,
    /// 8-bit integers, with quantised weights.
    Int8,
}

impl Backend {
    /// Decides for a checkpoint on `device` in `precision`.
    ///
    /// *Errors* when `device` does not compute in that precision to any advantage, or the limit of the
    /// instructions is not one.
    pub fn of(device: &Device, precision: Precision) -> Result<Self> {
        let operations = |dtype| Self::Operations { device: device.clone(), dtype };
        Ok(match (precision, device.is_cpu()) {
            (Precision::F32, true) => Self::Kernels(Products::F32),
            (Precision::Int8, true) => Self::Kernels(Products::Int8),
            (Precision::Bf16, true) => {
                kernels::require_bf16()?;
                Self::Kernels(Products::Bf16)
            }
            (Precision::F16, true) => {
                bail!("precision {precision} runs on a GPU only; a CPU computes in f32, bf16 or int8")
            }
            (Precision::F32, false) => operations(DType::F32),
            (Precision::F16, false) => operations(DType::F16),
            (Precision::Bf16, false) => operations(DType::BF16),
            (Precision::Int8, false) => {
                bail!("precision {precision} runs on a CPU only; use --device cpu")
            }
        })
    }

    /// The same in f32, for the few steps that stay exact in every precision.
    pub fn in_f32(&self) -> Self {
        match self {
            Self::Kernels(_) => Self::Kernels(Products::F32),
            Self::Operations { device, .. } => Self::Operations { device: device.clone(), dtype: DType::F32 },
        }
    }

    /// Where the tensors are.
    pub fn device(&self) -> &Device {
        match self {
            Self::Kernels(_) => &Device::Cpu,
            Self::Operations { device, .. } => device,
        }
    }

    /// What the tensors between two steps hold.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Kernels(_) => DType::F32,
            Self::Operations { dtype, .. } => *dtype,
        }
    }
}
