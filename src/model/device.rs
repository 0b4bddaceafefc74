//! The device a model runs on.

use anyhow::{Context, Error, Result, bail};
use candle_core::{Device, DeviceLocation};
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

/// What was asked of a device when its memory ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceTask {
    /// To hold the weights of a tower.
    Tower,
    /// To embed so many images.
    Images(usize),
    /// To embed so many prompts.
    Prompts(usize),
}

/// Says what helps where `error` is a card's memory running out.
pub fn explain_memory(error: Error, work: DeviceTask) -> Error {
    // candle gives what the driver says as text only.
    let text = format!("{error:?}");
    if !["OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"].iter().any(|full| text.contains(full)) {
        return error;
    }
    let (what, advice) = match work {
        DeviceTask::Tower => ("the weights".to_owned(), LESS_MEMORY.to_owned()),
        DeviceTask::Images(0 | 1) => ("the work of one image".to_owned(), LESS_MEMORY.to_owned()),
        DeviceTask::Images(count) => {
            (format!("a batch of {count} images"), format!("--batch-size {}", count / 2))
        }
        DeviceTask::Prompts(count) => (format!("a batch of {count} prompts"), LESS_MEMORY.to_owned()),
    };
    error.context(format!("the card's memory does not hold {what}; try {advice}"))
}

/// What needs less of a card.
const LESS_MEMORY: &str = "--precision f16 or --device cpu";

/// The name of an open device: what computes on it, for those who tell results apart by that.
pub fn name_of(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".to_owned(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

fn open_cuda(card: usize) -> Result<Device> {
    if !cfg!(feature = "cuda") {
        bail!(
            "this clipclass was built without CUDA; build it with: cargo install clipclass --features cuda"
        );
    }
    Device::new_cuda(card)
        .map_err(|error| explain_libraries(error.into()))
        .with_context(|| format!("cannot open CUDA device {card}; --device cpu runs without a card"))
}

/// Says what helps where `error` is what a released binary (`.ci/cuda.c`) gives for a driver without
/// CUDA's libraries.
fn explain_libraries(error: Error) -> Error {
    if !format!("{error:?}").contains("CUDA_ERROR_SHARED_OBJECT_INIT_FAILED") {
        return error;
    }
    error.context(
        "there is a driver, but not all of CUDA 13's libraries cuBLAS, cuRAND and NVRTC are found; \
         install them, or name their folder in LD_LIBRARY_PATH",
    )
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
    fn driver_without_cuda_libraries_names_what_to_install() {
        let told = |error: &'static str| explain_libraries(anyhow::anyhow!(error)).to_string();
        let missing =
            "DriverError(CUDA_ERROR_SHARED_OBJECT_INIT_FAILED, \"shared object initialization failed\")";
        assert!(told(missing).contains("LD_LIBRARY_PATH"), "{}", told(missing));
        assert_eq!(told("DriverError(CUDA_ERROR_NO_DEVICE)"), "DriverError(CUDA_ERROR_NO_DEVICE)");
    }

    #[test]
    fn full_card_names_what_to_try() {
        let told = |error: &'static str, work| explain_memory(anyhow::anyhow!(error), work).to_string();
        let full = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        assert_eq!(
            told(full, DeviceTask::Images(64)),
            "the card's memory does not hold a batch of 64 images; try --batch-size 32"
        );
        let less = "try --precision f16 or --device cpu";
        assert!(told(full, DeviceTask::Images(1)).ends_with(less));
        assert!(told(full, DeviceTask::Tower).ends_with(less));
        assert_eq!(
            told(full, DeviceTask::Prompts(300)),
            format!("the card's memory does not hold a batch of 300 prompts; {less}")
        );
        assert!(
            told("CublasError(CUBLAS_STATUS_ALLOC_FAILED)", DeviceTask::Images(8))
                .ends_with("--batch-size 4")
        );
        assert_eq!(told("other", DeviceTask::Images(64)), "other");
    }
}
