//! The network: two transformer towers that end in one embedding space.
//!
//! The structs mirror the canonical names of the tensors, see [`layout`](super::layout). What a tower
//! needs is first found and checked in the weight files (`…Weights::find`), then loaded.

mod block;
mod pool;
mod text;
mod vision;

pub use text::{TextTower, TextWeights};
pub use vision::{VisionTower, VisionWeights};

use super::backend::Backend;
use super::layers::linear::{Linear, LinearWeights};
use anyhow::Result;
use candle_core::{D, Tensor};

/// Loads what projects a pooled state, if anything does.
fn load_projection(weights: &Option<LinearWeights>, backend: &Backend) -> Result<Option<Linear>> {
    weights.as_ref().map(|weights| Linear::load(&[weights], backend)).transpose()
}

/// Projects pooled states where the model does, and scales every row to unit length.
///
/// *Shape* `x [N, E] → [N, D]`.
fn embedding(x: &Tensor, projection: Option<&Linear>) -> Result<Tensor> {
    let projected = projection.map(|projection| projection.forward(x)).transpose()?;
    let x = projected.as_ref().unwrap_or(x);
    let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    Ok(x.broadcast_div(&length)?)
}
