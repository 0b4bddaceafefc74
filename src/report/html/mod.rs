//! Pages for a browser: of records, a card for each image, written as they come; and of reports, which are
//! [`Document`]s.
//!
//! ```text
//! record ─▶ card ──────────────────────┐
//! report ─▶ Document ─▶ tables · chart ┴▶ page: style, script, content security policy
//! ```

mod card;
mod chart;
mod document;
mod page;
mod thumbnail;

pub use chart::{ConfusionMatrix, Reliability, ReliabilityBar};
pub use document::{Cards, Column, Document, Element, Figure, MistakeCard, PageCell, PageTable, Section};
pub use thumbnail::Thumbnail;

use super::{Record, RecordShape, Spelling};
use anyhow::Result;
use maud::{Markup, html};
use page::PageContent;
use std::io::Write;
use thumbnail::Loading;

/// Cards that are laid out together: as many as fill rows of any usual length. The script knows it, too.
const SHEET: usize = 840;

/// Cards whose pictures need no script.
const SHOWN_AT_ONCE: usize = 200;

/// A page of records.
#[derive(Default)]
pub(super) struct Html {
    cards: usize,
}

impl Spelling for Html {
    fn begin(&mut self, shape: &RecordShape, out: &mut dyn Write) -> Result<()> {
        let kinds = shape.labels.iter().enumerate().map(|(position, name)| (position.to_string(), &**name));
        let others = [("none", "none of these"), ("failed", "failed")];
        let kinds = kinds.chain(others.map(|(kind, name)| (kind.to_owned(), name)));
        let orders = [
            ("input", "as given"),
            ("name", "name"),
            ("surest", "most probable first"),
            ("unsure", "least probable first"),
            ("closest", "smallest margin first"),
        ];
        let header = controls(kinds, &orders);
        Ok(writeln!(out, "{}", page::begin("clipclass", PageContent::Cards, &header).into_string())?)
    }

    fn write(&mut self, record: &Record, shape: &RecordShape, out: &mut dyn Write) -> Result<()> {
        match self.cards {
            0 => writeln!(out, "<section>")?,
            cards if cards % SHEET == 0 => writeln!(out, "</section><section>")?,
            _ => {}
        }
        let loading = if self.cards < SHOWN_AT_ONCE { Loading::AtOnce } else { Loading::WhenSeen };
        self.cards += 1;
        Ok(writeln!(out, "{}", card::card(record, shape, loading)?.into_string())?)
    }

    fn end(&mut self, out: &mut dyn Write) -> Result<()> {
        if self.cards > 0 {
            writeln!(out, "</section>")?;
        }
        Ok(writeln!(out, "{}", page::end().into_string())?)
    }
}

/// What finds, filters by kind and sorts cards, and tells how many there are.
fn controls<'a>(kinds: impl Iterator<Item = (String, &'a str)>, orders: &[(&str, &str)]) -> Markup {
    html! {
        form {
            label { "Find " input #find type="search" title="Words of a name or label; press / to come here"; }
            label {
                "Only "
                select #only {
                    option value="" { "all" }
                    @for (kind, name) in kinds { option value=(kind) { (name) } }
                }
            }
            label {
                "Order "
                select #order { @for (order, name) in orders { option value=(order) { (name) } } }
            }
            output {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::ImageName;
    use crate::pixels::Picture;
    use crate::report::Failure;

    #[test]
    fn of_many_cards_the_first_need_no_script_and_others_load_when_they_are_seen() {
        let shape = RecordShape::of_labels(&["a cat"]);
        let failure = Failure { kind: "decode", message: String::new() };
        let mut record = Record::of(ImageName::new("a.jpg"), Err(failure));
        record.picture = Some(Picture(image::RgbImage::new(2, 2)));
        let (mut page, mut out) = (Html::default(), Vec::new());
        page.begin(&shape, &mut out).unwrap();
        (0..1000).for_each(|_| page.write(&record, &shape, &mut out).unwrap());
        page.end(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!((text.matches("<img src=").count(), text.matches("<img data-src=").count()), (200, 800));
        assert_eq!((text.matches("<section>").count(), text.matches("</section>").count()), (2, 2));
    }

    #[test]
    fn a_page_without_cards_is_whole() {
        let (mut page, mut out) = (Html::default(), Vec::new());
        page.begin(&RecordShape::of_labels(&["a cat"]), &mut out).unwrap();
        page.end(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("<main class=\"cards\">\n</main></body></html>\n"), "{text}");
    }
}
