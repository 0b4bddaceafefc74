//! What the network's products are computed in.

use anyhow::{Result, bail};
use candle_core::{DType, Device};
use std::fmt;
use std::str::FromStr;

/// What `--precision` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32-bit floats, the original's numbers.
    #[default]
    F32,
    /// 16-bit floats of eleven significant bits, on a GPU.
    F16,
    /// 16-bit floats of f32's range and eight significant bits, on a GPU.
    Bf16,
    /// 8-bit integers in the blocks' linear layers, on a CPU: several times faster, a little off.
    Int8,
}

impl Precision {
    /// Every precision, the default first.
    pub const ALL: &[Self] = &[Self::F32, Self::F16, Self::Bf16, Self::Int8];

    /// *Errors* when `device` does not compute in it to any advantage.
    pub fn check(self, device: &Device) -> Result<()> {
        match (self, device.is_cpu()) {
            (Self::F16 | Self::Bf16, true) => {
                bail!("precision {self} runs on a GPU only; a CPU computes in f32 or int8")
            }
            (Self::Int8, false) => bail!("precision {self} runs on a CPU only; use --device cpu"),
            _ => Ok(()),
        }
    }

    /// Whether a tower on `device` runs in the CPU's kernels; if not, it does in candle's operations.
    pub fn in_kernels(self, device: &Device) -> bool {
        device.is_cpu() && matches!(self, Self::F32 | Self::Int8)
    }

    /// What tensors hold in candle's operations.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 | Self::Int8 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}

impl FromStr for Precision {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            "int8" => Ok(Self::Int8),
            _ => bail!("expected f32, f16, bf16 or int8"),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_reads_as_it_is_written() -> Result<()> {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse::<Precision>()?, *precision);
        }
        assert!("int4".parse::<Precision>().is_err());
        Ok(())
    }
}
