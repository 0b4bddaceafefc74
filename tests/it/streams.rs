//! Long runs, with the real binary and the fixture model: killed, interrupted, out of disk, with an
//! input or a reader that is still there or gone.

use crate::world::{self, MODEL, Random, TREE, TREE_BYTES, TarBuilder};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// `clipclass` with the fixture model and no cache.
fn clipclass(arguments: &[&str]) -> Command {
    let mut command = world::clipclass();
    command.args(["--model", MODEL, "--no-cache"]).args(arguments);
    command
}

/// Labels, and a list of images that repeats all fixtures, the broken ones too.
struct Work {
    folder: TempDir,
    labels: PathBuf,
    list: PathBuf,
}

impl Work {
    fn new(labels: usize, repeats: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let work = Self { labels: folder.path().join("labels"), list: folder.path().join("list"), folder };
        fs::write(&work.labels, (0..labels).map(|i| format!("a tree {i}\n")).collect::<String>()).unwrap();
        let fixtures = ["fixtures/images", "fixtures/broken"].map(|folder| fs::read_dir(folder).unwrap());
        let paths = fixtures.into_iter().flatten().map(|entry| entry.unwrap().path().display().to_string());
        fs::write(&work.list, (paths.collect::<Vec<_>>().join("\n") + "\n").repeat(repeats)).unwrap();
        work
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = clipclass(arguments);
        command.arg("--labels-file").arg(&self.labels).arg("--files-from").arg(&self.list);
        command
    }

    /// The records of a run that nothing happens to.
    fn records(&self) -> Vec<u8> {
        let output = self.command(&["--json"]).output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stderr).unwrap()),
            (Some(1), String::new())
        );
        output.stdout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn sleep(random: &mut Random, limit_ms: usize) {
    thread::sleep(Duration::from_micros(random.below(1000 * limit_ms) as u64));
}

fn length(path: &Path) -> usize {
    path.metadata().map_or(0, |file| file.len() as usize)
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

#[test]
fn a_run_killed_at_any_moment_is_gone_on_with_to_the_same_records() {
    // A record of so many labels is longer than the buffer before the file, and can be torn.
    let work = Work::new(150, 8);
    let records = work.records();
    let mut random = Random(0x4f6c_dd1d);
    let mut kills = 0;
    while kills < 20 {
        let path = work.path(&format!("{kills}.jsonl"));
        loop {
            let begin = length(&path);
            let mut child = work.command(&["--resume", path.to_str().unwrap()]).spawn().unwrap();
            if kills % 4 == 0 {
                // While it starts, most likely.
                sleep(&mut random, 100);
            } else {
                let enough = begin + random.below(records.len() / 12);
                while length(&path) < enough && child.try_wait().unwrap().is_none() {
                    sleep(&mut random, 1);
                }
            }
            if kills < 20 {
                child.kill().unwrap();
            }
            let status = child.wait().unwrap();
            let written = fs::read(&path).unwrap_or_default();
            assert!(records.starts_with(&written), "{} bytes after {kills} kills", written.len());
            if status.signal().is_none() {
                assert_eq!(status.code(), Some(1));
                break;
            }
            kills += 1;
        }
        assert_eq!(length(&path), records.len());
    }
}

#[test]
fn an_interrupted_run_prints_whole_lines_and_dies_by_the_signal() {
    let work = Work::new(150, 8);
    let records = work.records();
    let mut child = work.command(&["--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut printed = Vec::new();
    stdout.read_until(b'\n', &mut printed).unwrap();
    interrupt(&child);
    stdout.read_to_end(&mut printed).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    assert!(printed.ends_with(b"\n") && printed.len() < records.len() && records.starts_with(&printed));
}

#[test]
fn a_run_that_waits_for_its_input_can_be_interrupted() {
    let arguments = ["--labels", "a cat,a tree", "--json", "--files-from", "-"];
    let mut child = clipclass(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{TREE}").unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    interrupt(&child);
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!((output.status.signal(), output.stderr), (Some(2), vec![]));
}

#[test]
fn an_earlier_output_outlives_a_run_that_is_ended() {
    let work = Work::new(150, 8);
    let path = work.path("results/out.jsonl");
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, "earlier\n").unwrap();
    let beside = || {
        let entries = fs::read_dir(path.parent().unwrap()).unwrap();
        entries.map(|entry| entry.unwrap().path()).find(|entry| *entry != path)
    };
    let mut random = Random(0x7f4a_7c15);
    let kill: fn(&Child) = |child| {
        assert!(Command::new("kill").args(["-KILL", &child.id().to_string()]).status().unwrap().success());
    };
    // The first ones while the model is opened.
    for (end, within_ms) in [(interrupt as _, 1), (interrupt as _, 1), (interrupt as _, 100), (kill, 100)] {
        assert_eq!(beside(), None, "an interrupted run clears away what it began");
        let mut child = work.command(&["--json", "--output", path.to_str().unwrap()]).spawn().unwrap();
        while beside().is_none() {
            assert_eq!(child.try_wait().unwrap(), None, "a run of such length has not ended yet");
        }
        sleep(&mut random, within_ms);
        end(&child);
        let status = child.wait().unwrap();
        assert!(matches!(status.signal(), Some(2 | 9)), "{status}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "earlier\n");
    }
}

/// Lets no file grow beyond `blocks` of at most 1 KiB each, as on a full disk.
fn with_little_disk(command: &Command, blocks: usize) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]);
    limited.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    limited
}

#[test]
fn a_disk_that_fills_up_leaves_an_earlier_output_alone() {
    let work = Work::new(5, 8);
    let path = work.path("results/out.jsonl");
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, "earlier\n").unwrap();
    let command = work.command(&["--json", "--output", path.to_str().unwrap()]);
    let output = with_little_disk(&command, 16).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.starts_with("error: cannot write ") && stderr.contains("out.jsonl: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "earlier\n");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_run_is_gone_on_with_when_the_disk_has_room_again() {
    let work = Work::new(5, 8);
    let path = work.path("out.jsonl");
    let records = work.records();
    let command = || work.command(&["--resume", path.to_str().unwrap()]);
    let output = with_little_disk(&command(), 16).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("cannot write ") && stderr.contains("out.jsonl: "), "{stderr}");
    let written = fs::read(&path).unwrap();
    assert!(lines(&written) > 0 && written.len() < records.len() && records.starts_with(&written));
    assert_eq!(command().status().unwrap().code(), Some(1));
    assert_eq!(fs::read(&path).unwrap(), records);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_told_before_the_run() {
    // Not even by root.
    for option in ["--output", "--resume"] {
        let output =
            clipclass(&["--labels", "a cat,a tree", option, "/proc/out.jsonl", TREE]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout), (Some(2), vec![]), "{stderr}");
        assert!(stderr.starts_with("error: cannot ") && stderr.contains("/proc/out.jsonl: "), "{stderr}");
    }
}

#[test]
fn a_closed_pipe_ends_a_run_whose_input_has_no_end() {
    let arguments = ["--labels", "a cat,a tree", "--json", "--files-from", "-"];
    let mut child = clipclass(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || while writeln!(stdin, "{TREE}").is_ok() {});
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"a tree\""), "{line}");
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[test]
fn the_first_record_comes_before_a_tar_on_standard_input_ends() {
    let mut child = clipclass(&["--labels", "a cat,a tree", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The member alone; what ends the archive follows later.
    stdin.write_all(&TarBuilder::new().file("a.jpg", TREE_BYTES).unfinished()).unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with(r#"{"image":"-/a.jpg","prediction":"a tree""#), "{line}");
    stdin.write_all(&[0; 1024]).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
}
