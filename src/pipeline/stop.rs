//! Ctrl-C and SIGTERM → a run that ends between two batches, with whole lines printed and what it began
//! cleared away.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::ffi::c_int;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// The signal that asked the run to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ended by signal {signal}")]
pub struct Interrupted {
    signal: c_int,
}

impl Interrupted {
    /// Ends the process by the signal, as if nothing had caught it: a shell's loop then ends, too.
    ///
    /// Returns the exit code that shells show for it where there is no such end.
    pub fn die(self) -> ExitCode {
        #[cfg(unix)]
        let _ = signal_hook::low_level::emulate_default_handler(self.signal);
        ExitCode::from(128 + self.signal as u8)
    }
}

/// Whether the user asked for an end. All runs of a process share it, as they do its signals.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Lets signals ask for an end from now on. The second one ends the process, which may be stuck in
    /// a pipe that nobody reads.
    pub(super) fn watch() -> Result<Self> {
        static WATCHED: OnceLock<Stop> = OnceLock::new();
        if let Some(stop) = WATCHED.get() {
            return Ok(stop.clone());
        }
        let stop = Self { signal: Arc::default() };
        let watch = |signal| -> io::Result<()> {
            let again = Arc::new(AtomicBool::new(false));
            flag::register_conditional_default(signal, again.clone())?;
            flag::register(signal, again)?;
            flag::register_usize(signal, stop.signal.clone(), signal as usize)?;
            Ok(())
        };
        [SIGINT, SIGTERM].into_iter().try_for_each(watch).context("cannot watch for Ctrl-C")?;
        Ok(WATCHED.get_or_init(|| stop).clone())
    }

    /// What asked for an end, if anything did.
    pub(super) fn requested(&self) -> Option<Interrupted> {
        match self.signal.load(Relaxed) {
            0 => None,
            signal => Some(Interrupted { signal: signal as c_int }),
        }
    }
}
