//! Sources → prepared images, read and decoded ahead of the network and grouped into batches.
//!
//! How the stream of images ends is part of it: [`Coming::End`] is the last thing that a whole run
//! sends, so that a thread that was lost on the way is not taken for the end.

use super::fetchers::Fetchers;
use super::prepare::{self, Prepared, Stages};
use super::stop::Stop;
use crate::bug;
use crate::input::{ImageSource, Origin};
use anyhow::{Context, Error, Result, anyhow};
use rayon::ThreadPool;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Images of a batch at most that have no pixels, as those whose embeddings are known: what is done once for
/// a batch, as turning many labels around, is done once for so many.
const KNOWN_IMAGES: usize = 64;
/// How often waiting for an image looks for Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(50);

/// What comes out of the reader.
enum Coming {
    Ready(Prepared),
    Later(Receiver<Prepared>, Place),
    /// Why the run cannot go on.
    Refusal(Error),
    /// All sources were sent.
    End,
}

/// Prepared images in the order of their sources, in batches.
///
/// A batch is the next image, waited for, and those after it that are ready: none waits for others.
pub(super) struct Batches {
    coming: Receiver<Coming>,
    /// What was not ready for the batch before.
    next: Option<Coming>,
    reader: Option<JoinHandle<()>>,
    /// The most images of a batch that have pixels.
    size: usize,
    stop: Stop,
}

impl Batches {
    /// Begins to prepare images on the pool, two batches of `size` ahead.
    pub(super) fn start(
        sources: impl Iterator<Item = ImageSource> + Send + 'static,
        stages: Stages,
        pool: Arc<ThreadPool>,
        size: usize,
        stop: Stop,
    ) -> Result<Self> {
        let (queue, coming) = sync_channel(KNOWN_IMAGES.max(2 * size));
        let reader = SourceReader { stages: Arc::new(stages), pool, queue, ahead: 2 * size };
        let read = move || {
            // Nobody listens any more when the run has ended early.
            let _ = reader.read(sources);
        };
        let thread = thread::Builder::new().name("reader".to_owned()).spawn(read);
        let reader = Some(thread.context("cannot start a thread that reads the inputs")?);
        Ok(Self { coming, next: None, reader, size, stop })
    }

    /// The next batch; none after the last image.
    ///
    /// *Errors* when the user ended the run, and when it cannot go on.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Prepared>>> {
        let first = match self.next.take() {
            Some(coming) => coming,
            None => wait_for(&self.coming, &self.stop)?.map_or_else(|| Err(self.lost()), Ok)?,
        };
        let first = match first {
            Coming::Ready(prepared) => prepared,
            Coming::Later(image, _place) => wait_for(&image, &self.stop)?
                .ok_or_else(|| anyhow!("the work on an image was lost; the records end before it"))?,
            Coming::Refusal(error) => return Err(error),
            Coming::End => {
                self.join()?;
                return Ok(None);
            }
        };
        let mut with_pixels = usize::from(first.has_pixels());
        let mut batch = vec![first];
        while with_pixels < self.size && batch.len() - with_pixels < KNOWN_IMAGES {
            match self.coming.try_recv() {
                Ok(Coming::Ready(prepared)) => batch.push(prepared),
                Ok(Coming::Later(image, place)) => match image.try_recv() {
                    Ok(prepared) => {
                        with_pixels += usize::from(prepared.has_pixels());
                        batch.push(prepared);
                    }
                    Err(_) => {
                        self.next = Some(Coming::Later(image, place));
                        break;
                    }
                },
                Ok(last) => {
                    self.next = Some(last);
                    break;
                }
                // What is wrong, if anything is, the next call learns.
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        Ok(Some(batch))
    }

    /// Waits for the reader, which has nothing left to do.
    fn join(&mut self) -> Result<()> {
        let Some(reader) = self.reader.take() else { return Ok(()) };
        reader.join().map_err(|panic| {
            Error::from(bug::of_panic(&*panic)).context("the inputs could not be read to their end")
        })
    }

    /// Why no end came.
    fn lost(&mut self) -> Error {
        let lost = || anyhow!("the inputs could not be read to their end");
        self.join().err().unwrap_or_else(lost)
    }
}

/// What is sent next; absent when its sender is lost.
///
/// *Errors* when the user ended the run.
fn wait_for<T>(receiver: &Receiver<T>, stop: &Stop) -> Result<Option<T>> {
    loop {
        if let Some(interrupted) = stop.requested() {
            return Err(interrupted.into());
        }
        match receiver.recv_timeout(PATIENCE) {
            Ok(value) => return Ok(Some(value)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// Nobody takes what is sent any more.
struct Abandoned;

/// Places for so many at a time.
struct Room {
    free: Receiver<()>,
    freed: SyncSender<()>,
}

impl Room {
    fn of(places: usize) -> Self {
        let (freed, free) = sync_channel(places);
        (0..places).for_each(|_| freed.send(()).expect("there is room for all"));
        Self { free, freed }
    }

    /// A place, waited for.
    fn take(&self) -> Place {
        self.free.recv().expect("the room keeps a sender");
        Place(self.freed.clone())
    }
}

/// A place that is free again when this is dropped.
struct Place(SyncSender<()>);

impl Drop for Place {
    fn drop(&mut self) {
        // The room may be gone.
        let _ = self.0.send(());
    }
}

struct SourceReader {
    stages: Arc<Stages>,
    pool: Arc<ThreadPool>,
    queue: SyncSender<Coming>,
    /// Images at most that are prepared ahead of their batch.
    ahead: usize,
}

impl SourceReader {
    fn read(&self, sources: impl Iterator<Item = ImageSource>) -> Result<(), Abandoned> {
        let mut fetchers = Fetchers::new();
        let ahead = Room::of(self.ahead);
        // More decode tasks than threads would only stand in the network's way.
        let tasks = Room::of(self.pool.current_num_threads());
        for source in sources {
            if let Origin::OwnOutput = source.origin {
                let refusal =
                    anyhow!("{} is both an input and the output; write to another file", source.name);
                return self.send(Coming::Refusal(refusal));
            }
            let key = prepare::key_of(&source);
            if let Some(known) = self.stages.recognise(&source, &key) {
                self.send(Coming::Ready(known))?;
                continue;
            }
            let (result, image) = sync_channel(1);
            self.send(Coming::Later(image, ahead.take()))?;
            let stages = self.stages.clone();
            // Nobody waits for a result any more when the run has ended early.
            if let Origin::Address(_) = source.origin {
                // Waiting for a server must not keep a core from its work.
                let pool = self.pool.clone();
                fetchers.fetch(move || {
                    let fetched = prepare::fetch(source);
                    pool.spawn(move || drop(result.send(stages.prepare(fetched, key))));
                });
            } else {
                let task = tasks.take();
                self.pool.spawn(move || {
                    let _ = result.send(stages.prepare(source, key));
                    drop(task);
                });
            }
        }
        fetchers.join();
        self.send(Coming::End)
    }

    fn send(&self, coming: Coming) -> Result<(), Abandoned> {
        self.queue.send(coming).map_err(|_| Abandoned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ModelEmbeddings;
    use crate::model::config::read_transform;
    use crate::model::family::Family;
    use std::sync::Weak;

    fn start(sources: impl Iterator<Item = ImageSource> + Send + 'static) -> Batches {
        let stages = Stages {
            transform: read_transform(None, Family::Clip, 64).unwrap(),
            thumbnail_px: None,
            known: Weak::<ModelEmbeddings>::new(),
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        Batches::start(sources, stages, Arc::new(pool), 4, Stop::watch().unwrap()).unwrap()
    }

    fn sources(count: usize) -> impl Iterator<Item = ImageSource> {
        (0..count).map(|i| ImageSource {
            name: crate::input::ImageName::new(format!("{i}.jpg")),
            origin: Origin::Bytes(Vec::new()),
            annotations: Vec::new(),
        })
    }

    #[test]
    fn every_image_comes_once_and_then_the_end() {
        let mut batches = start(sources(50));
        let mut names = Vec::new();
        while let Some(batch) = batches.next().unwrap() {
            assert!(batch.len() <= KNOWN_IMAGES);
            names.extend(batch.into_iter().map(|prepared| prepared.image.to_string()));
        }
        assert_eq!(names, (0..50).map(|i| format!("{i}.jpg")).collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_has_no_more_images_with_pixels_than_fit() {
        let picture = b"P6 1 1 255\nrgb".to_vec();
        let mut batches = start(sources(30).enumerate().map(move |(i, source)| {
            let bytes = if i % 3 == 0 { Vec::new() } else { picture.clone() };
            ImageSource { origin: Origin::Bytes(bytes), ..source }
        }));
        let mut counts = Vec::new();
        while let Some(batch) = batches.next().unwrap() {
            // Many more are ready by then.
            thread::sleep(Duration::from_millis(20));
            counts.push(batch.iter().filter(|prepared| prepared.has_pixels()).count());
        }
        assert!(counts.iter().all(|count| *count <= 4), "{counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), 20);
    }

    #[test]
    fn a_reader_that_is_lost_is_not_taken_for_the_end() {
        let mut batches = start(sources(20).chain(std::iter::from_fn(|| panic!("out of luck"))));
        let error = loop {
            match batches.next() {
                Ok(batch) => assert!(batch.is_some(), "a lost reader ended the run as if it were whole"),
                Err(error) => break format!("{error:#}"),
            }
        };
        assert!(error.contains("inputs could not be read") && error.contains("out of luck"), "{error}");
    }

    #[test]
    fn an_input_that_is_the_output_ends_the_run() {
        let own = ImageSource { origin: Origin::OwnOutput, ..sources(1).next().unwrap() };
        let mut batches = start(std::iter::once(own));
        assert!(batches.next().err().unwrap().to_string().contains("0.jpg is both an input and the output"));
    }
}
