//! A picture → one that stands in the page.

use crate::pixels::Picture;
use anyhow::{Context, Result};
use base64::display::Base64Display;
use base64::prelude::BASE64_STANDARD;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use maud::{Markup, html};

/// Enough for a small picture: at 96 pixels about 3 KB.
const JPEG_QUALITY: u8 = 75;

/// A picture as the page has it: JPEG, some kilobytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    jpeg: Vec<u8>,
    columns: u16,
    rows: u16,
}

impl Thumbnail {
    /// Encodes a picture that is small already.
    ///
    /// *Errors* when it is too large for JPEG.
    pub fn new(picture: &Picture) -> Result<Self> {
        let sides = u16::try_from(picture.width()).ok().zip(u16::try_from(picture.height()).ok());
        let (columns, rows) = sides.context("a thumbnail is too large for JPEG")?;
        let mut jpeg = Vec::new();
        let mut encoder = Encoder::new(&mut jpeg, JPEG_QUALITY);
        encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
        encoder
            .encode(picture.levels(), columns, rows, ColorType::Rgb)
            .context("cannot encode a thumbnail")?;
        Ok(Self { jpeg, columns, rows })
    }
}

/// When a browser makes a picture of its bytes, which takes it about as long as all the rest of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loading {
    AtOnce,
    /// Once the script sees that its card is near the screen.
    WhenSeen,
}

impl Thumbnail {
    pub(super) fn markup(&self, loading: Loading) -> Markup {
        let address = format!("data:image/jpeg;base64,{}", Base64Display::new(&self.jpeg, &BASE64_STANDARD));
        let (now, later) = match loading {
            Loading::AtOnce => (Some(address), None),
            Loading::WhenSeen => (None, Some(address)),
        };
        html! { img src=[now] data-src=[later] width=(self.columns) height=(self.rows) alt="" decoding="async"; }
    }
}
