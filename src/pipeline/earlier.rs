//! What the newest images of a run gave, for links among the members of an archive that is a stream.

use crate::input::ImageName;
use crate::report::Failure;
use std::collections::{HashMap, VecDeque};

/// The most that is kept; 8,000 images of ViT-B/32.
const MOST_BYTES: usize = 16 << 20;

/// What an image gave: its embedding, or why it has none.
type Outcome = Result<Vec<f32>, Failure>;

/// The newest images' outcomes by name.
#[derive(Default)]
pub(super) struct EarlierImages {
    outcomes: HashMap<ImageName, Outcome>,
    order: VecDeque<ImageName>,
    bytes: usize,
}

impl EarlierImages {
    /// Keeps what `image` gave, and lets the oldest go where that is too much.
    pub(super) fn keep(&mut self, image: ImageName, outcome: Outcome) {
        self.bytes += bytes(&image, &outcome);
        if let Some(replaced) = self.outcomes.insert(image.clone(), outcome) {
            self.bytes -= bytes(&image, &replaced);
        } else {
            self.order.push_back(image);
        }
        while self.bytes > MOST_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(outcome) = self.outcomes.remove(&oldest) {
                self.bytes -= bytes(&oldest, &outcome);
            }
        }
    }

    /// What `image` gave.
    ///
    /// *Errors* as the image did, or of the kind `archive` when it is not kept any more.
    pub(super) fn outcome(&self, image: &ImageName) -> Outcome {
        self.outcomes.get(image).cloned().unwrap_or_else(|| {
            Err(Failure {
                kind: "archive",
                message: format!(
                    "a link to {image}, which passed too long ago to be known; give the archive as a file"
                ),
            })
        })
    }
}

fn bytes(image: &ImageName, outcome: &Outcome) -> usize {
    let outcome = match outcome {
        Ok(embedding) => size_of_val(&embedding[..]),
        Err(failure) => failure.message.len(),
    };
    // The name is kept twice, beside what the tables themselves take.
    2 * image.as_os_str().len() + outcome + 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known_and_the_oldest_let_go() {
        let mut earlier = EarlierImages::default();
        let name = |i: usize| ImageName::new(format!("{i}.jpg"));
        let count = MOST_BYTES / 4096;
        for i in 0..count {
            earlier.keep(name(i), Ok(vec![i as f32; 1024]));
            assert!(earlier.bytes <= MOST_BYTES);
        }
        assert_eq!(earlier.outcome(&name(count - 1)).unwrap()[0], (count - 1) as f32);
        let gone = earlier.outcome(&name(0)).unwrap_err();
        assert_eq!(gone.kind, "archive");
        assert!(gone.message.contains("0.jpg"), "{gone:?}");
    }

    #[test]
    fn of_one_name_the_newest_counts_and_a_failure_is_shared() {
        let mut earlier = EarlierImages::default();
        let image = ImageName::new("a.jpg");
        let failure = Failure { kind: "decode", message: "cut off".into() };
        earlier.keep(image.clone(), Ok(vec![1.0]));
        earlier.keep(image.clone(), Err(failure.clone()));
        assert_eq!(earlier.outcome(&image), Err(failure));
    }
}
