//! `spiece.model`, a file of Google's SentencePiece → a tokenizer that gives the same ids.
//!
//! Of its kinds of models the unigram language model is here, which SigLIP has. The tokenizers crate
//! knows unigram models, too, but normalises a text grapheme by grapheme and takes no notice of half
//! of what the file says; on unusual characters the ids would differ. Where transformers itself uses that
//! crate, for T5 and XLM-RoBERTa, the ids are those which it gives: [`converted`].

pub mod converted;
mod normalizer;
mod unigram;

use anyhow::{Context, Result, ensure};
use normalizer::Normalizer;
use prost::Message;
use std::collections::HashMap;
use unigram::Unigram;

/// `ModelProto` of `sentencepiece_model.proto`, as far as it is needed.
#[derive(Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<PieceProto>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<TrainerProto>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<NormalizerProto>,
}

/// `ModelProto.SentencePiece`.
#[derive(Message)]
struct PieceProto {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(enumeration = "PieceKind", optional, tag = "3")]
    kind: Option<i32>,
}

/// `ModelProto.SentencePiece.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum PieceKind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// `TrainerSpec`: how the model was trained.
#[derive(Message)]
struct TrainerProto {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    treat_whitespace_as_suffix: Option<bool>,
    #[prost(bool, optional, tag = "35")]
    byte_fallback: Option<bool>,
}

/// `NormalizerSpec`: how a text is prepared.
#[derive(Message)]
struct NormalizerProto {
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}

/// The model type of a unigram language model.
const UNIGRAM: i32 = 1;

impl ModelProto {
    /// Reads the content of a file.
    ///
    /// *Errors* when it is malformed, or another kind of model than a unigram one.
    fn unigram(bytes: &[u8]) -> Result<Self> {
        let model = Self::decode(bytes).context("it is no model of SentencePiece")?;
        let kind = model.trainer.as_ref().and_then(|trainer| trainer.model_type).unwrap_or(UNIGRAM);
        let name = match kind {
            2 => "BPE",
            3 => "word",
            4 => "character",
            _ => "unknown",
        };
        ensure!(
            kind == UNIGRAM,
            "it is a {name} model of SentencePiece; a tokenizer.json beside it would do"
        );
        Ok(model)
    }
}

/// What stands for a space in pieces.
pub const SPACE: &str = "▁";

/// A tokenizer of SentencePiece.
pub struct SentencePiece {
    normalizer: Normalizer,
    unigram: Unigram,
    /// Ids of all pieces, those that no text gives among them.
    ids: HashMap<String, u32>,
}

impl SentencePiece {
    /// Reads the content of a `spiece.model`.
    ///
    /// *Errors* when it is malformed, or another kind of model than a unigram one.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let model = ModelProto::unigram(bytes)?;
        let trainer = model.trainer.unwrap_or_default();
        let user_defined = |piece: &&PieceProto| piece.kind() == PieceKind::UserDefined;
        let kept = model.pieces.iter().filter(user_defined).map(|piece| piece.piece().to_owned()).collect();
        Ok(Self {
            normalizer: Normalizer::new(
                &model.normalizer.unwrap_or_default(),
                trainer.treat_whitespace_as_suffix.unwrap_or(false),
                kept,
            )?,
            unigram: Unigram::new(&model.pieces, trainer.byte_fallback.unwrap_or(false))?,
            ids: (0..).zip(&model.pieces).map(|(id, piece)| (piece.piece().to_owned(), id)).collect(),
        })
    }

    /// The id of a piece.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.ids.get(piece).copied()
    }

    /// The ids of a text, with nothing added before or after.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.unigram.encode(&self.normalizer.normalize(text))
    }
}
