//! A panic → words for whoever meets it.
//!
//! Whatever panics here is a bug, in clipclass or in a decoder it uses. None may take more with it than
//! the image it was at work on, and none prints lines of its own between the records: what happened
//! becomes a failure like any other.
//!
//! That holds even for code that is called as C is. Unwinding out of such a function aborts the process,
//! so a thread that calls one stops within its panic instead, before anything unwinds.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::{env, fmt, thread};

/// What a panic said, and where it was, if that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Bug {
    message: String,
    place: Option<String>,
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{} ({place})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The newest panic of the process, as its hook saw it.
static NEWEST: Mutex<Option<Bug>> = Mutex::new(None);

/// Whether panics print no lines of their own.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Who is told of a panic.
type LastWords = Box<dyn FnOnce(Bug)>;

thread_local! {
    /// Who is told when this thread panics, if it is to stop there.
    static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

/// Lets panics of this process pass without lines of their own; with `RUST_BACKTRACE` they keep them.
pub fn silence_panics() {
    SILENT.store(true, Ordering::Relaxed);
    watch_panics();
}

/// From now on a panic of this thread is told to `told` and is the end of it: the thread sleeps for ever
/// where it is, and what it owns stays.
///
/// The process may not set another panic hook afterwards: that would wait for the thread.
pub fn stop_at_panic(told: impl FnOnce(Bug) + 'static) {
    watch_panics();
    LAST_WORDS.set(Some(Box::new(told)));
}

fn watch_panics() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let print = panic::take_hook();
        let speaks = env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
        panic::set_hook(Box::new(move |info: &PanicHookInfo| {
            let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
            let bug = Bug { message: message(info.payload()), place };
            *NEWEST.lock().unwrap_or_else(PoisonError::into_inner) = Some(bug.clone());
            if speaks || !SILENT.load(Ordering::Relaxed) {
                print(info);
            }
            // A thread that is about to end has nobody to tell any more.
            if let Ok(Some(told)) = LAST_WORDS.try_with(RefCell::take) {
                told(bug);
                loop {
                    thread::park();
                }
            }
        }));
    });
}

/// Does `work`.
///
/// *Errors* when it panics.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Bug> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| of_panic(&*payload))
}

/// What the payload of a panic says.
pub fn of_panic(payload: &(dyn Any + Send)) -> Bug {
    let message = message(payload);
    let newest = NEWEST.lock().unwrap_or_else(PoisonError::into_inner);
    // Another thread may have panicked since.
    let place = newest.as_ref().filter(|newest| newest.message == message);
    Bug { place: place.and_then(|newest| newest.place.clone()), message }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no reason given").to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::process::{self, Command};
    use std::sync::mpsc;

    /// Does `test`, of that name, in a process of its own: where a thread has stopped at its panic, the
    /// harness would wait for the hook at its end.
    pub(crate) fn alone(name: &str, test: impl FnOnce()) {
        const ALONE: &str = "CLIPCLASS_TEST_ALONE";
        if env::var_os(ALONE).is_some() {
            process::exit(caught(test).is_err().into());
        }
        let program = env::current_exe().unwrap();
        let run = Command::new(program).args(["--exact", name, "--nocapture"]).env(ALONE, "1").output();
        let run = run.unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("running 1 test"), "{said}{run:?}");
    }

    #[test]
    fn a_panic_is_caught_with_what_it_said() {
        assert_eq!(caught(|| 1), Ok(1));
        let bug = caught(|| panic!("no {} here", "luck")).unwrap_err();
        assert!(bug.to_string().starts_with("no luck here"), "{bug}");
        let odd = caught(|| panic::panic_any(3)).unwrap_err();
        assert!(odd.to_string().starts_with("no reason given"), "{odd}");
    }

    #[test]
    fn a_panic_that_would_abort_the_process_stops_its_thread() {
        extern "C" fn fails() {
            panic!("never {} C", "unwind");
        }
        alone("bug::tests::a_panic_that_would_abort_the_process_stops_its_thread", || {
            let (sender, told) = mpsc::channel();
            thread::spawn(move || {
                stop_at_panic(move |bug| sender.send(bug).unwrap());
                fails();
            });
            assert!(told.recv().unwrap().to_string().starts_with("never unwind C"));
        });
    }
}
