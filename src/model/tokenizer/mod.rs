//! Prompts → token ids.
//!
//! ```text
//! prompt ─▶ cleaning/ ─▶ vocabulary: tokenizer.json · vocab.json + merges.txt (clip) · models of SentencePiece (sentencepiece/)
//!                            └─▶ special tokens, cut to the context: the dialect
//! ```

pub mod cleaning;
mod clip;
mod sentencepiece;
mod siglip;

use super::config::{ModelConfig, OpenClipCleaning, TokensConfig};
use super::family::Family;
use crate::hub::{OpenFile, TokenizerFiles};
use anyhow::{Context, Error, Result, ensure};
use cleaning::{FolderCleaning, TextCleaning};
use clip::OpenClipWords;
use sentencepiece::{SentencePiece, converted};
use std::sync::Arc;

/// How a network takes prompts: what its configuration says beside the tokenizer's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptFormat {
    /// Which tokens go around a prompt.
    pub dialect: Dialect,
    /// Context length: the most tokens a prompt has.
    pub context: usize,
    /// How the library that the folder was written for cleans prompts.
    pub cleaning: FolderCleaning,
}

/// A way of cutting prompts into tokens and of putting special tokens around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// CLIP's as transformers has it: between `<|startoftext|>` and `<|endoftext|>`.
    Clip,
    /// CLIP's as open_clip has it: the same tokens, which a prompt may call `<start_of_text>` and
    /// `<end_of_text>`; padded with 0.
    OpenClip,
    /// SigLIP's and SigLIP 2's: ended by `</s>` and padded with it, or ended by `<eos>` and padded
    /// with `<pad>`, as the vocabulary has it.
    Siglip,
    /// BERT's: between `[CLS]` and `[SEP]`, padded with `[PAD]`.
    Bert(Separator),
    /// RoBERTa's: between `<s>` and `</s>`, padded with `<pad>`.
    Roberta,
    /// T5's: ended by `</s>`, padded with `<pad>`.
    T5,
    /// CLIP's, BERT's, RoBERTa's or T5's, whichever special tokens the vocabulary has.
    OfVocabulary,
}

/// What becomes of BERT's `[SEP]` (open_clip's `strip_sep_token`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    /// It ends the prompt.
    Kept,
    /// A 0 takes its place.
    Zeroed,
}

impl PromptFormat {
    /// What a configuration says.
    pub fn of(config: &ModelConfig) -> Self {
        let context = config.text.max_position_embeddings;
        let cleaning = |cleaning: &OpenClipCleaning| match cleaning {
            OpenClipCleaning::Whitespace => FolderCleaning::Whitespace,
            OpenClipCleaning::Lower => FolderCleaning::Lower,
            OpenClipCleaning::Canonicalize => FolderCleaning::Canonicalize,
        };
        let (dialect, cleaning) = match (&config.text.tokens, config.family) {
            (TokensConfig::Family, Family::Clip) => (Dialect::Clip, FolderCleaning::Nothing),
            (TokensConfig::Family, Family::Siglip) => (Dialect::Siglip, FolderCleaning::Nothing),
            (TokensConfig::Folder, _) => (Dialect::OfVocabulary, FolderCleaning::Nothing),
            (TokensConfig::OpenClip(how), _) => (Dialect::OpenClip, cleaning(how)),
            (TokensConfig::Named { cleaning: how, strips_separator: true, .. }, _) => {
                (Dialect::Bert(Separator::Zeroed), cleaning(how))
            }
            (TokensConfig::Named { name, cleaning: how, .. }, _) => {
                // Its vocabularies have the special tokens of others, too.
                let is_siglip = name.to_lowercase().contains("siglip");
                (if is_siglip { Dialect::Siglip } else { Dialect::OfVocabulary }, cleaning(how))
            }
        };
        Self { dialect, context, cleaning }
    }

    /// How prompts are cleaned unless the user says otherwise: as the family was trained.
    pub fn usual_cleaning(&self) -> TextCleaning {
        match self.dialect {
            Dialect::Siglip => TextCleaning::Canonical,
            Dialect::Clip
            | Dialect::OpenClip
            | Dialect::Bert(_)
            | Dialect::Roberta
            | Dialect::T5
            | Dialect::OfVocabulary => TextCleaning::Folder,
        }
    }
}

/// A tokenizer and all that is done to a prompt before and after it.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    format: PromptFormat,
    text_cleaning: TextCleaning,
    /// Goes before a prompt.
    start: Option<u32>,
    /// Goes after it.
    end: u32,
    pad: u32,
}

/// What knows words.
enum Vocabulary {
    /// A tokenizer of the tokenizers crate.
    Fast(Box<tokenizers::Tokenizer>),
    OpenClip(Box<OpenClipWords>),
    SentencePiece(Box<SentencePiece>),
    /// The same as transformers' class for SigLIP uses it.
    Siglip(Box<SentencePiece>),
}

/// A prompt as the text tower takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The prompt's tokens among special ones.
    pub ids: Vec<u32>,
    /// Whether tokens were left out to fit the context.
    pub truncated: bool,
}

impl Tokenizer {
    /// Reads the files of a tokenizer for a network that takes prompts as `format` says.
    ///
    /// *Errors* when a file is malformed or lacks the special tokens, or the context has no room.
    pub fn read(
        files: &TokenizerFiles<Arc<OpenFile>>,
        format: PromptFormat,
        text_cleaning: TextCleaning,
    ) -> Result<Self> {
        let read = || match files {
            TokenizerFiles::Json(file) => {
                let json = file.contents()?;
                // From text: what reads it from bytes is generic, and would be compiled once more here.
                let tokenizer = str::from_utf8(&json)?.parse().map_err(Error::from_boxed)?;
                Self::new(tokenizer, format, text_cleaning)
            }
            TokenizerFiles::Bpe { vocab, merges } => {
                Self::new(clip::byte_pair(&vocab.contents()?, &merges.contents()?)?, format, text_cleaning)
            }
            TokenizerFiles::XlmRoberta(file) => {
                Self::new(converted::xlm_roberta(&file.contents()?)?, format, text_cleaning)
            }
            TokenizerFiles::SentencePiece(file) if format.dialect == Dialect::OfVocabulary => {
                Self::new(converted::t5(&file.contents()?)?, format, text_cleaning)
            }
            TokenizerFiles::SentencePiece(file) => {
                let model = SentencePiece::read(&file.contents()?)?;
                Self::with_vocabulary(Vocabulary::SentencePiece(Box::new(model)), format, text_cleaning)
            }
        };
        let file = files.all()[0].path();
        read().with_context(|| format!("cannot use {}", file.display()))
    }

    fn new(
        mut tokenizer: tokenizers::Tokenizer,
        format: PromptFormat,
        text_cleaning: TextCleaning,
    ) -> Result<Self> {
        // The files' own ideas of length are not the network's.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(Error::from_boxed)?;
        let vocabulary = match format.dialect {
            Dialect::OpenClip => Vocabulary::OpenClip(Box::new(OpenClipWords::new(&tokenizer)?)),
            _ => Vocabulary::Fast(Box::new(tokenizer)),
        };
        Self::with_vocabulary(vocabulary, format, text_cleaning)
    }

    fn with_vocabulary(
        vocabulary: Vocabulary,
        mut format: PromptFormat,
        text_cleaning: TextCleaning,
    ) -> Result<Self> {
        if format.dialect == Dialect::OfVocabulary {
            format.dialect = vocabulary.dialect()?;
        }
        let id = |token: &str| vocabulary.id(token).with_context(|| format!("it has no token {token}"));
        let (start, end, pad) = match format.dialect {
            Dialect::Clip => (Some(id(clip::START)?), id(clip::END)?, id(clip::END)?),
            Dialect::OpenClip => (Some(id(clip::START)?), id(clip::END)?, 0),
            Dialect::Siglip if vocabulary.id("<eos>").is_some() => (None, id("<eos>")?, id("<pad>")?),
            Dialect::Siglip => {
                if format.cleaning == FolderCleaning::Nothing {
                    // transformers has a class of its own for SigLIP's first vocabulary, and none
                    // for the second.
                    format.cleaning = FolderCleaning::Siglip;
                }
                (None, id("</s>")?, id("</s>")?)
            }
            Dialect::Bert(Separator::Kept) => (Some(id("[CLS]")?), id("[SEP]")?, id("[PAD]")?),
            Dialect::Bert(Separator::Zeroed) => (Some(id("[CLS]")?), 0, id("[PAD]")?),
            Dialect::Roberta => (Some(id("<s>")?), id("</s>")?, id("<pad>")?),
            Dialect::T5 | Dialect::OfVocabulary => (None, id("</s>")?, id("<pad>")?),
        };
        let vocabulary = match vocabulary {
            Vocabulary::SentencePiece(model)
                if format.cleaning == FolderCleaning::Siglip && text_cleaning != TextCleaning::None =>
            {
                Vocabulary::Siglip(model)
            }
            other => other,
        };
        let special = 1 + usize::from(start.is_some());
        ensure!(format.context >= special, "a context of {} tokens has no room for a prompt", format.context);
        Ok(Self { vocabulary, format, text_cleaning, start, end, pad })
    }

    /// The tokens of a prompt, at most the context length, the one that ends it always among them.
    ///
    /// *Errors* when the tokenizer's file asks for what cannot be done.
    pub fn encode(&self, prompt: &str) -> Result<Tokens> {
        let words = self.words(prompt)?;
        let special = 1 + usize::from(self.start.is_some());
        let kept = words.len().min(self.format.context - special);
        let mut ids = Vec::with_capacity(kept + special);
        ids.extend(self.start);
        ids.extend_from_slice(&words[..kept]);
        // The class adds no second one.
        if !(matches!(self.vocabulary, Vocabulary::Siglip(_)) && ids.last() == Some(&self.end)) {
            ids.push(self.end);
        }
        Ok(Tokens { ids, truncated: kept < words.len() })
    }

    /// What prompts are padded with where a network sees the padding.
    pub fn pad_id(&self) -> u32 {
        self.pad
    }

    /// The tokens of a prompt's own words.
    fn words(&self, prompt: &str) -> Result<Vec<u32>> {
        let text = match (self.text_cleaning, &self.vocabulary) {
            (TextCleaning::Canonical, _) => self.format.cleaning.clean_canonically(prompt),
            (TextCleaning::None, _) => prompt.to_owned(),
            // The class cleans by itself.
            (TextCleaning::Folder, Vocabulary::Siglip(_)) => prompt.to_owned(),
            (TextCleaning::Folder, _) => self.format.cleaning.clean(prompt),
        };
        Ok(match &self.vocabulary {
            Vocabulary::Fast(tokenizer) => {
                tokenizer.encode_fast(text, false).map_err(Error::from_boxed)?.get_ids().to_vec()
            }
            Vocabulary::OpenClip(words) => words.encode(&text)?,
            Vocabulary::SentencePiece(model) => model.encode(&text),
            Vocabulary::Siglip(model) => siglip::encode(model, &text),
        })
    }
}

impl Vocabulary {
    /// The dialect whose special tokens it has.
    fn dialect(&self) -> Result<Dialect> {
        const DIALECTS: &[(&[&str], Dialect)] = &[
            (&[clip::START, clip::END], Dialect::Clip),
            (&["[CLS]", "[SEP]", "[PAD]"], Dialect::Bert(Separator::Kept)),
            (&["<s>", "</s>", "<pad>"], Dialect::Roberta),
            (&["</s>", "<pad>"], Dialect::T5),
        ];
        let has_all = |tokens: &[&str]| tokens.iter().all(|token| self.id(token).is_some());
        let found = DIALECTS.iter().find(|(tokens, _)| has_all(tokens));
        let (_, dialect) = found.context("it has special tokens of a kind that clipclass does not know")?;
        Ok(*dialect)
    }

    fn id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Fast(tokenizer) => tokenizer.token_to_id(token),
            Self::OpenClip(words) => words.id(token),
            Self::SentencePiece(model) | Self::Siglip(model) => model.id(token),
        }
    }
}
