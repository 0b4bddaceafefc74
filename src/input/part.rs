//! `I/N` → whether a source belongs to this run's part of the work.

use std::fmt;
use std::str::FromStr;

/// One of N equal parts of the sources, dealt out like cards: part 1 of 3 has the 1st, 4th, 7th, …
///
/// Dealing needs no count of the sources, so every part starts at once and none is longer than
/// another by more than one; and a folder's or a shard's run of heavy images is spread over all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// From 0.
    index: u64,
    count: u64,
}

impl fmt::Display for Part {
    /// As the command line has it.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.count)
    }
}

/// Why a text names no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    #[error("not of the form I/N, such as 1/8")]
    Form,
    #[error("parts are counted from 1: the first is 1/{count}, the last {count}/{count}")]
    Range { count: u64 },
    #[error("the number of parts must be at least 1")]
    Count,
}

impl Part {
    /// The `index`-th of `count` parts, from 1.
    pub fn new(index: u64, count: u64) -> Result<Self, PartError> {
        match (index, count) {
            (_, 0) => Err(PartError::Count),
            (1.., _) if index <= count => Ok(Self { index: index - 1, count }),
            _ => Err(PartError::Range { count }),
        }
    }
}

impl FromStr for Part {
    type Err = PartError;

    fn from_str(text: &str) -> Result<Self, PartError> {
        let (index, count) = text.split_once('/').ok_or(PartError::Form)?;
        let number = |text: &str| text.trim().parse().map_err(|_| PartError::Form);
        Self::new(number(index)?, number(count)?)
    }
}

/// Deals the sources out, by position.
#[derive(Debug)]
pub(super) struct Deal {
    part: Part,
    position: u64,
}

impl Deal {
    /// All sources, or those of one part.
    pub(super) fn new(part: Option<Part>) -> Self {
        Self { part: part.unwrap_or(Part { index: 0, count: 1 }), position: 0 }
    }

    /// Passes one source, and tells whether this run has to read it.
    pub(super) fn take(&mut self) -> bool {
        let ours = self.position % self.part.count == self.part.index;
        self.position += 1;
        ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!("2/3".parse(), Part::new(2, 3));
        assert_eq!(Part::new(2, 3).unwrap().to_string(), "2/3");
        assert_eq!("0/3".parse::<Part>(), Err(PartError::Range { count: 3 }));
        assert_eq!("4/3".parse::<Part>(), Err(PartError::Range { count: 3 }));
        assert_eq!("1/0".parse::<Part>(), Err(PartError::Count));
        for text in ["", "1", "/", "a/b", "-1/3", "1/2/3"] {
            assert_eq!(text.parse::<Part>(), Err(PartError::Form), "{text}");
        }
    }

    #[test]
    fn the_parts_together_are_the_whole_and_overlap_nowhere() {
        let mut owners = vec![Vec::new(); 10];
        for index in 1..=3 {
            let mut deal = Deal::new(Some(Part::new(index, 3).unwrap()));
            for owner in &mut owners {
                if deal.take() {
                    owner.push(index);
                }
            }
        }
        let dealt: Vec<_> = (0..10).map(|position| vec![position % 3 + 1]).collect();
        assert_eq!(owners, dealt);
    }
}
