//! The JSON files beside the weights → one typed [`ModelConfig`] and a [`Transform`].
//!
//! What a file leaves out has the default of the package that wrote it; what changes a number and is
//! not built here is refused by name.

mod hugging_face;
mod keys;
mod open_clip;
mod preprocessor;
mod timm;

pub use hugging_face::is_hugging_face;
pub use preprocessor::read_transform;

use super::family::{Family, ImagePooling, Mask, Padding, TextPooling};
use super::layers::activation::Activation;
use super::layout::Layout;
use crate::hub::{OpenFile, PreprocessorFile};
use crate::pixels::Transform;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::sync::Arc;

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
#[derive(Debug, Clone, PartialEq)]
pub struct TowerConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub activation: Activation,
    pub layer_norm_eps: f32,
    /// Whether both halves of a block end in a trained factor for each element.
    pub layer_scale: bool,
    /// What makes an embedding of the pooled state.
    pub projection: Projection,
}

/// What makes an embedding of a tower's pooled state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// Nothing: the state is the embedding.
    None,
    /// A matrix.
    Linear,
    /// A matrix and a bias.
    LinearWithBias,
}

/// The text tower.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    pub tower: TowerConfig,
    pub vocab_size: usize,
    /// Context length: the most tokens a prompt may have.
    pub max_position_embeddings: usize,
    /// Which tokens a token sees.
    pub mask: Mask,
    /// Which token's state becomes the embedding.
    pub pooling: TextPooling,
    /// How the checkpoint's own code makes tokens of a prompt.
    pub tokens: TokensConfig,
}

impl TextConfig {
    /// How many tokens prompts are padded to.
    pub fn padding(&self) -> Padding {
        match (self.mask, self.pooling) {
            (Mask::None, _) | (_, TextPooling::Last) => Padding::Context,
            (Mask::Causal, _) => Padding::Longest,
        }
    }
}

/// What a configuration says of the tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokensConfig {
    /// It is that of the family, in transformers.
    Family,
    /// It is what its files make it, in transformers.
    Folder,
    /// It is open_clip's own, of CLIP's vocabulary.
    OpenClip(OpenClipCleaning),
    /// It is that of the repository `name`, as open_clip uses those of transformers; 0 may take the
    /// separator's place.
    Named { name: String, cleaning: OpenClipCleaning, strips_separator: bool },
}

/// What open_clip does to a prompt before it goes to a tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpenClipCleaning {
    Whitespace,
    Lower,
    Canonicalize,
}

/// The vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    pub tower: TowerConfig,
    /// Height and width of an image in pixels.
    pub image_size: usize,
    /// Height and width of a patch in pixels. What is left of an image at the right and below is cut off.
    pub patch_size: usize,
    /// Whether the embedding of a patch has a bias.
    pub patch_bias: bool,
    /// Whether a class token stands before the patches.
    pub class_token: bool,
    /// Whether there is a normalisation before the blocks.
    pub pre_norm: bool,
    /// What makes one state of those of all tokens.
    pub pooling: ImagePooling,
    /// Where the last normalisation stands.
    pub post_norm: PostNorm,
}

/// Where a vision tower's last normalisation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostNorm {
    /// Every token is normalised, then pooled.
    BeforePooling,
    /// What was pooled is normalised.
    AfterPooling,
}

impl VisionConfig {
    /// Patches along a side.
    pub fn patches_a_side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Tokens of an image, `T`.
    pub fn tokens(&self) -> usize {
        self.patches_a_side().pow(2) + usize::from(self.class_token)
    }
}

/// The most that any size in a configuration may be: far above every model there is, and low
/// enough that products of two do not overflow.
const MAX_SIZE: usize = 1 << 24;

impl ModelConfig {
    /// Reads the configuration of a checkpoint in `layout`, and how its images are prepared: as
    /// `preprocessor` says, or the configuration itself, or without either as is the family's way.
    ///
    /// *Errors* when a file is not one of a model that clipclass runs, or asks for what it does not
    /// know; when images would not fit the network.
    pub fn read(
        layout: Layout,
        file: &OpenFile,
        preprocessor: Option<&PreprocessorFile<Arc<OpenFile>>>,
    ) -> Result<(Self, Transform)> {
        let bytes = file.contents()?;
        let read = || {
            let (config, transform) = match layout {
                Layout::HuggingFace => (hugging_face::parse(&bytes)?, None),
                Layout::OpenClip => {
                    let (config, transform) = open_clip::parse(&bytes)?;
                    (config, Some(transform))
                }
            };
            config.check()?;
            Ok((config, transform))
        };
        let read: Result<_> = read();
        let (config, transform) = read.with_context(|| format!("cannot use {}", file.path().display()))?;
        let transform = match transform {
            Some(transform) => transform,
            None => read_transform(preprocessor, config.family, config.vision.image_size)?,
        };
        Ok((config, transform))
    }

    fn check(&self) -> Result<()> {
        let Self { projection_dim, text, vision, .. } = self;
        let sizes = [
            ("the width of embeddings", *projection_dim),
            ("the size of the vocabulary", text.vocab_size),
            ("the context length", text.max_position_embeddings),
            ("the size of images", vision.image_size),
            ("the size of patches", vision.patch_size),
        ];
        for (name, size) in sizes {
            ensure!((1..=MAX_SIZE).contains(&size), "{name}, {size}, is out of range");
        }
        for (name, tower) in [("text", &text.tower), ("vision", &vision.tower)] {
            let TowerConfig { hidden_size, intermediate_size, num_attention_heads: heads, .. } = tower;
            for size in [hidden_size, intermediate_size, heads] {
                ensure!((1..=MAX_SIZE).contains(size), "size {size} of the {name} tower is out of range");
            }
            ensure!(
                hidden_size % heads == 0,
                "the {name} tower's width {hidden_size} does not divide into {heads} heads"
            );
            ensure!(
                tower.projection != Projection::None || hidden_size == projection_dim,
                "the {name} tower's width {hidden_size} is not that of embeddings, {projection_dim}, and \
                 nothing projects it"
            );
        }
        let (image, patch) = (vision.image_size, vision.patch_size);
        ensure!(
            (1..=1 << 10).contains(&(image / patch)),
            "an image of {image} pixels does not divide into patches of {patch}"
        );
        ensure!(
            vision.class_token || vision.pooling != ImagePooling::ClassToken,
            "there is no class token to take the embedding from"
        );
        Ok(())
    }
}
