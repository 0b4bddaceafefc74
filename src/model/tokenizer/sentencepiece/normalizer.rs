//! A text → the form that its pieces are looked for in (`Normalizer` in SentencePiece's
//! `normalizer.cc`).

use super::{NormalizerProto, SPACE};
use anyhow::{Context, Result, ensure};

/// How a text is prepared.
pub(super) struct Normalizer {
    replacements: Option<Replacements>,
    /// Pieces that stand as they are.
    kept: Vec<String>,
    /// Whether a space is added, and where.
    added_space: Option<Side>,
    squeezes_spaces: bool,
    escapes_spaces: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

impl Normalizer {
    /// As the file says. `kept` are the pieces that stand as they are.
    ///
    /// *Errors* when its table of replacements is malformed.
    pub fn new(spec: &NormalizerProto, space_is_suffix: bool, kept: Vec<String>) -> Result<Self> {
        let side = if space_is_suffix { Side::After } else { Side::Before };
        let table = spec.precompiled_charsmap.as_deref().filter(|table| !table.is_empty());
        Ok(Self {
            replacements: table.map(Replacements::read).transpose()?,
            kept,
            added_space: spec.add_dummy_prefix.unwrap_or(true).then_some(side),
            squeezes_spaces: spec.remove_extra_whitespaces.unwrap_or(true),
            escapes_spaces: spec.escape_whitespaces.unwrap_or(true),
        })
    }

    /// Prepares a text.
    pub fn normalize(&self, text: &str) -> String {
        let mut rest = text;
        while self.squeezes_spaces && !rest.is_empty() {
            match self.prefix(rest) {
                (" ", len) => rest = &rest[len..],
                _ => break,
            }
        }
        if rest.is_empty() {
            return String::new();
        }
        let space = if self.escapes_spaces { SPACE } else { " " };
        let mut normalized = String::with_capacity(text.len() + text.len() / 2);
        if self.added_space == Some(Side::Before) {
            normalized.push_str(space);
        }
        let mut after_space = self.squeezes_spaces;
        while !rest.is_empty() {
            let (replacement, len) = self.prefix(rest);
            let added = if after_space { replacement.trim_start_matches(' ') } else { replacement };
            if !added.is_empty() {
                normalized.extend(added.split_inclusive(' ').flat_map(|part| match part.strip_suffix(' ') {
                    Some(word) => [word, space],
                    None => [part, ""],
                }));
                after_space = self.squeezes_spaces && added.ends_with(' ');
            }
            rest = &rest[len..];
        }
        if self.squeezes_spaces {
            normalized.truncate(normalized.trim_end_matches(space).len());
        }
        if self.added_space == Some(Side::After) {
            normalized.push_str(space);
        }
        normalized
    }

    /// What the beginning of a text that is not empty becomes, and how many bytes it takes.
    fn prefix<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        let kept = self.kept.iter().map(String::as_str).filter(|kept| text.starts_with(kept));
        if let Some(longest) = kept.max_by_key(|kept| kept.len()) {
            return (longest, longest.len());
        }
        if let Some(found) = self.replacements.as_ref().and_then(|all| all.longest(text)) {
            return found;
        }
        let character = text.chars().next().map_or(0, char::len_utf8);
        (&text[..character], character)
    }
}

/// Strings and what they become: `precompiled_charsmap`.
///
/// ```text
/// u32 LE            bytes of the trie
/// [u32 LE]          a double array of Darts-clone
/// [u8]              the replacements, each ended by NUL, to which the trie's values point
/// ```
struct Replacements {
    trie: Vec<Unit>,
    strings: String,
}

/// A unit of a double array (`darts.h`, `DoubleArrayUnit`).
#[derive(Clone, Copy)]
struct Unit(u32);

impl Unit {
    fn has_leaf(self) -> bool {
        self.0 >> 8 & 1 == 1
    }

    fn value(self) -> usize {
        (self.0 & 0x7fff_ffff) as usize
    }

    fn label(self) -> u32 {
        self.0 & 0x8000_00ff
    }

    fn offset(self) -> usize {
        ((self.0 >> 10) << ((self.0 & 0x200) >> 6)) as usize
    }
}

impl Replacements {
    fn read(table: &[u8]) -> Result<Self> {
        let malformed = "its table of replacements is malformed";
        let (len, rest) = table.split_first_chunk().context(malformed)?;
        let (trie, strings) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).context(malformed)?;
        let (units, remainder) = trie.as_chunks();
        ensure!(remainder.is_empty() && !units.is_empty(), malformed);
        Ok(Self {
            trie: units.iter().map(|unit| Unit(u32::from_le_bytes(*unit))).collect(),
            strings: String::from_utf8(strings.to_owned()).context(malformed)?,
        })
    }

    /// What the longest string becomes that the text begins with, and its length.
    fn longest(&self, text: &str) -> Option<(&str, usize)> {
        let mut at = self.trie[0].offset();
        let mut longest = None;
        for (len, byte) in (1..).zip(text.bytes()) {
            at ^= usize::from(byte);
            let Some(unit) = self.trie.get(at).filter(|unit| unit.label() == u32::from(byte)) else { break };
            at ^= unit.offset();
            if unit.has_leaf() {
                let value = self.trie.get(at).map(|leaf| leaf.value());
                longest = value.and_then(|value| self.strings.get(value..)).map(|string| (string, len));
            }
        }
        let (string, len) = longest?;
        // A damaged table may cut a character in two.
        text.is_char_boundary(len).then(|| (string.split('\0').next().unwrap_or(string), len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalizer(spec: NormalizerProto) -> Normalizer {
        Normalizer::new(&spec, false, vec!["<keep>".into(), "<keep> me".into()]).unwrap()
    }

    #[test]
    fn spaces_are_squeezed_and_marked_unless_the_file_says_otherwise() {
        let usual = normalizer(NormalizerProto::default());
        assert_eq!(usual.normalize("  a   cat "), "▁a▁cat");
        assert_eq!(usual.normalize("   "), "");
        let plain = NormalizerProto {
            add_dummy_prefix: Some(false),
            remove_extra_whitespaces: Some(false),
            escape_whitespaces: Some(false),
            ..Default::default()
        };
        assert_eq!(normalizer(plain).normalize("  a   cat "), "  a   cat ");
    }

    #[test]
    fn longest_piece_that_stands_as_it_is_is_taken() {
        assert_eq!(normalizer(NormalizerProto::default()).normalize("x<keep> me"), "▁x<keep>▁me");
    }

    #[test]
    fn table_of_replacements_that_points_nowhere_is_refused_or_ignored() {
        let table =
            |bytes: &[u8]| NormalizerProto { precompiled_charsmap: Some(bytes.into()), ..Default::default() };
        for bytes in
            [&[1, 0][..], &[8, 0, 0, 0, 1, 2, 3, 4], &[0, 0, 0, 0, b'a'], &[4, 0, 0, 0, 0, 0, 0, 0, 0xff]]
        {
            assert!(Normalizer::new(&table(bytes), false, Vec::new()).is_err(), "{bytes:?}");
        }
        let lost = table(&[4, 0, 0, 0, 0, 0xff, 0xff, 0xff]);
        assert_eq!(Normalizer::new(&lost, false, Vec::new()).unwrap().normalize("a"), "▁a");
    }
}
