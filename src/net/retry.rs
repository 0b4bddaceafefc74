//! A failed attempt → whether, and after how long, another is worth making.

use std::env;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use ureq::http::StatusCode;

/// How often something is asked for before it is given up.
pub const MOST_TRIES: u32 = 4;
/// The pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause, whatever a server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Milliseconds instead of [`FIRST_PAUSE`], for tests.
const FIRST_PAUSE_VARIABLE: &str = "CLIPCLASS_FIRST_PAUSE_MS";

/// Whether a server that answers so may answer otherwise in a while.
pub fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// How long a `Retry-After` asks to wait: seconds, or a date.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

/// The attempts made at one thing.
#[derive(Debug)]
pub struct Tries {
    made: u32,
    deadline: Option<Instant>,
    first_pause: Duration,
}

impl Tries {
    pub(super) fn new(deadline: Option<Instant>) -> Self {
        let first_pause = env::var(FIRST_PAUSE_VARIABLE).ok().and_then(|text| text.parse().ok());
        let first_pause = first_pause.map_or(FIRST_PAUSE, Duration::from_millis);
        Self { made: 1, deadline, first_pause }
    }

    /// How many were made, with the one that is going on.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Waits until the next try, as long as the server asked for or longer each time.
    ///
    /// False, at once, when this was the last of four, or when the pause would go beyond
    /// the time there is.
    pub fn again(&mut self, asked: Option<Duration>) -> bool {
        let pause = asked.unwrap_or(self.first_pause * 2u32.pow(self.made - 1)).min(LONGEST_PAUSE);
        let has_time = self.deadline.is_none_or(|deadline| Instant::now() + pause < deadline);
        if self.made >= MOST_TRIES || !has_time {
            return false;
        }
        thread::sleep(pause);
        self.made += 1;
        true
    }

    /// Counts anew: the try that is going on has brought something.
    pub fn succeed_in_part(&mut self) {
        self.made = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_asks_to_wait_for_seconds_or_until_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let asked = |value| retry_after(value, now);
        assert_eq!(asked(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }

    #[test]
    fn tries_are_few_unless_one_brings_something() {
        let mut tries = Tries::new(None);
        let mut more = || tries.again(Some(Duration::ZERO));
        assert_eq!([more(), more(), more(), more()], [true, true, true, false]);
        assert_eq!(tries.made(), MOST_TRIES);
        tries.succeed_in_part();
        assert!(tries.again(Some(Duration::ZERO)));
    }

    #[test]
    fn nothing_waits_beyond_its_time() {
        let soon = Some(Instant::now() + Duration::from_secs(20));
        assert!(!Tries::new(soon).again(Some(Duration::from_secs(25))));
    }
}
