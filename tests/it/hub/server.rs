//! A hub and the other host that it keeps large contents at, on loopback.

use crate::server::{self, Answer};
use ring::digest;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The token that opens private repositories.
pub const TOKEN: &str = "hf_secret";

/// Something that goes wrong with one answer of the other host, or is unusual about it.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The connection ends after so many bytes of the content.
    Cut(usize),
    /// Nothing comes after so many bytes of the content.
    Silence(usize),
    /// A byte is wrong.
    Corrupt,
    /// The whole content comes, whatever was asked for.
    NoRange,
    /// The answer comes late.
    Slow(Duration),
    Status(u16),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub to_hub: bool,
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

#[derive(Default)]
struct State {
    /// Repository and revision → commit.
    revisions: HashMap<(String, String), String>,
    /// Repository, commit and name → content.
    files: HashMap<(String, String, String), Vec<u8>>,
    /// Checksum → content.
    contents: HashMap<String, Vec<u8>>,
    private: bool,
    refuses: Option<(u16, &'static str)>,
    /// How the hub fails before it works again.
    hub_faults: VecDeque<Answer>,
    faults: VecDeque<Fault>,
    /// Of both hosts, in order.
    requests: Vec<Request>,
}

pub struct Server {
    hub: server::Server,
    state: Arc<Mutex<State>>,
    _other: server::Server,
}

impl Server {
    pub fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let other = {
            let state = state.clone();
            server::Server::start(move |request| {
                state.lock().unwrap().remember(false, request);
                answer_other(request, &state)
            })
        };
        let hub = {
            let (state, other) = (state.clone(), other.address());
            server::Server::start(move |request| {
                let mut state = state.lock().unwrap();
                state.remember(true, request);
                state.hub_faults.pop_front().unwrap_or_else(|| answer_hub(request, &state, other))
            })
        };
        Self { hub, state, _other: other }
    }

    pub fn endpoint(&self) -> String {
        self.hub.at("")
    }

    /// Makes `revision` of `repository` a commit with these files; large ones are kept elsewhere.
    pub fn commit(&self, repository: &str, revision: &str, commit: &str, files: &[(&str, &[u8])]) {
        let mut state = self.state.lock().unwrap();
        for revision in [revision, commit] {
            state.revisions.insert((repository.into(), revision.into()), commit.into());
        }
        for (name, content) in files {
            state.contents.insert(hex(&digest::SHA256, content), content.to_vec());
            state.files.insert((repository.into(), commit.into(), name.to_string()), content.to_vec());
        }
    }

    pub fn make_private(&self) {
        self.state.lock().unwrap().private = true;
    }

    /// Lets the hub refuse everything.
    pub fn refuse(&self, status: u16, error_code: &'static str) {
        self.state.lock().unwrap().refuses = Some((status, error_code));
    }

    /// What the hub answers instead to the next requests.
    pub fn fail(&self, answers: &[Answer]) {
        self.state.lock().unwrap().hub_faults = answers.iter().cloned().collect();
    }

    /// What goes wrong with the next answers of the other host.
    pub fn go_wrong(&self, faults: &[Fault]) {
        self.state.lock().unwrap().faults = faults.iter().copied().collect();
    }

    /// The requests since this was last asked.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

impl State {
    fn remember(&mut self, to_hub: bool, request: &server::Request) {
        let header = |name| request.header(name).map(str::to_owned);
        let path = request.target.clone();
        let (range, authorization) = (header("range"), header("authorization"));
        self.requests.push(Request { to_hub, path, range, authorization });
    }
}

pub fn sha256(content: &[u8]) -> String {
    hex(&digest::SHA256, content)
}

fn hex(algorithm: &'static digest::Algorithm, content: &[u8]) -> String {
    digest::digest(algorithm, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a file is kept at the other host.
fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

fn answer_hub(request: &server::Request, state: &State, other: SocketAddr) -> Answer {
    let refuse = |status, code: &str, commit: &str| {
        // So that what may pass is asked for again at once.
        Answer::passing(status).header("X-Error-Code", code).header("X-Repo-Commit", commit)
    };
    if let Some((status, code)) = state.refuses {
        return refuse(status, code, "");
    }
    if state.private && request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return refuse(401, "RepoNotFound", "");
    }
    // The tokenizer is behind a redirect that stays on this host, as small files are on the real hub.
    let path = request.target.strip_prefix("/api/resolve-cache").unwrap_or(&request.target);
    let is_cached = path.len() < request.target.len();
    let Some((repository, rest)) = path[1..].split_once("/resolve/") else { return refuse(404, "", "") };
    let (revision, name) = rest.split_once('/').unwrap();
    if !state.revisions.keys().any(|(known, _)| known == repository) {
        return refuse(401, "RepoNotFound", "");
    }
    let revision = revision.replace("%2F", "/");
    let Some(commit) = state.revisions.get(&(repository.to_owned(), revision)) else {
        return refuse(404, "RevisionNotFound", "");
    };
    let key = (repository.to_owned(), commit.clone(), name.to_owned());
    let Some(content) = state.files.get(&key) else { return refuse(404, "EntryNotFound", commit) };
    let git_etag = format!("\"{}\"", hex(&digest::SHA1_FOR_LEGACY_USE_ONLY, content));
    let told =
        |answer: Answer| answer.header("X-Repo-Commit", commit.as_str()).header("ETag", git_etag.as_str());
    let sha256 = sha256(content);
    if is_large(name) {
        told(Answer::new(302, "Found"))
            .header("X-Linked-Etag", format!("\"{sha256}\""))
            .header("X-Linked-Size", content.len().to_string())
            .header("Location", format!("http://{other}/{sha256}"))
    } else if name == "tokenizer.json" && !is_cached {
        told(Answer::new(307, "")).header("Location", format!("/api/resolve-cache{path}"))
    } else {
        told(Answer::ok(content.as_slice()))
    }
}

fn answer_other(request: &server::Request, state: &Mutex<State>) -> Answer {
    let (content, fault) = {
        let mut state = state.lock().unwrap();
        (state.contents.get(&request.target[1..]).cloned(), state.faults.pop_front())
    };
    let Some(mut content) = content else { return Answer::new(404, "") };
    let whole = content.len();
    let mut start = request.header("range").map_or(0, |range| {
        range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')).unwrap().parse().unwrap()
    });
    match fault {
        Some(Fault::Status(status)) => return Answer::passing(status),
        Some(Fault::Corrupt) => content[whole / 2] ^= 1,
        Some(Fault::NoRange) => start = 0,
        _ => {}
    }
    if start > 0 && start >= whole {
        return Answer::new(416, "");
    }
    let rest = content.split_off(start);
    let answer = match start {
        0 => Answer::ok(rest),
        _ => Answer::new(206, rest).header("Content-Range", format!("bytes {start}-{}/{whole}", whole - 1)),
    };
    match fault {
        Some(Fault::Cut(bytes)) => answer.cut(bytes),
        Some(Fault::Silence(bytes)) => answer.silent_after(bytes),
        Some(Fault::Slow(delay)) => answer.delayed(delay),
        _ => answer,
    }
}
