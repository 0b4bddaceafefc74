//! A file of a repository → a blob in the cache.
//!
//! One request asks the hub for a file, and its answer names commit, content and length. It carries
//! the content itself, or sends us to another host for it, to which the access token does not go.
//! The content grows in a file beside its place, which it takes when it is whole; a later run goes
//! on from what an earlier one left.
//!
//! This is not done with the hf-hub crate: 0.5 sends the token along to the other host, appends to
//! what it has without looking whether the server did go on from there, knows neither time-outs nor
//! checksums, and asks twice for each file; 1.0 brings an asynchronous runtime.

use super::cache::{Cache, is_commit};
use super::is_file_name;
use super::settings::Settings;
use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ring::digest;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, ErrorKind, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use thiserror::Error;
use ureq::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION, RANGE, TRANSFER_ENCODING,
};
use ureq::http::{StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

type Response = ureq::http::Response<Body>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MOST_REDIRECTS: usize = 10;
/// How often a download is taken up again when nothing more of it comes, and the first pause.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const BUFFER_BYTES: usize = 1 << 18;
/// A smaller file is there before a bar can be read.
const SHORTEST_BAR_BYTES: u64 = 1 << 20;

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
    #[error("the server answers {0}; HF_ENDPOINT can name a mirror, --model DIR a folder with the files")]
    Status(StatusCode),
    #[error(
        "cannot reach {host}: {cause}; HF_ENDPOINT can name a mirror, --model DIR a folder with the files"
    )]
    Unreachable { host: String, cause: ureq::Error },
    #[error(
        "no secure connection to {host}: {cause}; if your network has its own certificates, \
         SSL_CERT_FILE can name them"
    )]
    Insecure { host: String, cause: ureq::Error },
    #[error("the download broke off after {bytes} bytes, and goes on from there when run again: {cause}")]
    BrokenOff { bytes: u64, cause: String },
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

/// The hub, as one user sees it.
pub struct Hub {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    quiet: bool,
}

/// What the hub says of a file.
struct Remote {
    commit: String,
    /// The hub's name for the content, safe as the name of a file.
    etag: String,
    length: Option<u64>,
    sha256: Option<[u8; digest::SHA256_OUTPUT_LEN]>,
    /// Where the content is.
    url: String,
    /// The content, where the hub sent it along.
    response: Option<Response>,
}

impl Hub {
    /// Prepares to ask the hub; no connection is made yet.
    pub fn new(settings: &Settings, quiet: bool) -> anyhow::Result<Self> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &settings.certificates {
            let read = || anyhow::Ok(certificates(&fs::read(path)?)?);
            let roots = read().with_context(|| format!("cannot use SSL_CERT_FILE, {}", path.display()))?;
            tls = tls.root_certs(roots);
        }
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .user_agent(concat!("clipclass/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(settings.timeout))
            .timeout_per_write(Some(settings.timeout))
            .build()
            .new_agent();
        Ok(Self { agent, endpoint: settings.endpoint.clone(), token: settings.token()?, quiet })
    }

    /// Brings `file` of a revision of repository `id` into the cache.
    ///
    /// All files of a revision are of the commit that the cache knows it as.
    pub fn fetch(&self, cache: &Cache, id: &str, revision: &str, file: &str) -> Result<PathBuf, FetchError> {
        let known = cache.commit(revision);
        let ask = |revision: &str| self.resolve(cache, id, revision, file);
        let mut remote = ask(revision)?;
        if let Some(commit) = known.as_deref().filter(|commit| *commit != remote.commit) {
            // The branch has moved on since.
            remote = ask(commit)?;
        }
        let commit = remote.commit.clone();
        let etag = remote.etag.clone();
        let disk = |cause| FetchError::Disk { path: cache.blob(&etag), cause };
        let wait = || {
            if !self.quiet {
                eprintln!("waiting for another process that downloads {file}");
            }
        };
        let lock = cache.lock(&etag, wait).map_err(disk)?;
        let blob = cache.blob(&etag);
        if !blob.is_file() {
            let partial = cache.partial(&etag, &lock);
            self.download(remote, &partial, file, || ask(&commit))?;
            fs::rename(&partial, &blob).map_err(disk)?;
        }
        let path = cache.link(&commit, file, &etag).map_err(disk)?;
        if known.is_none() {
            cache.set_commit(revision, &commit).map_err(disk)?;
        }
        Ok(path)
    }

    /// Asks the hub for a file, following it as long as it does not send us elsewhere.
    fn resolve(&self, cache: &Cache, id: &str, revision: &str, file: &str) -> Result<Remote, FetchError> {
        let not_a_hub = |what: &str| FetchError::NotAHub(self.endpoint.clone(), what.to_owned());
        let mut url = format!("{}/{id}/resolve/{}/{file}", self.endpoint, percent_encoded(revision));
        let (mut commit, mut etag, mut linked_etag, mut linked_length) = (None, None, None, None);
        for _ in 0..MOST_REDIRECTS {
            let response = self.get(&url, 0)?;
            let header = |name: &str| header(&response, name).map(str::to_owned);
            commit = header("x-repo-commit").filter(|commit| is_commit(commit)).or(commit);
            linked_etag = header("x-linked-etag").or(linked_etag);
            linked_length = header("x-linked-size").and_then(|length| length.parse().ok()).or(linked_length);
            etag = header(ETAG.as_str()).or(etag);
            let status = response.status();
            if !status.is_success() && !status.is_redirection() {
                let error = self.refusal(&response);
                if let (FetchError::NoFile, Some("EntryNotFound"), Some(commit)) =
                    (&error, header("x-error-code").as_deref(), &commit)
                {
                    // To be asked again is no harm, and what comes next may be able to write.
                    let _ = cache.set_absent(commit, file);
                }
                return Err(error);
            }
            let next = status.is_redirection().then(|| header(LOCATION.as_str())).flatten();
            if let Some(next) = &next {
                url = absolute(&url, next).ok_or_else(|| not_a_hub("a redirect leads nowhere"))?;
                if self.is_ours(&url) {
                    continue;
                }
            } else if status.is_redirection() {
                return Err(not_a_hub("a redirect leads nowhere"));
            }
            let commit = commit
                .or_else(|| is_commit(revision).then(|| revision.to_owned()))
                .ok_or_else(|| not_a_hub("no x-repo-commit"))?;
            let etag = linked_etag.as_ref().or(etag.as_ref()).ok_or_else(|| not_a_hub("no etag"))?;
            let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
            if !is_file_name(&etag) {
                return Err(not_a_hub("an etag that cannot be the name of a file"));
            }
            return Ok(Remote {
                commit,
                // A linked content's etag is its checksum; others have git's, or the server's own.
                sha256: linked_etag.and_then(|_| sha256(&etag)),
                etag,
                length: linked_length.or_else(|| next.is_none().then(|| length(&response)).flatten()),
                url,
                response: next.is_none().then_some(response),
            });
        }
        Err(not_a_hub("too many redirects"))
    }

    /// Lets the file at `path` grow until it has the whole content.
    fn download(
        &self,
        mut remote: Remote,
        path: &Path,
        name: &str,
        ask_again: impl Fn() -> Result<Remote, FetchError>,
    ) -> Result<(), FetchError> {
        let disk = |cause| FetchError::Disk { path: path.to_owned(), cause };
        let mut partial = Partial::open(path).map_err(disk)?;
        let bar = self.bar(name, remote.length);
        let (mut tries, mut received, mut afresh) = (0, false, false);
        loop {
            if remote.length.is_some_and(|length| partial.bytes > length) {
                partial.clear().map_err(disk)?;
            }
            let before = partial.bytes;
            let Err(error) = self.go_on(&mut remote, &mut partial, path, &bar) else {
                if remote.sha256.is_none_or(|sha256| partial.sha256() == sha256) {
                    bar.finish_and_clear();
                    return partial.file.sync_data().map_err(disk);
                }
                partial.clear().map_err(disk)?;
                if afresh {
                    return Err(FetchError::Corrupt);
                }
                // An earlier run's part may have been at fault.
                afresh = true;
                continue;
            };
            received |= partial.bytes > before;
            tries = if partial.bytes > before { 1 } else { tries + 1 };
            match &error {
                FetchError::BrokenOff { .. } if tries < TRIES => {}
                FetchError::Unreachable { .. } if tries < TRIES && received => {}
                // The address of a content is good for a while only.
                FetchError::Status(_) if tries < TRIES => match ask_again() {
                    Ok(again) if again.etag == remote.etag => remote = again,
                    _ => return Err(error),
                },
                _ => return Err(error),
            }
            thread::sleep(FIRST_PAUSE * 2u32.pow(tries - 1));
        }
    }

    /// Appends what the server sends from where `partial` ends.
    fn go_on(
        &self,
        remote: &mut Remote,
        partial: &mut Partial,
        path: &Path,
        bar: &ProgressBar,
    ) -> Result<(), FetchError> {
        if remote.length == Some(partial.bytes) {
            return Ok(());
        }
        let disk = |cause| FetchError::Disk { path: path.to_owned(), cause };
        let broken_off =
            |bytes, cause: &dyn Display| FetchError::BrokenOff { bytes, cause: cause.to_string() };
        let mut response = match remote.response.take() {
            Some(response) if partial.bytes == 0 => response,
            _ => self.get(&remote.url, partial.bytes)?,
        };
        match response.status() {
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(partial.bytes) => {}
            StatusCode::OK => partial.clear().map_err(disk)?,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                partial.clear().map_err(disk)?;
                return Err(broken_off(0, &"the server does not go on from where it was"));
            }
            status => return Err(FetchError::Status(status)),
        }
        let rest = length(&response);
        let whole = remote.length.or_else(|| rest.map(|rest| partial.bytes + rest));
        if whole.is_none() && header(&response, TRANSFER_ENCODING.as_str()).is_none() {
            return Err(FetchError::NotAHub(host(&remote.url), "no length of the file".to_owned()));
        }
        bar.set_position(partial.bytes);
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => partial.append(&buffer[..count]).map_err(disk)?,
                Err(cause) => return Err(broken_off(partial.bytes, &cause)),
            }
            bar.set_position(partial.bytes);
        }
        match whole {
            Some(whole) if partial.bytes != whole => {
                Err(broken_off(partial.bytes, &format_args!("the file has {whole}")))
            }
            _ => Ok(()),
        }
    }

    /// Asks for what `url` has, from byte `start` on.
    fn get(&self, url: &str, start: u64) -> Result<Response, FetchError> {
        let mut request = self.agent.get(url).header("accept-encoding", "identity");
        if start > 0 {
            request = request.header(RANGE, format!("bytes={start}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| self.is_ours(url)) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.call().map_err(|cause| {
            let host = host(url);
            if is_tls(&cause) {
                FetchError::Insecure { host, cause }
            } else {
                FetchError::Unreachable { host, cause }
            }
        })
    }

    /// Whether `url` is the hub's own: then it may see the token.
    fn is_ours(&self, url: &str) -> bool {
        let origin = |url: &str| {
            let uri: Uri = url.parse().ok()?;
            Some((uri.scheme()?.clone(), uri.authority()?.clone()))
        };
        origin(url).is_some_and(|other| origin(&self.endpoint) == Some(other))
    }

    fn refusal(&self, response: &Response) -> FetchError {
        let status = response.status();
        match (header(response, "x-error-code"), status) {
            (Some("RevisionNotFound"), _) => FetchError::NoRevision,
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                FetchError::NoAccess { status, token: self.token.is_some() }
            }
            (Some("RepoNotFound"), _) => FetchError::NoRepository,
            (_, StatusCode::NOT_FOUND) => FetchError::NoFile,
            _ => FetchError::Status(status),
        }
    }

    fn bar(&self, name: &str, length: Option<u64>) -> ProgressBar {
        let shown = !self.quiet
            && io::stderr().is_terminal()
            && length.is_some_and(|length| length >= SHORTEST_BAR_BYTES);
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = "{msg}  {wide_bar}  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
        ProgressBar::with_draw_target(length, target)
            .with_style(ProgressStyle::with_template(style).expect("the template is well-formed"))
            .with_message(name.to_owned())
    }
}

/// The beginning of a content.
struct Partial {
    file: File,
    bytes: u64,
    hash: digest::Context,
}

impl Partial {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options().create(true).read(true).append(true).open(path)?;
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut bytes = 0;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Self { file, bytes, hash }),
                count => {
                    hash.update(&buffer[..count]);
                    bytes += count as u64;
                }
            }
        }
    }

    fn append(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.hash.update(content);
        self.bytes += content.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = digest::Context::new(&digest::SHA256);
        self.bytes = 0;
        Ok(())
    }

    fn sha256(&self) -> [u8; digest::SHA256_OUTPUT_LEN] {
        let digest = self.hash.clone().finish();
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// The certificates of a PEM file.
fn certificates(pem: &[u8]) -> Result<RootCerts, ureq::Error> {
    let items = parse_pem(pem).collect::<Result<Vec<_>, _>>()?;
    let certificate = |item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    };
    Ok(RootCerts::Specific(Arc::new(items.into_iter().filter_map(certificate).collect())))
}

fn is_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => true,
        // What rustls finds wrong with what the server sends.
        ureq::Error::Io(error) => error.kind() == ErrorKind::InvalidData,
        _ => false,
    }
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// How many bytes the response has.
fn length(response: &Response) -> Option<u64> {
    header(response, CONTENT_LENGTH.as_str())?.parse().ok()
}

/// The first byte of a `Content-Range: bytes 5-9/10`.
fn range_start(response: &Response) -> Option<u64> {
    let range = header(response, CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.parse().ok()
}

fn host(url: &str) -> String {
    let authority = url.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
    authority.unwrap_or_else(|| url.to_owned())
}

/// Where a redirect from `url` leads.
fn absolute(url: &str, location: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?;
    if location.starts_with("https://") || location.starts_with("http://") {
        Some(location.to_owned())
    } else if location.starts_with("//") {
        Some(format!("{scheme}:{location}"))
    } else {
        location.starts_with('/').then_some(format!("{scheme}://{}{location}", uri.authority()?))
    }
}

/// `text` as one part of a path.
fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

fn sha256(hex: &str) -> Option<[u8; digest::SHA256_OUTPUT_LEN]> {
    let is_hex =
        hex.len() == 2 * digest::SHA256_OUTPUT_LEN && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut digest = [0; digest::SHA256_OUTPUT_LEN];
    for (at, byte) in digest.iter_mut().enumerate().take_while(|_| is_hex) {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    is_hex.then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_may_name_a_host_or_only_a_path() {
        let from = |location| absolute("https://hub.example/a/resolve/main/b?c", location);
        assert_eq!(from("http://cdn.example/b").as_deref(), Some("http://cdn.example/b"));
        assert_eq!(from("//cdn.example/b").as_deref(), Some("https://cdn.example/b"));
        assert_eq!(from("/api/b").as_deref(), Some("https://hub.example/api/b"));
        assert_eq!(from("b"), None);
    }

    #[test]
    fn a_revision_is_one_part_of_a_path() {
        assert_eq!(percent_encoded("refs/pr/15"), "refs%2Fpr%2F15");
        assert_eq!(percent_encoded("v1.0-ä_~"), "v1.0-%C3%A4_~");
    }

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
