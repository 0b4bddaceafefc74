//! Damages pictures at random and decodes them, to find what panics, hangs or eats memory.
//!
//! ```text
//! cargo run --release --manifest-path fuzz/Cargo.toml -- COUNT [SEED] [FOLDER…]
//! ```
//!
//! Without folders all fixtures are damaged. A file that panics, even where clipclass guards against
//! that, takes longer than ten seconds or more than 4 GiB is written to `fuzz/finds/`, and the run fails.
//! The figures at the end go into the notes.

mod mutate;

use clipclass::pixels::{Picture, PixelsError};
use mutate::{Random, mutate};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const MAX_TIME: Duration = Duration::from_secs(10);
const MAX_BYTES: usize = 4 << 30;

/// Counts what is allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: All calls go to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: The caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: The caller keeps the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: The caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(bytes: usize) {
    let now = ALLOCATED.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a run has seen.
#[derive(Default)]
struct Seen {
    decoded: usize,
    /// By kind of failure.
    refused: BTreeMap<&'static str, usize>,
    panics: usize,
    slowest: (Duration, String),
    largest: (usize, String),
    finds: Vec<String>,
    /// By the ending of the file that was damaged.
    formats: BTreeMap<String, FormatSeen>,
}

/// What a run has seen of one format.
#[derive(Default)]
struct FormatSeen {
    files: usize,
    decoded: usize,
    panics: usize,
    slowest: Duration,
    most_bytes: usize,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(10_000usize);
    let seed = arguments.next().and_then(|seed| seed.parse().ok()).unwrap_or(1u64);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    if folders.is_empty() {
        folders = ["images", "kinds", "containers", "broken"]
            .map(|folder| root.join("fixtures").join(folder))
            .into();
    }
    let files = read_all(&folders);
    assert!(!files.is_empty(), "there are no files in {folders:?}");
    let mut seen = Seen::default();
    std::panic::set_hook(Box::new(|information| eprintln!("{information}")));
    let began = Instant::now();
    let mut random = Random::new(seed);
    for i in 0..count {
        let (name, file) = &files[random.below(files.len())];
        let (_, other) = &files[random.below(files.len())];
        let bytes = mutate(file, other, &mut random);
        let name = format!("{seed}-{i}-{name}");
        try_one(&name, &bytes, &mut seen);
    }
    println!(
        "{count} files in {:.0} s: {} decoded, {:?} refused",
        began.elapsed().as_secs_f64(),
        seen.decoded,
        seen.refused
    );
    println!("{} panics, slowest {:?} ({})", seen.panics, seen.slowest.0, seen.slowest.1);
    println!("most memory {} MiB ({})", seen.largest.0 >> 20, seen.largest.1);
    for (ending, FormatSeen { files, decoded, panics, slowest, most_bytes }) in &seen.formats {
        let most = most_bytes >> 20;
        println!(
            "{ending}: {files} files, {decoded} decoded, {panics} panics, slowest {slowest:?}, most {most} MiB"
        );
    }
    println!("finds: {:?}", seen.finds);
    ExitCode::from(u8::from(!seen.finds.is_empty()))
}

/// The files of folders, with their names, in order.
fn read_all(folders: &[PathBuf]) -> Vec<(String, Vec<u8>)> {
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("the folder is there"));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the entry is there").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().expect("it is a file").to_string_lossy().into_owned();
        (name, std::fs::read(&path).expect("the file is there"))
    };
    paths.into_iter().filter(|path| path.is_file()).map(read).collect()
}

fn try_one(name: &str, bytes: &[u8], seen: &mut Seen) {
    let before = ALLOCATED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let began = Instant::now();
    let result = std::panic::catch_unwind(|| Picture::decode(bytes));
    let took = began.elapsed();
    let memory = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let is_panic = match &result {
        Err(_) => true,
        Ok(Err(PixelsError::Decode(message))) => message.contains("makes its decoder fail"),
        Ok(_) => false,
    };
    let ending = name.rsplit('.').next().unwrap_or_default().to_owned();
    let format = seen.formats.entry(ending).or_default();
    format.files += 1;
    format.decoded += usize::from(matches!(result, Ok(Ok(_))));
    format.panics += usize::from(is_panic);
    format.slowest = format.slowest.max(took);
    format.most_bytes = format.most_bytes.max(memory);
    match result {
        Ok(Ok(_)) => seen.decoded += 1,
        Ok(Err(error)) => *seen.refused.entry(error.kind()).or_default() += 1,
        Err(_) => {}
    }
    if is_panic {
        seen.panics += 1;
    }
    if took > seen.slowest.0 {
        seen.slowest = (took, name.to_owned());
    }
    if memory > seen.largest.0 {
        seen.largest = (memory, name.to_owned());
    }
    if is_panic || took > MAX_TIME || memory > MAX_BYTES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("finds");
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        std::fs::write(folder.join(name), bytes).expect("the file can be written");
        seen.finds.push(name.to_owned());
    }
}
