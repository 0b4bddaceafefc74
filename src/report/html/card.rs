//! One record → its card.

use super::super::{Failure, Record, RecordShape};
use crate::pixels::Picture;
use crate::score::{Score, Verdict};
use anyhow::{Context, Result};
use base64::display::Base64Display;
use base64::prelude::BASE64_STANDARD;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use maud::{Markup, html};

/// Labels of a card, when not a number of the best was asked for.
const SCORES: usize = 5;
/// Enough for a small picture: at 96 pixels about 3 KB.
const JPEG_QUALITY: u8 = 75;

/// *Errors* when the thumbnail cannot be encoded.
pub(super) fn card(record: &Record, shape: &RecordShape) -> Result<Markup> {
    let thumbnail = record.picture.as_ref().map(thumbnail).transpose()?;
    let name = record.image.to_string();
    Ok(match &record.outcome {
        Ok(verdict) => html! {
            article tabindex="0" data-kinds=(kinds(verdict)) data-probability=(verdict.probability)
                data-margin=(verdict.margin) {
                @if let Some(thumbnail) = thumbnail { (thumbnail) }
                p.name { bdi { (name) } }
                p.prediction { (prediction(verdict, shape)) }
                ul.scores { @for score in best(verdict, shape) { (row(score, verdict, shape)) } }
            }
        },
        Err(Failure { kind, message }) => html! {
            article.failed tabindex="0" data-kinds="failed" {
                @if let Some(thumbnail) = thumbnail { (thumbnail) }
                p.name { bdi { (name) } }
                p.prediction { "failed (" (kind) "): " bdi { (message) } }
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
    html! {
        @for (i, label) in labels.iter().enumerate() {
            @if i > 0 { ", " }
            bdi { (shape.name(*label)) }
        }
        @if labels.is_empty() { "none" }
        @if let Some(rejection) = &verdict.rejection {
            " " span.why { "(best: " bdi { (shape.name(rejection.best.label)) } ", rejected by: " (rejection.rule.name()) ")" }
        }
        @if let Some(set) = &verdict.set {
            " " span.why {
                "(set: "
                @for (i, label) in set.iter().enumerate() {
                    @if i > 0 { ", " }
                    bdi { (shape.name(*label)) }
                }
                ")"
            }
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
    let is_given = verdict.given().contains(&score.label);
    let is_decoy = score.label >= shape.labels.len();
    html! {
        li.given[is_given].decoy[is_decoy] {
            span title=(name) { bdi { (name) } @if is_decoy { " (decoy)" } }
            b { (format!("{:.4}", score.probability)) }
            i { i class=(format!("w{:.0}", score.probability * 100.0)) {} }
        }
    }
}

/// A picture that stands in the page.
fn thumbnail(picture: &Picture) -> Result<Markup> {
    let (width, height) = (picture.width(), picture.height());
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, JPEG_QUALITY);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    let sides = u16::try_from(width).ok().zip(u16::try_from(height).ok());
    let (columns, rows) = sides.context("a thumbnail is too large for JPEG")?;
    encoder.encode(picture.levels(), columns, rows, ColorType::Rgb).context("cannot encode a thumbnail")?;
    let address = format!("data:image/jpeg;base64,{}", Base64Display::new(&jpeg, &BASE64_STANDARD));
    Ok(html! { img src=(address) width=(width) height=(height) alt="" loading="lazy" decoding="async"; })
}
