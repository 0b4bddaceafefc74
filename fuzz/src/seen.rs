//! What was tried → what is to be said of it.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

/// The most memory that clipclass says a picture takes, and what one allocation may go over it.
const MAX_BYTES: usize = (2 << 30) + (64 << 20);
/// The longest that clipclass says a small file takes. Checks of overflow make decoders slower.
const MAX_MICROS: u64 = 60_000_000;

/// How many files of each kind of find are kept.
const MAX_KEPT: usize = 5;

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
    /// A panic that nothing in clipclass caught.
    Escape,
    /// The process came to its end.
    Abort,
    /// The process had to be ended.
    Hang,
}

const OUTCOMES: [(Outcome, &str); 7] = [
    (Outcome::Decoded, "decoded"),
    (Outcome::Refused, "refused"),
    (Outcome::Limit, "limit"),
    (Outcome::Panic, "panic"),
    (Outcome::Escape, "escape"),
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
#[derive(Debug, Clone)]
pub struct Tried {
    pub outcome: Outcome,
    pub micros: u64,
    /// The most memory that was in use.
    pub bytes: usize,
    /// Where the newest panic was, if there was one.
    pub place: String,
}

impl Tried {
    /// Reads what [`Display`](fmt::Display) wrote.
    pub fn read(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let name = words.next()?;
        let outcome = OUTCOMES.iter().find(|(_, found)| *found == name)?.0;
        let (micros, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { outcome, micros, bytes, place: words.next()?.to_owned() })
    }

    /// Why somebody has to look at it, if so.
    pub fn find(&self) -> Option<String> {
        let outcome = self.outcome;
        match outcome {
            Outcome::Panic | Outcome::Escape => Some(format!("{outcome} at {}", self.place)),
            Outcome::Abort if !self.place.is_empty() => Some(format!("{outcome} at {}", self.place)),
            Outcome::Abort | Outcome::Hang => Some(outcome.to_string()),
            _ if self.micros > MAX_MICROS => Some("too slow".into()),
            _ if self.bytes > MAX_BYTES => Some("too much memory".into()),
            _ => None,
        }
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {} {} {}", self.outcome, self.micros, self.bytes, self.place)
    }
}

/// All that was tried.
#[derive(Default)]
pub struct Seen {
    /// Files by why they were found.
    pub finds: BTreeMap<String, Vec<String>>,
    /// What clipclass does not survive, or not within its limits.
    pub failures: usize,
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
    /// Takes what was tried, and says whether the file is to be kept: some of each find are.
    pub fn add(&mut self, name: &str, format: &str, tried: &Tried) -> bool {
        let seen = self.formats.entry(format.to_owned()).or_default();
        *seen.outcomes.entry(tried.outcome).or_default() += 1;
        if tried.micros > seen.slowest.0 {
            seen.slowest = (tried.micros, name.to_owned());
        }
        if tried.bytes > seen.largest.0 {
            seen.largest = (tried.bytes, name.to_owned());
        }
        let Some(find) = tried.find() else { return false };
        self.failures += usize::from(tried.outcome != Outcome::Panic);
        let names = self.finds.entry(find).or_default();
        names.push(name.to_owned());
        names.len() <= MAX_KEPT
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
        write(format_args!(
            "{} kinds of finds; {} files that clipclass does not cope with",
            self.finds.len(),
            self.failures
        ));
        for (find, names) in &self.finds {
            let some = names.iter().take(MAX_KEPT).map(String::as_str).collect::<Vec<_>>().join(", ");
            write(format_args!("{} × {find}: {some}", names.len()));
        }
        report
    }
}
