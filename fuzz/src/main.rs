//! Damages pictures at random and decodes them, to find what panics, hangs or eats memory.
//!
//! ```text
//! cargo run --release --manifest-path fuzz/Cargo.toml -- COUNT SEED FOLDER [JOBS]
//! ```
//!
//! Every picture in the folder, at any depth, is damaged; `fixtures` has all formats. `JOBS` processes
//! share the work, one a core unless told. So an abort, or a decoder that never comes back, is one find
//! and not the end. A file that panics, brings its process down, goes on for longer than a minute or takes
//! more memory than clipclass says is written to `finds/` in the current folder. The run fails unless all of
//! them are panics that clipclass catches. `COUNT SEED FOLDER` names the same damaged files each time.
//! With `COUNT` 0 the files of the folder are tried as they are: so finds are tried again.

mod mutate;
mod seen;
mod worker;

use mutate::{Random, mutate};
use seen::{Outcome, Seen, Tried};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a file may take before its process is ended.
const MAX_TIME: Duration = Duration::from_secs(90);
/// How many times as many files of a format are tried as of others: rav1d has no safe interface.
const AVIF_WEIGHT: usize = 4;

/// What is to be done.
struct Run {
    count: usize,
    seed: u64,
    folder: PathBuf,
    jobs: usize,
    /// The pictures of each format.
    formats: Vec<(String, Vec<(String, Vec<u8>)>)>,
}

impl Run {
    fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let count = arguments.next()?.parse().ok()?;
        let seed = arguments.next()?.parse().ok()?;
        let folder = PathBuf::from(arguments.next()?);
        let jobs = match arguments.next() {
            Some(jobs) => jobs.parse().ok()?,
            None => thread::available_parallelism().map_or(1, usize::from),
        };
        let mut paths = Vec::new();
        find_files(&folder, &mut paths);
        paths.sort();
        let mut formats: Vec<(String, Vec<_>)> = Vec::new();
        for path in paths {
            let bytes = std::fs::read(&path).expect("the file is there");
            let name = path.file_name().expect("it is a file").to_string_lossy().into_owned();
            let Some(format) = format_of(&name) else { continue };
            let at = formats.iter().position(|(found, _)| *found == format).unwrap_or_else(|| {
                formats.push((format, Vec::new()));
                formats.len() - 1
            });
            formats[at].1.push((name, bytes));
        }
        Some(Self { count, seed, folder, jobs, formats })
    }

    /// How many files are tried.
    fn files(&self) -> usize {
        if self.count == 0 { self.formats.iter().map(|(_, files)| files.len()).sum() } else { self.count }
    }

    /// The file of a number: its name, its format and what is in it.
    fn file(&self, number: usize) -> (String, &str, Vec<u8>) {
        if self.count == 0 {
            let all =
                self.formats.iter().flat_map(|(format, files)| files.iter().map(move |file| (format, file)));
            let (format, (name, bytes)) = all.into_iter().nth(number).expect("the number is below `files`");
            return (name.clone(), format, bytes.clone());
        }
        let mut random = Random::new(self.seed);
        let mut random = Random::new(random.next() ^ number as u64);
        let weighed = self
            .formats
            .iter()
            .flat_map(|format| std::iter::repeat_n(format, if format.0 == "avif" { AVIF_WEIGHT } else { 1 }));
        let weighed: Vec<_> = weighed.collect();
        let (format, files) = weighed[random.below(weighed.len())];
        let (name, file) = &files[random.below(files.len())];
        // Pieces of the same format fit best.
        let others = if random.below(4) > 0 { files } else { &weighed[random.below(weighed.len())].1 };
        let (_, other) = &others[random.below(others.len())];
        let bytes = mutate(file, other, &mut random);
        (format!("{}-{number}-{name}", self.seed), format, bytes)
    }
}

/// The format that a name stands for, if clipclass reads it.
fn format_of(name: &str) -> Option<String> {
    let (_, ending) = name.rsplit_once('.')?;
    let ending = match &*ending.to_lowercase() {
        "jpeg" => "jpg".to_owned(),
        "tiff" => "tif".to_owned(),
        "heif" | "hif" => "heic".to_owned(),
        "pbm" | "pgm" | "ppm" | "pam" => "pnm".to_owned(),
        other => other.to_owned(),
    };
    let known = [
        "jpg", "png", "webp", "gif", "bmp", "tif", "heic", "avif", "jxl", "pnm", "tga", "ico", "cur", "qoi",
        "dds", "exr", "hdr", "ff", "farbfeld", "pfm",
    ];
    known.contains(&&*ending).then_some(ending)
}

fn find_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the entry is there").path();
        if path.is_dir() {
            find_files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let is_worker = arguments.next_if(|first| first == "worker").is_some();
    let (first, every) = if is_worker {
        let mut number = || arguments.next().and_then(|number| number.parse().ok());
        (number().expect("a worker is told where to begin"), number().expect("a worker is told its step"))
    } else {
        (0, 1)
    };
    let Some(run) = Run::read(arguments) else {
        eprintln!("usage: clipclass-fuzz COUNT SEED FOLDER [JOBS]");
        return ExitCode::from(2);
    };
    if run.formats.is_empty() {
        eprintln!("there are no pictures in {}", run.folder.display());
        return ExitCode::from(2);
    }
    if is_worker {
        return worker::work(&run, first, every);
    }
    let began = Instant::now();
    let seen = Mutex::new(Seen::default());
    thread::scope(|scope| {
        for job in 0..run.jobs {
            let (run, seen) = (&run, &seen);
            scope.spawn(move || watch(run, job, seen));
        }
    });
    let seen = seen.into_inner().expect("no watcher panics");
    print!("{}", seen.report(began.elapsed()));
    ExitCode::from(u8::from(seen.failures > 0))
}

/// Has a share of the files tried by a worker, and by another one where that ends early.
fn watch(run: &Run, job: usize, seen: &Mutex<Seen>) {
    let mut next = job;
    while next < run.files() {
        let mut worker = Command::new(std::env::current_exe().expect("the program has a path"))
            .args(["worker", &next.to_string(), &run.jobs.to_string()])
            .args([run.count.to_string(), run.seed.to_string()])
            .arg(&run.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be started again");
        let lines = BufReader::new(worker.stdout.take().expect("its output is piped")).lines();
        let (sender, told) = mpsc::channel();
        let listener = thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| {
                // Nobody listens any more to a worker that was ended.
                let _ = sender.send(line);
            });
        });
        let outcome = loop {
            match told.recv_timeout(MAX_TIME) {
                Ok(line) => {
                    let tried = Tried::read(&line).expect("a worker tells what it has tried");
                    note(run, next, tried, seen);
                    next += run.jobs;
                }
                Err(RecvTimeoutError::Timeout) => break Outcome::Hang,
                Err(RecvTimeoutError::Disconnected) => break Outcome::Abort,
            }
        };
        // It may have ended by itself.
        let _ = worker.kill();
        let status = worker.wait().expect("the worker was started");
        listener.join().expect("listening does not panic");
        // One that has given decoders up ends by itself, to get rid of them.
        if next < run.files() && status.code() != Some(worker::STARTS_ANEW) {
            note(run, next, Tried { outcome, micros: 0, bytes: 0, place: String::new() }, seen);
            next += run.jobs;
        }
    }
}

fn note(run: &Run, number: usize, tried: Tried, seen: &Mutex<Seen>) {
    let (name, format, bytes) = run.file(number);
    let mut seen = seen.lock().expect("no watcher panics");
    if seen.add(&name, format, &tried) {
        std::fs::create_dir_all("finds").expect("the folder can be made");
        std::fs::write(Path::new("finds").join(&name), bytes).expect("the file can be written");
        eprintln!("{}: {name}", tried.find().unwrap_or_default());
    }
    if seen.files().is_multiple_of(10_000) {
        eprintln!("{} files, {} kinds of finds", seen.files(), seen.finds.len());
    }
}
