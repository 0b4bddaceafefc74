//! The environment → where models are kept, and whether the hub answers.

use super::cache::HubCache;
use super::remote::{FetchError, Hub};
use super::settings::Settings;
use super::{HubOptions, MAIN, SAFETENSORS_ELSEWHERE};
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A file that most repositories have.
const ASKED_FOR: &str = "config.json";

/// What there is of the hub.
#[derive(Debug, Clone, PartialEq)]
pub struct HubLook {
    /// Its address, without a user and password.
    pub endpoint: String,
    /// The proxy between here and there, as host and port.
    pub proxy: Option<String>,
    /// Whether the user has an access token.
    pub has_token: bool,
    pub answer: HubAnswer,
    /// The folder of the hub cache.
    pub cache: PathBuf,
    /// Repositories of models in it, and what they take on the disk.
    pub cached_models: usize,
    pub cached_bytes: u64,
}

/// What came of asking the hub.
#[derive(Debug, Clone, PartialEq)]
pub enum HubAnswer {
    /// Nobody asked: the user wants no network.
    NotAsked,
    /// It has the repository.
    Reached { ms: f64 },
    /// It answers, and has no such repository or revision, or not for this user.
    Refused(String),
    /// It does not answer as a hub does.
    Unreachable(String),
}

/// Looks at the hub cache, and asks the hub once for a small file of `repository`, or of the default model;
/// an answer has to come within `time`. Nothing is downloaded.
///
/// *Errors* when the environment's variables cannot be used.
pub fn look(repository: Option<&str>, options: &HubOptions, time: Duration) -> Result<HubLook> {
    let settings = Settings::from_env()?;
    let hub = Hub::new(&settings)?.asking_once(time);
    let folders = fs::read_dir(&settings.cache).into_iter().flatten().flatten();
    let names = folders.filter_map(|folder| folder.file_name().into_string().ok());
    let ids: Vec<_> =
        names.filter_map(|name| Some(name.strip_prefix("models--")?.replace("--", "/"))).collect();
    Ok(HubLook {
        endpoint: settings.shown_endpoint(),
        proxy: hub.proxy()?,
        has_token: hub.has_token(),
        answer: match options.offline || settings.offline {
            true => HubAnswer::NotAsked,
            false => ask(&hub, repository, options),
        },
        cached_models: ids.len(),
        cached_bytes: ids.iter().map(|id| HubCache::new(&settings.cache, id).bytes()).sum(),
        cache: settings.cache,
    })
}

fn ask(hub: &Hub, repository: Option<&str>, options: &HubOptions) -> HubAnswer {
    let start = Instant::now();
    // The revision is one of the user's repository.
    let revision = options.revision.as_deref().filter(|_| repository.is_some()).unwrap_or(MAIN);
    let id = repository.unwrap_or(SAFETENSORS_ELSEWHERE.0);
    match hub.resolve(None, id, revision, ASKED_FOR) {
        Ok(_) | Err(FetchError::NoFile) => HubAnswer::Reached { ms: start.elapsed().as_secs_f64() * 1e3 },
        Err(error @ (FetchError::NoRevision | FetchError::NoRepository | FetchError::NoAccess { .. })) => {
            HubAnswer::Refused(error.to_string())
        }
        // What helps depends on whether anything is to be downloaded.
        Err(
            FetchError::Unreachable(error) | FetchError::Refused(error) | FetchError::Misconfigured(error),
        ) => HubAnswer::Unreachable(error.to_string()),
        Err(error) => HubAnswer::Unreachable(error.to_string()),
    }
}
