//! Token ids of the packages that models were written for, and their cleaning of prompts.
//!
//! `fixtures/tokens.py` makes `golden/tokenizers.json`; CLIP's ids in transformers are in `parity.rs`.

use clipclass::hub::TokenizerFiles;
use clipclass::model::tokenizer::cleaning::{FolderCleaning, TextCleaning, mojibake};
use clipclass::model::tokenizer::{Dialect, PromptFormat, Separator, Tokenizer};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn read(file: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn golden() -> Value {
    read("fixtures/golden/tokenizers.json")
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
    let context = if matches!(dialect, Dialect::Clip | Dialect::OpenClip) { 77 } else { 64 };
    PromptFormat { dialect, context, cleaning }
}

/// What the goldens call a kind of tokenizer, and what it is here.
type Kind = (&'static str, TokenizerFiles, PromptFormat, TextCleaning);

/// Kinds that open_clip has.
fn open_clip() -> Vec<Kind> {
    let own = format(Dialect::OpenClip, FolderCleaning::Lower);
    let named = |dialect, cleaning| format(dialect, cleaning);
    let siglip = named(Dialect::Siglip, FolderCleaning::Canonicalize);
    let bert = named(Dialect::Bert(Separator::Kept), FolderCleaning::Whitespace);
    let other = named(Dialect::OfVocabulary, FolderCleaning::Whitespace);
    let canonical = named(Dialect::OfVocabulary, FolderCleaning::Canonicalize);
    let fairseq = TokenizerFiles::XlmRoberta("fixtures/xlm-roberta-tokenizer/sentencepiece.bpe.model".into());
    vec![
        ("open_clip tiny", json("tiny-clip"), own, TextCleaning::Folder),
        ("open_clip tiny", byte_pairs("tiny-clip"), own, TextCleaning::Folder),
        ("siglip open_clip", json("siglip-tokenizer"), siglip, TextCleaning::Canonical),
        ("siglip open_clip", json("siglip-tokenizer"), siglip, TextCleaning::Folder),
        ("siglip2 open_clip", json("siglip2-tokenizer"), siglip, TextCleaning::Canonical),
        ("siglip2 open_clip", json("siglip2-tokenizer"), siglip, TextCleaning::Folder),
        ("bert open_clip", json("bert-tokenizer"), bert, TextCleaning::Folder),
        ("xlm-roberta open_clip", json("xlm-roberta-tokenizer"), other, TextCleaning::Folder),
        ("xlm-roberta open_clip", fairseq, other, TextCleaning::Folder),
        ("t5 open_clip", spiece("t5-tokenizer"), other, TextCleaning::Folder),
        ("t5 canonical", spiece("t5-tokenizer"), canonical, TextCleaning::Folder),
        ("t5 siglip canonical", spiece("siglip-tokenizer"), canonical, TextCleaning::Folder),
        ("t5 json canonical", json("siglip-tokenizer"), canonical, TextCleaning::Folder),
    ]
}

/// Kinds that transformers has.
fn transformers() -> Vec<Kind> {
    let siglip = format(Dialect::Siglip, FolderCleaning::Nothing);
    let metaclip = format(Dialect::OfVocabulary, FolderCleaning::Nothing);
    let fairseq = TokenizerFiles::XlmRoberta("fixtures/xlm-roberta-tokenizer/sentencepiece.bpe.model".into());
    vec![
        ("siglip json canonical", json("siglip-tokenizer"), siglip, TextCleaning::Canonical),
        ("siglip spiece canonical", spiece("siglip-tokenizer"), siglip, TextCleaning::Canonical),
        ("siglip spiece folder", spiece("siglip-tokenizer"), siglip, TextCleaning::Folder),
        ("siglip2 canonical", json("siglip2-tokenizer"), siglip, TextCleaning::Canonical),
        ("siglip2 folder", json("siglip2-tokenizer"), siglip, TextCleaning::Folder),
        ("xlm-roberta folder", json("xlm-roberta-tokenizer"), metaclip, TextCleaning::Folder),
        ("xlm-roberta alone", fairseq, metaclip, TextCleaning::Folder),
    ]
}

/// Kinds that SentencePiece has.
fn sentencepiece() -> Vec<Kind> {
    let siglip = format(Dialect::Siglip, FolderCleaning::Nothing);
    vec![
        ("siglip spiece none", spiece("siglip-tokenizer"), siglip, TextCleaning::None),
        ("unigram bytes", spiece("unigram-bytes"), siglip, TextCleaning::None),
    ]
}

/// CLIP's own vocabulary, if it is there: it is too large for the repository.
fn clips_own() -> Option<TokenizerFiles> {
    let folder = "clip-vocab";
    if !PathBuf::from("fixtures").join(folder).exists() {
        assert!(std::env::var_os("CI").is_none(), "make it with: python fixtures/vocab.py");
        eprintln!("skipped: make {folder} with python fixtures/vocab.py");
        return None;
    }
    Some(byte_pairs(folder))
}

/// Compares the ids of all prompts with those of the original.
#[track_caller]
fn assert_same_ids(golden: &Value, (kind, files, format, text_cleaning): &Kind) {
    let tokenizer = Tokenizer::read(&files.open().unwrap(), *format, *text_cleaning).unwrap();
    let prompts = golden["prompts"].as_array().unwrap();
    assert!(prompts.len() >= 200);
    let mut wrong = Vec::new();
    for row in prompts {
        let prompt = row["prompt"].as_str().unwrap();
        let same_as = || golden["like"][kind].as_str().and_then(|like| row.get(like));
        let expected: Vec<u32> =
            serde_json::from_value(row.get(kind).or_else(same_as).unwrap().clone()).unwrap();
        let ids = tokenizer.encode(prompt).unwrap().ids;
        // Where the token that pads also ends, the golden does not tell how often a prompt names it last.
        let padded = |ids: &[u32]| {
            let missing = format.context.saturating_sub(ids.len());
            [ids, &vec![tokenizer.pad_id(); missing]].concat()
        };
        if padded(&ids) != padded(&expected) {
            wrong.push(format!("{prompt:?}: {ids:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{kind}: {} of {}\n{}", wrong.len(), prompts.len(), wrong.join("\n"));
}

#[test]
fn ids_in_open_clip_are_those_of_its_tokenizers() {
    let golden = golden();
    open_clip().iter().for_each(|kind| assert_same_ids(&golden, kind));
    if let Some(files) = clips_own() {
        let own = format(Dialect::OpenClip, FolderCleaning::Lower);
        assert_same_ids(&golden, &("open_clip clip", files, own, TextCleaning::Folder));
    }
}

#[test]
fn ids_in_transformers_are_those_of_its_tokenizers() {
    let golden = golden();
    transformers().iter().for_each(|kind| assert_same_ids(&golden, kind));
}

#[test]
fn pieces_are_those_of_sentencepiece_itself() {
    let golden = golden();
    sentencepiece().iter().for_each(|kind| assert_same_ids(&golden, kind));
}

/// `python fixtures/tokens.py random 6000 1 FILE` makes the file.
#[test]
#[ignore = "of every character and of random prompts, in the file that CLIPCLASS_PROMPTS names"]
fn ids_of_random_prompts_are_those_of_the_originals() {
    let golden = read(std::env::var_os("CLIPCLASS_PROMPTS").expect("CLIPCLASS_PROMPTS names a file"));
    let clip = format(Dialect::Clip, FolderCleaning::Nothing);
    let own = format(Dialect::OpenClip, FolderCleaning::Lower);
    let clips_own = clips_own().expect("python fixtures/vocab.py makes the vocabulary");
    let kinds = [open_clip(), transformers(), sentencepiece()].concat().into_iter().chain([
        ("open_clip clip", clips_own.clone(), own, TextCleaning::Folder),
        ("clip clip", clips_own, clip, TextCleaning::Folder),
        ("clip tiny", json("tiny-clip"), clip, TextCleaning::Folder),
    ]);
    let wrong = kinds.filter(|kind| std::panic::catch_unwind(|| assert_same_ids(&golden, kind)).is_err());
    assert_eq!(wrong.map(|(name, ..)| name).collect::<Vec<_>>(), [""; 0]);
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
