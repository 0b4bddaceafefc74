//! Token ids of the packages that models were written for, and their cleaning of prompts.
//!
//! `fixtures/tokens.py` makes `golden/tokenizers.json`; CLIP's ids in transformers are in `parity.rs`.

use clipclass::hub::TokenizerFiles;
use clipclass::model::tokenizer::cleaning::{FolderCleaning, TextCleaning, mojibake};
use clipclass::model::tokenizer::{Dialect, PromptFormat, Separator, Tokenizer};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn golden() -> Value {
    serde_json::from_slice(&fs::read("fixtures/golden/tokenizers.json").unwrap()).unwrap()
}

fn json(folder: &str) -> TokenizerFiles {
    TokenizerFiles::Json(Path::new("fixtures").join(folder).join("tokenizer.json"))
}

fn spiece(folder: &str) -> TokenizerFiles {
    TokenizerFiles::SentencePiece(Path::new("fixtures").join(folder).join("spiece.model"))
}

fn byte_pairs(folder: &str) -> TokenizerFiles {
    let file = |name| Path::new("fixtures").join(folder).join(name);
    TokenizerFiles::Bpe { vocab: file("vocab.json"), merges: file("merges.txt") }
}

/// How a kind of tokenizer takes prompts.
fn format(dialect: Dialect, cleaning: FolderCleaning) -> PromptFormat {
    let context = if dialect == Dialect::OpenClip { 77 } else { 64 };
    PromptFormat { dialect, context, cleaning }
}

/// Compares the ids of all prompts with those of the original.
#[track_caller]
fn assert_same_ids(kind: &str, files: &TokenizerFiles, format: PromptFormat, text_cleaning: TextCleaning) {
    let tokenizer = Tokenizer::read(&files.open().unwrap(), format, text_cleaning).unwrap();
    let golden = golden();
    let prompts = golden["prompts"].as_array().unwrap();
    assert!(prompts.len() >= 200);
    let mut wrong = Vec::new();
    for row in prompts {
        let prompt = row["prompt"].as_str().unwrap();
        let same_as = || golden["like"][kind].as_str().and_then(|like| row.get(like));
        let expected: Vec<u32> =
            serde_json::from_value(row.get(kind).or_else(same_as).unwrap().clone()).unwrap();
        let ids = tokenizer.encode(prompt).unwrap().ids;
        if ids != expected {
            wrong.push(format!("{prompt:?}: {ids:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{kind}: {} of {}\n{}", wrong.len(), prompts.len(), wrong.join("\n"));
}

#[test]
fn open_clips_words_are_those_of_its_own_tokenizer() {
    let format = format(Dialect::OpenClip, FolderCleaning::Lower);
    for files in [json("tiny-clip"), byte_pairs("tiny-clip")] {
        assert_same_ids("open_clip tiny", &files, format, TextCleaning::Folder);
    }
    let folder = "clip-vocab";
    if !PathBuf::from("fixtures").join(folder).exists() {
        // The vocabulary is too large for the repository.
        assert!(std::env::var_os("CI").is_none(), "make it with: python fixtures/vocab.py");
        eprintln!("skipped: make {folder} with python fixtures/vocab.py");
        return;
    }
    assert_same_ids("open_clip clip", &byte_pairs(folder), format, TextCleaning::Folder);
}

#[test]
fn siglips_ids_are_those_of_transformers_from_either_file() {
    let format = format(Dialect::Siglip, FolderCleaning::Nothing);
    let (fast, slow) = (json("siglip-tokenizer"), spiece("siglip-tokenizer"));
    assert_same_ids("siglip json canonical", &fast, format, TextCleaning::Canonical);
    assert_same_ids("siglip spiece canonical", &slow, format, TextCleaning::Canonical);
    assert_same_ids("siglip spiece folder", &slow, format, TextCleaning::Folder);
}

#[test]
fn pieces_are_those_of_sentencepiece_itself() {
    let format = format(Dialect::Siglip, FolderCleaning::Nothing);
    assert_same_ids("siglip spiece none", &spiece("siglip-tokenizer"), format, TextCleaning::None);
    assert_same_ids("unigram bytes", &spiece("unigram-bytes"), format, TextCleaning::None);
}

#[test]
fn siglip_2s_ids_are_those_of_transformers() {
    let format = format(Dialect::Siglip, FolderCleaning::Nothing);
    let files = json("siglip2-tokenizer");
    assert_same_ids("siglip2 canonical", &files, format, TextCleaning::Canonical);
    assert_same_ids("siglip2 folder", &files, format, TextCleaning::Folder);
}

#[test]
fn ids_of_siglip_in_open_clip_are_those_of_its_tokenizers() {
    let format = format(Dialect::Siglip, FolderCleaning::Canonicalize);
    for text_cleaning in [TextCleaning::Canonical, TextCleaning::Folder] {
        assert_same_ids("siglip open_clip", &json("siglip-tokenizer"), format, text_cleaning);
        assert_same_ids("siglip2 open_clip", &json("siglip2-tokenizer"), format, text_cleaning);
    }
}

#[test]
fn word_pieces_in_open_clip_are_those_of_its_tokenizers() {
    let format = format(Dialect::Bert(Separator::Kept), FolderCleaning::Whitespace);
    assert_same_ids("bert open_clip", &json("bert-tokenizer"), format, TextCleaning::Folder);
}

#[test]
fn separator_is_zeroed_where_open_clip_strips_it() {
    let ids = |separator| {
        let format = format(Dialect::Bert(separator), FolderCleaning::Whitespace);
        let files = json("bert-tokenizer").open().unwrap();
        Tokenizer::read(&files, format, TextCleaning::Folder).unwrap().encode("a photo of a cat").unwrap().ids
    };
    let (mut kept, zeroed) = (ids(Separator::Kept), ids(Separator::Zeroed));
    assert_eq!(kept.pop(), Some(3));
    assert_eq!(zeroed, [kept, vec![0]].concat());
}

#[test]
fn padding_is_what_the_vocabulary_of_the_family_has_for_it() {
    let pad = |files: TokenizerFiles, dialect| {
        let format = format(dialect, FolderCleaning::Nothing);
        Tokenizer::read(&files.open().unwrap(), format, TextCleaning::Folder).unwrap().pad_id()
    };
    assert_eq!(pad(json("siglip-tokenizer"), Dialect::Siglip), 1);
    assert_eq!(pad(spiece("siglip-tokenizer"), Dialect::Siglip), 1);
    assert_eq!(pad(json("siglip2-tokenizer"), Dialect::Siglip), 0);
    assert_eq!(pad(json("bert-tokenizer"), Dialect::Bert(Separator::Kept)), 0);
    assert_eq!(pad(json("tiny-clip"), Dialect::OpenClip), 0);
}

#[test]
fn tokenizer_of_another_kind_than_the_network_wants_is_refused() {
    let refusal = |files: TokenizerFiles, dialect| {
        let format = format(dialect, FolderCleaning::Nothing);
        format!("{:#}", Tokenizer::read(&files.open().unwrap(), format, TextCleaning::Folder).err().unwrap())
    };
    let told = refusal(json("siglip-tokenizer"), Dialect::OpenClip);
    assert!(
        told.contains("cannot use fixtures/siglip-tokenizer/tokenizer.json: its vocabulary is not one"),
        "{told}"
    );
    assert!(refusal(json("tiny-clip"), Dialect::Siglip).contains("it has no token </s>"));
    assert!(refusal(spiece("siglip-tokenizer"), Dialect::Clip).contains("it has no token <|startoftext|>"));
}

#[test]
fn prompts_that_ftfy_would_decode_anew_are_recognised() {
    for row in golden()["mojibake"].as_array().unwrap() {
        let prompt = row["prompt"].as_str().unwrap();
        let meaning = mojibake::probable_meaning(prompt);
        assert_eq!(meaning.as_deref(), row["meaning"].as_str(), "{prompt:?}");
    }
    for row in golden()["prompts"].as_array().unwrap() {
        let prompt = row["prompt"].as_str().unwrap();
        assert_eq!(mojibake::probable_meaning(prompt), None, "{prompt:?}");
    }
}

#[test]
fn vocabulary_shows_which_special_tokens_go_around_a_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    for (special, ids, pad_id) in [
        (vec!["<s>", "<pad>", "</s>"], vec![0, 3, 2], 1),
        (vec!["<pad>", "</s>", "<unk>"], vec![3, 1], 0),
        (vec!["[PAD]", "[CLS]", "[SEP]"], vec![1, 3, 2], 0),
        (vec!["<|startoftext|>", "<|endoftext|>", "<unk>"], vec![0, 3, 1], 1),
    ] {
        let words = special.iter().copied().chain(["cat"]).enumerate();
        let vocab: serde_json::Map<_, _> = words.map(|(id, word)| (word.to_owned(), id.into())).collect();
        let content = serde_json::json!({"version": "1.0", "added_tokens": [],
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "cat"}});
        fs::write(&path, content.to_string()).unwrap();
        let files = TokenizerFiles::Json(path.clone()).open().unwrap();
        let format = format(Dialect::OfVocabulary, FolderCleaning::Nothing);
        let tokenizer = Tokenizer::read(&files, format, TextCleaning::Folder).unwrap();
        assert_eq!((tokenizer.encode("cat").unwrap().ids, tokenizer.pad_id()), (ids, pad_id), "{special:?}");
    }
}
