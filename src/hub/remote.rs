//! A file of a repository → what the hub says of it: commit, content, and where that is.
//!
//! One request asks the hub for a file, and its answer names commit, content and length. It carries
//! the content itself, or sends us to another host for it, to which the access token does not go.

use super::cache::{HubCache, is_commit};
use super::files::is_file_name;
use super::settings::Settings;
use crate::net::{Address, Answer, Client, ContentCoding, Fault, NetError, Request, StatusCode};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

const MOST_REDIRECTS: usize = 10;
pub const SHA256_BYTES: usize = 32;

/// Why a file is not had.
#[derive(Debug, Error)]
pub enum FetchError {
    #[error("the repository has no such file")]
    NoFile,
    #[error("the repository has no such branch, tag or commit; see --revision")]
    NoRevision,
    #[error("there is no such repository")]
    NoRepository,
    #[error(
        "access denied ({status}): the repository does not exist, is private, or its terms must be \
         accepted on its page first; {}",
        if *.token { "the access token (HF_TOKEN) does not open it" } else { "an access token goes into HF_TOKEN" }
    )]
    NoAccess { status: StatusCode, token: bool },
    #[error("{0}; HF_ENDPOINT can name a mirror, --model DIR a folder with the files")]
    Refused(NetError),
    #[error("{0}; HF_ENDPOINT can name a mirror, --model DIR a folder with the files")]
    Unreachable(NetError),
    #[error("{0}")]
    Misconfigured(NetError),
    #[error(
        "the download broke off after {bytes} bytes, and goes on from there when run again: {cause} \
         (after {tries} tries)"
    )]
    BrokenOff { bytes: u64, cause: String, tries: u32 },
    #[error("what came does not have the checksum that the hub gives; run again to start afresh")]
    Corrupt,
    #[error("{0} does not answer as a Hugging Face hub does: {1}; see HF_ENDPOINT")]
    NotAHub(String, String),
    #[error("cannot write to {}: {cause}{}", path.display(), cache_remedy(cause))]
    Disk { path: PathBuf, cause: io::Error },
}

fn cache_remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "; make room (the download goes on from where it is), or set HF_HUB_CACHE to a folder elsewhere"
        }
        _ => "; HF_HUB_CACHE can name another cache folder",
    }
}

impl From<NetError> for FetchError {
    fn from(error: NetError) -> Self {
        match &error.fault {
            Fault::Status(_) => Self::Refused(error),
            // These name their own remedy, and another mirror is none.
            Fault::Insecure { .. } | Fault::Certificates { .. } | Fault::Proxy(_) => {
                Self::Misconfigured(error)
            }
            _ => Self::Unreachable(error),
        }
    }
}

/// The hub, as one user sees it.
pub struct Hub {
    pub client: Client,
    endpoint: Address,
    token: Option<String>,
    /// How long an answer may take, where it is asked for a single time.
    patience: Option<Duration>,
}

/// What the hub says of a file.
pub struct RemoteFile {
    pub commit: String,
    /// The hub's name for the content, safe as the name of a file.
    pub etag: String,
    pub length_bytes: Option<u64>,
    pub sha256: Option<[u8; SHA256_BYTES]>,
    /// Where the content is.
    pub address: Address,
    /// The content, where the hub sent it along.
    pub answer: Option<Answer>,
}

impl Hub {
    /// Prepares to ask the hub; no connection is made yet.
    ///
    /// *Errors* when the endpoint or the access token cannot be used.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let endpoint = Address::parse(&settings.endpoint)
            .map_err(|fault| anyhow::anyhow!("HF_ENDPOINT is {}, {fault}", settings.shown_endpoint()))?;
        let (client, token) = (Client::new(settings.timeout), settings.token()?);
        Ok(Self { client, endpoint, token, patience: None })
    }

    /// Asks for everything a single time, for an answer within `time`.
    #[must_use]
    pub fn asking_once(self, time: Duration) -> Self {
        Self { patience: Some(time), ..self }
    }

    /// The proxy between here and the hub.
    ///
    /// *Errors* when the variable that names it cannot be used.
    pub fn proxy(&self) -> Result<Option<String>, Fault> {
        self.client.proxy_towards(&self.endpoint)
    }

    /// Whether the user has an access token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks for a file, following the hub as long as it does not send us elsewhere. `cache`, if it is given,
    /// remembers that there is no such file.
    pub fn resolve(
        &self,
        cache: Option<&HubCache>,
        id: &str,
        revision: &str,
        file: &str,
    ) -> Result<RemoteFile, FetchError> {
        let parts = id.split('/').chain(["resolve", revision, file]);
        let mut address = self.endpoint.below(parts);
        let (mut commit, mut etag, mut linked_etag, mut linked_length) = (None, None, None, None);
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.ask(&address, 0)?;
            let header = |name: &str| answer.header(name).map(str::to_owned);
            commit = header("x-repo-commit").filter(|commit| is_commit(commit)).or(commit);
            linked_etag = header("x-linked-etag").or(linked_etag);
            linked_length = header("x-linked-size").and_then(|length| length.parse().ok()).or(linked_length);
            etag = header("etag").or(etag);
            let next = match answer.redirect() {
                Some(location) => Some(address.join(location).map_err(|fault| self.not_a_hub(fault))?),
                None if answer.status.is_success() => None,
                None => {
                    let error = self.refusal(&answer);
                    if let (FetchError::NoFile, Some("EntryNotFound"), Some(commit), Some(cache)) =
                        (&error, answer.header("x-error-code"), &commit, cache)
                    {
                        // To be asked again is no harm, and what comes next may be able to write.
                        let _ = cache.set_absent(commit, file);
                    }
                    return Err(error);
                }
            };
            let is_elsewhere = next.is_some();
            if let Some(next) = next {
                address = next;
                if address.is_same_origin(&self.endpoint) {
                    continue;
                }
            }
            let commit = commit
                .or_else(|| is_commit(revision).then(|| revision.to_owned()))
                .ok_or_else(|| self.not_a_hub("no x-repo-commit"))?;
            let etag = linked_etag.as_ref().or(etag.as_ref()).ok_or_else(|| self.not_a_hub("no etag"))?;
            let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
            if !is_file_name(&etag) {
                return Err(self.not_a_hub("an etag that cannot be the name of a file"));
            }
            let answer = Some(answer).filter(|_| !is_elsewhere);
            let length = answer.as_ref().and_then(|answer| answer.content.length_bytes());
            return Ok(RemoteFile {
                commit,
                // A linked content's etag is its checksum; others have git's, or the server's own.
                sha256: linked_etag.and_then(|_| sha256(&etag)),
                etag,
                length_bytes: linked_length.or(length),
                address,
                answer,
            });
        }
        Err(self.not_a_hub("too many redirects"))
    }

    /// Asks for what an address has, from one byte on.
    pub fn ask(&self, address: &Address, from_byte: u64) -> Result<Answer, FetchError> {
        // Only the hub may see the token.
        let bearer = self.token.as_deref().filter(|_| address.is_same_origin(&self.endpoint));
        let request = Request { from_byte, bearer, ..Request::whole(address, ContentCoding::Identity) };
        Ok(match self.patience {
            Some(time) => self.client.ask_once(&request, time)?,
            None => self.client.ask(&request)?,
        })
    }

    pub fn not_a_hub(&self, what: impl ToString) -> FetchError {
        FetchError::NotAHub(self.endpoint.to_string(), what.to_string())
    }

    fn refusal(&self, answer: &Answer) -> FetchError {
        match (answer.header("x-error-code"), answer.status) {
            (Some("RevisionNotFound"), _) => FetchError::NoRevision,
            (_, status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
                FetchError::NoAccess { status, token: self.token.is_some() }
            }
            (Some("RepoNotFound"), _) => FetchError::NoRepository,
            (_, StatusCode::NOT_FOUND) => FetchError::NoFile,
            (_, status) => FetchError::Refused(NetError { fault: Fault::Status(status), tries: 1 }),
        }
    }
}

fn sha256(hex: &str) -> Option<[u8; SHA256_BYTES]> {
    let is_hex = hex.len() == 2 * SHA256_BYTES && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut digest = [0; SHA256_BYTES];
    for (at, byte) in digest.iter_mut().enumerate().take_while(|_| is_hex) {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    is_hex.then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sha256_is_taken_for_one() {
        assert_eq!(sha256(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(sha256(&"0f".repeat(20)), None);
        assert_eq!(sha256(&"0g".repeat(32)), None);
        assert_eq!(sha256(&"é".repeat(32)), None);
    }

    #[test]
    fn a_full_disk_is_told_with_what_helps() {
        let cause = io::Error::from(ErrorKind::StorageFull);
        let message = FetchError::Disk { path: "cache/blobs/1".into(), cause }.to_string();
        assert!(message.starts_with("cannot write to cache/blobs/1: "), "{message}");
        assert!(message.contains("make room") && message.contains("HF_HUB_CACHE"), "{message}");
    }
}
