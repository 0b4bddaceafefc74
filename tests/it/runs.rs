//! Runs that lose nothing: few threads, two runs on one file, a file that was begun in another way, an
//! output that is an input, the ends that signals and closed outputs make.

use crate::world::{CAT, LABELS, MODEL, TREE, TREE_BYTES, TRUNCATED, classifier, classify, clipclass};
use crate::world::{records_of, refusal, stderr_of, stdout_of, tar_of};
use clipclass::cache::ModelEmbeddings;
use clipclass::hub::{self, HubOptions};
use clipclass::input::Inputs;
use clipclass::labels::{self, LabelSet};
use clipclass::messages::Messages;
use clipclass::model::Checkpoint;
use clipclass::model::precision::Precision;
use clipclass::pipeline::{self, Job};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder, and a file in it that a run with these options began.
fn begun(options: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let output = resume(&path, &[options, &[TREE, TRUNCATED]].concat());
    assert_eq!(stdout_of(&output, 1), "");
    (folder, path)
}

fn resume(path: &Path, options: &[&str]) -> std::process::Output {
    classify(&[&["--resume", path.to_str().unwrap()], options].concat())
}

#[test]
fn a_file_is_not_gone_on_with_in_another_way() {
    let (folder, path) = begun(&[]);
    let before = fs::read_to_string(&path).unwrap();
    let (_, other_model) = begun(&[]);
    let copy = other_model.parent().unwrap().join("model");
    fs::create_dir_all(&copy).unwrap();
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json"] {
        fs::copy(Path::new(MODEL).join(file), copy.join(file)).unwrap();
    }
    let mut weights = fs::read(Path::new(MODEL).join("model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(copy.join("model.safetensors"), weights).unwrap();
    let with = |labels: &str, model: &str, more: &[&str]| {
        let mut command = clipclass();
        command.args(["--model", model, "--labels", labels, "--resume", path.to_str().unwrap(), TREE, CAT]);
        refusal(&command.args(more).output().unwrap())
    };
    let copy = copy.to_str().unwrap();
    for (refused, named) in [
        (with(LABELS, MODEL, &["--precision", "int8"]), "the precision was f32 and is int8"),
        (with(LABELS, MODEL, &["-t", "not a {}"]), "the prompts of \"a cat\" are other ones"),
        (with(LABELS, MODEL, &["--top", "2"]), "--top was absent and is 2"),
        (with(LABELS, MODEL, &["--threshold", "0.5"]), "--threshold was 0 and is 0.5"),
        (with("a cat,a dog", MODEL, &[]), "label 3 was \"a car\" and is absent"),
        (with("a dog,a cat,a car,a tree,a person", MODEL, &[]), "label 1 was \"a cat\" and is \"a dog\""),
        (with(LABELS, copy, &[]), "the model was "),
        (with(LABELS, copy, &["--no-cache"]), "the model was "),
    ] {
        assert!(refused.contains("out.jsonl") && refused.contains(named), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }
    let mut left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["out.jsonl", "out.jsonl.run.json"]);
    // The same model elsewhere is the same model.
    let same = folder.path().join("same");
    fs::create_dir(&same).unwrap();
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(Path::new(MODEL).join(file), same.join(file)).unwrap();
    }
    let mut command = clipclass();
    command.args(["--model", same.to_str().unwrap(), "--labels", LABELS, "--no-cache"]);
    let output = command.args(["--resume", path.to_str().unwrap(), TREE, TRUNCATED, CAT]).output().unwrap();
    assert_eq!(stdout_of(&output, 1), "");
    assert!(fs::read_to_string(&path).unwrap().starts_with(&before));
}

#[test]
fn a_file_that_nothing_is_known_of_is_not_gone_on_with() {
    let (_folder, path) = begun(&[]);
    let before = fs::read_to_string(&path).unwrap();
    fs::remove_file(path.with_file_name("out.jsonl.run.json")).unwrap();
    let refused = refusal(&resume(&path, &[TREE]));
    assert!(refused.contains("out.jsonl.run.json is missing"), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}

#[test]
fn images_that_failed_count_as_done_until_they_are_to_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let late = folder.path().join("late.jpg");
    let inputs = [TREE, late.to_str().unwrap(), CAT];
    let images = || -> Vec<(String, bool)> {
        let record = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let records = text.lines().map(record);
        records.map(|r| (r["image"].as_str().unwrap().to_owned(), r.get("error").is_some())).collect()
    };
    assert_eq!(stdout_of(&resume(&path, &inputs), 1), "");
    assert!(images()[1].1);
    fs::write(&late, TREE_BYTES).unwrap();
    assert_eq!(stdout_of(&resume(&path, &inputs), 1), "");
    assert_eq!(images().len(), 3);
    let retry = [&["--retry-failed"][..], &inputs].concat();
    assert_eq!(stdout_of(&resume(&path, &retry), 0), "");
    let expected = [inputs[0], inputs[2], inputs[1]].map(|image| (image.to_owned(), false));
    assert_eq!(images(), expected);
    assert_eq!(stdout_of(&resume(&path, &retry), 0), "");
    assert_eq!(images(), expected);
    assert!(refusal(&classify(&["--retry-failed", TREE])).contains("--resume"));
}

#[test]
fn an_output_that_is_an_input_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (image, shard) = (path("a.jpg"), path("s.tar"));
    fs::create_dir(path("f")).unwrap();
    let walked = path("f/b.jpg");
    let labels = path("labels.txt");
    let list = path("list.txt");
    let shard_bytes = tar_of([("1.jpg", TREE_BYTES)]);
    fs::write(&labels, "a cat\na tree\n").unwrap();
    fs::write(&list, format!("{image}\n")).unwrap();
    fs::write(&image, TREE_BYTES).unwrap();
    fs::write(&walked, TREE_BYTES).unwrap();
    fs::write(&shard, &shard_bytes).unwrap();
    for (inputs, output) in [
        (&[TREE, &image][..], &image),
        (&[&path("f"), TREE], &walked),
        (&[&shard], &shard),
        (&["--files-from", &list], &image),
        (&["--files-from", &list], &list),
        (&["--labels-file", &labels, TREE], &labels),
    ] {
        let before = fs::read(output).unwrap();
        let refused = refusal(&classify(&[inputs, &["-o", output, "--format", "csv"]].concat()));
        assert!(refused.contains(output.as_str()) && refused.contains("output"), "{refused}");
        assert_eq!(fs::read(output).unwrap(), before);
    }
    // A link to an input is the input.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&image, path("link.csv")).unwrap();
        assert!(
            refusal(&classify(&[&image, "-o", &path("link.csv")])).contains("both an input and the output")
        );
        assert_eq!(fs::read(&image).unwrap(), TREE_BYTES);
    }
}

#[test]
fn a_process_can_have_more_than_one_run() {
    let messages = Messages::new(true);
    let files = hub::locate(MODEL, &HubOptions::default(), &messages).unwrap();
    let checkpoint = Checkpoint::open(&files, &candle_core::Device::Cpu, Precision::F32).unwrap();
    let labels = LabelSet::new(labels::parse_list(LABELS).unwrap(), &[]).unwrap();
    let run = |inputs: &[&str]| -> Vec<_> {
        let job = Job {
            inputs: Inputs {
                paths: inputs.iter().map(|input| (*input).into()).collect(),
                ..Inputs::default()
            },
            skip: Box::new(|_| false),
            labels: &labels,
            checkpoint: &checkpoint,
            judgement: Default::default(),
            known: ModelEmbeddings::off(),
            batch_size: 2,
            threads: Some(2),
            thumbnail_px: None,
            keep_embeddings: false,
        };
        let records = pipeline::records(job, &messages).unwrap();
        records.map(|record| record.unwrap()).collect()
    };
    let first = run(&[TREE, CAT, TRUNCATED]);
    assert_eq!(first.len(), 3);
    assert_eq!(first[0].outcome.as_ref().unwrap().prediction, Some(3));
    assert_eq!(first[2].outcome.as_ref().unwrap_err().kind, "decode");
    assert_eq!(run(&[TREE, CAT, TRUNCATED]), first);
    // One that is left in the middle is in nobody's way.
    assert_eq!(run(&[CAT])[0], first[1]);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    #[test]
    fn the_target_of_a_linked_output_is_replaced_and_the_link_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("out.csv"), folder.path().join("link.csv"));
        fs::write(&target, "earlier\n").unwrap();
        symlink("out.csv", &link).unwrap();
        let output = classify(&["--format", "csv", "-o", link.to_str().unwrap(), TREE]);
        assert_eq!(stdout_of(&output, 0), "");
        assert!(link.is_symlink());
        assert!(fs::read_to_string(&target).unwrap().starts_with("image,prediction"));
    }

    #[test]
    fn two_runs_do_not_write_to_one_file() {
        for option in ["--output", "--resume"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out.jsonl");
            let mut first = classifier()
                .args(["--files-from", "-", option, path.to_str().unwrap()])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let lock = folder.path().join(".out.jsonl.lock");
            let holder = format!("process {}", first.id());
            while fs::read_to_string(&lock).unwrap_or_default() != holder {
                assert_eq!(first.try_wait().unwrap(), None);
                std::thread::yield_now();
            }
            let refused = refusal(&classify(&[option, path.to_str().unwrap(), TREE]));
            assert!(refused.contains("out.jsonl") && refused.contains(&holder), "{refused}");
            drop(first.stdin.take());
            assert!(first.wait().unwrap().success());
            assert!(!lock.exists());
            assert_eq!(stdout_of(&classify(&[option, path.to_str().unwrap(), TREE]), 0), "");
        }
    }

    #[test]
    fn closed_standard_output_is_an_error() {
        let run = |script: &str, arguments: &[&str]| {
            let mut command = Command::new("sh");
            command
                .args(["-c", script, "sh"])
                .arg(assert_cmd::cargo::cargo_bin!("clipclass"))
                .args(arguments);
            command.output().unwrap()
        };
        let arguments = ["--no-cache", "--model", MODEL, "--labels", LABELS, TREE];
        for arguments in [&arguments[..], &["man"], &["fetch", MODEL]] {
            let told = stderr_of(&run("exec \"$@\" >&-", arguments), 2);
            assert_eq!(told, "error: cannot write to standard output: it is closed\n", "{arguments:?}");
        }
        assert_eq!(stderr_of(&run("exec \"$@\" >/dev/null", &arguments), 0), "");
        // Nothing is written there, so nothing is lost.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        let to_file = [&arguments[..], &["-o", path.to_str().unwrap()]].concat();
        assert_eq!(stderr_of(&run("exec \"$@\" >&-", &to_file), 0), "");
        assert!(fs::read_to_string(&path).unwrap().ends_with("prediction: a tree\n"));
    }

    #[test]
    fn a_run_that_is_ended_dies_by_the_signal_so_that_a_shells_loop_ends_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        for (name, number) in [("INT", 2), ("TERM", 15)] {
            let mut child = classifier()
                .args(["--files-from", "-", "-o", path.to_str().unwrap()])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            // The output is begun after signals are watched.
            while fs::read_dir(&folder).unwrap().count() < 2 {
                assert_eq!(child.try_wait().unwrap(), None);
                std::thread::yield_now();
            }
            let kill = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
            assert!(kill.unwrap().success());
            // Waiting would close it, and the run could end with its input before the signal comes.
            let stdin = child.stdin.take();
            let status = child.wait().unwrap();
            drop(stdin);
            assert_eq!(status.signal(), Some(number), "{status}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "what it began is cleared away");
        }
    }
}

/// What a user that has few threads left gets; only root can be such a user for a test.
#[cfg(target_os = "linux")]
mod few_threads {
    use super::*;
    use crate::server::{Answer, Server};
    use std::os::unix::fs::PermissionsExt;

    const USER: &str = "54321";

    /// The program as a user that may have so many threads, and a copy of the model that it can read.
    fn limited(threads: usize, folder: &Path) -> Command {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nproc={threads}"));
        command.args(["setpriv", &format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
        command.arg(folder.join("clipclass")).args(["--no-cache", "--json", "--threads", "2"]);
        command.args(["--batch-size", "100", "-l", "a cat,a tree", "-m"]).arg(folder.join("model"));
        command
    }

    fn copy_to(folder: &Path) {
        fs::create_dir(folder.join("model")).unwrap();
        for file in ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"] {
            fs::copy(Path::new(MODEL).join(file), folder.join("model").join(file)).unwrap();
        }
        fs::copy(assert_cmd::cargo::cargo_bin!("clipclass"), folder.join("clipclass")).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    }

    #[test]
    fn every_image_comes_once_or_what_is_missing_is_told() {
        let is_root =
            fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if !is_root || Command::new("setpriv").arg("--version").output().is_err() {
            eprintln!("skipped: only root can take threads from a user");
            return;
        }
        let server = Server::start(|_| Answer::ok(TREE_BYTES));
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        copy_to(folder);
        let images = 120;
        let addresses: String = (0..images).map(|i| server.at(&format!("/{i}.jpg")) + "\n").collect();
        fs::write(folder.join("list"), addresses).unwrap();
        fs::create_dir(folder.join("images")).unwrap();
        for i in 0..images {
            fs::write(folder.join(format!("images/{i}.jpg")), TREE_BYTES).unwrap();
        }
        let members = (0..images).map(|i| (format!("{i}.jpg"), TREE_BYTES));
        fs::write(folder.join("shard.tar"), tar_of(members)).unwrap();
        for threads in [60, 5, 3, 2] {
            for inputs in [&["--files-from", "list"][..], &["images"], &["shard.tar"]] {
                let output = folder.join("out.jsonl");
                let mut command = limited(threads, folder);
                command.args(inputs).arg("-o").arg(&output).current_dir(folder);
                let run = command.output().unwrap();
                let code = run.status.code();
                let stderr = String::from_utf8_lossy(&run.stderr);
                if code == Some(2) {
                    assert!(
                        stderr.starts_with("error: ") && stderr.contains("thread"),
                        "{threads}: {stderr}"
                    );
                    assert!(!output.exists(), "an output that was cut off got its name");
                } else {
                    let records = fs::read_to_string(&output).unwrap();
                    assert_eq!(records.lines().count(), images, "{threads} {inputs:?}: {stderr}");
                    let failed = records.lines().filter(|line| line.contains("\"error\"")).count();
                    assert_eq!(code, Some(i32::from(failed > 0)), "{threads} {inputs:?}: {stderr}");
                    fs::remove_file(&output).unwrap();
                }
                // With that many nothing may be amiss.
                assert!(threads < 60 || code == Some(0), "{threads} {inputs:?}: {stderr}");
            }
        }
    }
}

#[test]
fn a_link_in_a_stream_is_the_picture_that_passed() {
    use crate::world::{TarBuilder, feed};
    let tar = TarBuilder::new()
        .file("a.jpg", TREE_BYTES)
        .file("bad.jpg", b"\xff\xd8\xff no jpeg")
        .hard_link("b.jpg", "a.jpg")
        .symlink("c.jpg", "bad.jpg")
        .symlink("d.jpg", "nowhere.jpg")
        .finish();
    let output = feed(classifier().args(["--json", "--no-cache", "-"]), &tar);
    let records = records_of(&output, 1);
    let images: Vec<_> = records.iter().map(|record| record["image"].as_str().unwrap()).collect();
    assert_eq!(images, ["-/a.jpg", "-/bad.jpg", "-/b.jpg", "-/c.jpg", "-/d.jpg"]);
    assert_eq!(records[2]["scores"], records[0]["scores"]);
    assert_eq!(records[3]["error"], records[1]["error"]);
    assert_eq!(records[4]["error"]["kind"], "archive");
}
