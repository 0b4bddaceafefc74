//! What the network's products are computed in.

use anyhow::{Result, bail, ensure};
use candle_core::Device;
use std::fmt;
use std::str::FromStr;

/// What `--precision` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32-bit floats, the original's numbers.
    #[default]
    F32,
    /// 8-bit integers in the blocks' linear layers, on a CPU: several times faster, a little off.
    Int8,
}

impl Precision {
    /// Every precision, the default first.
    pub const ALL: &[Self] = &[Self::F32, Self::Int8];

    /// *Errors* when `device` cannot compute in it.
    pub fn check(self, device: &Device) -> Result<()> {
        ensure!(
            self == Self::F32 || device.is_cpu(),
            "precision {self} runs on a CPU only; use --device cpu"
        );
        Ok(())
    }
}

impl FromStr for Precision {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Self::F32),
            "int8" => Ok(Self::Int8),
            _ => bail!("expected f32 or int8"),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
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
