//! Sources → prepared images, read and decoded ahead of the network and grouped into batches.

use super::interrupt;
use crate::input::{ImageName, ImageSource};
use crate::pixels::{Picture, Pixels, PixelsError, Transform};
use crate::report::Failure;
use anyhow::{Context, Result};
use rayon::ThreadPool;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// How often waiting for an image looks for Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(50);

/// An image on its way to the network.
pub(super) struct Prepared {
    pub image: ImageName,
    pub pixels: Result<Pixels, Failure>,
    /// The decoded picture, where it is to be shown.
    pub picture: Option<Picture>,
}

/// What is done with an image before the network.
pub(super) struct Stages {
    pub transform: Transform,
    pub keep_picture: bool,
}

impl Stages {
    fn prepare(&self, source: ImageSource) -> Prepared {
        let image = source.name.clone();
        match self.pixels(source) {
            Ok((pixels, picture)) => Prepared { image, pixels: Ok(pixels), picture },
            Err(failure) => Prepared { image, pixels: Err(failure), picture: None },
        }
    }

    fn pixels(&self, source: ImageSource) -> Result<(Pixels, Option<Picture>), Failure> {
        let bytes =
            source.read().map_err(|error| Failure { kind: error.kind, message: error.to_string() })?;
        let failure = |error: PixelsError| Failure { kind: error.kind(), message: error.to_string() };
        let picture = Picture::decode(&bytes).map_err(failure)?;
        let pixels = self.transform.apply(&picture).map_err(failure)?;
        Ok((pixels, self.keep_picture.then_some(picture)))
    }
}

/// Prepared images in the order of their sources, in batches.
///
/// A batch is the next image, waited for, and those after it that are ready: none waits for others.
pub(super) struct Batches {
    images: Receiver<Receiver<Prepared>>,
    /// An image that was not ready for the batch before.
    next: Option<Receiver<Prepared>>,
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
                let (result, image) = sync_channel(1);
                if permits.recv().is_err() || queue.send(image).is_err() {
                    return;
                }
                let (stages, done) = (stages.clone(), done.clone());
                pool.spawn(move || {
                    // Nobody waits any more when the run has ended early.
                    let _ = result.send(stages.prepare(source));
                    let _ = done.send(());
                });
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
        let first = self.next.take().or_else(|| wait_for(&self.images))?;
        let mut batch = vec![wait_for(&first)?];
        while batch.len() < self.size {
            let Ok(image) = self.images.try_recv() else { break };
            match image.try_recv() {
                Ok(prepared) => batch.push(prepared),
                Err(_) => {
                    self.next = Some(image);
                    break;
                }
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
