//! CLIP's byte-level BPE: its files → a tokenizer, as transformers or as open_clip makes it.

use anyhow::{Context, Error, Result, bail, ensure};
use std::collections::HashMap;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    SplitDelimiterBehavior, Token,
};

/// Begins a prompt.
pub(super) const START: &str = "<|startoftext|>";
/// Ends it.
pub(super) const END: &str = "<|endoftext|>";

/// What counts as a word (`clip/simple_tokenizer.py`, without the special tokens, which are added).
const WORD: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// What the special tokens are called in a prompt for open_clip.
const OPEN_CLIP_START: &str = "<start_of_text>";
const OPEN_CLIP_END: &str = "<end_of_text>";

/// What counts as a word for open_clip, whose pattern is [`WORD`] without regard to case. To Python's
/// `regex` that concerns letters that are spelled out, and one character among the classes: U+0345, the
/// iota below, which is a mark whose capital is a letter, and so is neither in `[\p{L}]` nor outside of it.
/// Rust's engine would take it for a letter, so its classes keep their case.
const OPEN_CLIP_WORD: &str =
    r"(?i:<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\x{345}]+";

/// The tokenizer of a `vocab.json` and a `merges.txt`, as `transformers` makes it from those files.
pub(super) fn byte_pair(vocab: &[u8], merges: &[u8]) -> Result<tokenizers::Tokenizer> {
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
        .unk_token(END.into())
        .end_of_word_suffix("</w>".into())
        .build()
        .map_err(Error::from_boxed)?;
    let spaces = Replace::new(tokenizers::normalizers::replace::ReplacePattern::Regex(r"\s+".into()), " ");
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    let normalizers = vec![NFC.into(), spaces.map_err(Error::from_boxed)?.into(), Lowercase.into()];
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers))).map_err(Error::from_boxed)?;
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![
        matches_of(WORD)?.into(),
        ByteLevel::new(false, true, true).into(),
    ])));
    let special = [START, END].map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(special).map_err(Error::from_boxed)?;
    Ok(tokenizer)
}

/// Cuts out what a regular expression matches.
fn matches_of(pattern: &str) -> Result<Split> {
    Split::new(SplitPattern::Regex(pattern.into()), SplitDelimiterBehavior::Removed, true)
        .map_err(Error::from_boxed)
}

/// open_clip's `SimpleTokenizer` over a vocabulary of CLIP's kind: the text as it is cleaned, with
/// special tokens of other names, which are words like others.
pub(super) struct OpenClipWords {
    bpe: BPE,
    words: PreTokenizers,
    start: u32,
    end: u32,
}

impl OpenClipWords {
    /// Takes the vocabulary of a tokenizer.
    ///
    /// *Errors* when it is not of CLIP's kind.
    pub fn new(tokenizer: &tokenizers::Tokenizer) -> Result<Self> {
        let id = |token| tokenizer.token_to_id(token).with_context(|| format!("it has no token {token}"));
        let ModelWrapper::BPE(bpe) = tokenizer.get_model() else {
            bail!("its vocabulary is not one of byte pairs, as CLIP's is");
        };
        ensure!(
            bpe.end_of_word_suffix.as_deref() == Some("</w>"),
            "the words of its vocabulary do not end as CLIP's do, with </w>"
        );
        let words = vec![matches_of(OPEN_CLIP_WORD)?.into(), ByteLevel::new(false, true, false).into()];
        let words = PreTokenizers::new(words);
        Ok(Self { start: id(START)?, end: id(END)?, bpe: bpe.clone(), words })
    }

    /// The id of a token, by its name in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        match token {
            START => Some(self.start),
            END => Some(self.end),
            _ => self.bpe.token_to_id(token),
        }
    }

    /// The ids of a text, with nothing added before or after.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut words = PreTokenizedString::from(text);
        self.words.pre_tokenize(&mut words).map_err(Error::from_boxed)?;
        let mut ids = Vec::new();
        for (word, ..) in words.get_splits(OffsetReferential::Original, OffsetType::None) {
            match word {
                OPEN_CLIP_START => ids.push(self.start),
                OPEN_CLIP_END => ids.push(self.end),
                _ => ids.extend(
                    self.bpe.tokenize(word).map_err(Error::from_boxed)?.iter().map(|Token { id, .. }| *id),
                ),
            }
        }
        Ok(ids)
    }
}
