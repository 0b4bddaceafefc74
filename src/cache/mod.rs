//! Embeddings kept between runs, so that nothing is computed twice: the embedding cache.
//!
//! A prompt is known by its text, an image by the content of its encoded bytes, and a file by its
//! place, size and times, so that one that did not change is not even read. What comes out is, to
//! the last digit, what went in: rows carry a checksum, and one that changed counts as absent.
//!
//! The embedding cache never fails a run. Whatever is wrong with it is told once, and the run goes on
//! without: look-ups find nothing, and nothing is kept.

mod folder;
mod holdings;
mod key;
mod mark;
mod speeds;
mod store;
#[cfg(test)]
mod tests;
mod troubles;
mod writer;

pub use holdings::{Holdings, clear, holdings};
pub use key::{ARITHMETIC, ImageKey, KeyValue, SpaceKey};
pub use speeds::{KnownSpeed, keep_speed, speeds};

use anyhow::Result;
use blake3::Hash;
use folder::CacheFolder;
use mark::FileMark;
use rusqlite::Connection;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use store::{Answers, Table};
use troubles::Troubles;
use writer::{CacheWrite, CacheWriter};

/// How large the database may grow unless the user says otherwise: a million images of ViT-B/32.
pub const DEFAULT_LIMIT_BYTES: u64 = 2 << 30;

/// The folder of the embedding cache unless the user names another: in the user's cache folder.
pub fn default_folder() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("clipclass"))
}

/// An open embedding cache: digests of files, and the embeddings of every model.
pub struct EmbeddingCache {
    state: Option<State>,
}

/// The embeddings of one model that earlier runs computed.
///
/// Threads may share it. Dropping it waits until everything is written.
pub struct ModelEmbeddings {
    space: Hash,
    /// That of prompts, where they are not taken as usual.
    prompt_space: Hash,
    name: String,
    dim: usize,
    is_noted: Once,
    state: Option<State>,
}

/// A database in use.
struct State {
    limit_bytes: u64,
    reader: Mutex<Option<Connection>>,
    writer: OnceLock<Option<CacheWriter>>,
    folder: CacheFolder,
    troubles: Arc<Troubles>,
}

/// A prompt's embedding, as an earlier run computed it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownPrompt {
    pub embedding: Vec<f32>,
    /// Whether the prompt had lost tokens beyond the context length.
    pub truncated: bool,
}

impl EmbeddingCache {
    /// Opens the embedding cache in `folder`. Troubles are told to `warn`, now or later.
    pub fn open(folder: &Path, limit_bytes: u64, warn: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let troubles = Arc::new(Troubles::new(warn));
        match State::open(folder, limit_bytes, &troubles) {
            Ok(state) => Self { state: Some(state) },
            Err(error) => {
                troubles.tell(&format!("running without the embedding cache: {error:#}"));
                Self::off()
            }
        }
    }

    /// One that knows nothing and keeps nothing.
    pub fn off() -> Self {
        Self { state: None }
    }

    /// The digest of an open file that was found at `path`: remembered, if the file did not change
    /// since, or computed.
    ///
    /// *Errors* when `compute` does.
    pub fn digest(
        &self,
        file: &File,
        path: &Path,
        compute: impl FnOnce() -> io::Result<[u8; 32]>,
    ) -> io::Result<[u8; 32]> {
        let mark = || FileMark::of_open(file, path).and_then(FileMark::settled);
        let (Some(state), Some(before)) = (&self.state, mark()) else { return compute() };
        if let Some(digest) = state.digest(before) {
            return Ok(digest);
        }
        let digest = compute()?;
        // One that was written to meanwhile has none that is worth remembering.
        if mark() == Some(before) {
            state.write(CacheWrite::Content { mark: before, content: digest.into() });
        }
        Ok(digest)
    }

    /// The embeddings of the model that `key` stands for, each `dim` wide. `name` is what the user
    /// calls it.
    pub fn of_model(self, name: &str, dim: usize, key: SpaceKey) -> ModelEmbeddings {
        let space = key.field("width", dim as u64).hash();
        ModelEmbeddings {
            space,
            prompt_space: space,
            name: name.to_owned(),
            dim,
            is_noted: Once::new(),
            state: self.state,
        }
    }
}

impl ModelEmbeddings {
    /// Of a model of which nothing is known and nothing is kept.
    pub fn off() -> Self {
        EmbeddingCache::off().of_model("", 0, SpaceKey::new())
    }

    /// Keeps embeddings of prompts that are taken in another way than usual, which `how` tells apart
    /// from all others, as ones of their own.
    #[must_use]
    pub fn with_prompts_taken(self, how: &str) -> Self {
        Self { prompt_space: blake3::keyed_hash(self.space.as_bytes(), how.as_bytes()), ..self }
    }

    /// Looks up prompts, in order.
    pub fn prompts(&self, prompts: &[&str]) -> Vec<Option<KnownPrompt>> {
        let Some(state) = &self.state else { return vec![None; prompts.len()] };
        let keys: Vec<_> = prompts.iter().map(|prompt| Some(self.prompt_key(prompt))).collect();
        let rows = state.look_up(|reader| store::embeddings(reader, Table::Prompt, &keys, self.dim * 4 + 1));
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
            let files = store::contents(reader, &marks)?;
            let content = |(image, known): (&ImageKey, &Option<Vec<u8>>)| match (image.content, known) {
                (Some(content), _) => Some(self.key(content.as_bytes())),
                (None, Some(known)) => Some(self.key(known)),
                (None, None) => None,
            };
            let keys: Vec<_> = images.iter().zip(&files.bytes).map(content).collect();
            let embeddings = store::embeddings(reader, Table::Image, &keys, self.dim * 4)?;
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
        self.keep(state, Table::Prompt, self.prompt_key(prompt), bytes);
    }

    /// Keeps an image's embedding, `[D]`. The key must have been given the image's bytes.
    pub fn keep_image(&self, image: &ImageKey, embedding: &[f32]) {
        let (Some(state), Some(content)) = (&self.state, image.content) else { return };
        self.keep(state, Table::Image, self.key(content.as_bytes()), to_bytes(embedding).collect());
        state.keep_content(image);
    }

    fn key(&self, content: &[u8]) -> Hash {
        blake3::keyed_hash(self.space.as_bytes(), content)
    }

    fn prompt_key(&self, prompt: &str) -> Hash {
        blake3::keyed_hash(self.prompt_space.as_bytes(), prompt.as_bytes())
    }

    fn keep(&self, state: &State, table: Table, key: Hash, bytes: Vec<u8>) {
        let model = || CacheWrite::Model { space: self.space, name: self.name.clone() };
        self.is_noted.call_once(|| state.write(model()));
        state.write(CacheWrite::Embedding { table, key, bytes });
    }
}

impl State {
    fn open(folder: &Path, limit_bytes: u64, troubles: &Arc<Troubles>) -> Result<Self> {
        let (folder, reader) = CacheFolder::open(folder, |text| troubles.tell(text))?;
        Ok(Self {
            limit_bytes,
            reader: Mutex::new(Some(reader)),
            writer: OnceLock::new(),
            folder,
            troubles: troubles.clone(),
        })
    }

    /// The digest that a file with this mark had.
    fn digest(&self, mark: Hash) -> Option<[u8; 32]> {
        let rows = self.look_up(|reader| store::contents(reader, &[Some(mark)]))?;
        self.accept(Table::File, rows).pop()??.try_into().ok()
    }

    /// Reads in one transaction, whose start costs as much as a row, unless reading failed before.
    fn look_up<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if self.troubles.unreadable.load(Relaxed) {
            *reader = None;
        }
        let reading = reader.as_ref()?.unchecked_transaction().and_then(|transaction| read(&transaction));
        match reading {
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
            self.write(CacheWrite::Use { table, keys: answers.unnoted });
        }
        answers.bytes
    }

    fn keep_content(&self, image: &ImageKey) {
        if let (Some(mark), Some(content)) = (image.mark, image.content) {
            self.write(CacheWrite::Content { mark, content });
        }
    }

    /// Hands over to the writer, which the first write starts.
    fn write(&self, write: CacheWrite) {
        if self.troubles.unwritable.load(Relaxed) {
            return;
        }
        let start = || {
            let connected =
                self.folder.connect().inspect_err(|error| self.troubles.writing_failed(error)).ok()?;
            CacheWriter::start(connected, self.limit_bytes, self.troubles.clone())
                .inspect_err(|error| self.troubles.writer_failed(error))
                .ok()
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

fn to_bytes(embedding: &[f32]) -> impl Iterator<Item = u8> {
    embedding.iter().flat_map(|value| value.to_le_bytes())
}

fn to_floats(bytes: &[u8]) -> Vec<f32> {
    let value = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
    bytes.as_chunks().0.iter().map(value).collect()
}
