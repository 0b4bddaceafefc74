//! The first minute of somebody whose machine is not as ours: each try ends in the right answer, or in
//! one sentence that says what is wrong.

use crate::hub::{ID, World, weights};
use crate::world::{
    LABELS, MODEL, TREE, TREE_BYTES, classifier, clipclass, feed, gzip, records_of, refusal, stderr_of,
    stdout_of, tar_of, told_of,
};
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};
use tempfile::TempDir;

/// The program in an environment that says next to nothing, as that of a container or a service.
fn bare(arguments: &[&str]) -> Command {
    let mut command = classifier();
    command.env_clear().env("HOME", "/nowhere").args(arguments);
    command
}

/// A folder, and a path within it that nobody can make, not even the superuser: it leads through a file.
fn impossible() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let path = folder.path().join("file/folder").to_str().unwrap().to_owned();
    (folder, path)
}

/// An address of this machine where nobody listens.
fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[track_caller]
fn assert_is_a_tree(output: &Output) {
    assert_eq!(records_of(output, 0)[0]["prediction"], "a tree");
}

/// The one line that was said, by a run that could not go on.
#[track_caller]
fn sentence(output: &Output) -> String {
    let said = refusal(output);
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[test]
fn a_home_that_cannot_be_written_costs_a_warning_and_no_answer() {
    let (_folder, home) = impossible();
    let output = bare(&["--json", TREE]).env("HOME", &home).output().unwrap();
    assert_is_a_tree(&output);
    let said = stderr_of(&output, 0);
    assert!(said.starts_with("warning: running without the embedding cache: cannot create "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_model_that_a_home_cannot_hold_is_told_with_what_helps() {
    let (_folder, home) = impossible();
    let world = World::new();
    let mut fetch = clipclass();
    fetch.env_clear().env("HOME", &home).env("HF_ENDPOINT", world.endpoint()).args(["fetch", ID]);
    let said = sentence(&fetch.output().unwrap());
    assert!(said.contains("cannot write to") && said.contains("HF_HUB_CACHE"), "{said}");
}

#[test]
fn without_a_network_the_host_is_named_and_what_does_without_it() {
    let (hub, folder) = (closed_port(), tempfile::tempdir().unwrap());
    let mut default_model = clipclass();
    default_model.env_clear().env("HOME", folder.path()).env("HF_ENDPOINT", format!("http://{hub}"));
    let said = sentence(&default_model.args([TREE, "--labels", LABELS]).output().unwrap());
    assert!(said.contains(&format!("cannot reach {hub}: ")) && said.contains("--model DIR"), "{said}");

    let address = format!("http://{hub}/tree.jpg");
    let output = bare(&["--json", &address, TREE]).env("HOME", folder.path()).output().unwrap();
    assert_eq!(told_of(&output, 1), [format!("{address} download"), format!("{TREE} a tree")]);
}

#[test]
fn a_dead_proxy_is_named_with_the_variable_that_names_it() {
    let (proxy, folder) = (closed_port(), tempfile::tempdir().unwrap());
    for (variable, value, endpoint) in [
        ("https_proxy", format!("http://me:secret@{proxy}"), "https://hub.example"),
        ("HTTP_PROXY", format!("http://{proxy}"), "http://hub.example"),
        ("ALL_PROXY", format!("socks5h://{proxy}"), "https://hub.example"),
    ] {
        let mut fetch = clipclass();
        fetch.env_clear().env("HOME", folder.path()).env("HF_ENDPOINT", endpoint).env(variable, value);
        let said = sentence(&fetch.args(["fetch", ID]).output().unwrap());
        let expected = format!("cannot reach hub.example through the proxy {proxy} ({variable}): ");
        assert!(said.contains(&expected) && !said.contains("secret"), "{said}");
    }
}

#[test]
fn nothing_is_put_into_the_folder_of_temporary_files() {
    let (folder, nowhere) = impossible();
    let cache = folder.path().join("cache");
    let bare = |arguments: &[&str]| {
        let mut command = bare(arguments);
        command.env("TMPDIR", &nowhere).env("CLIPCLASS_CACHE", &cache);
        command
    };
    let shard = gzip(&tar_of([("tree.jpg", TREE_BYTES)]));
    let output = feed(&mut bare(&["--json", "-"]), &shard);
    assert_is_a_tree(&output);
    assert_eq!(stderr_of(&output, 0), "");
    let page = folder.path().join("page.html");
    let output = bare(&["--format", "html", "-o", page.to_str().unwrap(), TREE]).output().unwrap();
    assert_eq!(stderr_of(&output, 0), "");
    assert!(fs::read_to_string(page).unwrap().contains("a tree"));
}

#[test]
fn a_download_says_its_size_before_it_begins() {
    let world = World::new();
    let output = world.fetch(&[ID]);
    assert_eq!(stderr_of(&output, 0), format!("downloading model.safetensors of {ID}, 3 MB\n"));

    let world = World::new();
    let partial = world.partial(&weights());
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(partial, &weights()[..1_000_000]).unwrap();
    let output = world.fetch(&[ID]);
    let rest = ", of which 1 MB are here";
    assert_eq!(stderr_of(&output, 0), format!("downloading model.safetensors of {ID}, 3 MB{rest}\n"));
    assert_eq!(stderr_of(&World::new().fetch(&[ID, "--quiet"]), 0), "");
}

#[test]
fn a_name_that_is_not_utf8_is_kept_in_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join(OsStr::from_bytes(b"caf\xe9.jpg"));
    let gone = folder.path().join(OsStr::from_bytes(b"gone\xe9.jpg"));
    // Some file systems have no such names.
    if fs::write(&there, TREE_BYTES).is_err() {
        return;
    }
    let run = |format| classifier().args([format]).args([&there, &gone]).output().unwrap();
    let records = records_of(&run("--json"), 1);
    assert_eq!(records[0]["prediction"], "a tree");
    assert!(records[0]["image_bytes"].as_str().unwrap().ends_with("636166e92e6a7067"), "{}", records[0]);
    let output = run("--format=text");
    assert!(output.stdout.windows(8).any(|name| name == b"caf\xe9.jpg"));
    let said = stderr_of(&output, 1);
    assert!(said.contains(r"gone\xe9.jpg: no such file"), "{said}");
}

#[test]
fn a_label_that_is_not_utf8_is_named() {
    let label = OsStr::from_bytes(b"ein B\xe4r,eine Kuh");
    // The path is no reason to refuse.
    let path = OsStr::from_bytes(b"caf\xe9.jpg");
    let output = clipclass().arg(path).arg("-l").arg(label).args(["-m", MODEL]).output().unwrap();
    let said = sentence(&output);
    assert!(said.starts_with(r"error: ein B\xe4r,eine Kuh is not UTF-8, which labels"), "{said}");
}

/// Terminals as util-linux's `script` makes them, which not every system has.
#[cfg(target_os = "linux")]
mod terminal {
    use super::*;
    use crate::world::TRUNCATED;
    use std::process::Stdio;

    /// What a terminal of so many columns gets to see.
    fn seen(columns: usize, variables: &[(&str, &str)], arguments: &[&str]) -> Option<String> {
        let Ok(true) = Command::new("script").arg("--version").output().map(|output| output.status.success())
        else {
            assert!(std::env::var_os("CI").is_none(), "util-linux's script is needed");
            return None;
        };
        let program = clipclass();
        let quoted = |text: &str| format!("'{text}'");
        let words = [program.get_program().to_str().unwrap()].into_iter().chain(arguments.iter().copied());
        let line = words.map(quoted).collect::<Vec<_>>().join(" ");
        let mut script = Command::new("script");
        script.args(["--quiet", "--command", &format!("stty cols {columns}; {line}"), "/dev/null"]);
        // A service that runs tests shows colours whatever the terminal says, and sets this.
        script.env_remove("CI").env("CLIPCLASS_CACHE", "/nowhere").env("TERM", "xterm");
        script.envs(variables.iter().copied());
        let output = script.stdin(Stdio::null()).output().unwrap();
        Some(String::from_utf8(output.stdout).unwrap().replace('\r', ""))
    }

    #[track_caller]
    fn assert_fits(seen: &str, columns: usize) {
        for line in seen.lines() {
            let is_one_word = line.split_whitespace().count() < 2;
            assert!(line.chars().count() <= columns || is_one_word, "{line:?} of {seen}");
        }
    }

    /// Lines as they were before they were broken.
    fn joined(lines: &str) -> String {
        lines.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_said_fits_a_narrow_terminal() {
        let arguments = [TRUNCATED, "fixtures/broken/bomb.png", "-l", LABELS, "-m", MODEL, "--no-cache"];
        let Some(seen) = seen(40, &[("TERM", "dumb")], &arguments) else { return };
        assert_fits(&seen, 40);
        let whole = format!("error: cannot classify {TRUNCATED}: unexpected end of file");
        assert!(seen.lines().count() > 3 && joined(&seen).contains(&whole), "{seen}");
    }

    #[test]
    fn wrong_usage_fits_a_narrow_terminal() {
        let arguments = [TREE, "-l", LABELS, "--threshold", "1.5"];
        let Some(seen) = seen(40, &[("TERM", "dumb"), ("NO_COLOR", "1")], &arguments) else { return };
        assert_fits(&seen, 40);
        let whole = "error: invalid value '1.5' for '--threshold <P>': a probability is between 0 and 1";
        assert!(joined(&seen).starts_with(whole) && seen.contains("try '--help'."), "{seen}");
    }

    #[test]
    fn a_pipe_gets_each_message_on_one_line() {
        let mut command = classifier();
        command.args([TRUNCATED]).env("COLUMNS", "20");
        assert_eq!(stderr_of(&command.output().unwrap(), 1).lines().count(), 1);
    }

    #[test]
    fn bars_fit_a_narrow_terminal_and_a_dumb_one_gets_no_colours() {
        let arguments = [TREE, "-l", LABELS, "-m", MODEL, "--no-cache"];
        let Some(dumb) = seen(40, &[("TERM", "dumb")], &arguments) else { return };
        assert_fits(&dumb, 40);
        assert!(dumb.contains("a tree    0.9757  ██") && !dumb.contains('\u{1b}'), "{dumb}");
        let Some(colours) = seen(80, &[("TERM", "xterm")], &arguments) else { return };
        assert!(colours.contains("\u{1b}[1m"), "{colours}");
    }

    #[test]
    fn a_terminal_that_is_not_unicode_gets_no_blocks() {
        let arguments = [TREE, "-l", LABELS, "-m", MODEL, "--no-cache"];
        let Some(seen) = seen(80, &[("LC_ALL", "de_DE.ISO-8859-1"), ("NO_COLOR", "1")], &arguments) else {
            return;
        };
        assert!(seen.contains("a tree    0.9757\n") && seen.is_ascii(), "{seen}");
    }
}

#[test]
fn a_locale_does_not_change_what_is_computed() {
    for locale in ["C", "POSIX", "de_DE.ISO-8859-1", "tr_TR.UTF-8"] {
        let output = bare(&["--json", TREE]).env("LC_ALL", locale).arg("--no-cache").output().unwrap();
        let record = &records_of(&output, 0)[0];
        assert_eq!(
            (&record["prediction"], &record["scores"][4]["label"]),
            (&"a tree".into(), &"a person".into())
        );
    }
    let text = stdout_of(&classifier().args(["-l", "ein Bär", TREE]).env("LC_ALL", "C").output().unwrap(), 0);
    assert!(text.contains("ein Bär"), "{text}");
}
