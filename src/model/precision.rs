//! What the network's products are computed in.

use anyhow::{Context, Result};
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
    /// 16-bit floats of f32's range and eight significant bits: on a GPU, or in the blocks' linear layers
    /// on a CPU that multiplies them.
    Bf16,
    /// 8-bit integers in the blocks' linear layers, on a CPU: several times faster, a little off.
    Int8,
}

impl Precision {
    /// Every precision, the default first.
    pub const ALL: &[Self] = &[Self::F32, Self::F16, Self::Bf16, Self::Int8];

    /// The name that it goes by.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

impl FromStr for Precision {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::ALL.iter().find(|precision| precision.name() == text);
        named.copied().with_context(|| format!("there is no precision {text}"))
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
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
