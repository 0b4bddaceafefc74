//! What is no list of labels but would be taken for one: JSON in pieces, tables, YAML, numbered
//! lists, files that are not text.
//!
//! A wrong label gives wrong answers without a word, a refusal costs a minute: what no label looks
//! like is refused in any line. What one label may look like but a whole list does not is refused
//! only where every line agrees.

use anyhow::{Result, bail};
use std::collections::HashSet;

/// A line that is neither blank nor a comment.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextLine<'a> {
    /// From 1.
    pub(super) number: usize,
    /// Trimmed.
    pub(super) text: &'a str,
}

/// What a table's columns are called. All of them have to be such words.
const COLUMNS: [&str; 24] = [
    "caption",
    "category",
    "class",
    "classname",
    "code",
    "count",
    "description",
    "file",
    "filename",
    "id",
    "idx",
    "image",
    "index",
    "label",
    "labelid",
    "labels",
    "name",
    "number",
    "path",
    "prompt",
    "prompts",
    "synset",
    "text",
    "wnid",
];

/// The beginnings of files that are no text, and what those are.
const SIGNATURES: [(&[u8], &str); 12] = [
    (b"\xff\xfe\0\0", "UTF-32: save it as UTF-8"),
    (b"\xff\xfe", "UTF-16: save it as UTF-8"),
    (b"\xfe\xff", "UTF-16: save it as UTF-8"),
    (b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet: save it as text"),
    (b"%PDF-", "a PDF: save it as text"),
    (b"\xff\xd8\xff", "an image"),
    (b"\x89PNG", "an image"),
    (b"GIF8", "an image"),
    (b"II*\0", "an image"),
    (b"MM\0*", "an image"),
];

/// The file as text, without a mark at its start.
///
/// *Errors* when it is not UTF-8, or has characters that text does not have.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str> {
    let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    let signature = SIGNATURES.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, what)| *what);
    if let Some(what) = if is_webp { Some("an image") } else { signature } {
        bail!("it is not text but {what}");
    }
    let line_at = |at: usize| 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            bail!("line {} is not UTF-8 (byte {:#04x}): save the file as UTF-8", line_at(at), bytes[at])
        }
    };
    let foreign = text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\t' | '\n' | '\r'));
    if let Some((at, c)) = foreign {
        let help = if c == '\0' { ": perhaps it is UTF-16, save it as UTF-8" } else { "" };
        bail!("line {} has the control character U+{:04X}{help}", line_at(at), c as u32);
    }
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The lines that are neither blank nor comments.
pub(super) fn lines_of(text: &str) -> Vec<TextLine<'_>> {
    // Old Macs' line ends too, which spreadsheets still write.
    let lines = text.lines().flat_map(|line| line.split('\r')).zip(1..);
    let lines = lines.map(|(text, number)| TextLine { number, text: text.trim() });
    lines.filter(|line| !line.text.is_empty() && !line.text.starts_with('#')).collect()
}

/// The first line that no label looks like, and what it looks like.
pub(super) fn strange_line<'a>(lines: &'a [TextLine<'a>]) -> Option<(&'a TextLine<'a>, &'static str)> {
    lines.iter().find_map(|line| Some((line, strange(line.text)?)))
}

fn strange(text: &str) -> Option<&'static str> {
    let first = text.chars().next()?;
    if is_piece_of_json(text) {
        return Some("a piece of JSON or of a list in Python");
    }
    if text.ends_with(['{', '[']) {
        return Some("the beginning of a block");
    }
    if text.contains('\t') {
        return Some("a row of a table");
    }
    if first == '|' || text.contains(",\"") {
        return Some("a row of a table");
    }
    if first == '<' {
        return Some("XML or HTML");
    }
    if text.starts_with("- ") || text == "-" || text == "---" {
        return Some("YAML, or a list with hyphens");
    }
    if text.starts_with("* ") || text.starts_with("• ") {
        return Some("a list with bullets");
    }
    // A key alone, or one before a list, a map or a text of several lines.
    let value = text.split_once(": ").map(|(_, value)| value.trim_start());
    if text.ends_with(':') || value.is_some_and(|value| value.starts_with(['[', '{', '|', '>'])) {
        return Some("YAML");
    }
    if text.split_once([' ', ',']).is_some_and(|(id, _)| is_wordnet_id(id)) {
        return Some("a WordNet number before a name");
    }
    None
}

/// Whether a label begins or ends like a list or an object, or is quoted as its entries are.
pub(super) fn is_piece_of_json(text: &str) -> bool {
    let entry = text.strip_suffix(',').unwrap_or(text).trim_end();
    let is_quoted = |quote: char| {
        // Each of the strings, with a colon or a comma between them.
        let mut parts = entry.split(quote);
        let closes =
            entry.len() > 1 && entry.ends_with(quote) && entry.matches(quote).count().is_multiple_of(2);
        let is_between = |part: &str| matches!(part.trim(), "," | ":");
        parts.next() == Some("") && closes && {
            let parts: Vec<_> = parts.collect();
            parts[..parts.len() - 1].iter().skip(1).step_by(2).all(|part| is_between(part))
        }
    };
    text.starts_with(['[', ']', '{', '}'])
        || is_quoted('"')
        || is_quoted('\'')
        || text.ends_with("\",")
        || text.starts_with('"') && text.contains("\":")
        || is_unbalanced_end(text)
}

/// Whether it ends with a bracket that it does not open.
fn is_unbalanced_end(text: &str) -> bool {
    let count = |bracket: char| text.matches(bracket).count();
    text.ends_with(']') && count(']') > count('[') || text.ends_with('}') && count('}') > count('{')
}

/// Whether it is the number of a class of ImageNet, `n` and eight digits.
pub(super) fn is_wordnet_id(text: &str) -> bool {
    text.len() == 9 && text.starts_with('n') && text[1..].bytes().all(|byte| byte.is_ascii_digit())
}

/// The line at which it shows that all lines together are no list of labels, and what they look
/// like.
pub(super) fn strange_whole<'a>(lines: &'a [TextLine<'a>]) -> Option<(&'a TextLine<'a>, &'static str)> {
    let first = lines.first()?;
    let texts = || lines.iter().map(|line| line.text);
    if is_header(first.text) {
        return Some((first, "the head of a table"));
    }
    if lines.len() == 1 && first.text.contains(',') {
        return Some((first, "several labels in one line"));
    }
    // A label may have a comma, but then people write a space behind it.
    for separator in [',', ';'] {
        let count = first.text.matches(separator).count();
        let is_row = |text: &str| {
            text.matches(separator).count() == count
                && text.split(separator).skip(1).all(|field| !field.starts_with(' '))
        };
        if count > 0 && texts().all(is_row) {
            return Some((first, "a row of a table"));
        }
    }
    if is_numbered(&texts().collect::<Vec<_>>()) {
        return Some((first, "a numbered list"));
    }
    // A key cannot come twice, as *style* does in "style: cubism", "style: baroque".
    let mut keys = HashSet::new();
    if texts().all(|text| text.split_once(": ").is_some_and(|(key, _)| keys.insert(key))) {
        return Some((first, "YAML"));
    }
    None
}

fn is_header(text: &str) -> bool {
    let is_column = |field: &str| {
        let letters: String = field.chars().filter(|c| c.is_alphanumeric()).collect();
        COLUMNS.contains(&letters.to_lowercase().as_str())
    };
    text.contains([',', ';']) && text.split([',', ';']).all(is_column)
}

/// Whether the lines count upwards: `1. a cat`, `2. a dog`, or `0 cat`, `1 dog` without a mark.
fn is_numbered(lines: &[&str]) -> bool {
    let split = |text: &&str| -> Option<(u64, bool, String)> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number = text[..digits].parse().ok()?;
        let rest = &text[digits..];
        let (is_marked, name) = match rest.strip_prefix(['.', ')', ':', ',', ';']) {
            Some(name) => (true, name),
            None => (false, rest),
        };
        let name = name.strip_prefix(' ')?.trim_start();
        Some((number, is_marked, name.chars().take(2).collect()))
    };
    let Some(lines) = lines.iter().map(split).collect::<Option<Vec<_>>>() else { return false };
    let Some(((first, is_marked, begin), others)) = lines.split_first() else { return false };
    // "1 cat", "2 cats", "3 cats" count things.
    let counts_things = !is_marked && others.iter().all(|(.., name)| name == begin);
    let is_next = |(i, (number, marked, _)): (u64, &(u64, bool, String))| {
        *number == first + 1 + i && marked == is_marked
    };
    !others.is_empty() && *first <= 1 && !counts_things && (0..).zip(others).all(is_next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks_like(text: &str) -> Option<&'static str> {
        let lines = lines_of(text);
        strange_line(&lines).or_else(|| strange_whole(&lines)).map(|(_, what)| what)
    }

    #[test]
    fn labels_are_labels() {
        for text in [
            "golden retriever\nT-shirt\nSaint Bernard\nEnglish setter\nkite (bird of prey)",
            "crane, bird\ncrane, machine\nmaillot, one-piece suit\nmaillot, tank suit",
            "great white shark, white shark, man-eater\ntench, Tinca tinca\na cat",
            "a sign that says \"stop\"\n\"Mona Lisa\" by Leonardo\n\"Guernica\" and \"Starry Night\"",
            "'80s car\nrock 'n' roll\na dog's bowl\nthe dogs' bowl",
            "no. #1\nC#\n-x\n--\n—\na - b\n50% grey\n3D render\n2 CV\n7",
            "1\n2\n3",
            "1 cat\n2 cats\n3 cats",
            "1 person\n2 people",
            "3 cats\n1 dog",
            "Star Wars: A New Hope\nAlien",
            "style: cubism\nstyle: baroque",
            "12:30\n13:00",
            "a photo of a cat.\na dog!\nwhat?",
            "array[0]\nset {a, b}\nf(x)",
            "猫\n犬，白い\nكلب أسود\nсобака, большая\nchó (con)\nn'importe quoi\nl'été\nÅ",
            "label\nname\nindex",
            "class, ordinary\na thing",
            "n01440764",
            "a <b> tag\na | b\nx > y",
        ] {
            assert_eq!(looks_like(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_of_labels_is_known() {
        for text in [
            "a cat\n[",
            "a cat\n]",
            "a cat\n{\"dog\": [\"a dog\"]}",
            "\"a cat\",\n\"a dog\"",
            "\"a cat\"",
            "a cat\n\"a dog\",",
            "\"cat\": [\"a cat\"],",
            "\"cat\": \"a photo\"",
            "'a cat',\n'a dog',",
            "'cat': 'a photo'",
            "\"it's \\\"odd\\\"\",",
            "a cat\na dog\"]",
            "labels = [\n'a cat',\n]",
            "item {\n  id: 1\n}",
            "id,label\n1,cat",
            "id, label\n1, cat",
            "Class Name;Description\ncat;a pet",
            "\"id\",\"label\"\n1,\"cat\"",
            "1,cat\n2,dog",
            "cat,a photo of a cat\ndog,a photo of a dog",
            "1,\"crane, bird\"\n2,cat",
            "cat;a photo\ndog;a photo",
            "1\tcat\n2\tdog",
            "| id | label |\n|---|---|",
            "a cat,a dog",
            "a cat, a dog",
            "- a cat\n- a dog",
            "* a cat\n* a dog",
            "---\na cat",
            "labels:\n  - a cat",
            "names: [cat, dog]",
            "cat: a photo of a cat\ndog: a photo of a dog",
            "cat: a photo",
            "0: cat\n1: dog",
            "1. a cat\n2. a dog",
            "1) a cat\n2) a dog",
            "0 cat\n1 dog\n2 bird",
            "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus",
            "n01440764,tench",
            "<labels>\n<label>cat</label>",
        ] {
            assert!(looks_like(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_no_text_is_told_by_its_name() {
        let utf16 = |bytes: fn(u16) -> [u8; 2], mark: &[u8]| -> Vec<u8> {
            mark.iter().copied().chain("a cat".encode_utf16().flat_map(bytes)).collect()
        };
        for (bytes, told) in [
            (utf16(u16::to_le_bytes, b"\xff\xfe"), "UTF-16"),
            (utf16(u16::to_be_bytes, b"\xfe\xff"), "UTF-16"),
            (utf16(u16::to_le_bytes, b""), "UTF-16"),
            (b"\xff\xfe\0\0a\0\0\0".to_vec(), "UTF-32"),
            (crate::world::gzip(b"a cat"), "gzip"),
            (crate::world::zstd(b"a cat"), "zstd"),
            (b"PK\x03\x04\x14\0".to_vec(), "spreadsheet"),
            (b"\x89PNG\r\n\x1a\n".to_vec(), "an image"),
            (b"RIFF\x10\0\0\0WEBPVP8 ".to_vec(), "an image"),
            (b"a cat\ncaf\xe9\n".to_vec(), "line 2 is not UTF-8 (byte 0xe9)"),
            (b"a cat\na\x07dog\n".to_vec(), "line 2 has the control character U+0007"),
        ] {
            let error = text_of(&bytes).unwrap_err().to_string();
            assert!(error.contains(told), "{bytes:?}: {error}");
        }
    }
}
