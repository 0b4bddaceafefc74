//! What goes wrong with the embedding cache, each thing told once.

use super::folder::is_damage;
use rusqlite::Error;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What went wrong so far.
pub(super) struct Troubles {
    warn: Box<dyn Fn(&str) + Send + Sync>,
    pub unreadable: AtomicBool,
    pub unwritable: AtomicBool,
    pub damaged: AtomicBool,
    falsified: AtomicBool,
}

impl Troubles {
    /// Tells `warn`.
    pub fn new(warn: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let no = || AtomicBool::new(false);
        Self { warn: Box::new(warn), unreadable: no(), unwritable: no(), damaged: no(), falsified: no() }
    }

    /// Tells of something, now.
    pub fn tell(&self, text: &str) {
        (self.warn)(text);
    }

    /// Neither read nor written from now on.
    pub fn reading_failed(&self, error: &Error) {
        let damaged = is_damage(error);
        self.damaged.fetch_or(damaged, Relaxed);
        self.unwritable.store(true, Relaxed);
        if !self.unreadable.swap(true, Relaxed) {
            let what =
                if damaged { "the embedding cache is damaged" } else { "cannot read the embedding cache" };
            (self.warn)(&format!("{what}, going on without it: {error}"));
        }
    }

    /// Not written from now on, but read, unless the database is damaged.
    pub fn writing_failed(&self, error: &Error) {
        if is_damage(error) {
            self.reading_failed(error);
        } else {
            self.writer_failed(error);
        }
    }

    /// Not written from now on, but read.
    pub fn writer_failed(&self, error: &dyn Display) {
        if !self.unwritable.swap(true, Relaxed) {
            (self.warn)(&format!("cannot write the embedding cache, nothing more is kept: {error}"));
        }
    }

    /// What was falsified counts as absent.
    pub fn rows_were_falsified(&self) {
        if !self.falsified.swap(true, Relaxed) {
            (self.warn)(
                "the embedding cache holds embeddings that changed on the disk; they are computed again",
            );
        }
    }
}
