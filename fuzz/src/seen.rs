//! What was tried → what is to be said of it.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

/// The most memory that clipclass says a picture takes, and what one allocation may go over it.
const MAX_BYTES: usize = (2 << 30) + (64 << 20);
/// The longest that clipclass says a small file takes. Checks of overflow make decoders slower.
const MAX_MICROS: u64 = 60_000_000;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Decoded,
    /// Refused, for it is damaged or not read.
    Refused,
    /// Refused, for it asks for too much.
    Limit,
    /// Refused, for its decoder panicked.
    Panic,
    /// The process came to its end.
    Abort,
    /// The process had to be ended.
    Hang,
}

const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Decoded, "decoded"),
    (Outcome::Refused, "refused"),
    (Outcome::Limit, "limit"),
    (Outcome::Panic, "panic"),
    (Outcome::Abort, "abort"),
    (Outcome::Hang, "hang"),
];

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = OUTCOMES.iter().find(|(outcome, _)| outcome == self).map(|(_, name)| *name);
        f.pad(name.expect("every outcome has a name"))
    }
}

/// What a worker tells of a file.
#[derive(Debug, Clone, Copy)]
pub struct Tried {
    pub outcome: Outcome,
    pub micros: u64,
    /// The most memory that was in use.
    pub bytes: usize,
}

impl Tried {
    /// Reads what [`Display`](fmt::Display) wrote.
    pub fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let name = words.next()?;
        let outcome = OUTCOMES.iter().find(|(_, found)| *found == name)?.0;
        Some(Self { outcome, micros: words.next()?.parse().ok()?, bytes: words.next()?.parse().ok()? })
    }

    /// Whether somebody has to look at it.
    pub fn is_find(&self) -> bool {
        matches!(self.outcome, Outcome::Panic | Outcome::Abort | Outcome::Hang)
            || self.micros > MAX_MICROS
            || self.bytes > MAX_BYTES
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {} {}", self.outcome, self.micros, self.bytes)
    }
}

/// All that was tried.
#[derive(Default)]
pub struct Seen {
    pub finds: Vec<(Outcome, String)>,
    formats: BTreeMap<String, FormatSeen>,
}

/// What was tried of one format.
#[derive(Default)]
struct FormatSeen {
    outcomes: BTreeMap<Outcome, usize>,
    slowest: (u64, String),
    largest: (usize, String),
}

impl Seen {
    pub fn add(&mut self, name: String, format: &str, tried: Tried) {
        let seen = self.formats.entry(format.to_owned()).or_default();
        *seen.outcomes.entry(tried.outcome).or_default() += 1;
        if tried.micros > seen.slowest.0 {
            seen.slowest = (tried.micros, name.clone());
        }
        if tried.bytes > seen.largest.0 {
            seen.largest = (tried.bytes, name.clone());
        }
        if tried.is_find() {
            self.finds.push((tried.outcome, name));
        }
    }

    pub fn files(&self) -> usize {
        self.formats.values().flat_map(|seen| seen.outcomes.values()).sum()
    }

    /// A table with a row for each format, and the finds.
    pub fn report(&self, took: Duration) -> String {
        let mut report = String::new();
        let mut write = |line: fmt::Arguments| writeln!(report, "{line}").expect("a string takes all");
        write(format_args!("{} files in {:.0} s", self.files(), took.as_secs_f64()));
        let names = OUTCOMES.map(|(outcome, _)| format!("{outcome:>9}")).concat();
        write(format_args!("format    files{names}  slowest ms  most MiB  slowest file; largest file"));
        for (format, seen) in &self.formats {
            let count = |outcome| seen.outcomes.get(&outcome).copied().unwrap_or_default();
            let counts = OUTCOMES.map(|(outcome, _)| format!("{:>9}", count(outcome))).concat();
            let files: usize = seen.outcomes.values().sum();
            let ((micros, slow), (bytes, large)) = (&seen.slowest, &seen.largest);
            let (ms, mib) = (micros / 1000, bytes >> 20);
            write(format_args!("{format:<6} {files:>8}{counts} {ms:>11} {mib:>9}  {slow}; {large}"));
        }
        write(format_args!("{} finds", self.finds.len()));
        for (outcome, name) in &self.finds {
            write(format_args!("{outcome}: {name}"));
        }
        report
    }
}
