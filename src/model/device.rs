//! The device a model runs on.

use anyhow::{Context, Result, bail};
use candle_core::Device;
use std::fmt;
use std::str::FromStr;

/// What `--device` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The best device that this binary was built for and the machine has.
    #[default]
    Auto,
    Cpu,
    /// The CUDA card of that number.
    Cuda(usize),
    Metal,
}

/// The kinds of device this binary was built for.
pub const BUILT_FOR: &[&str] = &[
    "cpu",
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "metal")]
    "metal",
];

impl DeviceChoice {
    /// Opens the device.
    ///
    /// *Errors* when this binary was not built for it or the machine has none.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(card) => open_cuda(card),
            Self::Metal => open_metal(),
            Self::Auto if cfg!(feature = "cuda") => Ok(open_cuda(0).unwrap_or(Device::Cpu)),
            Self::Auto if cfg!(feature = "metal") => Ok(open_metal().unwrap_or(Device::Cpu)),
            Self::Auto => Ok(Device::Cpu),
        }
    }
}

/// Says what helps where `error` is a card's memory running out over a batch of `images`.
pub fn explain_memory(error: anyhow::Error, images: usize) -> anyhow::Error {
    // candle gives what the driver says as text only.
    let text = format!("{error:?}");
    if !["OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"].iter().any(|full| text.contains(full)) {
        return error;
    }
    error.context(match images {
        0 | 1 => "the card's memory does not hold the work of one image; try --precision f16 or --device cpu"
            .to_owned(),
        _ => format!(
            "the card's memory does not hold a batch of {images} images; try --batch-size {}",
            images / 2
        ),
    })
}

fn open_cuda(card: usize) -> Result<Device> {
    if !cfg!(feature = "cuda") {
        bail!(
            "this clipclass was built without CUDA; build it with: cargo install clipclass --features cuda"
        );
    }
    Device::new_cuda(card)
        .with_context(|| format!("cannot open CUDA device {card}; --device cpu runs without a card"))
}

fn open_metal() -> Result<Device> {
    if !cfg!(feature = "metal") {
        bail!(
            "this clipclass was built without Metal; build it with: cargo install clipclass --features metal"
        );
    }
    Device::new_metal(0).context("cannot open the Metal device")
}

impl FromStr for DeviceChoice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None => match text {
                "auto" => return Ok(Self::Auto),
                "cpu" => return Ok(Self::Cpu),
                "cuda" => return Ok(Self::Cuda(0)),
                "metal" => return Ok(Self::Metal),
                _ => {}
            },
            Some(("cuda", card)) => {
                return Ok(Self::Cuda(
                    card.parse().with_context(|| format!("{card:?} is not the number of a card"))?,
                ));
            }
            Some(_) => {}
        }
        bail!("expected auto, cpu, cuda, cuda:N or metal")
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(card) => write!(f, "cuda:{card}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_card_names_the_batch_size_to_try() {
        let full = || anyhow::anyhow!("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        assert_eq!(
            explain_memory(full(), 64).to_string(),
            "the card's memory does not hold a batch of 64 images; try --batch-size 32"
        );
        assert!(explain_memory(full(), 1).to_string().ends_with("try --precision f16 or --device cpu"));
        let product = anyhow::anyhow!("CublasError(CUBLAS_STATUS_ALLOC_FAILED)");
        assert!(explain_memory(product, 8).to_string().ends_with("try --batch-size 4"));
        assert_eq!(explain_memory(anyhow::anyhow!("other"), 64).to_string(), "other");
    }
}
