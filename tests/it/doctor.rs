//! `clipclass doctor`, in sound and unsound installations.

use crate::hub::server::Server as Hub;
use crate::server::{Answer, Server};
use crate::world::{MODEL, TREE, clipclass, refusal, stdout_of};
use ring::digest;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

const ID: &str = "someone/tiny-clip";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILES: [&str; 4] = ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"];

/// The doctor in a home of its own.
fn doctor(home: &Path, arguments: &[&str]) -> Command {
    let mut command = clipclass();
    command.env("HF_HOME", home).env_remove("CLIPCLASS_SIMD").arg("doctor").args(arguments);
    command
}

/// What it found, as JSON, where it ended with `code`.
#[track_caller]
fn found(command: &mut Command, code: i32) -> Value {
    let text = stdout_of(&command.arg("--json").output().unwrap(), code);
    let found: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(found["sound"], code == 0);
    assert_eq!(found["problems"].as_array().unwrap().is_empty(), code == 0, "{text}");
    found
}

/// The only problem and its remedy.
#[track_caller]
fn problem(found: &Value) -> (String, String) {
    let problems = found["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let text = |key: &str| problems[0][key].as_str().unwrap().to_owned();
    (text("problem"), text("remedy"))
}

/// The bytes of a file of the small model.
fn model_file(name: &str) -> Vec<u8> {
    fs::read(Path::new(MODEL).join(name)).unwrap()
}

/// A hub that has the small model.
fn hub() -> Hub {
    let hub = Hub::start();
    let files = FILES.map(|name| (name, model_file(name)));
    hub.commit(ID, "main", COMMIT, &files.each_ref().map(|(name, bytes)| (*name, bytes.as_slice())));
    hub
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Puts the small model into the hub cache of `home` and gives the place of its weights.
fn fetch(home: &Path) -> PathBuf {
    let hub = hub();
    let mut command = clipclass();
    command.env("HF_HOME", home).env("HF_ENDPOINT", hub.endpoint()).args(["fetch", ID]);
    stdout_of(&command.output().unwrap(), 0);
    let weights = digest::digest(&digest::SHA256, &model_file("model.safetensors"));
    let name: String = weights.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    home.join("hub/models--someone--tiny-clip/blobs").join(name)
}

#[test]
fn a_sound_installation_is_told_so_in_80_columns() {
    let home = tempfile::tempdir().unwrap();
    let output = doctor(home.path(), &["-m", MODEL, "--offline"]).output().unwrap();
    let text = stdout_of(&output, 0);
    assert!(output.stderr.is_empty());
    assert!(text.ends_with("no problems were found\n"), "{text}");
    assert!(text.contains(&format!("clipclass     {}", env!("CARGO_PKG_VERSION"))), "{text}");
    for line in text.lines() {
        // A path is not cut in two.
        let longest = line.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
        assert!(line.chars().count() <= 80 || longest > 60, "{line}");
    }
}

#[test]
fn all_keys_of_the_help_are_there_and_the_self_test_passes() {
    let home = tempfile::tempdir().unwrap();
    let found = found(&mut doctor(home.path(), &["-m", MODEL, "--offline", "--threads", "1"]), 0);
    let help = stdout_of(&clipclass().args(["doctor", "--help"]).output().unwrap(), 0);
    let told = help.split_once("Keys of --json:").unwrap().1.split_once("Exit code").unwrap().0;
    for (key, value) in found.as_object().unwrap() {
        assert!(told.contains(key.as_str()), "{key} is not in the help");
        let one = if let Value::Array(all) = value { all.first().unwrap_or(&Value::Null) } else { value };
        for inner in one.as_object().into_iter().flat_map(|object| object.keys()) {
            assert!(told.contains(inner.as_str()), "{inner} of {key} is not in the help");
        }
    }
    for check in found["self_test"].as_array().unwrap() {
        assert_eq!(check["passed"], true, "{check}");
    }
    assert!(found["self_test"].as_array().unwrap().len() >= 13);
    assert_eq!((&found["threads"], &found["hub"]["answer"]), (&1.into(), &"not asked".into()));
    assert_eq!((&found["model"]["state"], &found["model"]["device"]), (&"ready".into(), &"cpu".into()));
    assert_eq!(found["model"]["digest"].as_str().unwrap().len(), 64);
    assert!(found["model"]["ms_per_image"].as_f64().unwrap() > 0.0);
    assert!(found["speed"]["f32_gflops"].as_f64().unwrap() > 0.0);
    let instructions = found["instructions"]["machine"].as_array().unwrap();
    assert_eq!(instructions[0], "portable");
}

#[test]
fn the_instructions_in_use_are_those_that_the_limit_leaves() {
    let home = tempfile::tempdir().unwrap();
    let mut command = doctor(home.path(), &["-m", MODEL, "--offline"]);
    let limited = found(command.env("CLIPCLASS_SIMD", "portable"), 0);
    assert_eq!(limited["instructions"]["in_use"], "portable");
    assert_eq!(limited["instructions"]["limit"], "portable");
    let mut command = doctor(home.path(), &["-m", MODEL, "--offline"]);
    let wrong = found(command.env("CLIPCLASS_SIMD", "avx3"), 1);
    let (told, remedy) = problem(&wrong);
    assert!(told.contains("avx3") && told.contains("portable, "), "{told}");
    assert!(remedy.contains("CLIPCLASS_SIMD"), "{remedy}");
    assert_eq!(wrong["instructions"]["in_use"], Value::Null);
    let mut other = clipclass();
    other.env("CLIPCLASS_SIMD", "avx3").args(["-m", MODEL, "-l", "a,b", TREE]);
    assert!(refusal(&other.output().unwrap()).contains("avx3"));
}

#[test]
fn a_model_that_can_be_downloaded_is_no_problem_and_is_not_downloaded() {
    let (hub, home) = (hub(), tempfile::tempdir().unwrap());
    let mut command = doctor(home.path(), &["-m", ID]);
    let found = found(command.env("HF_ENDPOINT", hub.endpoint()), 0);
    assert_eq!((&found["model"]["state"], &found["hub"]["answer"]), (&"absent".into(), &"reached".into()));
    let notes = found["notes"].to_string();
    assert!(notes.contains("someone/tiny-clip is not in the hub cache: clipclass fetch someone/tiny-clip"));
    assert_eq!(hub.requests().len(), 1);
    assert!(!home.path().join("hub").exists());
}

#[test]
fn without_a_hub_a_model_that_is_here_is_no_problem_and_one_that_is_not_is() {
    let home = tempfile::tempdir().unwrap();
    let run = |code| found(doctor(home.path(), &["-m", ID]).env("HF_ENDPOINT", nobody()), code);
    let absent = run(1);
    let (told, remedy) = problem(&absent);
    assert!(told.contains("not in the hub cache") && told.contains("cannot reach 127.0.0.1"), "{told}");
    assert!(remedy.contains("HTTPS_PROXY") && remedy.contains("HF_ENDPOINT"), "{remedy}");
    let offline = found(&mut doctor(home.path(), &["-m", ID, "--offline"]), 1);
    assert!(problem(&offline).1.contains("clipclass fetch someone/tiny-clip"));
    fetch(home.path());
    let here = run(0);
    assert_eq!((&here["model"]["state"], &here["model"]["files_checked"]), (&"ready".into(), &1.into()));
    assert_eq!(here["hub"]["answer"], "unreachable");
    assert!(here["notes"].to_string().contains("the hub was not reached"));
    assert_eq!(
        (
            &here["hub_cache"]["models"],
            &found(&mut doctor(home.path(), &["-m", ID, "--offline"]), 0)["sound"]
        ),
        (&1.into(), &true.into())
    );
}

#[test]
fn a_hub_that_refuses_or_is_none_or_is_silent_is_told() {
    let home = tempfile::tempdir().unwrap();
    let run = |endpoint: &str| {
        let mut command = doctor(home.path(), &["-m", ID]);
        let found = found(command.env("HF_ENDPOINT", endpoint), 1);
        (found["hub"]["answer"].as_str().unwrap().to_owned(), problem(&found))
    };
    let private = hub();
    private.make_private();
    let (answer, (told, remedy)) = run(&private.endpoint());
    assert!(answer == "refused" && told.contains("access denied") && remedy.contains("HF_TOKEN"), "{told}");
    let (answer, (told, _)) = run(&Hub::start().endpoint());
    assert!(answer == "refused" && told.contains("does not exist"), "{told}");
    let portal = Server::start(|_| Answer::ok("<html>Log in</html>"));
    let (answer, (told, _)) = run(&portal.at(""));
    assert!(answer == "unreachable" && told.contains("does not answer as a Hugging Face hub does"), "{told}");
    let busy = Server::start(|_| Answer::passing(503));
    let (answer, (told, _)) = run(&busy.at(""));
    assert!(answer == "unreachable" && told.contains("503"), "{told}");
    assert_eq!(busy.targets().len(), 1);
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let home = tempfile::tempdir().unwrap();
    // The system accepts the connection, and nobody reads from it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let found = found(doctor(home.path(), &["-m", ID]).env("HF_ENDPOINT", endpoint), 1);
    let (told, _) = problem(&found);
    assert!(told.contains("it took more than 5 seconds"), "{told}");
}

#[test]
fn secrets_are_not_told() {
    let home = tempfile::tempdir().unwrap();
    let proxy = nobody().replace("http://", "http://proxyuser:proxysecret@");
    let refusing = Server::start(|_| Answer::new(407, ""));
    let refusing = refusing.at("").replace("http://", "http://proxyuser:proxysecret@");
    for proxy in [&proxy, &refusing, "gopher://proxyuser:proxysecret@h"] {
        for json in [&["--json"][..], &[]] {
            let mut command = doctor(home.path(), &[&["-m", ID], json].concat());
            command
                .env("HF_TOKEN", "hf_tokensecret")
                .env("HF_ENDPOINT", "http://hubuser:hubsecret@hub.invalid/hf");
            command.env("http_proxy", proxy);
            let output = command.output().unwrap();
            let told = stdout_of(&output, 1) + &String::from_utf8_lossy(&output.stderr);
            for secret in ["tokensecret", "proxyuser", "proxysecret", "hubuser", "hubsecret"] {
                assert!(!told.contains(secret), "{secret} is told: {told}");
            }
        }
    }
    let mut command = doctor(home.path(), &["-m", ID]);
    command.env("HF_TOKEN", "hf_tokensecret").env("http_proxy", &proxy);
    let found = found(command.env("HF_ENDPOINT", "http://hub.invalid/hf"), 1);
    assert_eq!(
        (&found["hub"]["token"], &found["hub"]["endpoint"]),
        (&true.into(), &"http://hub.invalid/hf".into())
    );
    assert!(proxy.ends_with(found["hub"]["proxy"].as_str().unwrap()));
    // Nor by what downloads.
    let mut command = clipclass();
    command.env("HF_HOME", home.path()).env("HF_ENDPOINT", "http://hubuser:hubsecret@127.0.0.1:9/hf");
    let told = refusal(&command.args(["fetch", ID]).output().unwrap());
    assert!(told.contains("http://127.0.0.1:9/hf") && !told.contains("hubsecret"), "{told}");
}

#[test]
fn a_damaged_model_is_found_and_the_remedy_helps() {
    let home = tempfile::tempdir().unwrap();
    let blob = fetch(home.path());
    let mut bytes = fs::read(&blob).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let run = |code| found(&mut doctor(home.path(), &["-m", ID, "--offline"]), code);
    let damaged = run(1);
    assert_eq!(damaged["model"]["state"], "unusable");
    let (told, remedy) = problem(&damaged);
    assert!(told.contains("is damaged: its SHA-256 is"), "{told}");
    let folder = home.path().join("hub/models--someone--tiny-clip");
    assert_eq!(remedy, format!("remove {} and get it again: clipclass fetch {ID}", folder.display()));
    fs::remove_dir_all(folder).unwrap();
    fetch(home.path());
    run(0);
}

#[test]
fn a_folder_that_is_no_whole_model_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().to_str().unwrap();
    let run = || problem(&found(&mut doctor(folder.path(), &["-m", model, "--offline"]), 1));
    assert!(run().0.contains("there is no config.json"));
    for name in FILES {
        fs::write(folder.path().join(name), model_file(name)).unwrap();
    }
    found(&mut doctor(folder.path(), &["-m", model, "--offline"]), 0);
    let weights = model_file("model.safetensors");
    fs::write(folder.path().join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let (told, remedy) = run();
    assert!(told.contains("cannot read") && remedy.contains("get its files again"), "{told}: {remedy}");
    // Numbers that are none, which no checksum says.
    let mut bad = weights;
    let end = bad.len();
    bad[end - 400_000..].fill(0xff);
    fs::write(folder.path().join("model.safetensors"), bad).unwrap();
    assert!(run().0.contains("not made of numbers"));
    let none = problem(&found(&mut doctor(folder.path(), &["-m", "./not-there", "--offline"]), 1));
    assert!(none.0.contains("not-there") && none.1.contains("clipclass models"), "{none:?}");
    let name = problem(&found(&mut doctor(folder.path(), &["-m", "datacomp-b23", "--offline"]), 1));
    assert!(name.0.contains("did you mean datacomp-b32"), "{name:?}");
}

#[test]
fn caches_that_cannot_be_used_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("cache");
    let below = below.to_str().unwrap();
    let embeddings = found(&mut doctor(folder.path(), &["-m", MODEL, "--offline", "--cache", below]), 1);
    let (told, remedy) = problem(&embeddings);
    assert!(told.contains("cannot be written to") && told.contains(below), "{told}");
    assert!(remedy.contains("CLIPCLASS_CACHE") && remedy.contains("--no-cache"), "{remedy}");
    assert_eq!(embeddings["embedding_cache"]["usable"], false);
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("embeddings.sqlite"), "not a database, but long enough to be read as one").unwrap();
    let other = other.to_str().unwrap();
    let damaged = found(&mut doctor(folder.path(), &["-m", MODEL, "--offline", "--cache", other]), 1);
    assert!(problem(&damaged).1.contains("clipclass cache clear"));
    // A hub cache that cannot be written to matters where something is to be downloaded.
    let hub = hub();
    let run = |model: &str, code| {
        let mut command = doctor(folder.path(), &["-m", model]);
        found(command.env("HF_HUB_CACHE", below).env("HF_ENDPOINT", hub.endpoint()), code)
    };
    assert!(problem(&run(ID, 1)).1.contains("HF_HUB_CACHE"));
    assert_eq!(run(MODEL, 0)["hub_cache"]["writable"], false);
}

#[test]
fn what_cannot_be_done_here_or_makes_no_sense_is_a_problem() {
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let arguments = [&["-m", MODEL, "--offline"], arguments].concat();
        problem(&found(&mut doctor(home.path(), &arguments), 1))
    };
    let (told, remedy) = run(&["--precision", "f16"]);
    assert!(told.contains("on a GPU only") && remedy.contains("--precision"), "{told}: {remedy}");
    if !cfg!(feature = "metal") {
        let (told, remedy) = run(&["--device", "metal"]);
        assert!(told.contains("built without Metal") && remedy.contains("--device cpu"), "{told}: {remedy}");
    }
    let mut command = doctor(home.path(), &["-m", MODEL]);
    let (told, _) = problem(&found(command.env("HF_ENDPOINT", "mirror.example"), 1));
    assert!(told.contains("HF_ENDPOINT is mirror.example"), "{told}");
}
