//! A decoder that may abort, or not come back → a result, or the failure of one image.
//!
//! Some decoders of others bound neither their time by what they are given, nor can they be stopped from
//! outside, and one panics through functions for C, which would abort the process. Such a decoder gets a
//! thread of its own. When it panics or takes too long, the thread is given up and left where it is: it
//! cannot be ended, only the process can. What such threads hold together is limited as well.

use super::makes_decoder_fail;
use crate::PixelsError;
use crate::bug;
use crate::decode::MAX_DECODE_BYTES;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a decoder may take for a file of any size, and how much longer for each MiB of it. The slowest
/// honest picture, one of the most pixels that are allowed, takes a third of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most memory that is held by threads that were given up and are still there.
const MAX_HELD_BYTES: u64 = MAX_DECODE_BYTES;
/// What one counts for that goes on: it takes a core as well.
const SLOW_BYTES: u64 = MAX_HELD_BYTES / 8;
/// What Linux gives a program's first thread.
const STACK_BYTES: usize = 8 << 20;

/// How a decoder is called, which decides what a panic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// It unwinds.
    Rust,
    /// It aborts the process, unless the thread stops there and holds what it has.
    C { most_bytes: u64 },
}

static HELD_BYTES: AtomicU64 = AtomicU64::new(0);

/// When the decoding of a file has to be over.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    patience: Duration,
}

impl Deadline {
    /// The deadline of a file that has so many bytes, from now on.
    pub fn of(bytes: &[u8]) -> Self {
        let mib = u32::try_from(bytes.len() >> 20).unwrap_or(u32::MAX);
        Self::within(PATIENCE.saturating_mul(mib.saturating_add(1)))
    }

    fn within(patience: Duration) -> Self {
        Self { at: Instant::now() + patience, patience }
    }

    /// *Errors* when the deadline is past.
    pub fn check(self) -> Result<(), PixelsError> {
        if Instant::now() < self.at { Ok(()) } else { Err(self.too_slow()) }
    }

    fn too_slow(self) -> PixelsError {
        PixelsError::Limit(format!(
            "decoding takes more than {} s, the limit for a file of this size; save the image anew, as JPEG or PNG",
            self.patience.as_secs()
        ))
    }
}

/// Decodes on a thread of its own, until `deadline`.
///
/// *Errors* as `decode` does, when it panics, and when it is not done in time.
pub fn apart<T: Send + 'static>(
    deadline: Deadline,
    interface: Interface,
    decode: impl FnOnce() -> Result<T, PixelsError> + Send + 'static,
) -> Result<T, PixelsError> {
    if HELD_BYTES.load(Ordering::Relaxed) >= MAX_HELD_BYTES {
        return Err(PixelsError::Limit(
            "images before it have brought many decoders to a standstill, and this one needs such a decoder; run clipclass again, without them".into(),
        ));
    }
    let (sender, result) = mpsc::channel();
    // Whoever is done first says so: the decoder, or the one who waits for it.
    let is_over = Arc::new(AtomicBool::new(false));
    let is_decoded = Arc::clone(&is_over);
    let work = move || {
        // Nobody hears it who has given up already.
        let tell = move |told| drop(sender.send(told));
        if let Interface::C { most_bytes } = interface {
            let tell = tell.clone();
            let is_over = Arc::clone(&is_decoded);
            bug::stop_at_panic(move |bug| {
                if !is_over.swap(true, Ordering::Relaxed) {
                    HELD_BYTES.fetch_add(most_bytes + STACK_BYTES as u64 / 2, Ordering::Relaxed);
                }
                tell(Err(bug));
            });
        }
        tell(bug::caught(decode));
        if is_decoded.swap(true, Ordering::Relaxed) {
            HELD_BYTES.fetch_sub(SLOW_BYTES, Ordering::Relaxed);
        }
    };
    thread::Builder::new()
        .name("decoder".into())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|error| PixelsError::Decode(format!("a thread for decoding cannot be started: {error}")))?;
    let told = match result.recv_timeout(deadline.at.saturating_duration_since(Instant::now())) {
        Err(RecvTimeoutError::Timeout) => {
            HELD_BYTES.fetch_add(SLOW_BYTES, Ordering::Relaxed);
            if !is_over.swap(true, Ordering::Relaxed) {
                return Err(deadline.too_slow());
            }
            HELD_BYTES.fetch_sub(SLOW_BYTES, Ordering::Relaxed);
            result.try_recv().ok()
        }
        told => told.ok(),
    };
    match told {
        Some(Ok(decoded)) => decoded,
        Some(Err(_)) | None => Err(makes_decoder_fail()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bug::tests::alone;

    /// All in one, for the threads given up are counted for the whole process.
    #[test]
    fn a_decoder_that_panics_or_goes_on_for_ever_costs_one_image() {
        extern "C" fn fails() {
            panic!("as C");
        }
        alone("decode::apart::tests::a_decoder_that_panics_or_goes_on_for_ever_costs_one_image", || {
            let now = Deadline::of(&[]);
            let as_c = Interface::C { most_bytes: 1000 };
            assert_eq!(apart(now, as_c, || Ok(7)).unwrap(), 7);
            let unwinds = apart(now, Interface::Rust, || -> Result<(), _> { panic!("as Rust") });
            assert_eq!((unwinds.unwrap_err().kind(), HELD_BYTES.load(Ordering::Relaxed)), ("decode", 0));
            let aborts = apart(now, as_c, || {
                fails();
                Ok(())
            });
            assert_eq!(aborts.unwrap_err().kind(), "decode");
            assert!(HELD_BYTES.load(Ordering::Relaxed) > 1000);
            let (stop, stopped) = mpsc::channel::<()>();
            let slow = apart(Deadline::within(Duration::ZERO), Interface::Rust, move || {
                let _ = stopped.recv();
                Ok(())
            });
            let error = slow.unwrap_err();
            assert!(error.kind() == "limit" && error.to_string().contains("more than 0 s"), "{error}");
            drop(stop);
            assert_eq!(apart(now, as_c, || Ok(8)).unwrap(), 8);
        });
    }

    #[test]
    fn larger_files_may_take_longer() {
        assert_eq!(Deadline::of(&[0; 200]).patience, PATIENCE);
        assert_eq!(Deadline::of(&vec![0; 3 << 20]).patience, 4 * PATIENCE);
        assert_eq!(Deadline::within(Duration::ZERO).check().unwrap_err().kind(), "limit");
    }
}
