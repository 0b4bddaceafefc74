//! A prompt as it is written → as it goes to the tokenizer.
//!
//! Vocabularies know the text that they were trained on, and that had been cleaned: an upper-case
//! letter or a full stop may be a token that the network never saw. Leaving it out costs SigLIP 2 a
//! tenth of its accuracy. What is white space, lower case and punctuation is as Python says, in which
//! all of these cleanings are written.

mod html;
pub mod mojibake;
mod repairs;

use std::fmt;

/// `--text-cleaning`: how prompts are cleaned before they are tokenized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextCleaning {
    /// As SigLIP was trained: lower case, without punctuation, spaces squeezed.
    Canonical,
    /// As the library that the model's folder was written for does it.
    Folder,
    /// Not at all.
    None,
}

impl TextCleaning {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Canonical, Self::Folder, Self::None];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Canonical => "canonical",
            Self::Folder => "folder",
            Self::None => "none",
        }
    }
}

impl fmt::Display for TextCleaning {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the library that a model's folder was written for cleans a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderCleaning {
    /// It leaves that to the tokenizer's files: transformers, for CLIP and SigLIP 2.
    Nothing,
    /// transformers' `SiglipTokenizer`: lower case, without punctuation, spaces squeezed.
    Siglip,
    /// open_clip's `whitespace`: text repaired, spaces squeezed.
    Whitespace,
    /// open_clip's `lower`: as `whitespace`, and lower case.
    Lower,
    /// open_clip's `canonicalize`: text repaired, then as SigLIP was trained.
    Canonicalize,
}

impl FolderCleaning {
    /// Whether open_clip's repairs come before all else.
    fn repairs(self) -> bool {
        matches!(self, Self::Whitespace | Self::Lower | Self::Canonicalize)
    }

    /// Cleans a prompt.
    pub fn clean(self, prompt: &str) -> String {
        match self {
            Self::Nothing => prompt.to_owned(),
            Self::Siglip => squeeze(&without_punctuation(&prompt.to_lowercase())),
            Self::Whitespace => squeeze(&repaired(prompt)),
            Self::Lower => squeeze(&repaired(prompt)).to_lowercase(),
            Self::Canonicalize => canonical(&repaired(prompt)),
        }
    }

    /// Cleans a prompt as SigLIP was trained, after the repairs that the folder's library makes.
    pub fn clean_canonically(self, prompt: &str) -> String {
        if self.repairs() { canonical(&repaired(prompt)) } else { canonical(prompt) }
    }
}

/// `canonicalize_text` of big_vision, which trained SigLIP (`evaluators/proj/image_text/
/// prompt_engineering.py`).
fn canonical(text: &str) -> String {
    squeeze(&without_punctuation(&text.replace('_', " ")).to_lowercase())
}

/// open_clip's `basic_clean`.
fn repaired(text: &str) -> String {
    strip(&html::unescape(&html::unescape(&repairs::fix_text(text)))).to_owned()
}

/// Without Python's `string.punctuation`.
fn without_punctuation(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_punctuation()).collect()
}

/// Words with one space between, as `" ".join(text.split())`.
fn squeeze(text: &str) -> String {
    text.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `str.isspace`, which takes four separators of ASCII for white space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_text_has_no_punctuation_no_capitals_and_single_spaces() {
        assert_eq!(canonical("  A_Photo, of:\ta CAT! \x1c(it's  é. —)"), "a photo of a cat its é —");
    }

    #[test]
    fn transformers_drops_the_underscore_where_the_training_made_it_a_space() {
        assert_eq!(FolderCleaning::Siglip.clean("snake_case"), "snakecase");
        assert_eq!(FolderCleaning::Nothing.clean_canonically("snake_case"), "snake case");
    }

    #[test]
    fn only_open_clips_cleanings_repair_the_text() {
        assert_eq!(FolderCleaning::Whitespace.clean("Tom &amp;  ﬂower"), "Tom & flower");
        assert_eq!(FolderCleaning::Lower.clean("Tom &amp; Jerry"), "tom & jerry");
        assert_eq!(FolderCleaning::Canonicalize.clean_canonically("Tom &amp; Jerry"), "tom jerry");
        assert_eq!(FolderCleaning::Siglip.clean_canonically("Tom &amp; Jerry"), "tom amp jerry");
    }
}
