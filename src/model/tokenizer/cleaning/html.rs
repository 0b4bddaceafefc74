//! `&amp;` → `&`, as Python's `html.unescape` does it, and as ftfy does.
//!
//! The names are HTML's own, which htmlize knows. Numbers are Python's affair: it drops characters
//! that HTML forbids, where HTML itself only complains of them.

use std::borrow::Cow;

/// The most characters that Python takes for a name.
const LONGEST_NAME: usize = 32;

/// What a C1 control character stands for that is written as a number: Windows-1252 (WHATWG HTML,
/// "numeric character reference end state").
const C1: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// A C1 control character as Windows-1252 has its byte; itself where that has none.
pub(super) fn from_c1(c: char) -> char {
    match u32::from(c) {
        code @ 0x80..=0x9f => C1[code as usize - 0x80],
        _ => c,
    }
}

/// Python's `html.unescape`.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    replaced(text, |rest| {
        let reference = &rest[..reference_len(rest)];
        let value = match number(reference) {
            Some(number) => number.map(String::from).unwrap_or_default(),
            None => htmlize::unescape(reference).into_owned(),
        };
        Some((reference, value))
    })
}

/// ftfy's `unescape_html`: only what ends with a semicolon, and names in capitals too.
pub(super) fn unescape_closed(text: &str) -> Cow<'_, str> {
    replaced(text, |rest| {
        let reference = closed_reference(rest)?;
        Some((reference, closed_value(reference)?))
    })
}

/// The text with its references replaced. From each `&` on `find` looks for one and what it stands for; an
/// `&` that begins none stays.
fn replaced(text: &str, find: impl Fn(&str) -> Option<(&str, String)>) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        replaced.push_str(&rest[..at]);
        rest = &rest[at..];
        let (reference, value) = find(rest).unwrap_or(("&", "&".to_owned()));
        replaced.push_str(&value);
        rest = &rest[reference.len()..];
    }
    replaced.push_str(rest);
    Cow::Owned(replaced)
}

/// The length of the reference that `text` begins with, and of the `&` alone where there is none.
fn reference_len(text: &str) -> usize {
    let after = &text[1..];
    let body = if let Some(number) = after.strip_prefix('#') {
        let (mark, is_digit): (usize, fn(&char) -> bool) = match number.chars().next() {
            Some('x' | 'X') => (1, char::is_ascii_hexdigit),
            _ => (0, char::is_ascii_digit),
        };
        match number[mark..].chars().take_while(is_digit).count() {
            0 => return 1,
            digits => 1 + mark + digits,
        }
    } else {
        let is_inner = |c: &char| !"\t\n\x0c <&#;".contains(*c);
        let name: usize = after.chars().take(LONGEST_NAME).take_while(is_inner).map(char::len_utf8).sum();
        if name == 0 {
            return 1;
        }
        name
    };
    1 + body + usize::from(after[body..].starts_with(';'))
}

/// What a reference by number stands for: a character or nothing. `None` for one by name.
fn number(reference: &str) -> Option<Option<char>> {
    let digits = reference.strip_prefix("&#")?.trim_end_matches(';');
    let (digits, radix) = match digits.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    // All are digits, so that only the size can be wrong.
    let code = u32::from_str_radix(digits, radix).unwrap_or(u32::MAX);
    Some(match code {
        0 => Some('\u{fffd}'),
        0x0d => Some('\r'),
        0x80..=0x9f => Some(C1[code as usize - 0x80]),
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0xfdd0..=0xfdef => None,
        _ if code <= 0x10_ffff && code & 0xfffe == 0xfffe => None,
        _ => Some(char::from_u32(code).unwrap_or('\u{fffd}')),
    })
}

/// What `&#?[0-9A-Za-z]{1,24};` matches at the beginning of `text`.
fn closed_reference(text: &str) -> Option<&str> {
    let hash = usize::from(text[1..].starts_with('#'));
    let inner = &text[1 + hash..];
    let len = inner.bytes().take_while(u8::is_ascii_alphanumeric).count();
    ((1..=24).contains(&len) && inner[len..].starts_with(';')).then(|| &text[..hash + len + 2])
}

fn closed_value(reference: &str) -> Option<String> {
    if reference.starts_with("&#") {
        let value = unescape(reference);
        return (!value.contains(';')).then(|| value.into_owned());
    }
    if let Some(value) = whole_name(reference) {
        return Some(value);
    }
    let is_shouted = reference.bytes().all(|byte| !byte.is_ascii_lowercase());
    if is_shouted && unescape(reference) == reference {
        return whole_name(&reference.to_ascii_lowercase()).map(|value| value.to_uppercase());
    }
    None
}

/// What a name stands for, if it is one up to its semicolon.
fn whole_name(reference: &str) -> Option<String> {
    let value = htmlize::unescape(reference);
    // What is left over of a name whose beginning is one ends with the semicolon.
    let is_whole = value != reference && (!value.ends_with(';') || reference == "&semi;");
    is_whole.then(|| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_python() {
        for (reference, expected) in [
            ("&#65;&#x41;&#X41;", "AAA"),
            ("&#65 &#65x", "A Ax"),
            ("&#128;&#x81;&#150;", "€\u{81}–"),
            ("&#0;&#xd800;&#x110000;&#99999999999999999999;", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("a&#1;&#x7f;&#xfdd0;&#x1ffff;b", "ab"),
            ("&#; &#x; &#xg; &# &", "&#; &#x; &#xg; &# &"),
        ] {
            assert_eq!(unescape(reference), expected, "{reference}");
        }
    }

    #[test]
    fn names_need_no_semicolon_where_html_needs_none() {
        assert_eq!(
            unescape("&amp &ampx; &notit; &notin; &hellip &unknown; &&lt;"),
            "& &x; ¬it; ∉ &hellip &unknown; &<"
        );
    }

    #[test]
    fn every_name_of_html_stands_for_what_python_says() {
        let golden = std::fs::read("fixtures/golden/tokenizers.json").unwrap();
        let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
        let strings = |key: &str| {
            let values = golden["entities"][key].as_array().unwrap().clone();
            values.into_iter().map(|value| value.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let (names, tails) = (strings("names"), strings("tails"));
        let references = names.iter().flat_map(|name| tails.iter().map(move |tail| format!("&{name}{tail}")));
        let all =
            references.map(|reference| unescape(&reference).into_owned()).collect::<Vec<_>>().join("\n");
        let fnv1a = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let hash = all.bytes().fold(0xcbf2_9ce4_8422_2325, fnv1a);
        assert_eq!(format!("{hash:016x}"), golden["entities"]["unescaped"]);
    }

    #[test]
    fn only_closed_names_are_taken_before_the_repairs() {
        assert_eq!(unescape_closed("this&not that &notit; &not; &amp"), "this&not that &notit; ¬ &amp");
        assert_eq!(
            unescape_closed("P&EACUTE;REZ BUNDESSTRA&SZLIG;E &nTILDE; &AMP; &semi;"),
            "PÉREZ BUNDESSTRASSE &nTILDE; & ;"
        );
        assert_eq!(unescape_closed("&#x2019;&#8217;&#65x;"), "’’&#65x;");
    }
}
