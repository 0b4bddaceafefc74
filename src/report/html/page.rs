//! What every page has: one file that asks nothing of a network.
//!
//! A content security policy allows this style sheet, this script and pictures that stand in the page, and
//! nothing else; all text is escaped by maud. As the policy allows no styles in elements either, whatever
//! has a length or a colour of its own has a class or an attribute that the style sheet knows.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const SCRIPT: &str = include_str!("script.js");

/// The SHA-256 digests of the style sheet and the script, which a test computes.
const STYLE_DIGEST: &str = "9rLurfeGdkRs+zd/+r3e8PKtfxPmYewNjHrKgDJ+tYU=";
const SCRIPT_DIGEST: &str = "uBAK39EwTW9vy9XxU8mfAD8rEOpduwUW+hzU02rkwgk=";

/// What a page is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageContent {
    /// Cards alone.
    Cards,
    /// Sections.
    Report,
}

/// Everything up to the content of a page.
pub(super) fn begin(title: &str, content: PageContent, header: &Markup) -> Markup {
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{STYLE_DIGEST}'; \
         script-src 'sha256-{SCRIPT_DIGEST}'; base-uri 'none'; form-action 'none'"
    );
    html! {
        (DOCTYPE)
        (PreEscaped("<html lang=\"en\">"))
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="generator" content=(concat!("clipclass ", env!("CARGO_PKG_VERSION")));
            title { (title) }
            style { (PreEscaped(style())) }
            script { (PreEscaped(SCRIPT)) }
        }
        (PreEscaped("<body>"))
        header { h1 { (title) } (header) }
        @match content {
            PageContent::Cards => (PreEscaped("<main class=\"cards\">")),
            PageContent::Report => (PreEscaped("<main class=\"report\">")),
        }
    }
}

/// Everything after it.
pub(super) fn end() -> Markup {
    html! {
        (PreEscaped("</main></body></html>"))
    }
}

/// The style sheet, with a class for the length of every bar. Pictures of bars, as SVG, would take a
/// browser half a minute for ten thousand cards.
fn style() -> String {
    let lengths = (0..=100).map(|percent| format!(".w{percent} {{ --share: {percent}% }}\n"));
    include_str!("style.css").to_owned() + &lengths.collect::<String>()
}

/// The class of a bar that is so long, from 0 to 1.
pub(super) fn length_class(share: f32) -> String {
    format!("w{:.0}", share.clamp(0.0, 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::chart;
    use super::*;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    #[test]
    fn the_policy_allows_this_style_sheet_and_this_script() {
        let digest =
            |text: &str| BASE64_STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()));
        assert_eq!(STYLE_DIGEST, digest(&style()));
        assert_eq!(SCRIPT_DIGEST, digest(SCRIPT));
    }

    #[test]
    fn the_style_sheet_knows_every_colour_of_a_drawing() {
        let style = style();
        for colour in chart::COLOURS {
            let colour = format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
            assert!(style.contains(&format!("=\"{colour}\"]")), "{colour}");
        }
    }
}
