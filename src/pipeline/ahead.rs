//! Sources → prepared images, read and decoded ahead of the network and grouped into batches.

use super::interrupt;
use crate::cache::{ImageKey, ModelEmbeddings};
use crate::input::{ImageName, ImageSource, Origin, ReadError};
use crate::pixels::{Picture, Pixels, PixelsError, Transform};
use crate::report::Failure;
use anyhow::{Context, Result};
use rayon::ThreadPool;
use std::slice;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

/// How often waiting for an image looks for Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(50);

/// An image on its way to the network.
pub(super) struct Prepared {
    pub image: ImageName,
    pub content: Result<Content, Failure>,
    /// The decoded picture, where it is to be shown.
    pub picture: Option<Picture>,
}

/// What an image gave so far.
pub(super) enum Content {
    /// What the network takes, and where to keep what it makes of it.
    Pixels(Pixels, ImageKey),
    /// An embedding that an earlier run kept.
    Embedding(Vec<f32>),
}

/// What is done with an image before the network.
pub(super) struct Stages {
    pub transform: Transform,
    pub keep_picture: bool,
    /// Embeddings of earlier runs. Held by the run alone, which ends when all is written.
    pub cache: Weak<ModelEmbeddings>,
}

impl Stages {
    /// An image that is known without reading its file.
    fn recognise(&self, image: &ImageName, key: &ImageKey) -> Option<Prepared> {
        // A picture that is shown must be decoded.
        let embedding = if self.keep_picture { None } else { self.known(key) }?;
        Some(Prepared { image: image.clone(), content: Ok(Content::Embedding(embedding)), picture: None })
    }

    fn prepare(&self, image: ImageName, bytes: Result<Vec<u8>, ReadError>, key: ImageKey) -> Prepared {
        match self.content(bytes, key) {
            Ok((content, picture)) => Prepared { image, content: Ok(content), picture },
            Err(failure) => Prepared { image, content: Err(failure), picture: None },
        }
    }

    fn content(
        &self,
        bytes: Result<Vec<u8>, ReadError>,
        key: ImageKey,
    ) -> Result<(Content, Option<Picture>), Failure> {
        let bytes = bytes.map_err(|error| Failure { kind: error.kind, message: error.to_string() })?;
        let key = key.with_bytes(&bytes);
        let known = self.known(&key);
        if let (Some(embedding), false) = (&known, self.keep_picture) {
            return Ok((Content::Embedding(embedding.clone()), None));
        }
        let failure = |error: PixelsError| Failure { kind: error.kind(), message: error.to_string() };
        let picture = Picture::decode(&bytes).map_err(failure)?;
        let content = match known {
            Some(embedding) => Content::Embedding(embedding),
            None => Content::Pixels(self.transform.apply(&picture).map_err(failure)?, key),
        };
        Ok((content, self.keep_picture.then_some(picture)))
    }

    fn known(&self, key: &ImageKey) -> Option<Vec<f32>> {
        self.cache.upgrade()?.images(slice::from_ref(key)).pop().flatten()
    }
}

/// The key of a source that was not read yet.
fn key_of(source: &ImageSource) -> ImageKey {
    match &source.origin {
        Origin::File(path) => ImageKey::of_file(path),
        _ => ImageKey::default(),
    }
}

/// An image in the queue.
enum Coming {
    Ready(Prepared),
    Later(Receiver<Prepared>),
}

/// Prepared images in the order of their sources, in batches.
///
/// A batch is the next image, waited for, and those after it that are ready: none waits for others.
pub(super) struct Batches {
    images: Receiver<Coming>,
    /// An image that was not ready for the batch before.
    next: Option<Coming>,
    size: usize,
}

impl Batches {
    /// Begins to prepare images on the pool, two batches of `size` ahead.
    pub(super) fn start(
        sources: impl Iterator<Item = ImageSource> + Send + 'static,
        stages: Stages,
        pool: Arc<ThreadPool>,
        size: usize,
    ) -> Result<Self> {
        let (queue, images) = sync_channel(2 * size);
        let stages = Arc::new(stages);
        let read = move || {
            // More decode tasks than threads would only stand in the network's way.
            let (done, permits) = sync_channel(pool.current_num_threads());
            (0..pool.current_num_threads()).for_each(|_| done.send(()).expect("there is room for all"));
            for source in sources {
                let key = key_of(&source);
                if let Some(known) = stages.recognise(&source.name, &key) {
                    if queue.send(Coming::Ready(known)).is_err() {
                        return;
                    }
                    continue;
                }
                let (result, image) = sync_channel(1);
                if queue.send(Coming::Later(image)).is_err() {
                    return;
                }
                // Nobody waits for a result any more when the run has ended early.
                let (stages, done) = (stages.clone(), done.clone());
                let name = source.name.clone();
                if let Origin::Address(_) = source.origin {
                    // Waiting for a server must not keep a core from its work.
                    let pool = pool.clone();
                    thread::spawn(move || {
                        let bytes = source.read();
                        pool.spawn(move || drop(result.send(stages.prepare(name, bytes, key))));
                    });
                } else {
                    if permits.recv().is_err() {
                        return;
                    }
                    pool.spawn(move || {
                        let _ = result.send(stages.prepare(name, source.read(), key));
                        let _ = done.send(());
                    });
                }
            }
        };
        thread::Builder::new().name("reader".to_owned()).spawn(read).context("cannot start a thread")?;
        Ok(Self { images, next: None, size })
    }
}

impl Iterator for Batches {
    type Item = Vec<Prepared>;

    /// Nothing comes after the last image, or after Ctrl-C.
    fn next(&mut self) -> Option<Vec<Prepared>> {
        let first = match self.next.take().or_else(|| wait_for(&self.images))? {
            Coming::Ready(prepared) => prepared,
            Coming::Later(image) => wait_for(&image)?,
        };
        let mut batch = vec![first];
        while batch.len() < self.size {
            match self.images.try_recv() {
                Ok(Coming::Ready(prepared)) => batch.push(prepared),
                Ok(Coming::Later(image)) => match image.try_recv() {
                    Ok(prepared) => batch.push(prepared),
                    Err(_) => {
                        self.next = Some(Coming::Later(image));
                        break;
                    }
                },
                Err(_) => break,
            }
        }
        Some(batch)
    }
}

/// What is sent next; absent when nothing will be, or after Ctrl-C.
fn wait_for<T>(receiver: &Receiver<T>) -> Option<T> {
    while !interrupt::requested() {
        match receiver.recv_timeout(PATIENCE) {
            Ok(value) => return Some(value),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    None
}
