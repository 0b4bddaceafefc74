//! A panic → words for whoever meets it.
//!
//! Whatever panics here is a bug, in clipclass or in a decoder it uses. None may take more with it than
//! the image it was at work on, and none prints lines of its own between the records: what happened
//! becomes a failure like any other.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, PoisonError};
use std::{env, fmt};

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

/// Lets panics of this process pass without lines of their own; with `RUST_BACKTRACE` they keep them.
pub fn silence_panics() {
    let print = panic::take_hook();
    let speaks = env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    panic::set_hook(Box::new(move |info: &PanicHookInfo| {
        let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
        let bug = Bug { message: message(info.payload()), place };
        *NEWEST.lock().unwrap_or_else(PoisonError::into_inner) = Some(bug);
        if speaks {
            print(info);
        }
    }));
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
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_what_it_said() {
        assert_eq!(caught(|| 1), Ok(1));
        let bug = caught(|| panic!("no {} here", "luck")).unwrap_err();
        assert!(bug.to_string().starts_with("no luck here"), "{bug}");
        let odd = caught(|| panic::panic_any(3)).unwrap_err();
        assert!(odd.to_string().starts_with("no reason given"), "{odd}");
    }
}
