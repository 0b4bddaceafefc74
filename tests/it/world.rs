//! What several tests need: the fixtures, the program, what it said, and small worlds made of them.

#[path = "../../src/world.rs"]
mod made;

pub use made::{Random, TarBuilder, gzip, tar_of, zstd};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// The small model that knows drawings.
pub const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-clip");
/// What it tells apart best.
pub const LABELS: &str = "a cat,a dog,a car,a tree,a person";

pub const TREE: &str = "fixtures/images/tree.jpg";
pub const CAT: &str = "fixtures/images/cat.png";
pub const TRUNCATED: &str = "fixtures/broken/truncated.jpg";

/// What the tree and the cat are drawn in.
pub const TREE_BYTES: &[u8] = include_bytes!("../../fixtures/images/tree.jpg");
pub const CAT_BYTES: &[u8] = include_bytes!("../../fixtures/images/cat.png");

/// The program, in an environment that says nothing to it, with a cache of its own and nothing on
/// standard input.
pub fn clipclass() -> Command {
    let mut command = Command::new(cargo_bin!("clipclass"));
    for (name, _) in std::env::vars_os() {
        let upper = name.to_string_lossy().to_uppercase();
        let is_read = ["HF_", "HUGGING", "TRANSFORMERS_", "SSL_CERT", "CLICOLOR", "NO_COLOR"]
            .iter()
            .any(|start| upper.starts_with(start));
        if is_read || upper.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    // Nothing that another test computed may be known, nor what one of an earlier process of the
    // same number did.
    static START: LazyLock<u128> = LazyLock::new(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros())
    });
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let folder = format!("{}/{}-{}-{run}", env!("CARGO_TARGET_TMPDIR"), *START, std::process::id());
    command.env("CLIPCLASS_CACHE", folder).stdin(Stdio::null());
    command
}

/// The program with the fixture model and five labels.
pub fn classifier() -> Command {
    let mut command = clipclass();
    command.args(["--model", MODEL, "--labels", LABELS]);
    command
}

/// Classifies with the fixture model and five labels.
pub fn classify(arguments: &[&str]) -> Output {
    classifier().args(arguments).output().unwrap()
}

/// Runs a command to its end with these bytes on its standard input.
pub fn feed(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    thread::scope(|scope| {
        // A program that ends early takes no more, which is for the test to judge.
        scope.spawn(move || drop(input.write_all(stdin)));
        child.wait_with_output().unwrap()
    })
}

/// What was printed, by a run that ended with `code`.
#[track_caller]
pub fn stdout_of(output: &Output, code: i32) -> String {
    let (stdout, stderr) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stderr: {stderr}");
    String::from_utf8(stdout.clone()).unwrap()
}

/// What was said on the side, by a run that ended with `code`.
#[track_caller]
pub fn stderr_of(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "stderr: {stderr}");
    stderr
}

/// The records of a run with `--json` that ended with `code`.
#[track_caller]
pub fn records_of(output: &Output, code: i32) -> Vec<Value> {
    stdout_of(output, code).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each record as `image prediction` or `image kind`, where `none` is a prediction.
#[track_caller]
pub fn told_of(output: &Output, code: i32) -> Vec<String> {
    let told = |record: Value| {
        let said = record["error"].get("kind").unwrap_or(&record["prediction"]);
        format!("{} {}", record["image"].as_str().unwrap(), said.as_str().unwrap_or("none"))
    };
    records_of(output, code).into_iter().map(told).collect()
}

/// What a run that cannot go on says.
#[track_caller]
pub fn refusal(output: &Output) -> String {
    assert_eq!(stdout_of(output, 2), "");
    String::from_utf8(output.stderr.clone()).unwrap()
}
