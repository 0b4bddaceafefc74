//! One source → what the network takes, or why it cannot have it.

use crate::bug;
use crate::cache::{ImageKey, ModelEmbeddings};
use crate::input::{Annotation, ImageName, ImageSource, Origin, ReadError};
use crate::pixels::{Picture, Pixels, PixelsError, Transform};
use crate::report::Failure;
use std::slice;
use std::sync::Weak;

/// An image on its way to the network.
pub(super) struct Prepared {
    pub image: ImageName,
    pub content: Result<PreparedContent, Failure>,
    /// The decoded picture, where it is to be shown.
    pub picture: Option<Picture>,
    /// Whether a later member of the same archive may be a link to it.
    pub may_be_linked: bool,
    /// What stands beside it.
    pub annotations: Vec<Annotation>,
}

impl Prepared {
    /// Whether it keeps pixels in memory, for the network or its record.
    pub(super) fn has_pixels(&self) -> bool {
        self.picture.is_some() || matches!(self.content, Ok(PreparedContent::Pixels(..)))
    }
}

/// What an image gave so far.
pub(super) enum PreparedContent {
    /// What the network takes, and where to keep what it makes of it.
    Pixels(Pixels, ImageKey),
    /// An embedding that an earlier run kept.
    Embedding(Vec<f32>),
    /// The picture that an earlier image of this run had.
    SameAs(ImageName),
}

/// The key of a source that was not read yet.
pub(super) fn key_of(source: &ImageSource) -> ImageKey {
    match &source.origin {
        Origin::File(path) => ImageKey::of_file(path),
        Origin::Opened(opened) => ImageKey::of_open(opened.file(), opened.path()),
        _ => ImageKey::default(),
    }
}

/// Waits for a source's server.
pub(super) fn fetch(source: ImageSource) -> ImageSource {
    let (name, annotations) = (source.name.clone(), source.annotations.clone());
    let read = bug::caught(|| source.read())
        .unwrap_or_else(|bug| Err(ReadError { kind: "internal", message: bug.to_string() }));
    ImageSource { name, origin: read.map_or_else(Origin::Failed, Origin::Bytes), annotations }
}

/// What is done with an image before the network.
pub(super) struct Stages {
    pub transform: Transform,
    /// The longest side of the picture that is kept for a record, if one is.
    pub thumbnail_px: Option<u32>,
    /// Embeddings of earlier runs. Held by the run alone, which ends when all is written.
    pub known: Weak<ModelEmbeddings>,
}

impl Stages {
    /// An image that is known without reading anything.
    pub(super) fn recognise(&self, source: &ImageSource, key: &ImageKey) -> Option<Prepared> {
        let content = match &source.origin {
            // A picture that is shown must be decoded.
            Origin::File(_) | Origin::Opened(_) if self.thumbnail_px.is_none() => {
                PreparedContent::Embedding(self.known(key)?)
            }
            Origin::SameAs(earlier) => PreparedContent::SameAs(earlier.clone()),
            _ => return None,
        };
        Some(Prepared {
            image: source.name.clone(),
            content: Ok(content),
            picture: None,
            may_be_linked: false,
            annotations: source.annotations.clone(),
        })
    }

    /// Reads and decodes an image; that something panics is a failure of this image alone.
    pub(super) fn prepare(&self, source: ImageSource, key: ImageKey) -> Prepared {
        let may_be_linked = matches!(source.origin, Origin::Bytes(_));
        let (image, annotations) = (source.name.clone(), source.annotations.clone());
        let work = || self.content(source.read(), key);
        let (content, picture) = match bug::caught(work).unwrap_or_else(|bug| {
            Err(Failure { kind: "internal", message: format!("clipclass itself is at fault: {bug}") })
        }) {
            Ok((content, picture)) => (Ok(content), picture),
            Err(failure) => (Err(failure), None),
        };
        Prepared { image, content, picture, may_be_linked, annotations }
    }

    fn content(
        &self,
        bytes: Result<Vec<u8>, ReadError>,
        key: ImageKey,
    ) -> Result<(PreparedContent, Option<Picture>), Failure> {
        let bytes = bytes.map_err(|error| Failure { kind: error.kind, message: error.to_string() })?;
        let key = key.with_bytes(&bytes);
        let known = self.known(&key);
        if let (Some(embedding), None) = (&known, self.thumbnail_px) {
            return Ok((PreparedContent::Embedding(embedding.clone()), None));
        }
        let failure = |error: PixelsError| Failure { kind: error.kind(), message: error.to_string() };
        let picture = Picture::decode(&bytes).map_err(failure)?;
        let content = match known {
            Some(embedding) => PreparedContent::Embedding(embedding),
            None => PreparedContent::Pixels(self.transform.apply(&picture).map_err(failure)?, key),
        };
        Ok((content, self.thumbnail_px.map(|longest_px| picture.thumbnail(longest_px))))
    }

    fn known(&self, key: &ImageKey) -> Option<Vec<f32>> {
        self.known.upgrade()?.images(slice::from_ref(key)).pop().flatten()
    }
}
