//! What differs between families of models, said in one place: configurations, the tokenizer and the
//! scores ask here.
//!
//! A family is how a model was trained: against which other labels a label competes, and with which
//! prompts. What its towers look like is in its configuration, for a layout that leaves it open, as
//! open_clip's does, has towers of every kind in both families.

use super::layout::{LOGIT_BIAS, LOGIT_SCALE};
use super::weights::Weights;
use crate::score::Scoring;
use anyhow::{Result, ensure};

/// A kind of model that was trained in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// OpenAI's CLIP, and those trained after it: LAION's, MetaCLIP and others. The labels of an image
    /// share a probability of 1.
    Clip,
    /// SigLIP and SigLIP 2: each label has a probability of its own.
    Siglip,
}

/// Which tokens of a sequence a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Itself and those before it.
    Causal,
    /// All, padding among them.
    None,
}

/// The token whose state is the embedding of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextPooling {
    /// The first that has the largest id, which is the end of text in OpenAI's vocabulary.
    LargestId,
    /// The first of this id.
    Id(u32),
    /// The first.
    First,
    /// The last, whether it is padding or not.
    Last,
}

impl TextPooling {
    /// The position of that token; absent when there is none.
    pub fn position(self, ids: &[u32]) -> Option<usize> {
        match self {
            Self::LargestId => {
                let largest = ids.iter().max()?;
                ids.iter().position(|id| id == largest)
            }
            Self::Id(wanted) => ids.iter().position(|id| *id == wanted),
            Self::First => (!ids.is_empty()).then_some(0),
            Self::Last => ids.len().checked_sub(1),
        }
    }
}

/// What makes one embedding of the states of an image's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImagePooling {
    /// The class token's state is it.
    ClassToken,
    /// The mean of all patches.
    Mean,
    /// A trained query attends to all patches; a block's second half follows.
    Attention,
}

/// How many tokens the prompts of a batch are padded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// As many as the longest has: more would change nothing.
    Longest,
    /// As many as the network takes: padding is part of the numbers.
    Context,
}

impl Family {
    /// How cosines become probabilities, with the parameters that were trained.
    ///
    /// *Errors* when a parameter is missing, or there is one that the family does not have.
    pub fn scoring(self, weights: &Weights) -> Result<Scoring> {
        let scalar = |name| anyhow::Ok(weights.view(name, &[])?.values()?[0]);
        let scale = scalar(LOGIT_SCALE)?.exp();
        match self {
            Self::Clip => {
                ensure!(
                    !weights.has(LOGIT_BIAS),
                    "the weights have a {LOGIT_BIAS}, as those trained with a sigmoid do, and the \
                     configuration asks for none"
                );
                Ok(Scoring::Softmax { scale })
            }
            Self::Siglip => Ok(Scoring::Sigmoid { scale, bias: scalar(LOGIT_BIAS)? }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedding_is_taken_where_the_original_takes_it() {
        let ids = [7, 9, 3, 9, 0];
        assert_eq!(TextPooling::LargestId.position(&ids), Some(1));
        assert_eq!(TextPooling::Id(3).position(&ids), Some(2));
        assert_eq!(TextPooling::Id(4).position(&ids), None);
        assert_eq!(TextPooling::First.position(&ids), Some(0));
        assert_eq!(TextPooling::Last.position(&ids), Some(4));
        for pooling in [TextPooling::LargestId, TextPooling::Id(0), TextPooling::First, TextPooling::Last] {
            assert_eq!(pooling.position(&[]), None);
        }
    }
}
