//! Embeddings kept between runs, so that nothing is computed twice.
//!
//! A prompt is known by its text, an image by the content of its encoded bytes, and a file by its
//! place, size and times, so that one that did not change is not even read. What comes out is, to
//! the last digit, what went in: rows carry a checksum, and one that changed counts as absent.
//!
//! The cache never fails a run. Whatever is wrong with it is told once, and the run goes on
//! without: look-ups find nothing, and nothing is kept.

mod key;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use key::{ImageKey, ModelKey};

use anyhow::{Context, Result, bail};
use blake3::Hash;
use rusqlite::{Connection, Error};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use store::{Answers, Folder, Found, Table};
use writer::{Write, Writer};

/// How large the database may grow unless the user says otherwise: a million images of ViT-B/32.
pub const DEFAULT_LIMIT_BYTES: u64 = 2 << 30;

/// The folder of the cache unless the user names another: in the user's cache folder.
pub fn default_folder() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("clipclass"))
}

/// The embeddings of one model that earlier runs computed.
///
/// Threads may share it. Dropping it waits until everything is written.
pub struct Cache {
    state: Option<State>,
}

/// A cache in use.
struct State {
    space: Hash,
    name: String,
    dim: usize,
    limit_bytes: u64,
    reader: Mutex<Option<Connection>>,
    writer: OnceLock<Option<Writer>>,
    model_is_noted: Once,
    folder: Folder,
    troubles: Arc<Troubles>,
}

/// A prompt's embedding, as an earlier run computed it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownPrompt {
    pub embedding: Vec<f32>,
    /// Whether the prompt had lost tokens beyond the context length.
    pub truncated: bool,
}

impl Cache {
    /// Opens the cache in `folder` for a model. Troubles are told to `warn`, now or later.
    pub fn open(
        folder: &Path,
        limit_bytes: u64,
        model: &ModelKey,
        warn: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let troubles = Arc::new(Troubles::new(warn));
        match State::open(folder, limit_bytes, model, &troubles) {
            Ok(state) => Self { state: Some(state) },
            Err(error) => {
                (troubles.warn)(&format!("running without the cache: {error:#}"));
                Self::off()
            }
        }
    }

    /// A cache that knows nothing and keeps nothing.
    pub fn off() -> Self {
        Self { state: None }
    }

    /// Looks up prompts, in order.
    pub fn prompts(&self, prompts: &[&str]) -> Vec<Option<KnownPrompt>> {
        let Some(state) = &self.state else { return vec![None; prompts.len()] };
        let keys: Vec<_> = prompts.iter().map(|prompt| Some(state.key(prompt.as_bytes()))).collect();
        let rows = state.look_up(|reader| store::embeddings(reader, Table::Prompt, &keys, state.dim * 4 + 1));
        let Some(rows) = rows else { return vec![None; prompts.len()] };
        let known = state.accept(Table::Prompt, rows).into_iter().map(|bytes| {
            let bytes = bytes?;
            let (truncated, embedding) = bytes.split_first()?;
            Some(KnownPrompt { embedding: to_floats(embedding), truncated: *truncated != 0 })
        });
        known.collect()
    }

    /// Looks up images, in order.
    ///
    /// One that is found by its content is from then on found by its file, too.
    pub fn images(&self, images: &[ImageKey]) -> Vec<Option<Vec<f32>>> {
        let Some(state) = &self.state else { return vec![None; images.len()] };
        let marks: Vec<_> =
            images.iter().map(|image| image.mark.filter(|_| image.content.is_none())).collect();
        let rows = state.look_up(|reader| {
            // One transaction: its start costs as much as a look-up.
            let transaction = reader.unchecked_transaction()?;
            let files = store::contents(&transaction, &marks)?;
            let content = |(image, known): (&ImageKey, &Option<Vec<u8>>)| match (image.content, known) {
                (Some(content), _) => Some(state.key(content.as_bytes())),
                (None, Some(known)) => Some(state.key(known)),
                (None, None) => None,
            };
            let keys: Vec<_> = images.iter().zip(&files.bytes).map(content).collect();
            let embeddings = store::embeddings(&transaction, Table::Image, &keys, state.dim * 4)?;
            Ok((files, embeddings))
        });
        let Some((files, embeddings)) = rows else { return vec![None; images.len()] };
        state.accept(Table::File, files);
        let known = state.accept(Table::Image, embeddings);
        for (image, _) in images.iter().zip(&known).filter(|(_, known)| known.is_some()) {
            state.keep_content(image);
        }
        known.into_iter().map(|bytes| bytes.map(|bytes| to_floats(&bytes))).collect()
    }

    /// Keeps a prompt's embedding, `[D]`.
    pub fn keep_prompt(&self, prompt: &str, embedding: &[f32], truncated: bool) {
        let Some(state) = &self.state else { return };
        let mut bytes = vec![u8::from(truncated)];
        bytes.extend(to_bytes(embedding));
        state.keep(Table::Prompt, prompt.as_bytes(), bytes);
    }

    /// Keeps an image's embedding, `[D]`. The key must have been given the image's bytes.
    pub fn keep_image(&self, image: &ImageKey, embedding: &[f32]) {
        let (Some(state), Some(content)) = (&self.state, image.content) else { return };
        state.keep(Table::Image, content.as_bytes(), to_bytes(embedding).collect());
        state.keep_content(image);
    }
}

impl State {
    fn open(folder: &Path, limit_bytes: u64, model: &ModelKey, troubles: &Arc<Troubles>) -> Result<Self> {
        let (folder, reader) = Folder::open(folder, &*troubles.warn)?;
        let mut state = Self {
            space: Hash::from([0; 32]),
            name: model.name.to_owned(),
            dim: model.dim,
            limit_bytes,
            reader: Mutex::new(Some(reader)),
            writer: OnceLock::new(),
            model_is_noted: Once::new(),
            folder,
            troubles: troubles.clone(),
        };
        let remembered = |mark| {
            let rows = state.look_up(|reader| store::contents(reader, &[Some(mark)]))?;
            let bytes = state.accept(Table::File, rows).pop()??;
            Hash::from_slice(&bytes).ok()
        };
        let remember = |mark, content| state.write(Write::Content { mark, content });
        state.space = key::space(model, remembered, remember).context("cannot read the model")?;
        Ok(state)
    }

    fn key(&self, content: &[u8]) -> Hash {
        blake3::keyed_hash(self.space.as_bytes(), content)
    }

    /// Reads, unless reading failed before.
    fn look_up<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if self.troubles.unreadable.load(Relaxed) {
            *reader = None;
        }
        match read(reader.as_ref()?) {
            Ok(rows) => Some(rows),
            Err(error) => {
                self.troubles.reading_failed(&error);
                *reader = None;
                None
            }
        }
    }

    /// What was found and is intact; its use is noted.
    fn accept(&self, table: Table, answers: Answers) -> Vec<Option<Vec<u8>>> {
        if answers.falsified > 0 {
            self.troubles.rows_were_falsified();
        }
        if !answers.unnoted.is_empty() {
            self.write(Write::Use { table, keys: answers.unnoted });
        }
        answers.bytes
    }

    fn keep(&self, table: Table, content: &[u8], bytes: Vec<u8>) {
        let model = || Write::Model { space: self.space, name: self.name.clone() };
        self.model_is_noted.call_once(|| self.write(model()));
        self.write(Write::Embedding { table, key: self.key(content), bytes });
    }

    fn keep_content(&self, image: &ImageKey) {
        if let (Some(mark), Some(content)) = (image.mark, image.content) {
            self.write(Write::Content { mark, content });
        }
    }

    /// Hands over to the writer, which the first write starts.
    fn write(&self, write: Write) {
        if self.troubles.unwritable.load(Relaxed) {
            return;
        }
        let start = || {
            let connected =
                self.folder.connect().inspect_err(|error| self.troubles.writing_failed(error)).ok()?;
            Writer::start(connected, self.limit_bytes, self.troubles.clone()).ok()
        };
        if let Some(writer) = self.writer.get_or_init(start) {
            writer.write(write);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.writer.take();
        *self.reader.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        if self.troubles.damaged.load(Relaxed) {
            // Where another process uses it, that one or the next removes it.
            let _ = self.folder.remove();
        }
    }
}

/// What went wrong so far.
struct Troubles {
    warn: Box<dyn Fn(&str) + Send + Sync>,
    unreadable: AtomicBool,
    unwritable: AtomicBool,
    damaged: AtomicBool,
    falsified: AtomicBool,
}

impl Troubles {
    fn new(warn: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let no = || AtomicBool::new(false);
        Self { warn: Box::new(warn), unreadable: no(), unwritable: no(), damaged: no(), falsified: no() }
    }

    /// Neither read nor written from now on.
    fn reading_failed(&self, error: &Error) {
        let damaged = store::is_damage(error);
        self.damaged.fetch_or(damaged, Relaxed);
        self.unwritable.store(true, Relaxed);
        if !self.unreadable.swap(true, Relaxed) {
            let what = if damaged { "the cache is damaged" } else { "cannot read the cache" };
            (self.warn)(&format!("{what}, going on without it: {error}"));
        }
    }

    /// Not written from now on, but read, unless the database is damaged.
    fn writing_failed(&self, error: &Error) {
        if store::is_damage(error) {
            self.reading_failed(error);
        } else if !self.unwritable.swap(true, Relaxed) {
            (self.warn)(&format!("cannot write the cache, nothing more is kept: {error}"));
        }
    }

    fn rows_were_falsified(&self) {
        if !self.falsified.swap(true, Relaxed) {
            (self.warn)("the cache holds embeddings that changed on the disk; they are computed again");
        }
    }
}

/// What a cache holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// Bytes on the disk.
    pub bytes: u64,
    pub images: u64,
    pub prompts: u64,
    /// Models, each counted once for every precision and device.
    pub models: u64,
}

/// Counts what the cache in `folder` holds.
///
/// *Errors* when it cannot be read.
pub fn holdings(folder: &Path) -> Result<Holdings> {
    let nothing = Holdings { bytes: 0, images: 0, prompts: 0, models: 0 };
    if !folder.exists() {
        return Ok(nothing);
    }
    let opened = Folder::enter(folder)?;
    match opened.find()? {
        Found::Ready(reader) => {
            let count = |table| {
                store::count(&reader, table)
                    .with_context(|| format!("cannot read the cache in {}", folder.display()))
            };
            Ok(Holdings {
                bytes: opened.bytes(),
                images: count("image")?,
                prompts: count("prompt")?,
                models: count("model")?,
            })
        }
        Found::Nothing => Ok(Holdings { bytes: opened.bytes(), ..nothing }),
        Found::Damaged(error) => {
            bail!("the cache in {} is damaged, the next run makes it anew: {error}", folder.display())
        }
    }
}

/// Removes the cache in `folder`, of whatever format, and says how many bytes it took.
///
/// *Errors* when another process uses it or it cannot be removed.
pub fn clear(folder: &Path) -> Result<u64> {
    if !folder.exists() {
        return Ok(0);
    }
    let context = || format!("cannot clear the cache in {}", folder.display());
    let opened = Folder::enter(folder).with_context(context)?;
    let bytes = opened.bytes();
    opened.remove().with_context(context)?;
    Ok(bytes)
}

fn to_bytes(embedding: &[f32]) -> impl Iterator<Item = u8> {
    embedding.iter().flat_map(|value| value.to_le_bytes())
}

fn to_floats(bytes: &[u8]) -> Vec<f32> {
    let value = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
    bytes.as_chunks().0.iter().map(value).collect()
}
