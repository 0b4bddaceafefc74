//! Sections of figures, tables, drawings and cards → a page.
//!
//! It is said in words of its own what a page is made of, so that who has something to report needs to
//! know nothing of HTML, and every name is text by its type.

use super::chart::{ConfusionMatrix, Reliability};
use super::page::{self, PageContent, length_class};
use super::thumbnail::{Loading, Thumbnail};
use super::{SHEET, controls};
use anyhow::Result;
use maud::{Markup, PreEscaped, html};
use std::collections::BTreeMap;
use std::io::Write;

/// A page that reports something.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub title: &'static str,
    /// What it is of: what things are called, and what they are.
    pub facts: Vec<(&'static str, String)>,
    pub sections: Vec<Section>,
}

/// A part of a page with a heading, which the top of the page leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its name in an address.
    pub id: &'static str,
    pub title: &'static str,
    pub elements: Vec<Element>,
}

/// What a section is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Element {
    Text(String),
    Figures(Vec<Figure>),
    /// Names after a sentence about them.
    Names(String, Vec<String>),
    Table(PageTable),
    /// A drawing, the sentence that explains it, and the same as a table.
    Matrix(ConfusionMatrix, String, PageTable),
    Reliability(Reliability, String, PageTable),
    Cards(Cards),
}

/// One number that people look for first.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its name for programs.
    pub id: &'static str,
    pub name: &'static str,
    pub value: f64,
    /// The value as it is read.
    pub shown: String,
    pub remark: String,
}

/// Rows of cells, which a click on a heading sorts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PageTable {
    pub columns: Vec<Column>,
    /// *Shape* `[rows][columns]`.
    pub rows: Vec<Vec<PageCell>>,
}

/// The heading of a column, and what stands below it.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    Words(String),
    Numbers(String),
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum PageCell {
    Text(String),
    Count(u64),
    /// Anything that is not counted.
    Number(f64),
    /// A share, 0 to 1, with a bar.
    Bar(f64),
    Nothing,
}

/// Cards that can be found and filtered.
#[derive(Debug, Clone, PartialEq)]
pub struct Cards {
    pub cards: Vec<MistakeCard>,
    /// What the order is called that they are in.
    pub order: &'static str,
}

/// An image that was taken for something else.
#[derive(Debug, Clone, PartialEq)]
pub struct MistakeCard {
    pub image: String,
    pub thumbnail: Option<Thumbnail>,
    pub truth: String,
    pub prediction: String,
    /// What its scores are called, and what they are; what was predicted first.
    pub scores: Vec<(String, f32)>,
}

impl Document {
    /// Writes the page.
    ///
    /// *Errors* when it cannot be written.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        let header = html! {
            nav { @for section in &self.sections { a href={ "#" (section.id) } { (section.title) } } }
        };
        writeln!(out, "{}", page::begin(self.title, PageContent::Report, &header).into_string())?;
        let facts = html! {
            dl.facts { @for (name, value) in &self.facts { dt { (name) } dd { (value) } } }
        };
        writeln!(out, "{}", facts.into_string())?;
        for section in &self.sections {
            writeln!(out, "{}", html! { h2 #(section.id) { (section.title) } }.into_string())?;
            for element in &section.elements {
                writeln!(out, "{}", element.markup()?.into_string())?;
            }
        }
        Ok(writeln!(out, "{}", page::end().into_string())?)
    }
}

impl Element {
    fn markup(&self) -> Result<Markup> {
        Ok(match self {
            Self::Text(text) => html! { p { (text) } },
            Self::Figures(figures) => html! { dl.figures { @for figure in figures { (figure.markup()) } } },
            Self::Names(said, names) => html! {
                p { (said) }
                ul.names { @for name in names { li { (name) } } }
            },
            Self::Table(table) => table.markup(),
            Self::Matrix(matrix, said, table) => drawing(&matrix.svg()?, said, table),
            Self::Reliability(reliability, said, table) => drawing(&reliability.svg()?, said, table),
            Self::Cards(cards) => cards.markup(),
        })
    }
}

/// A drawing is told by its sentence and its table to those who do not see it.
fn drawing(svg: &str, said: &str, table: &PageTable) -> Markup {
    html! {
        figure {
            figcaption { (said) }
            div.chart role="img" aria-label=(said) { (PreEscaped(svg)) }
        }
        details { summary { "as a table" } (table.markup()) }
    }
}

impl Figure {
    fn markup(&self) -> Markup {
        html! {
            div {
                dt { (self.name) }
                dd.value { data #(self.id) value=(self.value) { (self.shown) } }
                dd.remark { (self.remark) }
            }
        }
    }
}

impl PageTable {
    fn markup(&self) -> Markup {
        html! {
            div.scroll tabindex="0" {
                table.sortable {
                    thead { tr { @for column in &self.columns { (column.markup()) } } }
                    tbody { @for row in &self.rows { tr { @for cell in row { (cell.markup()) } } } }
                }
            }
        }
    }
}

impl Column {
    fn markup(&self) -> Markup {
        match self {
            Self::Words(name) => html! { th scope="col" { (name) } },
            Self::Numbers(name) => html! { th.number scope="col" { (name) } },
        }
    }
}

impl PageCell {
    fn markup(&self) -> Markup {
        match self {
            Self::Text(text) => html! { td { (text) } },
            Self::Count(count) => html! { td.number { data value=(count) { (count) } } },
            Self::Number(number) => html! { td.number { data value=(number) { (format!("{number:.4}")) } } },
            Self::Bar(share) => html! {
                td.number { data.bar.(length_class(*share as f32)) value=(share) { (format!("{share:.4}")) } }
            },
            Self::Nothing => html! { td {} },
        }
    }
}

impl Cards {
    fn markup(&self) -> Markup {
        let named = self.cards.iter().flat_map(|card| [&*card.truth, &*card.prediction]);
        let kinds: BTreeMap<&str, usize> = named.map(|name| (name, 0)).collect();
        let kinds: BTreeMap<&str, usize> = kinds.into_keys().zip(0..).collect();
        let orders = [
            ("input", self.order),
            ("name", "name"),
            ("surest", "most probable first"),
            ("unsure", "least probable first"),
        ];
        let kind = |name: &str| kinds.get(name).copied().unwrap_or_default();
        html! {
            (controls(kinds.iter().map(|(name, kind)| (kind.to_string(), *name)), &orders))
            div.cards {
                @for cards in self.cards.chunks(SHEET) {
                    section {
                        @for card in cards {
                            (card.markup(&[kind(&card.truth), kind(&card.prediction)]))
                        }
                    }
                }
            }
        }
    }
}

impl MistakeCard {
    fn markup(&self, kinds: &[usize; 2]) -> Markup {
        let probability = self.scores.first().map(|(_, probability)| probability);
        html! {
            article tabindex="0" data-kinds={ (kinds[0]) " " (kinds[1]) } data-probability=[probability] {
                @if let Some(thumbnail) = &self.thumbnail { (thumbnail.markup(Loading::AtOnce)) }
                p.name { (self.image) }
                p.prediction { bdi { (self.truth) } span.why { " taken for " } bdi { (self.prediction) } }
                ul.scores {
                    @for (name, probability) in &self.scores {
                        li class=(length_class(*probability)) { b { (format!("{probability:.4}")) } " " (name) }
                    }
                }
            }
        }
    }
}
