//! The network: two transformer towers that end in one embedding space.
//!
//! The structs mirror the canonical names of the tensors, see [`layout`](super::layout). What a tower
//! needs is first found and checked in the weight files (`…Weights::find`), then loaded.

mod block;
mod text;
mod vision;

pub use text::{TextTower, TextWeights};
pub use vision::{VisionTower, VisionWeights};

use anyhow::Result;
use candle_core::{D, Tensor};

/// Scales every row to unit length.
///
/// *Shape* `x [N, D] → [N, D]`.
fn unit_length(x: &Tensor) -> Result<Tensor> {
    let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    Ok(x.broadcast_div(&length)?)
}
