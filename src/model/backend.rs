//! Who computes a step: the CPU's kernels or candle's operations.

use super::precision::Precision;
use candle_core::Device;

/// Who computes the steps of a tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The [kernels](crate::kernels), on a CPU.
    Kernels,
    /// candle's operations, on a GPU; on a CPU only in precisions that the kernels do not have.
    Operations,
}

impl Backend {
    /// Decides for a tower on `device` in `precision`.
    pub fn of(device: &Device, precision: Precision) -> Self {
        match (device.is_cpu(), precision) {
            (true, Precision::F32 | Precision::Int8) => Self::Kernels,
            _ => Self::Operations,
        }
    }
}
