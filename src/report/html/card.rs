//! One record → its card.
//!
//! Ten thousand cards are to open at once, so they are made of few elements: each is a paragraph of its
//! own, so that marks of direction in a name reach no further, and only names within one are isolated.

use super::super::{Failure, Record, RecordShape};
use super::page::length_class;
use super::thumbnail::{Loading, Thumbnail};
use crate::score::{Score, Verdict};
use anyhow::Result;
use maud::{Markup, html};

/// Labels of a card, when not a number of the best was asked for.
const SCORES: usize = 5;

/// *Errors* when the thumbnail cannot be encoded.
pub(super) fn card(record: &Record, shape: &RecordShape, loading: Loading) -> Result<Markup> {
    let thumbnail = record.picture.as_ref().map(Thumbnail::new).transpose()?;
    let thumbnail = thumbnail.map(|thumbnail| thumbnail.markup(loading));
    let name = record.image.to_string();
    Ok(match &record.outcome {
        Ok(verdict) => html! {
            article tabindex="0" data-kinds=(kinds(verdict)) data-probability=(verdict.probability)
                data-margin=(verdict.margin) {
                @if let Some(thumbnail) = thumbnail { (thumbnail) }
                p.name { (name) }
                p.prediction { (prediction(verdict, shape)) }
                ul.scores { @for score in best(verdict, shape) { (row(score, verdict, shape)) } }
            }
        },
        Err(Failure { kind, message }) => html! {
            article.failed tabindex="0" data-kinds="failed" {
                @if let Some(thumbnail) = thumbnail { (thumbnail) }
                p.name { (name) }
                p.prediction { "failed (" (kind) "): " (message) }
            }
        },
    })
}

/// What the filter knows it by: positions of labels, or that there is none.
fn kinds(verdict: &Verdict) -> String {
    let labels = verdict.given();
    if labels.is_empty() {
        return "none".to_owned();
    }
    labels.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}

fn prediction(verdict: &Verdict, shape: &RecordShape) -> Markup {
    let labels = verdict.given();
    if let ([label], None, None) = (labels, &verdict.rejection, &verdict.set) {
        return html! { (shape.name(*label)) };
    }
    html! {
        (names(labels, shape))
        @if labels.is_empty() { "none" }
        @if let Some(rejection) = &verdict.rejection {
            " " span.why { "(best: " bdi { (shape.name(rejection.best.label)) } ", rejected by: " (rejection.rule.name()) ")" }
        }
        @if let Some(set) = &verdict.set {
            " " span.why { "(set: " (names(set, shape)) ")" }
        }
    }
}

fn names(labels: &[usize], shape: &RecordShape) -> Markup {
    html! {
        @for (i, label) in labels.iter().enumerate() {
            @if i > 0 { ", " }
            bdi { (shape.name(*label)) }
        }
    }
}

/// The best labels and all decoys, best first.
fn best<'a>(verdict: &'a Verdict, shape: &RecordShape) -> Vec<&'a Score> {
    let mut labels: Vec<_> = verdict.scores.iter().collect();
    // Stable, so that of equals the first stays first.
    labels.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    labels.truncate(shape.top.unwrap_or(SCORES));
    labels.extend(&verdict.decoys);
    labels.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    labels
}

fn row(score: &Score, verdict: &Verdict, shape: &RecordShape) -> Markup {
    let name = shape.name(score.label);
    let class = length_class(score.probability);
    let number = format!("{:.4}", score.probability);
    if score.label >= shape.labels.len() {
        return html! { li.decoy.(class) { b { (number) } " " bdi { (name) } " (decoy)" } };
    }
    let is_given = verdict.given().contains(&score.label);
    // Not `.given[…].(class)`: maud writes no space between the two.
    let classes = if is_given { format!("{class} given") } else { class };
    html! { li class=(classes) { b { (number) } " " (name) } }
}
