//! Members that follow one another → an image with what stands beside it, as in WebDataset's layout: the
//! members of a sample share the name up to its first dot.

use crate::input::{Annotation, ImageSource};
use std::collections::VecDeque;
use std::path::Path;

/// What may say something of an image.
const EXTENSIONS: [&str; 3] = ["cls", "json", "txt"];

/// The largest annotation that is read.
pub(super) const ANNOTATION_LIMIT_BYTES: u64 = 1 << 20;

/// The sample whose members are passing, and images whose sample is over.
#[derive(Default)]
pub(super) struct Samples {
    key: Vec<u8>,
    images: Vec<ImageSource>,
    annotations: Vec<Annotation>,
    ready: VecDeque<ImageSource>,
}

impl Samples {
    /// Goes on to the next member; those of another sample end the one before.
    pub(super) fn turn_to(&mut self, path: &[u8]) {
        let key = &path[..path.len() - after_first_dot(path).map_or(0, |extension| extension.len() + 1)];
        if self.key != key {
            self.finish();
            self.key = key.to_vec();
        }
    }

    /// Adds an image of the sample.
    pub(super) fn add_image(&mut self, image: ImageSource) {
        self.images.push(image);
    }

    /// Adds what says something of the images of the sample.
    pub(super) fn add_annotation(&mut self, annotation: Annotation) {
        self.annotations.push(annotation);
    }

    /// Ends the sample.
    pub(super) fn finish(&mut self) {
        let annotations = std::mem::take(&mut self.annotations);
        let annotated = |image| ImageSource { annotations: annotations.clone(), ..image };
        self.ready.extend(self.images.drain(..).map(annotated));
    }

    /// The next image whose sample is over.
    pub(super) fn next(&mut self) -> Option<ImageSource> {
        self.ready.pop_front()
    }
}

/// The extension of a member that may say something of an image.
pub(super) fn annotation_extension(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let extension = after_first_dot(name.as_bytes()).and_then(|bytes| std::str::from_utf8(bytes).ok())?;
    let extension = extension.to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str()).then_some(extension)
}

/// What follows the first dot of the name that a path ends in.
fn after_first_dot(path: &[u8]) -> Option<&[u8]> {
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    let dot = name.iter().position(|&byte| byte == b'.')?;
    Some(&name[dot + 1..])
}
