//! A share of the files → a line for each, on standard output.

use crate::Run;
use crate::seen::{Outcome, Tried};
use clipclass::pixels::{Picture, PixelsError};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The exit status of a worker that is to be started again.
pub const STARTS_ANEW: i32 = 3;

/// A file that takes longer may have left a thread behind.
const MAY_LEAVE_THREADS: Duration = Duration::from_secs(20);

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

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes);
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: The caller keeps the contract, which is the same.
        unsafe { System.realloc(pointer, layout, bytes) }
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

/// Tries every file of `run` from `first` on in steps of `every`.
pub fn work(run: &Run, first: usize, every: usize) -> ExitCode {
    // One core is one worker's.
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("nobody has built the pool yet");
    std::panic::set_hook(Box::new(|information| {
        let place = information.location().map(|place| {
            let (_, file) = place.file().rsplit_once("registry/src/").unwrap_or(("", place.file()));
            format!("{file}:{}", place.line())
        });
        *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = place.unwrap_or_default();
    }));
    let mut output = std::io::stdout().lock();
    for number in (first..run.files()).step_by(every) {
        let (_, _, bytes) = run.file(number);
        let (tried, took) = try_one(&bytes);
        writeln!(output, "{tried}").expect("somebody listens");
        if tried.outcome == Outcome::Panic || took > MAY_LEAVE_THREADS {
            return ExitCode::from(STARTS_ANEW as u8);
        }
    }
    ExitCode::SUCCESS
}

/// Where the newest panic was.
static PLACE: Mutex<String> = Mutex::new(String::new());

fn try_one(bytes: &[u8]) -> (Tried, Duration) {
    PLACE.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let before = ALLOCATED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let began = Instant::now();
    let result = std::panic::catch_unwind(|| Picture::decode(bytes));
    let took = began.elapsed();
    let outcome = match &result {
        Err(_) => Outcome::Escape,
        Ok(Err(PixelsError::Decode(message))) if message.contains("makes its decoder fail") => Outcome::Panic,
        Ok(Err(PixelsError::Limit(_))) => Outcome::Limit,
        Ok(Err(_)) => Outcome::Refused,
        Ok(Ok(_)) => Outcome::Decoded,
    };
    let bytes = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (Tried { outcome, micros: took.as_micros() as u64, bytes, place }, took)
}
