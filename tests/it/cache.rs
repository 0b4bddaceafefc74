//! The cache, with the real binary and the fixture model: no answer differs for it, whatever
//! becomes of it and however many share it.

use crate::world::{LABELS, MODEL, clipclass};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A folder of images that no two of have the same content, and of a cache.
struct Work {
    folder: TempDir,
    names: Vec<String>,
}

impl Work {
    /// All fixtures, the broken ones too, then so many drawings.
    fn new(drawings: usize) -> Self {
        let mut work = Self { folder: tempfile::tempdir().unwrap(), names: Vec::new() };
        for folder in ["fixtures/images", "fixtures/broken"] {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                work.add(path.file_name().unwrap().to_str().unwrap(), &fs::read(&path).unwrap());
            }
        }
        let drawing = fs::read("fixtures/images/small.png").unwrap();
        for i in 0..drawings {
            // Behind its end, where decoders do not look.
            work.add(&format!("{i}.png"), &[&drawing[..], i.to_string().as_bytes()].concat());
        }
        work
    }

    fn add(&mut self, name: &str, contents: &[u8]) {
        let mut file = File::create(self.path(name)).unwrap();
        file.write_all(contents).unwrap();
        // One that changed just now is not known by its times.
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        self.names.push(name.to_owned());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A run over images by their names, with the cache in a folder.
    fn command<'a>(&self, cache: &Path, names: impl IntoIterator<Item = &'a String>) -> Command {
        let mut command = clipclass();
        command.args(["--model", MODEL, "--labels", LABELS, "--json", "--cache"]).arg(cache).args(names);
        command.current_dir(&self.folder).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, cache: &Path, more: &[&str]) -> Output {
        self.command(cache, &self.names).args(more).output().unwrap()
    }

    /// The records of a run without a cache, some of which are of broken images.
    fn records(&self) -> String {
        let output = self.run(Path::new("nowhere"), &["--no-cache"]);
        assert!(!self.path("nowhere").exists());
        records_without_a_word(output)
    }
}

#[track_caller]
fn records_without_a_word(output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(1), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// What `clipclass cache` says of a folder.
fn cache(verb: &str, folder: &Path) -> String {
    let output = clipclass().args(["cache", verb, "--cache"]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn records_are_the_same_without_a_cache_with_an_empty_one_and_with_a_full_one() {
    let work = Work::new(20);
    let records = work.records();
    let cache = work.path("cache");
    for batch_size in ["8", "3", "64"] {
        assert_eq!(records_without_a_word(work.run(&cache, &["--batch-size", batch_size])), records);
    }
    let half = work.path("half");
    let some = work.command(&half, work.names.iter().step_by(2)).output().unwrap();
    assert_eq!(records_without_a_word(some).lines().count(), work.names.len().div_ceil(2));
    assert_eq!(records_without_a_word(work.run(&half, &[])), records);
}

#[test]
fn eight_processes_share_a_cache() {
    let work = Work::new(1000);
    let records = work.records();
    let expected: HashMap<_, _> = work.names.iter().zip(records.lines()).collect();
    let folder = work.path("cache");
    // Each begins elsewhere, and all meet.
    let order = |process: usize| {
        let (before, after) = work.names.split_at(process * work.names.len() / 8);
        after.iter().chain(before)
    };
    let start = |process| work.command(&folder, order(process)).spawn().unwrap();
    let processes: Vec<Child> = (0..8).map(start).collect();
    // All are read at a time, so that none waits for its reader.
    let readers = processes.into_iter().map(|child| std::thread::spawn(|| child.wait_with_output().unwrap()));
    for (process, reader) in readers.collect::<Vec<_>>().into_iter().enumerate() {
        let printed = records_without_a_word(reader.join().unwrap());
        assert!(printed.lines().eq(order(process).map(|name| expected[name])), "process {process}");
    }
    let held = cache("info", &folder);
    let classified = records.lines().filter(|line| line.contains("\"scores\"")).count();
    assert!(held.contains(&format!("images: {classified}\nprompts: 5\nmodels: 1\n")), "{held}");
}

/// What was read from the disk by a process that printed all its records and waits for more input.
#[cfg(target_os = "linux")]
struct Read {
    /// By calls to read, in bytes.
    bytes: u64,
    /// Of the weights' mapping, in KiB.
    weights_kib: u64,
}

#[cfg(target_os = "linux")]
impl Read {
    fn of_run(work: &Work, labels: &str) -> Self {
        use std::io::{BufRead, BufReader};
        let mut child = clipclass()
            .args(["--model", MODEL, "--labels", labels, "--json", "--files-from", "-", "--cache", "cache"])
            .current_dir(&work.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "large.bmp").unwrap();
        let mut record = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut record).unwrap();
        assert!(record.contains("\"prediction\":\"a tree\""), "{record}");
        let proc = |file| fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap();
        let number = |line: &str| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
        let io = proc("io");
        let maps = proc("smaps");
        let weights = maps.lines().skip_while(|line| !line.ends_with("model.safetensors"));
        let read = Self {
            bytes: io.lines().find(|line| line.starts_with("rchar:")).map(number).unwrap(),
            weights_kib: weights.skip_while(|line| !line.starts_with("Rss:")).map(number).next().unwrap(),
        };
        assert!(child.wait().unwrap().success());
        read
    }
}

#[cfg(target_os = "linux")]
#[test]
fn neither_weights_nor_images_are_read_when_all_is_known() {
    let mut work = Work::new(0);
    let mut large = Vec::new();
    let nearest = image::imageops::FilterType::Nearest;
    let tree = image::open("fixtures/images/tree.jpg").unwrap().resize_exact(1200, 1200, nearest);
    tree.write_to(&mut std::io::Cursor::new(&mut large), image::ImageFormat::Bmp).unwrap();
    work.add("large.bmp", &large);

    let weights = Path::new(MODEL).join("model.safetensors").metadata().unwrap().len();
    let first = Read::of_run(&work, "a cat,a tree");
    assert!(first.bytes > large.len() as u64);
    assert!(first.weights_kib > weights / 1024 * 3 / 4, "{} KiB", first.weights_kib);
    let second = Read::of_run(&work, "a tree,a cat");
    assert!(second.bytes < large.len() as u64 / 2, "{} bytes", second.bytes);
    // The table of contents and the logit scale, with the pages around them.
    assert!(second.weights_kib < weights / 1024 / 4, "{} KiB", second.weights_kib);
    // New labels need the text tower, but still not the image.
    let third = Read::of_run(&work, "a tree,a dog");
    assert!(third.bytes < large.len() as u64 / 2, "{} bytes", third.bytes);
    assert!(third.weights_kib < first.weights_kib, "{} KiB", third.weights_kib);
}

#[test]
fn a_cache_that_cannot_be_used_is_told_once_and_falsifies_nothing() {
    let work = Work::new(5);
    let records = work.records();
    let fresh = |name: &str| {
        let folder = work.path(name);
        assert_eq!(records_without_a_word(work.run(&folder, &[])), records);
        // All goes into the one file, which the log beside it would otherwise mend.
        let connection = rusqlite::Connection::open(folder.join("embeddings.sqlite")).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        folder
    };
    let database = |folder: &Path| folder.join("embeddings.sqlite");
    let cut = fresh("cut");
    let length = database(&cut).metadata().unwrap().len();
    File::options().write(true).open(database(&cut)).unwrap().set_len(length / 2).unwrap();
    let overwritten = fresh("overwritten");
    fs::write(database(&overwritten), "not a database ".repeat(5000)).unwrap();
    let foreign = fresh("foreign");
    let notes = rusqlite::Connection::open(database(&foreign)).unwrap();
    notes.execute_batch("PRAGMA application_id = 7;").unwrap();
    drop(notes);
    let newer = fresh("newer");
    let newest = rusqlite::Connection::open(database(&newer)).unwrap();
    newest.execute_batch("PRAGMA user_version = 1000;").unwrap();
    drop(newest);
    let file = work.path("file");
    fs::write(&file, "").unwrap();
    let mut cases = vec![
        (cut, "damaged"),
        (overwritten, "damaged"),
        (foreign, "not clipclass's"),
        (newer, "newer clipclass"),
        (file.clone(), "without the embedding cache"),
        (file.join("below"), "without the embedding cache"),
    ];
    if cfg!(target_os = "linux") {
        // Not even root writes there.
        cases.push((PathBuf::from("/proc/clipclass"), "without the embedding cache"));
    }
    for (folder, told) in cases {
        let output = work.run(&folder, &[]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{}: {stderr}", folder.display());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), records, "{}", folder.display());
        assert!(stderr.starts_with("warning: ") && stderr.contains(told), "{}: {stderr}", folder.display());
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let quiet = work.run(&folder, &["--quiet"]);
        assert_eq!((quiet.stdout, quiet.stderr), (records.clone().into_bytes(), vec![]));
    }
}

#[test]
fn the_cache_is_looked_at_and_emptied() {
    let work = Work::new(5);
    let folder = work.path("cache");
    assert!(cache("info", &folder).contains("images: 0\nprompts: 0\nmodels: 0\n"));
    let records = records_without_a_word(work.run(&folder, &[]));
    let held = cache("info", &folder);
    assert!(held.starts_with(&format!("folder: {}\nsize: ", folder.display())), "{held}");
    assert!(held.contains("\nprompts: 5\nmodels: 1\n") && !held.contains("images: 0"), "{held}");
    cache("clear", &folder);
    assert!(cache("info", &folder).contains("images: 0\nprompts: 0\nmodels: 0\n"));
    assert_eq!(records_without_a_word(work.run(&folder, &[])), records);
}

#[test]
fn device_that_was_found_and_the_same_device_by_name_share_embeddings() {
    let work = Work::new(0);
    let folder = work.path("cache");
    let records = work.records();
    for device in ["auto", "cpu"] {
        assert_eq!(records_without_a_word(work.run(&folder, &["--device", device])), records);
    }
    // A binary for GPUs may have opened one.
    if cfg!(not(any(feature = "cuda", feature = "metal"))) {
        assert!(cache("info", &folder).contains("\nmodels: 1\n"), "{}", cache("info", &folder));
    }
}

#[test]
fn model_that_takes_the_place_of_another_answers_for_itself() {
    let work = Work::new(0);
    let model = work.path("model");
    fs::create_dir(&model).unwrap();
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(Path::new(MODEL).join(file), model.join(file)).unwrap();
    }
    let weights = model.join("model.safetensors");
    let settle = || {
        let file = File::options().write(true).open(&weights).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    };
    let folder = work.path("cache");
    let run = |more: &[&str]| {
        let more = [&["--model", model.to_str().unwrap()], more].concat();
        let mut command = clipclass();
        command.args(["--labels", LABELS, "--json", "--cache"]).arg(&folder).args(more).args(&work.names);
        records_without_a_word(command.current_dir(&work.folder).output().unwrap())
    };
    settle();
    let first = run(&[]);
    assert_eq!(first, run(&["--no-cache"]));
    // Of the same size and time, under the same name.
    let mut bytes = fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 100_000..].as_chunks_mut::<4>().0.reverse();
    fs::write(model.join("new"), bytes).unwrap();
    fs::rename(model.join("new"), &weights).unwrap();
    settle();
    let second = run(&[]);
    assert_eq!(second, run(&["--no-cache"]));
    assert_ne!(second, first);
}
