//! Prompts → token ids.

use super::family::{Family, SpecialTokens};
use crate::hub::{OpenFile, TokenizerFiles};
use anyhow::{Context, Error, Result};
use std::collections::HashMap;
use std::sync::Arc;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// What counts as a word (`clip/simple_tokenizer.py`, without the special tokens, which are added).
const WORD: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// CLIP's byte-level BPE tokenizer.
pub struct Tokenizer {
    tokenizer: tokenizers::Tokenizer,
    start_of_text: u32,
    end_of_text: u32,
    context: usize,
}

/// A prompt as the text tower takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Start of text, the prompt's tokens, end of text.
    pub ids: Vec<u32>,
    /// Whether tokens were left out to fit the context.
    pub truncated: bool,
}

impl Tokenizer {
    /// Reads the files of a tokenizer, for a network that takes `context` tokens.
    ///
    /// *Errors* when a file is malformed or lacks the special tokens.
    pub fn read(files: &TokenizerFiles<Arc<OpenFile>>, family: Family, context: usize) -> Result<Self> {
        let special = family.special_tokens();
        let (path, tokenizer) = match files {
            TokenizerFiles::Json(file) => {
                (file.path(), tokenizers::Tokenizer::from_bytes(file.contents()?).map_err(Error::from_boxed))
            }
            TokenizerFiles::Bpe { vocab, merges } => {
                (vocab.path(), byte_pair(&vocab.contents()?, &merges.contents()?, special))
            }
        };
        let new = || Self::new(tokenizer?, special, context);
        new().with_context(|| format!("cannot use {}", path.display()))
    }

    fn new(mut tokenizer: tokenizers::Tokenizer, special: SpecialTokens, context: usize) -> Result<Self> {
        // The files' own ideas of length are not the network's.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(Error::from_boxed)?;
        let id = |token| tokenizer.token_to_id(token).with_context(|| format!("it has no token {token}"));
        Ok(Self { start_of_text: id(special.start)?, end_of_text: id(special.end)?, tokenizer, context })
    }

    /// What prompts are padded with: 0, as in open_clip.
    pub fn pad_id(&self) -> u32 {
        0
    }

    /// The tokens of a prompt, at most the context length, end of text always among them.
    pub fn encode(&self, prompt: &str) -> Result<Tokens> {
        let encoding = self.tokenizer.encode_fast(prompt, false).map_err(Error::from_boxed)?;
        let words = encoding.get_ids();
        let kept = words.len().min(self.context.saturating_sub(2));
        let mut ids = Vec::with_capacity(kept + 2);
        ids.push(self.start_of_text);
        ids.extend_from_slice(&words[..kept]);
        ids.push(self.end_of_text);
        Ok(Tokens { ids, truncated: kept < words.len() })
    }
}

/// The tokenizer of a `vocab.json` and a `merges.txt`, as `transformers` makes it from those files.
fn byte_pair(vocab: &[u8], merges: &[u8], special: SpecialTokens) -> Result<tokenizers::Tokenizer> {
    let vocab: HashMap<String, u32> = serde_json::from_slice(vocab)?;
    let merges = str::from_utf8(merges).context("its merges are not UTF-8")?;
    let merge = |(at, line): (usize, &str)| {
        let pair = line.split_once(' ').filter(|(_, right)| !right.contains(' '));
        let (left, right) =
            pair.with_context(|| format!("line {} of its merges is not a pair: {line:?}", at + 1))?;
        Ok((left.to_owned(), right.to_owned()))
    };
    let lines = merges.lines().enumerate().filter(|(_, line)| !line.starts_with("#version"));
    let bpe = BPE::builder()
        .vocab_and_merges(vocab.into_iter().collect::<Vocab>(), lines.map(merge).collect::<Result<_>>()?)
        .unk_token(special.end.into())
        .end_of_word_suffix("</w>".into())
        .build()
        .map_err(Error::from_boxed)?;
    let spaces = Replace::new(tokenizers::normalizers::replace::ReplacePattern::Regex(r"\s+".into()), " ");
    let words = Split::new(SplitPattern::Regex(WORD.into()), SplitDelimiterBehavior::Removed, true);
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    let normalizers = vec![NFC.into(), spaces.map_err(Error::from_boxed)?.into(), Lowercase.into()];
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers))).map_err(Error::from_boxed)?;
    let pre_tokenizers =
        vec![words.map_err(Error::from_boxed)?.into(), ByteLevel::new(false, true, true).into()];
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(pre_tokenizers)));
    let special = [special.start, special.end].map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(special).map_err(Error::from_boxed)?;
    Ok(tokenizer)
}
