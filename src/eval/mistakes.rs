//! The predictions that are furthest from the truth, as many as can be looked at.

use crate::pixels::Picture;
use crate::report::html::Thumbnail;
use anyhow::Result;
use serde::Serialize;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The most mistakes that are kept.
const MOST: usize = 100;

/// An image that was taken for something else.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mistake {
    pub image: String,
    pub label: String,
    pub prediction: Option<String>,
    /// Probability of the best label or decoy.
    pub probability: f32,
    /// Probability of the label that it has; absent where it has none.
    pub label_probability: Option<f32>,
    /// How far the logit of the best label is above that of its own.
    #[serde(skip)]
    pub logit_gap: f32,
    /// Where pictures are shown.
    #[serde(skip)]
    pub thumbnail: Option<Thumbnail>,
}

/// The worst mistakes.
#[derive(Debug, Clone, Default)]
pub struct Mistakes {
    kept: BinaryHeap<Reverse<Worse>>,
    count: u64,
}

#[derive(Debug, Clone)]
struct Worse(Mistake);

impl Mistakes {
    /// Adds a mistake, with its picture where it is shown, and lets the least bad one go where there are
    /// too many.
    ///
    /// *Errors* when the picture cannot be encoded.
    pub fn add(&mut self, mistake: Mistake, picture: Option<&Picture>) -> Result<()> {
        self.count += 1;
        let mut worse = Worse(mistake);
        if self.kept.len() == MOST {
            // Pictures are encoded for those alone that are kept.
            if self.kept.peek().is_some_and(|Reverse(least)| worse <= *least) {
                return Ok(());
            }
            self.kept.pop();
        }
        worse.0.thumbnail = picture.map(Thumbnail::new).transpose()?;
        self.kept.push(Reverse(worse));
        Ok(())
    }

    /// The worst first.
    pub fn worst_first(&self) -> Vec<&Mistake> {
        let mut mistakes: Vec<_> = self.kept.iter().map(|Reverse(worse)| worse).collect();
        mistakes.sort_unstable_by(|a, b| b.cmp(a));
        mistakes.into_iter().map(|worse| &worse.0).collect()
    }

    /// How many there were, kept or not.
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl Ord for Worse {
    fn cmp(&self, other: &Self) -> Ordering {
        // Of equals the first name counts as the worst.
        self.0.logit_gap.total_cmp(&other.0.logit_gap).then_with(|| other.0.image.cmp(&self.0.image))
    }
}

impl PartialOrd for Worse {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worse {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Worse {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_kept_and_all_are_counted() {
        let mut mistakes = Mistakes::default();
        for i in 0..250 {
            let mistake = Mistake {
                image: format!("{i:03}.jpg"),
                label: "a".into(),
                prediction: None,
                probability: 0.5,
                label_probability: None,
                // Pairs of equals, in another order than the names'.
                logit_gap: ((i * 7 % 250) / 2) as f32,
                thumbnail: None,
            };
            mistakes.add(mistake, None).unwrap();
        }
        let worst = mistakes.worst_first();
        assert_eq!(
            (worst.len(), mistakes.count(), worst[0].logit_gap, worst[99].logit_gap),
            (100, 250, 124.0, 75.0)
        );
        assert!(worst.is_sorted_by(|a, b| a.logit_gap > b.logit_gap || a.image < b.image));
    }
}
