//! A model name or folder → local files, and once opened their digests.
//!
//! A repository's files come from the hub cache, which Python's `huggingface_hub` keeps, or else
//! from the hub into it, so that each side finds what the other has downloaded. What the hub cache
//! has is used without asking the hub whether there is something newer.
//!
//! The hf-hub crate says where a repository and its commits have their folders. The rest of it is not
//! used: 0.5 sends the access token along to the host that a redirect names, appends to what it has
//! without looking whether the server did go on from there, writes a branch's commit in place, knows
//! neither time-outs nor checksums nor `HF_HUB_CACHE`, and asks twice for each file; 1.0 brings an
//! asynchronous runtime.

mod cache;
mod download;
mod open_file;
mod remote;
mod settings;

pub use open_file::{FileDigest, FileRole, ModelDigest, OpenFile};

use crate::messages::Messages;
use crate::model::layout::Layout;
use anyhow::{Context, Result, anyhow, ensure};
use cache::{Cached, HubCache};
use remote::{FetchError, Hub};
use serde_json::{Map, Value};
use settings::{Settings, expand_home};
use std::cell::{Cell, OnceCell};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CONFIG: &str = "config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";
/// What transformers 5 writes instead.
const PROCESSOR: &str = "processor_config.json";
const SAFETENSORS: &str = "model.safetensors";
const SAFETENSORS_INDEX: &str = "model.safetensors.index.json";
const PICKLE: &str = "pytorch_model.bin";
const TOKENIZER: &str = "tokenizer.json";
const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";

/// The repository's main branch.
const MAIN: &str = "main";

/// A repository whose main branch has only a pickle, and the pull request that has its tensors as
/// safetensors, which load without being copied.
const SAFETENSORS_ELSEWHERE: (&str, &str) = ("openai/clip-vit-base-patch32", "refs/pr/15");

/// How to find a model that is not a local folder.
#[derive(Debug, Clone, Default)]
pub struct HubOptions {
    /// Branch, tag or commit; the repository's main branch when absent.
    pub revision: Option<String>,
    /// Whether only the hub cache may be used.
    pub offline: bool,
}

/// The files of one model, all on the local disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// What the user called it: a repository id or a folder.
    pub name: String,
    /// How its checkpoint names tensors.
    pub layout: Layout,
    /// `config.json`.
    pub config: PathBuf,
    /// How images are prepared, where the model says so.
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
    /// `pytorch_model.bin`.
    Pickle(PathBuf),
}

/// The tokenizer's files: their paths, or the files themselves once they are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerFiles<F = PathBuf> {
    /// `tokenizer.json`.
    Json(F),
    /// `vocab.json` and `merges.txt`.
    Bpe { vocab: F, merges: F },
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
        })
    }
}

impl<F> TokenizerFiles<F> {
    /// Each file, in a fixed order.
    pub fn all(&self) -> Vec<&F> {
        match self {
            Self::Json(file) => vec![file],
            Self::Bpe { vocab, merges } => vec![vocab, merges],
        }
    }
}

impl ModelFiles {
    /// The folders they are in: one, or two where the weights come from another revision.
    pub fn folders(&self) -> Vec<&Path> {
        let mut folders: Vec<_> = self.paths().into_iter().filter_map(Path::parent).collect();
        folders.dedup();
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

/// Finds the files of `model`, a folder or a repository, downloading what the hub cache lacks.
///
/// *Errors* when a file that the model needs is not in the folder, or neither in the hub cache nor
/// to be had from the hub.
pub fn locate(model: &str, options: &HubOptions, messages: &Messages) -> Result<ModelFiles> {
    let folder = expand_home(model);
    if is_path(model) || folder.exists() {
        ensure!(
            options.revision.is_none(),
            "a revision is one of a repository, and {model} is a folder: leave out --revision"
        );
        let files =
            in_folder(model, &folder).with_context(|| format!("cannot use the folder {model} as a model"))?;
        if files.preprocessor.is_none() {
            warn_of_no_preprocessor(format_args!("the folder {model}"), messages);
        }
        return Ok(files);
    }
    ensure!(
        is_repository_id(model),
        "there is no folder {model}, and it is not the name of a repository, \
         which has the form owner/name, as {}",
        SAFETENSORS_ELSEWHERE.0
    );
    in_repository(model, options, Settings::from_env()?, messages)
}

fn in_folder(name: &str, folder: &Path) -> Result<ModelFiles> {
    ensure!(folder.exists(), "it does not exist");
    ensure!(folder.is_dir(), "it is a file; name the folder that it is in, with the model's {CONFIG}");
    let find = |file: &str| Ok(Some(folder.join(file)).filter(|path| path.is_file()));
    gather(name, &find, &find, &find)
}

/// Says that images are prepared in a way which the model does not name.
fn warn_of_no_preprocessor(place: impl fmt::Display, messages: &Messages) {
    messages.warning(format_args!(
        "{place} has neither {PREPROCESSOR} nor {PROCESSOR} with an image_processor: \
         images are prepared as for OpenAI's models"
    ));
}

fn in_repository(
    id: &str,
    options: &HubOptions,
    settings: Settings,
    messages: &Messages,
) -> Result<ModelFiles> {
    let revision = options.revision.as_deref().unwrap_or(MAIN);
    ensure!(is_revision(revision), "{revision:?} cannot be the name of a branch, a tag or a commit");
    let repository = Repository {
        id,
        cache: HubCache::new(&settings.cache, id),
        offline: options.offline || settings.offline,
        messages,
        preprocessor_is_unknown: Cell::new(false),
        hub: OnceCell::new(),
        settings,
    };
    let elsewhere =
        (options.revision.is_none() && id == SAFETENSORS_ELSEWHERE.0).then_some(SAFETENSORS_ELSEWHERE.1);
    let cached = |file: &str| {
        let found = repository.cached(revision, file);
        Ok(found
            .or_else(|| elsewhere.filter(|_| file == SAFETENSORS).and_then(|at| repository.cached(at, file))))
    };
    let anywhere = |file: &str| match (repository.find(revision, file)?, elsewhere) {
        (None, Some(elsewhere)) if file == SAFETENSORS => repository.find_if_there(elsewhere, file),
        (found, _) => Ok(found),
    };
    let optional = |file: &str| repository.find_if_known(revision, file);
    let files = gather(id, &cached, &anywhere, &optional).with_context(|| {
        let cache = repository.settings.cache.display();
        let endpoint = &repository.settings.endpoint;
        if repository.offline {
            format!(
                "cannot use {id}, revision {revision}, offline, from the hub cache {cache} \
                 (clipclass fetch {id} fills it with a network, --model DIR uses another folder)"
            )
        } else {
            format!("cannot use {id}, revision {revision}, of {endpoint} (hub cache: {cache})")
        }
    })?;
    match files.preprocessor {
        Some(_) => {}
        None if repository.preprocessor_is_unknown.get() => messages.warning(format_args!(
            "{PREPROCESSOR} or {PROCESSOR} of {id} is not in the hub cache, and the hub was not asked: \
             images are prepared as for OpenAI's models"
        )),
        None => warn_of_no_preprocessor(format_args!("{id}, revision {revision},"), messages),
    }
    Ok(files)
}

/// Whether `model` can only be meant as a path.
fn is_path(model: &str) -> bool {
    let begins = |start: &str| {
        model == start || model.strip_prefix(start).is_some_and(|rest| rest.starts_with(['/', '\\']))
    };
    begins(".") || begins("..") || model.starts_with('~') || Path::new(model).has_root()
}

/// Whether `id` has the form of a repository's name (the rules of `huggingface_hub`).
fn is_repository_id(id: &str) -> bool {
    let is_name = |name: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let outer = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.len() <= 96 && name.chars().all(inner) && name.starts_with(outer) && name.ends_with(outer)
    };
    let is_pair = id.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name));
    is_pair && !id.contains("--") && !id.contains("..") && !id.ends_with(".git")
}

/// Whether git could call something `revision`; what it could not, might lead out of the hub cache.
fn is_revision(revision: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let forbidden = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    revision.split('/').all(is_part) && !revision.contains("..") && !revision.contains(forbidden)
}

/// Where a file of the model is, if there is one.
type Find<'a> = &'a dyn Fn(&str) -> Result<Option<PathBuf>>;

/// Finds every file, the small ones before the weights. Where a file has alternatives, one that is
/// `at_hand` is preferred to one that is better. `optional` finds what a model need not have.
fn gather(name: &str, at_hand: Find, anywhere: Find, optional: Find) -> Result<ModelFiles> {
    Ok(ModelFiles {
        name: name.to_owned(),
        layout: Layout::HuggingFace,
        config: anywhere(CONFIG)?.with_context(|| format!("there is no {CONFIG}"))?,
        tokenizer: first(tokenizer, at_hand, anywhere)?
            .with_context(|| format!("there is no {TOKENIZER}, nor both {VOCAB} and {MERGES}"))?,
        preprocessor: first(preprocessor, at_hand, optional)?,
        weights: first(weights, at_hand, anywhere)?
            .with_context(|| format!("there is no {SAFETENSORS}, {SAFETENSORS_INDEX} or {PICKLE}"))?,
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
    let Some(vocab) = find(VOCAB)? else { return Ok(None) };
    Ok(find(MERGES)?.map(|merges| TokenizerFiles::Bpe { vocab, merges }))
}

fn weights(find: Find) -> Result<Option<WeightFiles>> {
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
fn is_file_name(name: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(safe)
}

/// A repository of the hub, seen through the hub cache.
struct Repository<'a> {
    id: &'a str,
    cache: HubCache,
    settings: Settings,
    offline: bool,
    messages: &'a Messages,
    /// Whether a file that may say how images are prepared could not be looked for.
    preprocessor_is_unknown: Cell<bool>,
    /// Made when the hub cache lacks something.
    hub: OnceCell<Hub>,
}

impl Repository<'_> {
    fn cached(&self, revision: &str, file: &str) -> Option<PathBuf> {
        match self.cache.look_up(revision, file) {
            Cached::File(path) => Some(path),
            Cached::Absent | Cached::Unknown => None,
        }
    }

    /// Takes `file` from the hub cache, or else from the hub.
    fn find(&self, revision: &str, file: &str) -> Result<Option<PathBuf>> {
        match self.cache.look_up(revision, file) {
            Cached::File(path) => return Ok(Some(path)),
            Cached::Absent => return Ok(None),
            Cached::Unknown if self.offline => return Ok(None),
            Cached::Unknown => {}
        }
        let hub = match self.hub.get() {
            Some(hub) => hub,
            None => {
                let hub = Hub::new(&self.settings)?;
                self.hub.get_or_init(|| hub)
            }
        };
        match hub.fetch(&self.cache, self.id, revision, file, self.messages) {
            Ok(path) => Ok(Some(path)),
            Err(FetchError::NoFile) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot get {file} of revision {revision}")),
        }
    }

    /// As `find`, of a revision that need not be there.
    fn find_if_there(&self, revision: &str, file: &str) -> Result<Option<PathBuf>> {
        self.find(revision, file).or_else(|error| match error.downcast_ref() {
            Some(FetchError::NoRevision | FetchError::NoAccess { .. } | FetchError::Refused(_)) => Ok(None),
            _ => Err(error),
        })
    }

    /// As `find`, of a file that a model need not have: not learning whether it does is no failure.
    fn find_if_known(&self, revision: &str, file: &str) -> Result<Option<PathBuf>> {
        let unknown = match self.find(revision, file) {
            Err(error) if matches!(error.downcast_ref(), Some(FetchError::Unreachable(_))) => true,
            Ok(None) => self.offline && self.cache.look_up(revision, file) == Cached::Unknown,
            known => return known,
        };
        if unknown {
            self.preprocessor_is_unknown.set(true);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            refused(&folder(&[(CONFIG, ""), (VOCAB, "")])).contains("nor both vocab.json and merges.txt")
        );
        assert!(refused(&folder(&[(CONFIG, ""), (TOKENIZER, "")])).contains("no model.safetensors"));
    }

    #[test]
    fn a_file_or_a_revision_of_a_folder_is_refused() {
        let folder = folder(&[(SAFETENSORS, "")]);
        let file = folder.path().join(SAFETENSORS);
        let message =
            locate(file.to_str().unwrap(), &HubOptions::default(), &Messages::new(true)).unwrap_err();
        assert!(format!("{message:#}").contains("it is a file; name the folder"), "{message:#}");
        let options = HubOptions { revision: Some("main".into()), ..Default::default() };
        let message = locate(folder.path().to_str().unwrap(), &options, &Messages::new(true)).unwrap_err();
        assert!(message.to_string().contains("--revision"), "{message}");
    }

    #[test]
    fn a_repository_has_an_owner_and_a_name() {
        for id in ["openai/clip-vit-base-patch32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "_a/b_", "a/1.0"]
        {
            assert!(is_repository_id(id), "{id}");
        }
        for id in
            ["clip", "a/b/c", "/b", "a/", "a/b.git", "a/b..c", "a/b--c", "a/-b", "a/b.", "a/ b", "a/ä", ""]
        {
            assert!(!is_repository_id(id), "{id}");
        }
    }

    #[test]
    fn a_revision_is_what_git_can_call_one() {
        for revision in ["main", "refs/pr/15", "v1.0", "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"] {
            assert!(is_revision(revision), "{revision}");
        }
        for revision in ["", "/main", "main/", "a//b", "../main", "a/../b", "a\\b", "a b", ".a", "a:b", "a\n"]
        {
            assert!(!is_revision(revision), "{revision:?}");
        }
    }
}
