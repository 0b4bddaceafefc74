//! The terminal: how wide it is, what it can show, and what it is asked with nobody looking.
//!
//! Nothing here is asked of a pipe or a file: what goes there is never wrapped or decorated.

use crossterm::terminal::{disable_raw_mode, enable_raw_mode, size};
use std::borrow::Cow;
use std::env;
use std::ffi::OsString;
use textwrap::{Options, WordSplitter};

/// A narrower terminal gets no wrapped lines: words as long as most of ours would not fit.
const LEAST_COLUMNS: usize = 20;

/// How many characters fit on a line, where the terminal says.
pub fn columns() -> Option<usize> {
    let (columns, _) = size().ok()?;
    Some(usize::from(columns)).filter(|columns| *columns > 0)
}

/// Breaks lines between words so that they fit. Names and addresses stay in one piece, even where they do
/// not fit, so that they can be copied; what sets colours takes no room.
pub fn wrapped(text: &str, columns: usize) -> Cow<'_, str> {
    if columns < LEAST_COLUMNS {
        return text.into();
    }
    textwrap::fill(text, between_words(columns).subsequent_indent("  ")).into()
}

/// The lines of a text after what its first one begins with, the others below the first word. Line breaks
/// in it count as spaces.
pub fn wrapped_after(begin: &str, text: &str, columns: usize) -> Vec<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let below = " ".repeat(begin.chars().count());
    let options = between_words(columns).initial_indent(begin).subsequent_indent(&below);
    textwrap::wrap(&text, options).into_iter().map(|line| line.trim_end().to_owned()).collect()
}

fn between_words<'a>(columns: usize) -> Options<'a> {
    Options::new(columns).break_words(false).word_splitter(WordSplitter::NoHyphenation)
}

/// Whether characters beyond ASCII can be shown: a locale may say otherwise. One that says nothing, as in
/// most containers, says nothing of the terminal either.
pub fn shows_unicode() -> bool {
    charset_is_unicode(|name| env::var_os(name))
}

fn charset_is_unicode(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let set =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| variable(name).filter(|v| !v.is_empty()));
    let locale = set.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let Some((_, charset)) = locale.split_once('.') else { return true };
    let charset = charset.split('@').next().unwrap_or_default();
    ["utf-8", "utf8"].contains(&charset)
}

/// Does `work` while what is typed, or what the terminal answers, is not echoed on the screen; nothing
/// where that cannot be had.
pub fn without_echo<T>(work: impl FnOnce() -> T) -> Option<T> {
    enable_raw_mode().ok()?;
    let done = work();
    // Where that was not possible it is not now.
    let _ = disable_raw_mode();
    Some(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_names_stay_whole() {
        let text = "error: cannot use openai/clip-vit-base-patch32, which is not to be had";
        let lines = "error: cannot use\n  openai/clip-vit-base-patch32,\n  which is not to be had";
        assert_eq!(wrapped(text, 31), lines);
        assert_eq!(
            wrapped("error: /a/very-long/path/to/a/file.jpg gone", 20),
            "error:\n  /a/very-long/path/to/a/file.jpg\n  gone"
        );
        assert_eq!(
            wrapped("\u{1b}[1merror:\u{1b}[0m as wide as this", 24),
            "\u{1b}[1merror:\u{1b}[0m as wide as this"
        );
        assert_eq!(wrapped("ein Bär, 熊熊熊熊熊熊", 20), "ein Bär,\n  熊熊熊熊熊熊");
        assert_eq!(wrapped(text, 10), text);
    }

    #[test]
    fn what_is_said_stands_below_its_beginning() {
        let lines = wrapped_after("note: ", "one\ntwo three a/very-long/path.jpg", 16);
        assert_eq!(lines, ["note: one two", "      three", "      a/very-long/path.jpg"]);
        assert_eq!(wrapped_after("note: ", "a/very-long/path.jpg", 16), ["note: a/very-long/path.jpg"]);
    }

    #[test]
    fn a_locale_of_another_charset_has_no_blocks() {
        let shows = |variables: &[(&str, &str)]| {
            charset_is_unicode(|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            })
        };
        for locale in ["", "C", "POSIX", "C.UTF-8", "de_DE.utf8", "de_DE", "ca_ES.UTF-8@valencia"] {
            assert!(shows(&[("LANG", locale)]), "{locale}");
        }
        for locale in ["de_DE.ISO-8859-1", "ja_JP.eucJP", "de_DE.ISO-8859-15@euro"] {
            assert!(!shows(&[("LANG", locale)]), "{locale}");
        }
        assert!(shows(&[("LANG", "de_DE.ISO-8859-1"), ("LC_ALL", "C.UTF-8"), ("LC_CTYPE", "")]));
        assert!(!shows(&[("LANG", "C.UTF-8"), ("LC_CTYPE", "de_DE.ISO-8859-1")]));
    }
}
