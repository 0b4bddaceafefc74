//! The repairs of Python's ftfy that need no guess: `fix_text` but for text that was decoded with the
//! wrong encoding, of which [`mojibake`](super::mojibake) tells.
//!
//! The tokenizers crate has forms of Unicode, too, but those of Unicode 9: it leaves marks of newer
//! scripts in another order than Python does.

use super::html::{from_c1, unescape_closed};
use icu_normalizer::ComposingNormalizerBorrowed as Form;
use std::borrow::Cow;

/// Ligatures of Latin letters, and pairs of letters that old encodings took for one
/// (`ftfy/chardata.py`).
const LIGATURES: [(char, &str); 22] = [
    ('Ĳ', "IJ"),
    ('ĳ', "ij"),
    ('ŉ', "ʼn"),
    ('Ǳ', "DZ"),
    ('ǲ', "Dz"),
    ('ǳ', "dz"),
    ('Ǆ', "DŽ"),
    ('ǅ', "Dž"),
    ('ǆ', "dž"),
    ('Ǉ', "LJ"),
    ('ǈ', "Lj"),
    ('ǉ', "lj"),
    ('Ǌ', "NJ"),
    ('ǋ', "Nj"),
    ('ǌ', "nj"),
    ('ﬀ', "ff"),
    ('ﬁ', "fi"),
    ('ﬂ', "fl"),
    ('ﬃ', "ffi"),
    ('ﬄ', "ffl"),
    ('ﬅ', "ſt"),
    ('ﬆ', "st"),
];

/// Repairs each line, until there is nothing left to repair.
pub(super) fn fix_text(text: &str) -> String {
    let mut is_markup = false;
    let lines = text.split_inclusive('\n').map(|line| {
        // A line with tags is markup, whose entities mean something, and so is what follows.
        is_markup |= line.contains('<');
        fix_line(line, is_markup)
    });
    lines.collect()
}

fn fix_line(line: &str, is_markup: bool) -> String {
    let mut line = line.to_owned();
    loop {
        let unescaped =
            if is_markup || line.contains('<') { Cow::Borrowed(&line[..]) } else { unescape_closed(&line) };
        let characters: String = unescaped.chars().map(from_c1).collect();
        let characters = with_standard_width(&without_ligatures(&characters));
        let straight: String = characters.chars().map(uncurled).collect();
        let lines = straight.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}', '\u{85}'], "\n");
        let shown: String = without_terminal_escapes(&lines).chars().filter(|c| !is_control(*c)).collect();
        let fixed = Form::new_nfc().normalize(&shown).into_owned();
        if fixed == line {
            return fixed;
        }
        line = fixed;
    }
}

fn without_ligatures(text: &str) -> String {
    let mut parted = String::with_capacity(text.len());
    for c in text.chars() {
        match LIGATURES.iter().find(|(ligature, _)| *ligature == c) {
            Some((_, letters)) => parted.push_str(letters),
            None => parted.push(c),
        }
    }
    parted
}

/// Half-width and full-width forms made ordinary characters, the ideographic space among them.
fn with_standard_width(text: &str) -> String {
    let mut standard = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{3000}' => standard.push(' '),
            '\u{ff01}'..='\u{ffef}' => {
                standard.push_str(&Form::new_nfkc().normalize(c.encode_utf8(&mut [0; 4])))
            }
            _ => standard.push(c),
        }
    }
    standard
}

fn uncurled(c: char) -> char {
    match c {
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => '\'',
        '\u{201c}'..='\u{201f}' => '"',
        _ => c,
    }
}

/// Without what colours text in a terminal, `ESC [ 1 ; 31 m`.
fn without_terminal_escapes(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        let arguments = &rest[at + 2..];
        let after = arguments.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        let kept = if after.starts_with(|c: char| c.is_ascii_alphabetic()) { at } else { at + 2 };
        shown.push_str(&rest[..kept]);
        rest = if kept == at { &after[1..] } else { arguments };
    }
    shown + rest
}

/// Control characters that show nothing and are no clue to anything (`ftfy/chardata.py`).
fn is_control(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x08' | '\x0b' | '\x0e'..='\x1f' | '\x7f' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_scripts_newer_than_unicode_9_are_put_in_order() {
        // Unicode 11, 13 and 14.
        for (text, ordered) in [
            ("a\u{10f4e}\u{94d}", "a\u{94d}\u{10f4e}"),
            ("a\u{3099}\u{16ff1}", "a\u{16ff1}\u{3099}"),
            ("a\u{1ac2}\u{1dc2}", "a\u{1dc2}\u{1ac2}"),
        ] {
            assert_eq!(fix_text(text), ordered);
        }
    }
}
