//! The command line's contract, with the real binary and the fixture model.

use crate::world::{
    CAT, LABELS, MODEL, TREE, TRUNCATED, classifier, classify, clipclass, feed, records_of, refusal,
    stdout_of,
};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_drawn_tree_is_a_tree() {
    let stdout = stdout_of(&classify(&[TREE]), 0);
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines.len(), 7, "{stdout}");
    assert_eq!(lines[0], TREE);
    for (line, label) in lines[1..6].iter().zip(LABELS.split(',')) {
        assert!(line.starts_with(&format!("  {label:8}  0.")) || line.ends_with("1.0000"), "{line}");
    }
    let probability: f32 = lines[4].rsplit(' ').next().unwrap().parse().unwrap();
    assert!(probability >= 0.9, "{stdout}");
    assert_eq!(lines[6], "prediction: a tree");
}

#[test]
fn a_json_record_has_the_fields_of_the_contract() {
    let records = records_of(&classify(&["--json", TREE]), 0);
    let record = records[0].as_object().unwrap();
    assert_eq!(record.keys().collect::<Vec<_>>(), ["image", "prediction", "probability", "scores"]);
    assert_eq!((&record["image"], &record["prediction"]), (&TREE.into(), &"a tree".into()));
    let scores = record["scores"].as_array().unwrap();
    let labels: Vec<_> = scores.iter().map(|score| score["label"].as_str().unwrap()).collect();
    assert_eq!(labels, LABELS.split(',').collect::<Vec<_>>());
    let number = |score: &Value, field: &str| score[field].as_f64().unwrap();
    let sum: f64 = scores.iter().map(|score| number(score, "probability")).sum();
    assert!((sum - 1.0).abs() < 1e-5);
    let scale = number(&scores[0], "logit") / number(&scores[0], "cosine");
    for score in scores {
        assert!(number(score, "cosine").abs() <= 1.0);
        // Both were rounded to f32.
        assert!((number(score, "logit") / number(score, "cosine") / scale - 1.0).abs() < 1e-5);
    }
    assert_eq!(record["probability"], scores[3]["probability"]);
}

#[test]
fn records_keep_the_order_of_the_inputs_and_a_bad_image_is_one_of_them() {
    let output = classify(&["--json", CAT, TRUNCATED, "nowhere.jpg", TREE]);
    let records = records_of(&output, 1);
    let images: Vec<_> = records.iter().map(|record| record["image"].as_str().unwrap()).collect();
    assert_eq!(images, [CAT, TRUNCATED, "nowhere.jpg", TREE]);
    assert_eq!((&records[0]["prediction"], &records[3]["prediction"]), (&"a cat".into(), &"a tree".into()));
    assert_eq!(records[1]["error"]["kind"], "decode");
    assert_eq!(records[2]["error"]["kind"], "not_found");
    assert!(records[1].get("prediction").is_none());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn in_text_a_bad_image_is_told_on_stderr() {
    let output = classify(&[TRUNCATED, TREE]);
    let stdout = stdout_of(&output, 1);
    assert!(stdout.starts_with(TREE) && stdout.ends_with("prediction: a tree\n"), "{stdout}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with(&format!("error: cannot classify {TRUNCATED}: ")), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}

#[test]
fn every_broken_file_has_its_own_kind() {
    let kinds = [
        ("bomb.png", "limit"),
        ("empty.jpg", "empty"),
        ("text.jpg", "format"),
        ("truncated.gif", "decode"),
        ("truncated.jpg", "decode"),
        ("truncated.png", "decode"),
        ("truncated.tiff", "decode"),
        ("truncated.webp", "decode"),
    ];
    let paths = kinds.map(|(name, _)| format!("fixtures/broken/{name}"));
    let arguments: Vec<_> = paths.iter().map(String::as_str).chain(["--json", TREE]).collect();
    let records = records_of(&classify(&arguments), 1);
    for (record, (name, kind)) in records.iter().zip(kinds) {
        assert_eq!(record["error"]["kind"], kind, "{name}: {record}");
    }
    assert_eq!(records.last().unwrap()["prediction"], "a tree");
}

#[test]
fn the_best_labels_come_first_when_only_some_are_asked_for() {
    let record = &records_of(&classify(&["--json", "--top", "2", TREE]), 0)[0];
    let scores = record["scores"].as_array().unwrap();
    assert_eq!((scores.len(), &scores[0]["label"]), (2, &"a tree".into()));
    assert!(scores[0]["probability"].as_f64() >= scores[1]["probability"].as_f64());
}

#[test]
fn below_the_threshold_the_prediction_is_none() {
    let arguments = ["--threshold", "0.999999", "-l", "tree,a tall tree", TREE];
    let classify = |format: &[&str]| {
        let all = [&["-m", MODEL][..], &arguments, format].concat();
        clipclass().args(all).output().unwrap()
    };
    let record = &records_of(&classify(&["--json"]), 0)[0];
    assert_eq!(record["prediction"], Value::Null);
    assert!(record["probability"].as_f64().unwrap() >= 0.5);
    assert_eq!(record["rejected"], "threshold");
    let text = stdout_of(&classify(&[]), 0);
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("prediction: none (best: ") && last.ends_with(", below 0.999999)"), "{last}");
}

#[test]
fn labels_come_from_files_and_templates() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("labels.txt");
    fs::write(&lines, "# things\ncat\n\ntree\n").unwrap();
    let classes = folder.path().join("labels.json");
    fs::write(&classes, r#"{"feline": ["a cat", "a drawing of a cat"], "plant": ["a tree"]}"#).unwrap();
    let predict = |file: &Path, more: &[&str]| {
        let mut command = clipclass();
        command.args(["-m", MODEL, "--json", CAT, TREE, "--labels-file"]).arg(file).args(more);
        let records = records_of(&command.output().unwrap(), 0);
        [0, 1].map(|i: usize| records[i]["prediction"].as_str().unwrap().to_owned())
    };
    assert_eq!(predict(&lines, &[]), ["cat", "tree"]);
    assert_eq!(predict(&lines, &["-t", "a {}", "-t", "a photo of a {}"]), ["cat", "tree"]);
    assert_eq!(predict(&classes, &[]), ["feline", "plant"]);
}

#[test]
fn bad_labels_are_told_clearly() {
    let run = |arguments: &[&str]| {
        refusal(&clipclass().args(["-m", MODEL, TREE]).args(arguments).output().unwrap())
    };
    assert!(run(&[]).contains("--labels"));
    assert!(run(&["-l", "a cat,,a dog"]).contains("label 2 of \"a cat,,a dog\" is empty"));
    assert!(run(&["-l", "a,b", "-t", "no place"]).contains("{}"));
    let missing = run(&["--labels-file", "nowhere.txt"]);
    assert!(missing.contains("nowhere.txt") && missing.contains("os error 2"), "{missing}");
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("labels.txt");
    fs::write(&empty, "# none\n").unwrap();
    assert!(run(&["--labels-file", empty.to_str().unwrap()]).contains("no labels"));
}

#[test]
fn a_single_label_is_warned_about() {
    let one = || {
        let mut command = clipclass();
        command.args(["-m", MODEL, "-l", "a tree", "--json", TREE]);
        command
    };
    let output = one().output().unwrap();
    assert_eq!(records_of(&output, 0)[0]["probability"], 1.0);
    assert!(String::from_utf8_lossy(&output.stderr).contains("one label"));
    assert_eq!(one().arg("--quiet").output().unwrap().stderr, b"");
}

#[test]
fn a_prompt_beyond_the_context_is_warned_about() {
    let long = "a very tall tree ".repeat(60);
    let output = clipclass().args(["-m", MODEL, "-l", "a cat", "-l", &long, TREE]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("warning: the prompt \"a very tall tree"), "{stderr}");
}

#[test]
fn usage_errors_exit_with_2() {
    for arguments in [&["--no-such-flag"][..], &["--labels", "a,b"], &[TREE, "--labels", "a,b", "--top", "0"]]
    {
        let output = clipclass().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    assert!(refusal(&classify(&["--threshold", "1.5", TREE])).contains("between 0 and 1"));
}

#[test]
fn a_model_that_is_not_there_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().to_str().unwrap();
    let output = clipclass().args([TREE, "-l", LABELS, "-m", model]).output().unwrap();
    let stderr = refusal(&output);
    assert!(stderr.contains(model) && stderr.contains("config.json"), "{stderr}");
}

#[test]
fn a_device_that_was_not_built_in_says_how_to_build_it() {
    if cfg!(feature = "cuda") {
        return;
    }
    assert!(refusal(&classify(&["--device", "cuda", TREE])).contains("--features cuda"));
    assert!(refusal(&classify(&["--device", "gpu", TREE])).contains("auto, cpu, cuda"));
}

#[test]
fn an_image_comes_from_standard_input() {
    let output = clipclass()
        .args(["-m", MODEL, "-l", LABELS, "--json", "-"])
        .stdin(File::open(TREE).unwrap())
        .output()
        .unwrap();
    let record = &records_of(&output, 0)[0];
    assert_eq!((&record["image"], &record["prediction"]), (&"-".into(), &"a tree".into()));
}

#[test]
fn paths_come_from_a_list() {
    let list = |text: &str, arguments: &[&str]| {
        let mut command = clipclass();
        command.args(["-m", MODEL, "-l", LABELS, "--json", "--files-from", "-"]).args(arguments);
        let records = records_of(&feed(&mut command, text.as_bytes()), 0);
        records.iter().map(|record| record["prediction"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(&format!("{TREE}\n{CAT}\n"), &[]), ["a tree", "a cat"]);
    assert_eq!(list(&format!("{CAT}\0{TREE}\0"), &["--null"]), ["a cat", "a tree"]);
}

#[test]
fn the_first_record_comes_before_the_last_path_is_known() {
    let mut child = clipclass()
        .args(["-m", MODEL, "-l", LABELS, "--json", "--files-from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{TREE}").unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("\"a tree\""), "{line}");
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_image_alone_has_the_numbers_it_has_in_a_batch() {
    let images: Vec<_> = fs::read_dir("fixtures/images")
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .collect();
    let scores = |batch: &str, images: &[String]| {
        let images: Vec<_> = images.iter().map(String::as_str).collect();
        let output = classify(&[&["--json", "--batch-size", batch][..], &images].concat());
        records_of(&output, 0)
            .into_iter()
            .map(|r| (r["image"].to_string(), r["scores"].clone()))
            .collect::<Vec<_>>()
    };
    let mut alone = scores("1", &images);
    let reversed: Vec<_> = images.iter().rev().cloned().collect();
    let mut together = scores("16", &reversed);
    alone.sort_by(|a, b| a.0.cmp(&b.0));
    together.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(alone.len() > 20 && alone.len() == together.len());
    for ((image, alone), (_, together)) in alone.iter().zip(&together) {
        let (alone, together) = (alone.as_array(), together.as_array());
        assert_eq!(alone.is_some(), together.is_some(), "{image}");
        for (a, b) in alone.into_iter().flatten().zip(together.into_iter().flatten()) {
            let (a, b) = (a["cosine"].as_f64().unwrap(), b["cosine"].as_f64().unwrap());
            assert!((a - b).abs() <= 1e-6, "{image}: {a} and {b}");
        }
    }
}

#[test]
fn an_output_file_appears_when_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    let arguments = ["--format", "csv", "--output", path.to_str().unwrap()];
    assert_eq!(stdout_of(&classify(&[&arguments[..], &[TREE, CAT]].concat()), 0), "");
    let csv = fs::read_to_string(&path).unwrap();
    let first: Vec<_> = csv.lines().map(|line| line.split(',').take(2).collect::<Vec<_>>()).collect();
    assert_eq!(first, [["image", "prediction"], [TREE, "a tree"], [CAT, "a cat"]]);
    assert!(csv.starts_with(&format!("image,prediction,probability,{LABELS}\n")));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_run_that_cannot_go_on_leaves_an_earlier_output_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    fs::write(&path, "earlier\n").unwrap();
    let output = clipclass()
        .args([TREE, "-l", LABELS, "-m", folder.path().to_str().unwrap(), "-o", path.to_str().unwrap()])
        .output()
        .unwrap();
    refusal(&output);
    assert_eq!(fs::read_to_string(&path).unwrap(), "earlier\n");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_output_that_cannot_be_written_ends_the_run_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/out.txt");
    let stderr = refusal(&classify(&["-o", path.to_str().unwrap(), TREE]));
    assert!(stderr.contains("cannot write") && stderr.contains("out.txt"), "{stderr}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let output = clipclass().args(["-m", MODEL, "-l", LABELS, TREE]).stdout(full()).output().unwrap();
    let stderr = refusal(&output);
    assert!(stderr.contains("standard output") && stderr.contains("No space left"), "{stderr}");
    assert!(refusal(&classify(&["-o", "/dev/full", TREE])).contains("/dev/full"));
}

#[test]
fn a_closed_pipe_ends_the_run_quietly() {
    let many = vec![TREE; 200];
    let mut child = clipclass()
        .args(["-m", MODEL, "-l", LABELS, "--json"])
        .args(many)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[test]
fn markdown_is_the_notebooks_table() {
    let stdout = stdout_of(&classify(&["--format", "markdown", TREE, CAT]), 0);
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines[0], "| image | a cat | a dog | a car | a tree | a person | prediction |");
    assert!(lines[2].starts_with(&format!("| {TREE} | 0.")) && lines[2].ends_with(" | a tree |"));
    assert_eq!(lines.len(), 4);
}

#[test]
fn a_run_goes_on_where_an_earlier_one_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let resume = |images: &[&str]| {
        let output = classify(&[&["--resume", path.to_str().unwrap()][..], images].concat());
        assert_eq!(stdout_of(&output, 0), "");
        fs::read_to_string(&path).unwrap()
    };
    let first = resume(&[TREE, CAT]);
    assert_eq!(first.lines().count(), 2);
    fs::write(&path, &first[..first.len() - 10]).unwrap();
    let second = resume(&[TREE, CAT, TREE]);
    assert!(second.starts_with(&first));
    let images: Vec<_> = second
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["image"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(images, [TREE, CAT, TREE]);
    assert_eq!(resume(&[TREE, CAT, TREE]), second);
}

#[test]
fn the_version_names_the_devices() {
    let stdout = stdout_of(&clipclass().arg("--version").output().unwrap(), 0);
    assert!(stdout.starts_with(concat!("clipclass ", env!("CARGO_PKG_VERSION"))), "{stdout}");
    assert!(stdout.contains("cpu"), "{stdout}");
}

#[test]
fn completions_and_the_manual_come_from_the_binary() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout_of(&clipclass().args(["completions", shell]).output().unwrap(), 0);
        assert!(script.contains("labels-file"), "{shell}");
    }
    let manual = stdout_of(&clipclass().arg("man").output().unwrap(), 0);
    assert!(manual.contains(".TH clipclass 1") && manual.contains("labels\\-file"), "{manual}");
}

#[test]
fn fetch_says_where_a_model_is() {
    let stdout = stdout_of(&clipclass().args(["fetch", MODEL]).output().unwrap(), 0);
    assert_eq!(Path::new(stdout.trim_end()), Path::new(MODEL));
}

/// Compares with a file in `tests/it/data`, which `CLIPCLASS_UPDATE=1 cargo test` writes anew.
#[track_caller]
fn assert_as_kept(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data").join(name);
    if std::env::var_os("CLIPCLASS_UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert_eq!(text, kept, "{name} differs; if it should, write it anew with CLIPCLASS_UPDATE=1");
}

#[test]
fn help_is_as_it_was_read_and_agreed_on() {
    for (name, arguments) in [
        ("help.txt", &["--help"][..]),
        ("help-short.txt", &["-h"]),
        ("help-fetch.txt", &["fetch", "--help"]),
        ("help-cache.txt", &["cache", "--help"]),
        ("help-doctor.txt", &["doctor", "--help"]),
        ("help-eval.txt", &["eval", "--help"]),
    ] {
        // Neither the terminal's width nor what is built in may show.
        let output = clipclass().args(arguments).env("COLUMNS", "100").output().unwrap();
        assert_as_kept(name, &stdout_of(&output, 0).replace("clipclass.exe", "clipclass"));
    }
}

#[test]
fn as_many_threads_give_the_same_records() {
    let records = |threads: &str| records_of(&classify(&["--json", "--threads", threads, TREE, CAT]), 0);
    assert_eq!(records("1"), records("3"));
    assert!(refusal(&classify(&["--threads", "0", TREE])).contains("--threads"));
}

/// Rayon names its threads after nothing, so what is counted are all of the process.
#[cfg(target_os = "linux")]
#[test]
fn threads_are_limited_for_the_whole_process() {
    let threads = |limit: &str| {
        let mut child = clipclass()
            .args([
                "-m",
                MODEL,
                "-l",
                LABELS,
                "--json",
                "--no-cache",
                "--threads",
                limit,
                "--files-from",
                "-",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{TREE}").unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        // After a record, while it waits for more, all that it starts are there.
        let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap().count();
        drop(stdin);
        assert!(child.wait().unwrap().success());
        threads
    };
    assert_eq!(threads("5"), threads("1") + 4);
}

#[test]
fn pictures_are_drawn_in_a_terminal_only() {
    assert!(refusal(&classify(&["--show", TREE])).contains("standard output is none"));
    let output = classify(&["--show", "--json", TREE]);
    assert!(refusal(&output).contains("does not go with other formats"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_picture_is_drawn_above_its_result() {
    // The terminal that a shell script gets from util-linux; not every system has it.
    let Ok(true) = Command::new("script").arg("--version").output().map(|output| output.status.success())
    else {
        assert!(std::env::var_os("CI").is_none(), "util-linux's script is needed");
        return;
    };
    let classifier = classifier();
    let program = classifier.get_program().to_str().unwrap();
    let arguments = classifier.get_args().map(|argument| format!("'{}'", argument.to_str().unwrap()));
    let show = format!("'{program}' {} --show {TREE}", arguments.collect::<Vec<_>>().join(" "));
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &show, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env_remove("TERM_PROGRAM")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    // What a terminal is asked, and what one without graphics answers.
    let questions = [("\u{1b}[5n", "\u{1b}[0n"), ("\u{1b}[c", "\u{1b}[?62c")];
    let mut answered = [0, 0];
    let (mut printed, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = screen.read(&mut bytes) {
        printed.extend_from_slice(&bytes[..read]);
        let text = String::from_utf8_lossy(&printed);
        for ((question, answer), answered) in questions.iter().zip(&mut answered) {
            for _ in *answered..text.matches(question).count() {
                keyboard.write_all(answer.as_bytes()).unwrap();
                *answered += 1;
            }
        }
    }
    assert!(child.wait().unwrap().success());
    let printed = String::from_utf8(printed).unwrap();
    let drawn = printed.find('\u{2584}').expect("half blocks are drawn");
    let told = printed.find(TREE).unwrap();
    let prediction = printed.split("prediction: ").nth(1).expect("there is a prediction");
    assert!(drawn < told && prediction.contains("a tree"), "{prediction}");
}
