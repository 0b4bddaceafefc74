//! A unigram model of SentencePiece → the tokenizer that transformers makes of it for T5 and
//! XLM-RoBERTa (`T5Tokenizer` and `XLMRobertaTokenizer`): unlike SentencePiece it parts a text at white space
//! of every kind, spells nothing unknown in bytes, and takes special tokens that a prompt names for what they are.

use super::{ModelProto, PieceProto, SPACE};
use anyhow::{Context, Error, Result, ensure};
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::Precompiled;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, Tokenizer};

/// The pieces that stand before all others where T5's ids are meant.
const T5: [&str; 3] = ["<pad>", "</s>", "<unk>"];
/// The same in a file of XLM-RoBERTa's kind.
const XLM_ROBERTA: [&str; 3] = ["<unk>", "<s>", "</s>"];
/// What fairseq, in which XLM-RoBERTa was trained, has in place of those.
const FAIRSEQ: [&str; 4] = ["<s>", "<pad>", "</s>", "<unk>"];
/// What it has after all others.
const MASK: &str = "<mask>";

/// The tokenizer that transformers makes of a T5's `spiece.model`.
///
/// *Errors* when the file is malformed, or does not begin with T5's special tokens.
pub fn t5(bytes: &[u8]) -> Result<Tokenizer> {
    let model = ModelProto::unigram(bytes)?;
    begins_with(&model, T5)?;
    converted(&model, scored(&model.pieces).collect(), &T5)
}

/// The tokenizer that transformers makes of an XLM-RoBERTa's `sentencepiece.bpe.model`: its ids are those of fairseq.
///
/// *Errors* when the file is malformed, or does not begin with SentencePiece's own special tokens.
pub fn xlm_roberta(bytes: &[u8]) -> Result<Tokenizer> {
    let model = ModelProto::unigram(bytes)?;
    begins_with(&model, XLM_ROBERTA)?;
    let special = |token: &str| (token.to_owned(), 0.0);
    let words = scored(&model.pieces[XLM_ROBERTA.len()..]);
    let vocabulary = FAIRSEQ.map(special).into_iter().chain(words).chain([special(MASK)]).collect();
    converted(&model, vocabulary, &[&FAIRSEQ[..], &[MASK]].concat())
}

fn begins_with(model: &ModelProto, special: [&str; 3]) -> Result<()> {
    let found: Vec<_> = model.pieces.iter().take(special.len()).map(PieceProto::piece).collect();
    ensure!(
        found == special,
        "its pieces begin with {} and not with {}; a tokenizer.json beside it would do",
        found.join(" "),
        special.join(" ")
    );
    Ok(())
}

fn scored(pieces: &[PieceProto]) -> impl Iterator<Item = (String, f64)> {
    pieces.iter().map(|piece| (piece.piece().to_owned(), f64::from(piece.score())))
}

fn converted(model: &ModelProto, vocabulary: Vec<(String, f64)>, special: &[&str]) -> Result<Tokenizer> {
    let unknown = vocabulary.iter().position(|(piece, _)| piece == "<unk>");
    let mut tokenizer = Tokenizer::new(Unigram::from(vocabulary, unknown, false).map_err(Error::from_boxed)?);
    let table = model.normalizer.as_ref().map_or(&[][..], |spec| spec.precompiled_charsmap());
    if !table.is_empty() {
        let table = Precompiled::from(table).map_err(Error::msg);
        let table = table.context("its table of replacements is malformed")?;
        tokenizer.with_normalizer(Some(table)).map_err(Error::from_boxed)?;
    }
    let space = SPACE.chars().next().expect("a space is marked by a character");
    let words = Metaspace::new(space, PrependScheme::Always, true);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![WhitespaceSplit.into(), words.into()])));
    let special = special.iter().map(|token| AddedToken::from(*token, true));
    tokenizer.add_special_tokens(special).map_err(Error::from_boxed)?;
    Ok(tokenizer)
}
