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
mod files;
mod known;
mod open_file;
mod reach;
mod remote;
mod settings;

pub use files::{ModelFiles, PreprocessorFile, TokenizerFiles, WeightFiles};
pub use known::{FigureSource, KNOWN_MODELS, KnownModel, known_model};
pub use open_file::{FileDigest, FileRole, ModelDigest, OpenFile};
pub use reach::{HubAnswer, HubLook, look};

use crate::messages::Messages;
use anyhow::{Context, Result, bail, ensure};
use cache::{Cached, HubCache};
use files::{PREPROCESSOR, PROCESSOR, Places, SAFETENSORS, gather, in_folder, tokenizer_of};
use known::nearest_names;
use remote::{FetchError, Hub};
use settings::{Settings, expand_home};
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::path::{Path, PathBuf};

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

/// What open_clip has before the name of a repository.
const REPOSITORY_PREFIX: &str = "hf-hub:";
/// What open_clip has before the path of a folder.
const FOLDER_PREFIX: &str = "local-dir:";

/// What a model's name is the name of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelPlace {
    /// A folder, as it was written.
    Folder(String),
    /// The id of a repository.
    Repository(String),
}

/// Tells what `model` is the name of. Before it may stand `hf-hub:` or `local-dir:`, which says so.
///
/// *Errors* when it can be neither.
pub fn place(model: &str) -> Result<ModelPlace> {
    let repository = model.strip_prefix(REPOSITORY_PREFIX);
    let path = model.strip_prefix(FOLDER_PREFIX);
    let model = repository.or(path).unwrap_or(model);
    if repository.is_none() && (path.is_some() || is_path(model) || expand_home(model).exists()) {
        return Ok(ModelPlace::Folder(model.to_owned()));
    }
    let id = known_model(model).map_or(model, |known| known.repository);
    ensure!(
        is_repository_id(id),
        "there is no folder {model}, and it is neither one of the short names that clipclass models lists{} \
         nor the name of a repository, which has the form owner/name, as {}",
        did_you_mean(model),
        SAFETENSORS_ELSEWHERE.0
    );
    Ok(ModelPlace::Repository(id.to_owned()))
}

/// Finds the files of `model`, a folder or a repository, downloading what the hub cache lacks. Before
/// it may stand `hf-hub:` or `local-dir:`, which says what it is.
///
/// *Errors* when a file that the model needs is not in the folder, or neither in the hub cache nor
/// to be had from the hub.
pub fn locate(model: &str, options: &HubOptions, messages: &Messages) -> Result<ModelFiles> {
    let model = match place(model)? {
        ModelPlace::Folder(folder) => folder,
        ModelPlace::Repository(id) => return in_repository(&id, options, Settings::from_env()?, messages),
    };
    ensure!(
        options.revision.is_none(),
        "a revision is one of a repository, and {model} is a folder: leave out --revision"
    );
    let elsewhere =
        |id: &str| tokenizer_elsewhere(&model, id, options.offline, Settings::from_env()?, messages);
    let files = in_folder(&model, &expand_home(&model), &elsewhere)
        .with_context(|| format!("cannot use the folder {model} as a model"))?;
    if files.lacks_preprocessor() {
        warn_of_no_preprocessor(format_args!("the folder {model}"), messages);
    }
    Ok(files)
}

/// The short names that may have been meant.
fn did_you_mean(model: &str) -> String {
    match nearest_names(model)[..] {
        [] => String::new(),
        [only] => format!(" (did you mean {only}?)"),
        [ref others @ .., last] => format!(" (did you mean {} or {last}?)", others.join(", ")),
    }
}

/// How much of a repository the hub cache has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Absent,
    /// Some of the files that its model needs, or the beginning of one.
    Part { bytes: u64 },
    /// All that its model needs.
    Whole { bytes: u64 },
}

/// Looks how much of a repository's main branch the hub cache has; the hub is not asked.
///
/// *Errors* when the environment does not say where the hub cache is.
pub fn presence(repository: &str) -> Result<Presence> {
    let settings = Settings::from_env()?;
    let bytes = HubCache::new(&settings.cache, repository).bytes();
    if bytes == 0 {
        return Ok(Presence::Absent);
    }
    let options = HubOptions { revision: None, offline: true };
    let whole = in_repository(repository, &options, settings, &Messages::new(true)).is_ok();
    Ok(if whole { Presence::Whole { bytes } } else { Presence::Part { bytes } })
}

/// The folder of a repository in the hub cache.
///
/// *Errors* when the environment does not say where the hub cache is.
pub fn cached_folder(repository: &str) -> Result<PathBuf> {
    Ok(HubCache::new(&Settings::from_env()?.cache, repository).folder().to_owned())
}

/// Says that images are prepared in a way which the model does not name.
fn warn_of_no_preprocessor(place: impl fmt::Display, messages: &Messages) {
    messages.warning(format_args!(
        "{place} has neither {PREPROCESSOR} nor {PROCESSOR} with an image_processor: \
         images are prepared as is its family's way, for CLIP OpenAI's"
    ));
}

/// The tokenizer of repository `id`, for a model that has none of its own.
fn tokenizer_elsewhere(
    model: &str,
    id: &str,
    offline: bool,
    settings: Settings,
    messages: &Messages,
) -> Result<Option<TokenizerFiles>> {
    // Names without an owner are the hub's oldest.
    ensure!(
        is_repository_id(id) || is_repository_id(&format!("hub/{id}")),
        "it has no tokenizer and names {id:?} for one, which is not the name of a repository"
    );
    let repository = Repository::new(id, offline, settings, messages);
    let cached = |file: &str| Ok(repository.cached(MAIN, file));
    let anywhere = |file: &str| repository.find(MAIN, file);
    let found = tokenizer_of(&cached, &anywhere)
        .with_context(|| format!("it has no tokenizer, and needs that of {id}"))?;
    match found {
        Some(_) => {
            messages.warning(format_args!("{model} has no tokenizer of its own: that of {id} is used"))
        }
        None => bail!(
            "it has no tokenizer, and that of {id} is not {}",
            if repository.offline { "in the hub cache, which is all that --offline has" } else { "there" }
        ),
    }
    Ok(found)
}

fn in_repository(
    id: &str,
    options: &HubOptions,
    settings: Settings,
    messages: &Messages,
) -> Result<ModelFiles> {
    let revision = options.revision.as_deref().unwrap_or(MAIN);
    ensure!(is_revision(revision), "{revision:?} cannot be the name of a branch, a tag or a commit");
    let repository = Repository::new(id, options.offline, settings.clone(), messages);
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
    let other = |other: &str| tokenizer_elsewhere(id, other, options.offline, settings.clone(), messages);
    let places = Places { at_hand: &cached, anywhere: &anywhere, optional: &optional, elsewhere: &other };
    let files = gather(id, places).with_context(|| {
        let cache = repository.settings.cache.display();
        let endpoint = repository.settings.shown_endpoint();
        if repository.offline {
            format!(
                "cannot use {id}, revision {revision}, offline, from the hub cache {cache} \
                 (clipclass fetch {id} fills it with a network, --model DIR uses another folder)"
            )
        } else {
            format!("cannot use {id}, revision {revision}, of {endpoint} (hub cache: {cache})")
        }
    })?;
    match files.lacks_preprocessor() {
        false => {}
        true if repository.preprocessor_is_unknown.get() => messages.warning(format_args!(
            "{PREPROCESSOR} or {PROCESSOR} of {id} is not in the hub cache, and the hub was not asked: \
             images are prepared as is its family's way, for CLIP OpenAI's"
        )),
        true => warn_of_no_preprocessor(format_args!("{id}, revision {revision},"), messages),
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

impl<'a> Repository<'a> {
    fn new(id: &'a str, offline: bool, settings: Settings, messages: &'a Messages) -> Self {
        Self {
            id,
            cache: HubCache::new(&settings.cache, id),
            offline: offline || settings.offline,
            messages,
            preprocessor_is_unknown: Cell::new(false),
            hub: OnceCell::new(),
            settings,
        }
    }

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

    #[test]
    fn a_file_or_a_revision_of_a_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(SAFETENSORS);
        std::fs::write(&file, "").unwrap();
        let message =
            locate(file.to_str().unwrap(), &HubOptions::default(), &Messages::new(true)).unwrap_err();
        assert!(format!("{message:#}").contains("it is a file; name the folder"), "{message:#}");
        let options = HubOptions { revision: Some("main".into()), ..Default::default() };
        let message = locate(folder.path().to_str().unwrap(), &options, &Messages::new(true)).unwrap_err();
        assert!(message.to_string().contains("--revision"), "{message}");
    }

    #[test]
    fn prefix_says_whether_a_folder_or_a_repository_is_meant() {
        let offline = HubOptions { offline: true, ..Default::default() };
        let refusal =
            |model: &str| format!("{:#}", locate(model, &offline, &Messages::new(true)).unwrap_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        assert!(refusal(&format!("local-dir:{path}")).contains("as a model: there is no config.json"));
        assert!(refusal("local-dir:no/where").contains("it does not exist"));
        assert!(refusal("hf-hub:src/hub").contains("cannot use src/hub, revision main, offline"));
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
