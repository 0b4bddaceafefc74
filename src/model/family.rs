//! What differs between families of models, said in one place: the towers, the tokenizer and the
//! scores ask here.
//!
//! CLIP is the only family so far. Its text tower is causal, which several of its rules rest on: a
//! token sees only those before it.

use super::layout::LOGIT_SCALE;
use super::weights::Weights;
use crate::score::Scoring;
use anyhow::Result;

/// A kind of model that was trained in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// OpenAI's CLIP, and those trained after it: LAION's, MetaCLIP and others.
    Clip,
}

/// Which tokens of a sequence a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Itself and those before it.
    Causal,
    /// All.
    None,
}

/// The tokens around a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a prompt.
    pub start: &'static str,
    /// Ends it.
    pub end: &'static str,
}

impl Family {
    /// The tokens around a prompt.
    pub fn special_tokens(self) -> SpecialTokens {
        match self {
            Self::Clip => SpecialTokens { start: "<|startoftext|>", end: "<|endoftext|>" },
        }
    }

    /// Which tokens of a prompt a token sees.
    pub fn text_mask(self) -> Mask {
        match self {
            Self::Clip => Mask::Causal,
        }
    }

    /// Which patches of an image a patch sees.
    pub fn image_mask(self) -> Mask {
        match self {
            Self::Clip => Mask::None,
        }
    }

    /// How many tokens the prompts of a batch are padded to: the `longest` one's, where padding
    /// changes nothing.
    pub fn padded_len(self, longest: usize) -> usize {
        match self {
            Self::Clip => longest,
        }
    }

    /// The position whose state is the embedding of a prompt of so many tokens: its end of text.
    ///
    /// OpenAI's code looks for the largest id, which is the end of text in its vocabulary.
    pub fn pooled_token(self, tokens: usize) -> usize {
        match self {
            Self::Clip => tokens - 1,
        }
    }

    /// The position whose state is the embedding of an image: that of the class token.
    pub fn pooled_patch(self) -> usize {
        match self {
            Self::Clip => 0,
        }
    }

    /// How cosines become probabilities, with the parameters that were trained.
    ///
    /// *Errors* when a parameter is missing.
    pub fn scoring(self, weights: &Weights) -> Result<Scoring> {
        match self {
            Self::Clip => {
                let scale = weights.view(LOGIT_SCALE, &[])?.values()?[0].exp();
                Ok(Scoring::Softmax { scale })
            }
        }
    }
}
