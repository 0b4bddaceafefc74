//! A prompt that was decoded with the wrong encoding → what was probably meant.
//!
//! Text in UTF-8 that a program took for Windows-1252 reads `CafÃ©` or `donâ€™t`. Models make nothing
//! of that. ftfy repairs it by guessing; here it is only told, since a guess may be wrong.

use super::html::from_c1;

/// Two letters of a language may look like a character of UTF-8 by chance; these begin what is
/// rarely anything else: Latin letters with accents.
const CLEAR_LEADS: std::ops::RangeInclusive<u8> = 0xc2..=0xc5;

/// What the prompt says once it is decoded as UTF-8, if it looks as if it had not been.
pub fn probable_meaning(prompt: &str) -> Option<String> {
    let characters: Vec<char> = prompt.chars().collect();
    let mut meaning = String::with_capacity(prompt.len());
    let (mut is_clear, mut in_a_row, mut at) = (false, 0, 0);
    while let Some(&c) = characters.get(at) {
        match decoded(&characters[at..]) {
            Some((meant, taken)) => {
                let [first, others @ ..] = &characters[at..at + taken] else { break };
                let lead = byte(*first).unwrap_or_default();
                let is_unlikely = others.iter().any(|c| !is_common(*c));
                is_clear |= is_unlikely && (CLEAR_LEADS.contains(&lead) || taken > 2);
                in_a_row += 1;
                is_clear |= in_a_row == 2;
                meaning.push(meant);
                at += taken;
            }
            None => {
                meaning.push(c);
                in_a_row = 0;
                at += 1;
            }
        }
    }
    is_clear.then_some(meaning)
}

/// The character of several bytes in UTF-8 that `text` begins with once it is encoded, and how many
/// of its characters make it.
fn decoded(text: &[char]) -> Option<(char, usize)> {
    let len = match byte(*text.first()?)? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let bytes: Vec<u8> = text.get(..len)?.iter().map(|c| byte(*c)).collect::<Option<_>>()?;
    Some((str::from_utf8(&bytes).ok()?.chars().next()?, len))
}

/// The byte of a character beyond ASCII in Windows-1252, in which what is missing is Latin-1's.
fn byte(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ 0x80..=0xff => Some(code as u8),
        _ => (0x80..=0x9f).find(|byte| from_c1(char::from(*byte)) == c),
    }
}

/// Quotes, dashes and spaces: what may well follow a letter with an accent.
fn is_common(c: char) -> bool {
    "\u{a0}«»‘’“”…–—‹›´·®™".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_decoded_with_the_wrong_encoding_is_recognised() {
        for (garbled, meant) in [
            ("a CafÃ© in Paris", "a Café in Paris"),
            ("donâ€™t", "don’t"),
            ("donâ\u{80}\u{99}t", "don’t"),
            ("ZÅ‚oty", "Złoty"),
            ("ÐºÐ¾ÑˆÐºÐ°", "кошка"),
            ("Ã¼ber", "über"),
            ("ðŸ\u{90}± and a dog", "🐱 and a dog"),
            ("çŒ«", "猫"),
        ] {
            assert_eq!(probable_meaning(garbled).as_deref(), Some(meant), "{garbled}");
        }
    }

    #[test]
    fn text_with_accents_quotes_and_other_scripts_is_left_alone() {
        for text in [
            "café",
            "CAFÉ” and “MENÜ”",
            "KÖ…",
            "naïve façade à la carte",
            "Ångström, Łódź, Dvořák",
            "São Paulo — AÇÃO",
            "« Ã »",
            "20 °C ± 2 × 3²",
            "кошка",
            "猫",
            "🐱",
            "‘À’",
            "© 2024 Émile®",
            "ESPAÑA’s",
        ] {
            assert_eq!(probable_meaning(text), None, "{text}");
        }
    }
}
