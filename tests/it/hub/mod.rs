//! `clipclass fetch` against a hub on loopback.

pub mod server;

use self::server::{Fault, Server, TOKEN, sha256};
use crate::server::{AUTHORITY, Answer, Server as WebServer};
use crate::world::{MODEL, TREE, clipclass, records_of};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

pub const ID: &str = "someone/tiny-clip";
const DEFAULT_ID: &str = "openai/clip-vit-base-patch32";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER_COMMIT: &str = "fedcba9876543210fedcba9876543210fedcba98";

const CONFIG: (&str, &[u8]) = ("config.json", br#"{"model_type": "clip"}"#);
const TOKENIZER: (&str, &[u8]) = ("tokenizer.json", b"{}");
const PREPROCESSOR: (&str, &[u8]) = ("preprocessor_config.json", br#"{"size": 224}"#);
const PICKLE: (&str, &[u8]) = ("pytorch_model.bin", b"a pickle");

/// Longer than what sockets hold, so that a cut is felt in the middle.
pub fn weights() -> Vec<u8> {
    (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A server and a user's cache folder.
pub struct World {
    server: Server,
    home: TempDir,
}

impl World {
    /// A world without models.
    fn empty() -> Self {
        Self { server: Server::start(), home: tempfile::tempdir().unwrap() }
    }

    /// A world with one whole model.
    pub fn new() -> Self {
        let world = Self::empty();
        world.commit(ID, "main", COMMIT, &[("model.safetensors", &weights())]);
        world
    }

    /// Adds a revision with these weights and all small files.
    fn commit(&self, id: &str, revision: &str, commit: &str, weights: &[(&str, &[u8])]) {
        self.server.commit(id, revision, commit, &[&[CONFIG, TOKENIZER, PREPROCESSOR], weights].concat());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = clipclass();
        command.env("HF_HOME", self.home.path()).env("HF_ENDPOINT", self.server.endpoint());
        command.env("CLIPCLASS_FIRST_PAUSE_MS", "1");
        command.arg("fetch").args(arguments);
        command
    }

    /// Where its hub is.
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    pub fn fetch(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn repository(&self, id: &str) -> PathBuf {
        self.home.path().join("hub").join(format!("models--{}", id.replace('/', "--")))
    }

    fn snapshot(&self, id: &str, commit: &str) -> PathBuf {
        self.repository(id).join("snapshots").join(commit)
    }

    fn blob(&self, content: &[u8]) -> PathBuf {
        self.repository(ID).join("blobs").join(sha256(content))
    }

    pub fn partial(&self, content: &[u8]) -> PathBuf {
        self.blob(content).with_extension("incomplete")
    }

    /// The paths that were asked for since this was last asked, in order; those of the other host
    /// without a host.
    fn asked(&self) -> Vec<String> {
        let path = |request: server::Request| {
            let range = request.range.map_or_else(String::new, |range| format!(" {range}"));
            if request.to_hub { request.path + &range } else { format!("elsewhere{range}") }
        };
        self.server.requests().into_iter().map(path).collect()
    }
}

/// The folder that was printed.
#[track_caller]
fn folder(output: &Output) -> PathBuf {
    let folders = folders(output);
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
}

/// The folders that a fetch told.
#[track_caller]
fn folders(output: &Output) -> Vec<PathBuf> {
    assert!(output.status.success(), "stderr: {}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap().lines().map(PathBuf::from).collect()
}

/// What was said instead.
#[track_caller]
fn refusal(output: &Output, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "stderr: {stderr}");
    // What was downloaded before it came to that is told, too.
    assert_eq!(stderr.lines().filter(|line| !line.starts_with("downloading ")).count(), 1, "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
}

#[test]
fn a_model_is_downloaded_once_into_pythons_layout() {
    let world = World::new();
    let first = world.fetch(&[ID]);
    let snapshot = world.snapshot(ID, COMMIT);
    assert_eq!(folder(&first), snapshot);
    for (name, content) in [CONFIG, TOKENIZER, PREPROCESSOR, ("model.safetensors", &weights())] {
        assert!(fs::read(snapshot.join(name)).unwrap() == content, "{name}");
    }
    assert_eq!(fs::read_to_string(world.repository(ID).join("refs/main")).unwrap(), COMMIT);
    assert!(!world.partial(&weights()).exists());
    let resolve = |name: &str| format!("/{ID}/resolve/main/{name}");
    assert_eq!(
        world.asked(),
        [
            resolve("config.json"),
            resolve("tokenizer.json"),
            format!("/api/resolve-cache{}", resolve("tokenizer.json")),
            resolve("processor_config.json"),
            resolve("preprocessor_config.json"),
            resolve("model.safetensors"),
            "elsewhere".to_owned(),
        ]
    );

    assert_eq!(folder(&world.fetch(&[ID])), snapshot);
    assert_eq!(world.asked(), [""; 0]);
}

#[cfg(unix)]
#[test]
fn a_short_name_is_fetched_then_listed_as_here_then_run() {
    let world = World::empty();
    let id = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K";
    let names = ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"];
    let files = names.map(|name| (name, fs::read(Path::new(MODEL).join(name)).unwrap()));
    world.server.commit(id, "main", COMMIT, &files.each_ref().map(|(name, content)| (*name, &content[..])));
    let at_home = |arguments: &[&str]| {
        let mut command = clipclass();
        command.env("HF_HOME", world.home.path()).env("HF_ENDPOINT", world.server.endpoint());
        records_of(&command.args(arguments).args(["--json"]).output().unwrap(), 0)
    };
    let is_here = || {
        let models = at_home(&["models"]);
        models.iter().find(|model| model["repository"] == id).unwrap()["hub_cache"].clone()
    };
    assert_eq!(is_here(), "none");
    assert_eq!(folder(&world.fetch(&["laion-b32"])), world.snapshot(id, COMMIT));
    assert_eq!(is_here(), "whole");
    let records = at_home(&["-m", "laion-b32", "--offline", "-l", "a cat,a tree", TREE]);
    assert_eq!(records[0]["prediction"], "a tree");
}

#[test]
fn a_snapshot_links_to_blobs_so_that_the_cache_can_be_moved() {
    let world = World::new();
    world.fetch(&[ID]);
    let link = fs::read_link(world.snapshot(ID, COMMIT).join("model.safetensors")).unwrap();
    assert_eq!(link, PathBuf::from("../../blobs").join(sha256(&weights())));
    assert!(world.blob(&weights()).is_file());
}

#[test]
fn a_file_that_a_commit_lacks_is_not_asked_for_again() {
    let world = World::empty();
    world.server.commit(ID, "main", COMMIT, &[CONFIG, TOKENIZER, ("model.safetensors", b"weights")]);
    folder(&world.fetch(&[ID]));
    assert!(world.asked().iter().any(|path| path.ends_with("preprocessor_config.json")));
    folder(&world.fetch(&[ID]));
    assert_eq!(world.asked(), [""; 0]);
    assert!(world.repository(ID).join(".no_exist").join(COMMIT).join("preprocessor_config.json").is_file());
}

#[test]
fn a_cache_that_python_filled_is_used_without_the_hub() {
    let world = World::empty();
    let (repository, snapshot) = (world.repository(ID), world.snapshot(ID, COMMIT));
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    for (name, content) in [CONFIG, ("vocab.json", b"{}"), ("merges.txt", b""), PREPROCESSOR, PICKLE] {
        fs::write(snapshot.join(name), content).unwrap();
    }
    assert_eq!(folder(&world.fetch(&[ID])), snapshot);
    assert_eq!(folder(&world.fetch(&[ID, "--revision", COMMIT])), snapshot);
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn offline_the_cache_is_all_there_is() {
    let world = World::new();
    let cache = world.home.path().join("hub");
    let (cache, fetch) = (cache.to_str().unwrap(), format!("clipclass fetch {ID}"));
    let lacks_config = ["config.json", ID, "main", "offline", cache, &fetch, "--model DIR"];
    refusal(&world.fetch(&[ID, "--offline"]), &lacks_config);
    refusal(&world.command(&[ID]).env("HF_HUB_OFFLINE", "yes").output().unwrap(), &lacks_config);
    assert_eq!(world.asked(), [""; 0]);

    let snapshot = folder(&world.fetch(&[ID]));
    world.asked();
    assert_eq!(folder(&world.fetch(&[ID, "--offline"])), snapshot);
    fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    refusal(&world.fetch(&[ID, "--offline"]), &["model.safetensors", "pytorch_model.bin"]);
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn offline_a_preprocessor_that_may_exist_is_told_of() {
    let world = World::new();
    let snapshot = folder(&world.fetch(&[ID]));
    fs::remove_file(snapshot.join("preprocessor_config.json")).unwrap();
    let output = world.fetch(&[ID, "--offline"]);
    assert_eq!(folder(&output), snapshot);
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("warning: preprocessor_config.json"));
    assert!(world.fetch(&[ID, "--offline", "--quiet"]).stderr.is_empty());
}

#[test]
fn the_default_models_safetensors_are_found_in_a_pull_request() {
    let world = World::empty();
    world.commit(DEFAULT_ID, "main", COMMIT, &[PICKLE]);
    world.commit(DEFAULT_ID, "refs/pr/15", OTHER_COMMIT, &[("model.safetensors", &weights())]);
    let both = [COMMIT, OTHER_COMMIT].map(|commit| world.snapshot(DEFAULT_ID, commit));
    assert_eq!(folders(&world.fetch(&[])), both);
    let asked = world.asked();
    let resolve = |revision: &str| format!("/{DEFAULT_ID}/resolve/{revision}/model.safetensors");
    assert_eq!(
        asked[asked.len() - 3..],
        [resolve("main"), resolve("refs%2Fpr%2F15"), "elsewhere".to_owned()]
    );
    let elsewhere = world.snapshot(DEFAULT_ID, OTHER_COMMIT);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    assert!(elsewhere.join("model.safetensors").is_file());
    let reference = world.repository(DEFAULT_ID).join("refs/refs/pr/15");
    assert_eq!(fs::read_to_string(reference).unwrap(), OTHER_COMMIT);

    assert_eq!(folders(&world.fetch(&["--offline"])), both);
    assert_eq!(folders(&world.fetch(&[])), both);
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn the_default_models_pickle_does_where_there_is_no_pull_request() {
    let world = World::empty();
    world.commit(DEFAULT_ID, "main", COMMIT, &[PICKLE]);
    let snapshot = folder(&world.fetch(&[]));
    assert!(snapshot.join("pytorch_model.bin").is_file());
    world.asked();
    folder(&world.fetch(&[]));
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn only_the_revision_that_was_asked_for_is_used() {
    let world = World::empty();
    world.commit(DEFAULT_ID, "main", COMMIT, &[PICKLE]);
    world.commit(DEFAULT_ID, "refs/pr/15", OTHER_COMMIT, &[("model.safetensors", &weights())]);
    let snapshot = folder(&world.fetch(&["--revision", "main"]));
    assert!(snapshot.join("pytorch_model.bin").is_file());
    assert!(world.asked().iter().all(|path| path.contains("/resolve/main/") || path == "elsewhere"));

    assert_eq!(folder(&world.fetch(&["--revision", OTHER_COMMIT])), world.snapshot(DEFAULT_ID, OTHER_COMMIT));
    world.asked();
    folder(&world.fetch(&["--revision", OTHER_COMMIT]));
    assert_eq!(world.asked(), [""; 0]);
    let wrong = world.fetch(&["--revision", "../main"]);
    refusal(&wrong, &["\"../main\"", "branch, a tag or a commit"]);
}

#[test]
fn all_files_are_of_one_commit_even_when_the_branch_moves_on() {
    let world = World::new();
    folder(&world.fetch(&[ID]));
    let weights_path = world.snapshot(ID, COMMIT).join("model.safetensors");
    fs::remove_file(&weights_path).unwrap();
    world.commit(ID, "main", OTHER_COMMIT, &[("model.safetensors", b"other weights")]);
    assert_eq!(folder(&world.fetch(&[ID])), world.snapshot(ID, COMMIT));
    assert!(fs::read(weights_path).unwrap() == weights());
}

#[test]
fn pieces_are_downloaded_as_their_index_names_them() {
    let world = World::empty();
    let index = |name: &str| {
        format!(r#"{{"weight_map": {{"a": "model-1.safetensors", "b": "{name}", "c": "{name}"}}}}"#)
    };
    let pieces = |name: &str, revision: &str, commit: &str| {
        let (one, two) = (("model-1.safetensors", &b"one"[..]), ("model-2.safetensors", &b"two"[..]));
        world.commit(
            ID,
            revision,
            commit,
            &[("model.safetensors.index.json", index(name).as_bytes()), one, two],
        );
    };
    pieces("model-2.safetensors", "main", COMMIT);
    let snapshot = folder(&world.fetch(&[ID]));
    assert_eq!(fs::read(snapshot.join("model-2.safetensors")).unwrap(), b"two");
    assert_eq!(world.asked().iter().filter(|path| *path == "elsewhere").count(), 2);
    folder(&world.fetch(&[ID]));
    assert!(world.asked().iter().all(|path| !path.contains("model-")));

    pieces("../../evil.safetensors", "evil", OTHER_COMMIT);
    let evil = world.fetch(&[ID, "--revision", "evil"]);
    refusal(&evil, &["model.safetensors.index.json", "\"../../evil.safetensors\""]);
}

#[test]
fn a_cut_download_goes_on_from_where_it_was() {
    let world = World::new();
    world.server.go_wrong(&[Fault::Cut(1_000_000)]);
    let snapshot = folder(&world.fetch(&[ID]));
    assert!(fs::read(snapshot.join("model.safetensors")).unwrap() == weights());
    assert_eq!(world.asked().last().unwrap(), "elsewhere bytes=1000000-");
}

#[test]
fn a_silent_connection_is_given_up_and_taken_up_again() {
    let world = World::new();
    world.server.go_wrong(&[Fault::Silence(1_000_000)]);
    let output = world.command(&[ID]).env("HF_HUB_DOWNLOAD_TIMEOUT", "1").output().unwrap();
    assert!(fs::read(folder(&output).join("model.safetensors")).unwrap() == weights());
    assert_eq!(world.asked().last().unwrap(), "elsewhere bytes=1000000-");
}

#[test]
fn a_download_that_breaks_off_for_good_leaves_what_the_next_run_goes_on_from() {
    let world = World::new();
    world.server.go_wrong(&[Fault::Cut(1_000_000), Fault::Cut(0), Fault::Cut(0), Fault::Cut(0)]);
    let broken = world.fetch(&[ID]);
    refusal(&broken, &["model.safetensors", ID, "main", "broke off after 1000000 bytes"]);
    assert!(!world.blob(&weights()).exists());
    assert!(!world.snapshot(ID, COMMIT).join("model.safetensors").exists());
    assert_eq!(fs::metadata(world.partial(&weights())).unwrap().len(), 1_000_000);
    world.asked();

    let snapshot = folder(&world.fetch(&[ID]));
    assert!(fs::read(snapshot.join("model.safetensors")).unwrap() == weights());
    assert_eq!(world.asked(), [&format!("/{ID}/resolve/main/model.safetensors"), "elsewhere bytes=1000000-"]);
}

#[test]
fn a_server_that_only_begins_at_the_beginning_is_let_to() {
    let world = World::new();
    world.server.go_wrong(&[Fault::Cut(1_000_000), Fault::NoRange]);
    let snapshot = folder(&world.fetch(&[ID]));
    assert!(fs::read(snapshot.join("model.safetensors")).unwrap() == weights());
}

#[test]
fn a_content_address_that_no_longer_works_is_asked_for_again() {
    let world = World::new();
    world.server.go_wrong(&[Fault::Cut(1_000_000), Fault::Status(403)]);
    let snapshot = folder(&world.fetch(&[ID]));
    assert!(fs::read(snapshot.join("model.safetensors")).unwrap() == weights());
    let asked = world.asked();
    assert_eq!(
        asked[asked.len() - 2..],
        [format!("/{ID}/resolve/{COMMIT}/model.safetensors"), "elsewhere bytes=1000000-".to_owned()]
    );
}

#[test]
fn corrupted_content_never_reaches_the_cache() {
    let world = World::new();
    world.server.go_wrong(&[Fault::Corrupt, Fault::Corrupt]);
    refusal(&world.fetch(&[ID]), &["model.safetensors", "checksum"]);
    assert!(!world.blob(&weights()).exists());
    assert!(!world.snapshot(ID, COMMIT).join("model.safetensors").exists());

    let snapshot = folder(&world.fetch(&[ID]));
    assert!(fs::read(snapshot.join("model.safetensors")).unwrap() == weights());
}

#[test]
fn a_damaged_beginning_is_begun_again() {
    for bytes in [1_000, 3_000_000, 4_000_000] {
        let world = World::new();
        fs::create_dir_all(world.blob(b"").parent().unwrap()).unwrap();
        fs::write(world.partial(&weights()), vec![7; bytes]).unwrap();
        let snapshot = folder(&world.fetch(&[ID]));
        assert!(fs::read(snapshot.join("model.safetensors")).unwrap() == weights(), "{bytes}");
    }
}

#[test]
fn a_deleted_blob_is_downloaded_again() {
    let world = World::new();
    let snapshot = folder(&world.fetch(&[ID]));
    // Where links cannot be made it is the file itself.
    fs::remove_file(fs::canonicalize(snapshot.join("model.safetensors")).unwrap()).unwrap();
    assert_eq!(folder(&world.fetch(&[ID])), snapshot);
    assert!(fs::read(snapshot.join("model.safetensors")).unwrap() == weights());
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let world = World::new();
    world.server.make_private();
    folder(&world.command(&[ID]).env("HF_TOKEN", TOKEN).output().unwrap());
    let requests = world.server.requests();
    assert!(requests.iter().any(|request| !request.to_hub));
    for request in requests {
        let expected = request.to_hub.then(|| format!("Bearer {TOKEN}"));
        assert_eq!(request.authorization, expected, "{}", request.path);
    }
}

#[test]
fn the_token_that_logging_in_wrote_is_used() {
    let world = World::new();
    world.server.make_private();
    fs::write(world.home.path().join("token"), TOKEN).unwrap();
    folder(&world.fetch(&[ID]));
}

#[test]
fn a_private_repository_asks_for_a_token() {
    let world = World::new();
    world.server.make_private();
    let endpoint = world.server.endpoint();
    refusal(&world.fetch(&[ID]), &["config.json", ID, "main", &endpoint, "401", "goes into HF_TOKEN"]);
    let wrong = world.command(&[ID]).env("HF_TOKEN", "hf_wrong").output().unwrap();
    refusal(&wrong, &["401", "(HF_TOKEN) does not open it"]);
    world.server.refuse(403, "GatedRepo");
    refusal(&world.fetch(&[ID]), &["403", "terms", "HF_TOKEN"]);
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let world = World::empty();
    world.server.commit(ID, "main", COMMIT, &[TOKENIZER]);
    refusal(&world.fetch(&[ID]), &[ID, "main", "there is no config.json"]);
    refusal(
        &world.fetch(&[ID, "--revision", "v9"]),
        &[ID, "v9", "no such branch, tag or commit", "--revision"],
    );
    world.server.refuse(404, "RepoNotFound");
    refusal(&world.fetch(&["someone/else"]), &["someone/else", "no such repository"]);
    world.server.refuse(503, "");
    refusal(&world.fetch(&[ID]), &[ID, "503", "HF_ENDPOINT", "--model"]);
}

#[test]
fn a_name_that_is_neither_a_folder_nor_a_repository_is_refused() {
    let world = World::empty();
    for name in ["clip", "a/b/c", "a--b/c", "someone/tiny clip", "/a", "someone/.hidden"] {
        let output = world.fetch(&[name]);
        refusal(&output, &[name]);
    }
    refusal(&world.fetch(&["clip"]), &["no folder clip", "owner/name"]);
    refusal(&world.fetch(&["./clip"]), &["folder ./clip", "does not exist"]);
    assert_eq!(world.asked(), [""; 0]);
}

#[test]
fn a_hub_that_cannot_be_reached_is_named_with_the_ways_out() {
    let world = World::empty();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = world.command(&[ID]).env("HF_ENDPOINT", format!("http://{closed}")).output().unwrap();
    let cache = world.home.path().join("hub");
    let parts = [
        "config.json",
        ID,
        "main",
        &closed,
        "cannot reach",
        "--model",
        "HF_ENDPOINT",
        cache.to_str().unwrap(),
    ];
    refusal(&output, &parts);
}

#[test]
fn an_insecure_connection_is_told_from_one_that_cannot_be_made() {
    let world = World::empty();
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", plain.local_addr().unwrap());
    thread::spawn(move || {
        let mut stream = plain.accept().unwrap().0;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Until the client has gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let output = world.command(&[ID]).env("HF_ENDPOINT", endpoint).output().unwrap();
    refusal(&output, &[ID, "no secure connection", "SSL_CERT_FILE"]);
}

#[test]
fn a_hub_that_fails_for_a_moment_is_asked_again() {
    let world = World::new();
    let failures = [Answer::passing(503), Answer::passing(429), Answer::dropped()];
    world.server.fail(&failures);
    world.server.go_wrong(&[Fault::Status(502), Fault::Status(500)]);
    let snapshot = folder(&world.fetch(&[ID]));
    assert!(fs::read(snapshot.join("model.safetensors")).unwrap() == weights());
    let asked = world.asked();
    let config = format!("/{ID}/resolve/main/config.json");
    assert_eq!(asked.iter().filter(|path| **path == config).count(), failures.len() + 1);
    assert_eq!(asked.iter().filter(|path| *path == "elsewhere").count(), 3);
}

#[test]
fn a_hub_that_goes_on_failing_is_given_up() {
    let world = World::new();
    world.server.refuse(503, "");
    refusal(&world.fetch(&[ID]), &["config.json", ID, "status 503", "after 4 tries", "HF_ENDPOINT"]);
    assert_eq!(world.asked().len(), 4);
}

#[test]
fn a_hub_behind_a_proxy_is_asked_by_its_whole_address() {
    let world = World::empty();
    let proxy = WebServer::start(|_| Answer::new(404, "").header("X-Error-Code", "RepoNotFound"));
    let mut command = world.command(&[ID]);
    command.env("HF_ENDPOINT", "http://hub.example/hf").env("HTTP_PROXY", proxy.at(""));
    refusal(&command.output().unwrap(), &[ID, "no such repository"]);
    assert_eq!(proxy.targets(), [format!("http://hub.example/hf/{ID}/resolve/main/config.json")]);
}

#[test]
fn a_hub_is_trusted_by_the_certificates_that_the_environment_names() {
    let world = World::empty();
    let hub = WebServer::start_tls(|_| Answer::new(404, "").header("X-Error-Code", "RepoNotFound"));
    let fetch = |authority: Option<&str>| {
        let mut command = world.command(&[ID]);
        command.env("HF_ENDPOINT", format!("https://{}", hub.address()));
        command.envs(authority.map(|path| ("SSL_CERT_FILE", path))).output().unwrap()
    };
    refusal(&fetch(Some(AUTHORITY)), &["no such repository"]);
    refusal(&fetch(None), &["no secure connection", "SSL_CERT_FILE"]);
    refusal(&fetch(Some("/nowhere.pem")), &["cannot use SSL_CERT_FILE, /nowhere.pem"]);
}

#[test]
fn a_file_that_another_process_brought_where_links_cannot_be_made_is_found() {
    let world = World::new();
    // As another process that downloads the weights.
    let lock = world.home.path().join("hub/.locks").join(world.repository(ID).file_name().unwrap());
    fs::create_dir_all(&lock).unwrap();
    let lock = fs::File::create(lock.join(format!("{}.lock", sha256(&weights())))).unwrap();
    lock.lock().unwrap();
    let mut fetch = world.command(&[ID]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(fetch.stderr.take().unwrap()).lines();
    let waiting = said.next().unwrap().unwrap();
    assert_eq!(waiting, "waiting for another process that downloads model.safetensors");
    // What it downloaded is not left as a blob, but moved to its place.
    fs::write(world.snapshot(ID, COMMIT).join("model.safetensors"), weights()).unwrap();
    lock.unlock().unwrap();
    let mut output = fetch.wait_with_output().unwrap();
    output.stderr = said.map(|line| line.unwrap()).collect::<String>().into_bytes();
    assert_eq!(folder(&output), world.snapshot(ID, COMMIT));
    assert_eq!(world.asked().iter().filter(|path| path.starts_with("elsewhere")).count(), 0);
}

#[test]
fn a_server_that_is_no_hub_is_told() {
    let world = World::empty();
    world.server.commit(ID, "main", "not-a-commit", &[CONFIG]);
    refusal(&world.fetch(&[ID]), &[ID, "does not answer as a Hugging Face hub", "HF_ENDPOINT"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let world = World::new();
    let file = world.home.path().join("file");
    fs::write(&file, "").unwrap();
    let output = world.command(&[ID]).env("HF_HUB_CACHE", &file).output().unwrap();
    refusal(&output, &["cannot write to", file.to_str().unwrap(), "HF_HUB_CACHE"]);
}

#[test]
fn processes_that_want_the_same_model_download_it_once() {
    let world = World::new();
    world.server.go_wrong(&[Fault::Slow(Duration::from_secs(1))]);
    thread::scope(|scope| {
        let fetches = [(); 3].map(|()| scope.spawn(|| world.fetch(&[ID])));
        for fetch in fetches {
            assert_eq!(folder(&fetch.join().unwrap()), world.snapshot(ID, COMMIT));
        }
    });
    assert!(fs::read(world.snapshot(ID, COMMIT).join("model.safetensors")).unwrap() == weights());
    assert_eq!(world.asked().iter().filter(|path| path.starts_with("elsewhere")).count(), 1);
}
