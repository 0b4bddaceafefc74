//! The JSON files beside the weights → one typed [`ModelConfig`] and a [`Transform`].
//!
//! What a file leaves out has Hugging Face's default; what clipclass cannot do is refused by name.
//!
//! [`Transform`]: crate::pixels::Transform

mod clip;
mod preprocessor;

pub use preprocessor::read_transform;

use super::family::Family;
use super::layers::activation::Activation;
use crate::hub::OpenFile;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// What a checkpoint's network looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which kind of model it is.
    pub family: Family,
    /// Width of the embeddings, `D`.
    pub projection_dim: usize,
    /// The text tower.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
}

/// What both towers have.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TowerConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    #[serde(default)]
    pub hidden_act: HiddenAct,
    #[serde(default = "default_layer_norm_eps")]
    pub layer_norm_eps: f32,
}

/// The text tower.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TextConfig {
    #[serde(flatten)]
    pub tower: TowerConfig,
    pub vocab_size: usize,
    /// Context length: the most tokens a prompt may have.
    pub max_position_embeddings: usize,
}

/// The vision tower.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct VisionConfig {
    #[serde(flatten)]
    pub tower: TowerConfig,
    /// Height and width of an image in pixels.
    pub image_size: usize,
    /// Height and width of a patch in pixels.
    pub patch_size: usize,
}

/// `hidden_act`: the name of an activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum HiddenAct {
    #[default]
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    #[serde(rename = "gelu")]
    Gelu,
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
}

impl HiddenAct {
    /// The function of that name.
    pub fn activation(self) -> Activation {
        match self {
            Self::QuickGelu => Activation::QuickGelu,
            Self::Gelu => Activation::Gelu,
            Self::GeluTanh => Activation::GeluTanh,
        }
    }
}

fn default_layer_norm_eps() -> f32 {
    1e-5
}

/// The most that any size in a configuration may be: far above every model there is, and low
/// enough that products of two do not overflow.
const MAX_SIZE: usize = 1 << 24;

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// *Errors* when it is not a configuration of a family that clipclass runs, or names something
    /// that it does not know.
    pub fn read(file: &OpenFile) -> Result<Self> {
        let bytes = file.contents()?;
        let read = || {
            let config = clip::parse(&bytes)?;
            config.check()?;
            Ok(config)
        };
        let config: Result<_> = read();
        config.with_context(|| format!("cannot use {}", file.path().display()))
    }

    fn check(&self) -> Result<()> {
        let Self { family: _, projection_dim, text, vision } = self;
        let sizes = [
            ("projection_dim", *projection_dim),
            ("vocab_size", text.vocab_size),
            ("max_position_embeddings", text.max_position_embeddings),
            ("image_size", vision.image_size),
            ("patch_size", vision.patch_size),
        ];
        for (name, size) in sizes {
            ensure!((1..=MAX_SIZE).contains(&size), "{name} {size} is out of range");
        }
        for (name, tower) in [("text_config", &text.tower), ("vision_config", &vision.tower)] {
            let TowerConfig { hidden_size, intermediate_size, num_attention_heads: heads, .. } = tower;
            for size in [hidden_size, intermediate_size, heads] {
                ensure!((1..=MAX_SIZE).contains(size), "{name}: size {size} is out of range");
            }
            ensure!(
                hidden_size % heads == 0,
                "{name}: hidden_size {hidden_size} does not divide into {heads} heads"
            );
        }
        ensure!(
            vision.image_size % vision.patch_size == 0 && vision.image_size / vision.patch_size <= 1 << 10,
            "image_size {} does not divide into patches of {}",
            vision.image_size,
            vision.patch_size
        );
        Ok(())
    }
}
