//! A page for a browser: a card for each image, in one file that asks nothing of a network.
//!
//! It is written as records come. A content security policy allows this style sheet, this script and
//! pictures that stand in the page, and nothing else; all text is escaped by maud.

mod card;

use super::{Record, RecordShape, Spelling};
use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::io::Write;

const SCRIPT: &str = include_str!("script.js");

/// The SHA-256 digests of the style sheet and the script, which a test computes.
const STYLE_DIGEST: &str = "Hgyk/alMpOI2tfwsksVL+6oGj4tG8eva+6CHuXQfUck=";
const SCRIPT_DIGEST: &str = "4u1nWOowBGyhDMmZL3Kmls20clv7idO+vHRMoj8aE7I=";

pub(super) struct Html;

impl Spelling for Html {
    fn begin(&mut self, shape: &RecordShape, out: &mut dyn Write) -> Result<()> {
        let policy = format!(
            "default-src 'none'; img-src data:; style-src 'sha256-{STYLE_DIGEST}'; \
             script-src 'sha256-{SCRIPT_DIGEST}'; base-uri 'none'; form-action 'none'"
        );
        let head = html! {
            (DOCTYPE)
            (PreEscaped("<html lang=\"en\">"))
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content=(concat!("clipclass ", env!("CARGO_PKG_VERSION")));
                title { "clipclass" }
                style { (PreEscaped(style())) }
            }
            (PreEscaped("<body>"))
            header {
                h1 { "clipclass" }
                (controls(shape))
                output {}
            }
            (PreEscaped("<main>"))
        };
        Ok(writeln!(out, "{}", head.into_string())?)
    }

    fn write(&mut self, record: &Record, shape: &RecordShape, out: &mut dyn Write) -> Result<()> {
        Ok(writeln!(out, "{}", card::card(record, shape)?.into_string())?)
    }

    fn end(&mut self, out: &mut dyn Write) -> Result<()> {
        Ok(writeln!(out, "</main><script>{SCRIPT}</script></body></html>")?)
    }
}

/// The style sheet. The policy allows no styles in elements, so a bar's length is its class; pictures of
/// bars, as SVG, would take a browser half a minute for ten thousand cards.
fn style() -> String {
    let lengths = (0..=100).map(|percent| format!(".w{percent} {{ width: {percent}% }}\n"));
    include_str!("style.css").to_owned() + &lengths.collect::<String>()
}

/// What filters and sorts the cards.
fn controls(shape: &RecordShape) -> Markup {
    html! {
        form {
            label { "Find " input #find type="search" title="Words of a name or label; press / to come here"; }
            label {
                "Only "
                select #only {
                    option value="" { "all" }
                    @for (position, name) in shape.labels.iter().enumerate() {
                        option value=(position) { (name) }
                    }
                    option value="none" { "none of these" }
                    option value="failed" { "failed" }
                }
            }
            label {
                "Order "
                select #order {
                    option value="input" { "as given" }
                    option value="name" { "name" }
                    option value="surest" { "most probable first" }
                    option value="unsure" { "least probable first" }
                    option value="closest" { "smallest margin first" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
}
