//! A hub and the other host that it keeps large contents at, on loopback.

use ring::digest;
use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
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
    faults: VecDeque<Fault>,
    requests: Vec<Request>,
}

pub struct Server {
    hub: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start() -> Self {
        let listen = || TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (hub, other) = (listen(), listen());
        let state = Arc::<Mutex<State>>::default();
        let (hub_address, other_address) = (hub.local_addr().unwrap(), other.local_addr().unwrap());
        for (listener, is_hub) in [(hub, true), (other, false)] {
            let state = state.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = state.clone();
                    // A client that goes away is none of the server's business.
                    thread::spawn(move || {
                        if is_hub {
                            serve_hub(stream, &state, other_address)
                        } else {
                            serve_other(stream, &state)
                        }
                    });
                }
            });
        }
        Self { hub: hub_address, state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
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

    /// What goes wrong with the next answers of the other host.
    pub fn go_wrong(&self, faults: &[Fault]) {
        self.state.lock().unwrap().faults = faults.iter().copied().collect();
    }

    /// The requests since this was last asked.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
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

fn read_request(stream: &TcpStream, to_hub: bool) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut request = Request { to_hub, path, range: None, authorization: None };
    for line in lines {
        let line = line.ok()?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => {
                request.range = Some(value.to_owned())
            }
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                request.authorization = Some(value.to_owned());
            }
            Some(_) => {}
            None => break,
        }
    }
    Some(request)
}

fn answer(mut stream: &TcpStream, status: u16, headers: &[(&str, &str)], length: usize, body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn serve_hub(stream: TcpStream, state: &Mutex<State>, other: SocketAddr) {
    let Some(request) = read_request(&stream, true) else { return };
    let mut state = state.lock().unwrap();
    state.requests.push(request.clone());
    let refuse = |status, code: &str, commit: &str| {
        answer(&stream, status, &[("X-Error-Code", code), ("X-Repo-Commit", commit)], 0, b"");
    };
    if let Some((status, code)) = state.refuses {
        return refuse(status, code, "");
    }
    if state.private && request.authorization.as_deref() != Some(&format!("Bearer {TOKEN}")) {
        return refuse(401, "RepoNotFound", "");
    }
    // The tokenizer is behind a redirect that stays on this host, as small files are on the real hub.
    let path = request.path.strip_prefix("/api/resolve-cache").unwrap_or(&request.path);
    let is_cached = path.len() < request.path.len();
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
    let common = [("X-Repo-Commit", commit.as_str()), ("ETag", git_etag.as_str())];
    let sha256 = sha256(content);
    if is_large(name) {
        let linked_etag = format!("\"{sha256}\"");
        let length = content.len().to_string();
        let location = format!("http://{other}/{sha256}");
        let linked =
            [("X-Linked-Etag", linked_etag.as_str()), ("X-Linked-Size", &length), ("Location", &location)];
        answer(&stream, 302, &[&common[..], &linked].concat(), 5, b"Found");
    } else if name == "tokenizer.json" && !is_cached {
        let location = format!("/api/resolve-cache{path}");
        answer(&stream, 307, &[&common[..], &[("Location", &location)]].concat(), 0, b"");
    } else {
        answer(&stream, 200, &common, content.len(), content);
    }
}

fn serve_other(stream: TcpStream, state: &Mutex<State>) {
    let Some(request) = read_request(&stream, false) else { return };
    let (mut content, fault) = {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        (state.contents.get(&request.path[1..]).cloned(), state.faults.pop_front())
    };
    let Some(content) = &mut content else { return answer(&stream, 404, &[], 0, b"") };
    let whole = content.len();
    let mut start = request.range.map_or(0, |range| {
        range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')).unwrap().parse().unwrap()
    });
    match fault {
        Some(Fault::Status(status)) => return answer(&stream, status, &[], 0, b""),
        Some(Fault::Slow(pause)) => thread::sleep(pause),
        Some(Fault::Corrupt) => content[whole / 2] ^= 1,
        Some(Fault::NoRange) => start = 0,
        _ => {}
    }
    if start > 0 && start >= whole {
        return answer(&stream, 416, &[], 0, b"");
    }
    let sent = match fault {
        Some(Fault::Cut(bytes) | Fault::Silence(bytes)) => start + bytes,
        _ => whole,
    };
    let range = format!("bytes {start}-{}/{whole}", whole - 1);
    let (status, headers) =
        if start == 0 { (200, vec![]) } else { (206, vec![("Content-Range", range.as_str())]) };
    answer(&stream, status, &headers, whole - start, &content[start..sent]);
    if let Some(Fault::Silence(_)) = fault {
        thread::sleep(Duration::from_secs(60));
    }
}
