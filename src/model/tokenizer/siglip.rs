//! What transformers' `SiglipTokenizer` does around SentencePiece (`tokenization_siglip.py`).

use super::cleaning::FolderCleaning;
use super::sentencepiece::{SPACE, SentencePiece};

/// What stands for the piece that is unknown, in a text too.
const UNKNOWN: &str = "<unk>";
/// Tokens that a prompt may name.
const SPECIAL: [&str; 2] = ["</s>", UNKNOWN];

/// The ids of a text, cleaned as the class does it: with nothing added after.
pub(super) fn encode(model: &SentencePiece, text: &str) -> Vec<u32> {
    let marked = format!("{SPACE}{}", text.replace(SPACE, " "));
    let (mut ids, mut rest) = (Vec::new(), &marked[..]);
    while let Some((at, token)) = first_special(rest) {
        let after = &rest[at + token.len()..];
        ids.extend(words(model, &rest[..at]));
        // A space of its own before a token is none.
        if ids.len() == 1 && model.id(SPACE) == Some(ids[0]) {
            ids.clear();
        }
        ids.extend(model.id(token));
        rest = after;
    }
    ids.extend(words(model, rest));
    ids
}

/// The first special token that a text names, and where.
fn first_special(text: &str) -> Option<(usize, &'static str)> {
    SPECIAL.iter().filter_map(|token| Some((text.find(token)?, *token))).min()
}

/// The ids of a piece of text. It is encoded behind another word, which is cut off again, so that
/// the space before it is not taken for one at the beginning of a text.
fn words(model: &SentencePiece, text: &str) -> Vec<u32> {
    let text = FolderCleaning::Siglip.clean(text);
    if text.is_empty() {
        return Vec::new();
    }
    let mut ids = model.encode(&format!("{UNKNOWN}{text}"));
    let before = model.encode(UNKNOWN).len();
    if ids.len() >= before { ids.split_off(before) } else { ids }
}
