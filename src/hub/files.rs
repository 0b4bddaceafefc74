//! The files of a model: their names, which of them it has, and which of two are preferred.

use super::open_file::{FileRole, OpenFile};
use crate::model::config::is_hugging_face;
use crate::model::layout::Layout;
use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CONFIG: &str = "config.json";
/// What open_clip writes, its preprocessing included.
const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";
pub(super) const PREPROCESSOR: &str = "preprocessor_config.json";
/// What transformers 5 writes instead.
pub(super) const PROCESSOR: &str = "processor_config.json";
pub(super) const SAFETENSORS: &str = "model.safetensors";
const SAFETENSORS_INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";
/// Where open_clip has its weights, the best first (`open_clip/factory.py`, `_find_checkpoint_in_dir`,
/// and what is named likewise).
const OPEN_CLIP_WEIGHTS: &[&str] = &[
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "open_clip_pytorch_model.pt",
    SAFETENSORS,
    PICKLE,
    "pytorch_model.pth",
    "pytorch_model.pt",
    "model.pth",
    "model.pt",
];
/// The repository of CLIP's vocabulary.
const CLIP_VOCABULARY: &str = "openai/clip-vit-base-patch32";
const TOKENIZER: &str = "tokenizer.json";
const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const SENTENCEPIECE: &str = "spiece.model";
const XLM_ROBERTA: &str = "sentencepiece.bpe.model";

/// The files of one model, all on the local disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// What the user called it: a repository id or a folder.
    pub name: String,
    /// How its checkpoint names tensors.
    pub layout: Layout,
    /// `config.json`, or `open_clip_config.json`.
    pub config: PathBuf,
    /// How images are prepared, where the model says so in a file of its own.
    pub preprocessor: Option<PreprocessorFile>,
    /// The weights.
    pub weights: WeightFiles,
    /// The tokenizer.
    pub tokenizer: TokenizerFiles,
}

/// Where it is said how images are prepared: a path, or the file itself once it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreprocessorFile<F = PathBuf> {
    /// `preprocessor_config.json`.
    Alone(F),
    /// `processor_config.json`, under `image_processor`.
    Nested(F),
}

impl PreprocessorFile {
    /// Opens the file.
    ///
    /// *Errors* when it cannot be read.
    pub fn open(&self) -> Result<PreprocessorFile<Arc<OpenFile>>> {
        let open = |path: &Path| OpenFile::open(FileRole::Preprocessor, path).map(Arc::new);
        Ok(match self {
            Self::Alone(path) => PreprocessorFile::Alone(open(path)?),
            Self::Nested(path) => PreprocessorFile::Nested(open(path)?),
        })
    }
}

impl<F> PreprocessorFile<F> {
    /// The file.
    pub fn file(&self) -> &F {
        match self {
            Self::Alone(file) | Self::Nested(file) => file,
        }
    }
}

/// Where the weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFiles {
    /// `model.safetensors`, or the pieces that `model.safetensors.index.json` names.
    Safetensors(Vec<PathBuf>),
    /// `pytorch_model.bin`, or another file that torch wrote.
    Pickle(PathBuf),
}

/// The tokenizer's files: their paths, or the files themselves once they are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerFiles<F = PathBuf> {
    /// `tokenizer.json`.
    Json(F),
    /// `vocab.json` and `merges.txt`.
    Bpe { vocab: F, merges: F },
    /// `spiece.model`.
    SentencePiece(F),
    /// `sentencepiece.bpe.model`, of XLM-RoBERTa's kind.
    XlmRoberta(F),
}

impl TokenizerFiles {
    /// Opens the files.
    ///
    /// *Errors* when one cannot be read.
    pub fn open(&self) -> Result<TokenizerFiles<Arc<OpenFile>>> {
        let open = |role, path: &Path| OpenFile::open(role, path).map(Arc::new);
        Ok(match self {
            Self::Json(path) => TokenizerFiles::Json(open(FileRole::Tokenizer, path)?),
            Self::Bpe { vocab, merges } => TokenizerFiles::Bpe {
                vocab: open(FileRole::Vocabulary, vocab)?,
                merges: open(FileRole::Merges, merges)?,
            },
            Self::SentencePiece(path) => TokenizerFiles::SentencePiece(open(FileRole::Tokenizer, path)?),
            Self::XlmRoberta(path) => TokenizerFiles::XlmRoberta(open(FileRole::Tokenizer, path)?),
        })
    }
}

impl<F> TokenizerFiles<F> {
    /// Each file, in a fixed order.
    pub fn all(&self) -> Vec<&F> {
        match self {
            Self::Json(file) | Self::SentencePiece(file) | Self::XlmRoberta(file) => vec![file],
            Self::Bpe { vocab, merges } => vec![vocab, merges],
        }
    }
}

impl ModelFiles {
    /// Whether nothing says how images are prepared.
    pub(super) fn lacks_preprocessor(&self) -> bool {
        self.layout == Layout::HuggingFace && self.preprocessor.is_none()
    }

    /// The folders they are in: one, or more where the weights come from another revision, or the
    /// tokenizer from another repository.
    pub fn folders(&self) -> Vec<&Path> {
        let mut folders = Vec::new();
        for folder in self.paths().into_iter().filter_map(Path::parent) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
    }

    fn paths(&self) -> Vec<&Path> {
        let mut paths = vec![self.config.as_path()];
        paths.extend(self.preprocessor.as_ref().map(|preprocessor| preprocessor.file().as_path()));
        paths.extend(self.tokenizer.all().into_iter().map(PathBuf::as_path));
        match &self.weights {
            WeightFiles::Safetensors(files) => paths.extend(files.iter().map(PathBuf::as_path)),
            WeightFiles::Pickle(path) => paths.push(path),
        }
        paths
    }
}

/// Finds the files of the model in `folder`.
///
/// *Errors* when one that it needs is not there.
pub(super) fn in_folder(name: &str, folder: &Path, elsewhere: TokenizerOf) -> Result<ModelFiles> {
    ensure!(folder.exists(), "it does not exist");
    ensure!(folder.is_dir(), "it is a file; name the folder that it is in, with the model's {CONFIG}");
    let find = |file: &str| Ok(Some(folder.join(file)).filter(|path| path.is_file()));
    gather(name, Places { at_hand: &find, anywhere: &find, optional: &find, elsewhere })
}

/// Where a file of the model is, if there is one.
pub(super) type Find<'a> = &'a dyn Fn(&str) -> Result<Option<PathBuf>>;
/// The tokenizer of another repository, if it has one.
pub(super) type TokenizerOf<'a> = &'a dyn Fn(&str) -> Result<Option<TokenizerFiles>>;

/// Where files are looked for.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    /// Without asking anyone.
    pub at_hand: Find<'a>,
    /// Wherever they may be.
    pub anywhere: Find<'a>,
    /// The same for files that a model need not have.
    pub optional: Find<'a>,
    /// In another repository, which a model may name for its tokenizer.
    pub elsewhere: TokenizerOf<'a>,
}

/// Finds every file, the small ones before the weights. Where a file has alternatives, one that is
/// at hand is preferred to one that is better.
///
/// *Errors* when there is none of a kind that the model needs, or one cannot be read.
pub(super) fn gather(name: &str, places: Places) -> Result<ModelFiles> {
    let Places { at_hand, anywhere, .. } = places;
    let of = |layout, config| gather_layout(name, layout, config, places);
    if let Ok(Some((layout, config))) = layout_at_hand(at_hand) {
        return of(layout, config);
    }
    // A repository may have files of both layouts, and a configuration without the weights to it.
    let config = anywhere(CONFIG)?;
    let runs = config.clone().filter(|path| is_config_that_runs(path));
    match runs.map(|config| of(Layout::HuggingFace, config)) {
        Some(Ok(files)) => Ok(files),
        failed => match (anywhere(OPEN_CLIP_CONFIG)?, failed) {
            (Some(config), _) => of(Layout::OpenClip, config),
            (None, Some(error)) => error,
            // It says why it does not run.
            (None, None) => of(
                Layout::HuggingFace,
                config.with_context(|| format!("there is no {CONFIG} or {OPEN_CLIP_CONFIG}"))?,
            ),
        },
    }
}

/// The layout of which both the configuration and the weights are at hand.
fn layout_at_hand(at_hand: Find) -> Result<Option<(Layout, PathBuf)>> {
    for (layout, file) in [(Layout::HuggingFace, CONFIG), (Layout::OpenClip, OPEN_CLIP_CONFIG)] {
        let config = at_hand(file)?.filter(|path| layout == Layout::OpenClip || is_config_that_runs(path));
        if let Some(config) = config
            && weights(layout, at_hand)?.is_some()
        {
            return Ok(Some((layout, config)));
        }
    }
    Ok(None)
}

/// Whether a `config.json` is of a model of transformers that clipclass runs.
fn is_config_that_runs(path: &Path) -> bool {
    fs::read(path).is_ok_and(|json| is_hugging_face(&json))
}

fn gather_layout(name: &str, layout: Layout, config: PathBuf, places: Places) -> Result<ModelFiles> {
    let Places { at_hand, anywhere, optional, elsewhere } = places;
    let tokenizer = match (tokenizer_of(at_hand, anywhere)?, layout) {
        (None, Layout::OpenClip) => elsewhere(&tokenizer_repository(&config)?)?,
        (found, _) => found,
    };
    Ok(ModelFiles {
        name: name.to_owned(),
        layout,
        config,
        tokenizer: tokenizer.with_context(|| {
            format!("there is no {TOKENIZER}, {VOCAB} with {MERGES}, {SENTENCEPIECE} or {XLM_ROBERTA}")
        })?,
        preprocessor: match layout {
            Layout::HuggingFace => first(preprocessor, at_hand, optional)?,
            Layout::OpenClip => None,
        },
        weights: first(|find| weights(layout, find), at_hand, anywhere)?.with_context(|| match layout {
            Layout::HuggingFace => format!("there is no {SAFETENSORS}, {SAFETENSORS_INDEX} or {PICKLE}"),
            Layout::OpenClip => format!("there is none of {}", OPEN_CLIP_WEIGHTS.join(", ")),
        })?,
    })
}

fn first<T>(files: impl Fn(Find) -> Result<Option<T>>, at_hand: Find, anywhere: Find) -> Result<Option<T>> {
    match files(at_hand) {
        Ok(Some(files)) => Ok(Some(files)),
        // What is wrong with the files at hand shows again below.
        Ok(None) | Err(_) => files(anywhere),
    }
}

/// As transformers does it: what is nested in `processor_config.json` counts, if there is something.
fn preprocessor(find: Find) -> Result<Option<PreprocessorFile>> {
    #[derive(serde::Deserialize)]
    struct Processor {
        image_processor: Option<serde::de::IgnoredAny>,
    }
    if let Some(path) = find(PROCESSOR)? {
        let read = || Ok(serde_json::from_slice::<Processor>(&fs::read(&path)?)?);
        let processor: Result<_> = read();
        if processor.with_context(|| format!("cannot use {}", path.display()))?.image_processor.is_some() {
            return Ok(Some(PreprocessorFile::Nested(path)));
        }
    }
    Ok(find(PREPROCESSOR)?.map(PreprocessorFile::Alone))
}

fn tokenizer(find: Find) -> Result<Option<TokenizerFiles>> {
    if let Some(path) = find(TOKENIZER)? {
        return Ok(Some(TokenizerFiles::Json(path)));
    }
    if let Some(vocab) = find(VOCAB)?
        && let Some(merges) = find(MERGES)?
    {
        return Ok(Some(TokenizerFiles::Bpe { vocab, merges }));
    }
    if let Some(path) = find(SENTENCEPIECE)? {
        return Ok(Some(TokenizerFiles::SentencePiece(path)));
    }
    Ok(find(XLM_ROBERTA)?.map(TokenizerFiles::XlmRoberta))
}

/// The repository whose tokenizer a model in open_clip's layout has: the one it names, or that of
/// CLIP's first vocabulary, which is open_clip's own.
fn tokenizer_repository(config: &Path) -> Result<String> {
    let read = || Ok(serde_json::from_slice::<Value>(&fs::read(config)?)?);
    let read: Result<Value> = read();
    let config = read.with_context(|| format!("cannot use {}", config.display()))?;
    let model = config.get("model_cfg").unwrap_or(&config);
    let named = model["text_cfg"]["hf_tokenizer_name"].as_str().filter(|name| !name.is_empty());
    Ok(named.unwrap_or(CLIP_VOCABULARY).to_owned())
}

/// The tokenizer's files, of the kind that is preferred.
pub(super) fn tokenizer_of(at_hand: Find, anywhere: Find) -> Result<Option<TokenizerFiles>> {
    first(tokenizer, at_hand, anywhere)
}

fn weights(layout: Layout, find: Find) -> Result<Option<WeightFiles>> {
    match layout {
        Layout::HuggingFace => hugging_face_weights(find),
        Layout::OpenClip => open_clip_weights(find),
    }
}

fn open_clip_weights(find: Find) -> Result<Option<WeightFiles>> {
    for name in OPEN_CLIP_WEIGHTS {
        if let Some(path) = find(name)? {
            return Ok(Some(match name.ends_with(".safetensors") {
                true => WeightFiles::Safetensors(vec![path]),
                false => WeightFiles::Pickle(path),
            }));
        }
    }
    Ok(None)
}

fn hugging_face_weights(find: Find) -> Result<Option<WeightFiles>> {
    if let Some(path) = find(SAFETENSORS)? {
        return Ok(Some(WeightFiles::Safetensors(vec![path])));
    }
    if let Some(index) = find(SAFETENSORS_INDEX)? {
        let pieces = piece_names(&index).with_context(|| format!("cannot use {}", index.display()))?;
        let piece = |name: &String| {
            find(name)?.with_context(|| format!("{SAFETENSORS_INDEX} names {name}, which is missing"))
        };
        return Ok(Some(WeightFiles::Safetensors(pieces.iter().map(piece).collect::<Result<_>>()?)));
    }
    Ok(find(PICKLE)?.map(WeightFiles::Pickle))
}

/// The files that an index names, each once.
fn piece_names(index: &Path) -> Result<BTreeSet<String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: Map<String, Value>,
    }
    let index: Index = serde_json::from_slice(&fs::read(index)?)?;
    let names: BTreeSet<_> = index
        .weight_map
        .values()
        .map(|name| match name.as_str() {
            Some(name) if is_file_name(name) => Ok(name.to_owned()),
            _ => Err(anyhow!("it names {name} as a piece, which is not the name of a file beside it")),
        })
        .collect::<Result<_>>()?;
    ensure!(!names.is_empty(), "it names no pieces");
    Ok(names)
}

/// Whether `name` stays in the folder that it is joined to.
pub(super) fn is_file_name(name: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(safe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{HubOptions, locate};
    use crate::messages::Messages;
    use tempfile::TempDir;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn located(folder: &TempDir) -> Result<ModelFiles> {
        locate(folder.path().to_str().unwrap(), &HubOptions::default(), &Messages::new(true))
    }

    /// Why the folder is refused, which is named.
    fn refused(folder: &TempDir) -> String {
        let message = format!("{:#}", located(folder).unwrap_err());
        assert!(message.contains(folder.path().to_str().unwrap()), "{message}");
        message
    }

    #[test]
    fn a_folder_gives_the_files_that_load_best() {
        let all = [CONFIG, PREPROCESSOR, TOKENIZER, VOCAB, MERGES, SAFETENSORS, SAFETENSORS_INDEX, PICKLE];
        let folder = folder(&all.map(|name| (name, "{}")));
        let path = |name| folder.path().join(name);
        let files = located(&folder).unwrap();
        assert_eq!(files.config, path(CONFIG));
        assert_eq!(files.preprocessor, Some(PreprocessorFile::Alone(path(PREPROCESSOR))));
        assert_eq!(files.tokenizer, TokenizerFiles::Json(path(TOKENIZER)));
        assert_eq!(files.weights, WeightFiles::Safetensors(vec![path(SAFETENSORS)]));
    }

    #[test]
    fn a_folder_may_have_a_pickle_and_an_old_tokenizer_only() {
        let folder = folder(&[CONFIG, VOCAB, MERGES, PICKLE].map(|name| (name, "{}")));
        let path = |name| folder.path().join(name);
        let files = located(&folder).unwrap();
        assert_eq!(files.preprocessor, None);
        assert_eq!(files.tokenizer, TokenizerFiles::Bpe { vocab: path(VOCAB), merges: path(MERGES) });
        assert_eq!(files.weights, WeightFiles::Pickle(path(PICKLE)));
    }

    #[test]
    fn layout_is_that_of_the_configuration_whose_weights_are_there() {
        let clip = r#"{"model_type": "clip"}"#;
        let timm = r#"{"architecture": "vit_base_patch16_clip_224"}"#;
        let open = (OPEN_CLIP_CONFIG, "{}");
        let tokenizer = (TOKENIZER, "{}");
        let weights = "open_clip_model.safetensors";
        for (files, layout, config, expected) in [
            (
                vec![(CONFIG, clip), open, (SAFETENSORS, ""), (weights, "")],
                Layout::HuggingFace,
                CONFIG,
                SAFETENSORS,
            ),
            (vec![(CONFIG, clip), open, (weights, "")], Layout::OpenClip, OPEN_CLIP_CONFIG, weights),
            // `model.safetensors` is timm's then, and has the vision tower only.
            (
                vec![(CONFIG, timm), open, (SAFETENSORS, ""), (weights, "")],
                Layout::OpenClip,
                OPEN_CLIP_CONFIG,
                weights,
            ),
            (vec![open, (SAFETENSORS, "")], Layout::OpenClip, OPEN_CLIP_CONFIG, SAFETENSORS),
        ] {
            let folder = folder(&[files, vec![tokenizer]].concat());
            let found = located(&folder).unwrap();
            assert_eq!((found.layout, &found.config), (layout, &folder.path().join(config)));
            assert_eq!(found.weights, WeightFiles::Safetensors(vec![folder.path().join(expected)]));
            assert_eq!(found.preprocessor, None);
        }
    }

    #[test]
    fn open_clips_weights_are_taken_in_its_own_order() {
        let folder = folder(&[(OPEN_CLIP_CONFIG, "{}"), (TOKENIZER, "{}")]);
        let missing = refused(&folder);
        assert!(missing.contains("there is none of open_clip_model.safetensors, "), "{missing}");
        for name in OPEN_CLIP_WEIGHTS.iter().rev() {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            let expected = match name.ends_with(".safetensors") {
                true => WeightFiles::Safetensors(vec![path]),
                false => WeightFiles::Pickle(path),
            };
            assert_eq!(located(&folder).unwrap().weights, expected);
        }
    }

    #[test]
    fn a_folder_may_have_a_model_of_sentencepiece_only() {
        for (name, files) in [
            (SENTENCEPIECE, TokenizerFiles::SentencePiece as fn(PathBuf) -> TokenizerFiles),
            (XLM_ROBERTA, TokenizerFiles::XlmRoberta),
        ] {
            let folder = folder(&[CONFIG, name, SAFETENSORS].map(|name| (name, "{}")));
            assert_eq!(located(&folder).unwrap().tokenizer, files(folder.path().join(name)));
        }
    }

    #[test]
    fn preprocessing_that_transformers_5_nests_comes_first_if_it_is_there() {
        let nested = r#"{"image_processor": {"size": 224}, "processor_class": "CLIPProcessor"}"#;
        for (processor, expected) in [
            (nested, PreprocessorFile::Nested as fn(PathBuf) -> PreprocessorFile),
            (r#"{"processor_class": "CLIPProcessor"}"#, PreprocessorFile::Alone),
        ] {
            let folder = folder(
                &[CONFIG, TOKENIZER, SAFETENSORS, PREPROCESSOR]
                    .map(|name| (name, "{}"))
                    .into_iter()
                    .chain([(PROCESSOR, processor)])
                    .collect::<Vec<_>>(),
            );
            let found = located(&folder).unwrap().preprocessor.unwrap();
            let name = if processor == nested { PROCESSOR } else { PREPROCESSOR };
            assert_eq!(found, expected(folder.path().join(name)));
        }
        let folder = folder(&[(CONFIG, ""), (TOKENIZER, ""), (SAFETENSORS, ""), (PROCESSOR, "[")]);
        assert!(refused(&folder).contains(PROCESSOR));
    }

    #[test]
    fn pieces_are_each_given_once_and_must_be_there() {
        let index = r#"{"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}"#;
        let files = [(CONFIG, "{}"), (TOKENIZER, "{}"), (SAFETENSORS_INDEX, index), ("b.safetensors", "")];
        let folder = folder(&files);
        assert!(refused(&folder).contains("names a.safetensors, which is missing"));
        let [a, b] = ["a.safetensors", "b.safetensors"].map(|name| folder.path().join(name));
        fs::write(&a, "").unwrap();
        assert_eq!(located(&folder).unwrap().weights, WeightFiles::Safetensors(vec![a, b]));
    }

    #[test]
    fn a_piece_may_not_be_outside_the_folder() {
        for name in ["../a.safetensors", "/a.safetensors", "..", "", "a\\\\b"] {
            let index = format!(r#"{{"weight_map": {{"x": "{name}"}}}}"#);
            let folder = folder(&[(CONFIG, "{}"), (TOKENIZER, "{}"), (SAFETENSORS_INDEX, &index)]);
            assert!(refused(&folder).contains("not the name of a file beside it"), "{name}");
        }
    }

    #[test]
    fn what_a_folder_lacks_is_named() {
        assert!(refused(&folder(&[])).contains("no config.json"));
        assert!(
            refused(&folder(&[(CONFIG, ""), (VOCAB, "")]))
                .contains("no tokenizer.json, vocab.json with merges.txt")
        );
        assert!(refused(&folder(&[(CONFIG, ""), (TOKENIZER, "")])).contains("no model.safetensors"));
    }
}
