//! A step of a tower, on any device: in the CPU's kernels or in candle's operations.

use super::{backend, config, weights};

pub mod activation;
pub mod attention;
pub mod linear;
pub mod norm;
pub mod scale;
