//! What is to be kept → the database, in batches and on a thread of its own.

use super::store::{self, Table};
use super::troubles::Troubles;
use blake3::Hash;
use rusqlite::{Connection, TransactionBehavior};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Most writes that share a transaction, and the longest that the first of them waits.
const BATCH: usize = 256;
const BATCH_TIME: Duration = Duration::from_millis(200);

/// Writes that may wait; whoever writes more waits for the disk.
const QUEUE: usize = 4 * BATCH;

/// Something to keep.
pub(super) enum CacheWrite {
    Embedding { table: Table, key: Hash, bytes: Vec<u8> },
    Content { mark: Hash, content: Hash },
    Model { space: Hash, name: String },
    Use { table: Table, keys: Vec<Hash> },
}

/// The thread that writes; dropping it waits until all is written.
pub(super) struct CacheWriter {
    queue: Option<SyncSender<CacheWrite>>,
    thread: Option<JoinHandle<()>>,
    troubles: Arc<Troubles>,
}

impl CacheWriter {
    /// Starts the thread.
    pub(super) fn start(
        mut connection: Connection,
        limit_bytes: u64,
        troubles: Arc<Troubles>,
    ) -> io::Result<Self> {
        let (queue, writes) = sync_channel(QUEUE);
        let told = troubles.clone();
        let run = move || {
            if let Err(error) = run(&mut connection, &writes, limit_bytes) {
                told.writing_failed(&error);
            }
        };
        let thread = thread::Builder::new().name("cache".to_owned()).spawn(run)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), troubles })
    }

    /// Hands over something to keep; after a failure nothing is kept.
    pub(super) fn write(&self, write: CacheWrite) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(write);
        }
    }
}

impl Drop for CacheWriter {
    fn drop(&mut self) {
        self.queue = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            self.troubles.writer_failed(&"its thread broke down");
        }
    }
}

/// Writes until the last sender is gone.
fn run(connection: &mut Connection, writes: &Receiver<CacheWrite>, limit_bytes: u64) -> rusqlite::Result<()> {
    while let Ok(first) = writes.recv() {
        let due = Instant::now() + BATCH_TIME;
        let mut batch = vec![first];
        while batch.len() < BATCH {
            let Ok(write) = writes.recv_timeout(due.saturating_duration_since(Instant::now())) else { break };
            batch.push(write);
        }
        commit(connection, &batch)?;
        store::evict(connection, limit_bytes)?;
    }
    Ok(())
}

fn commit(connection: &mut Connection, batch: &[CacheWrite]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for write in batch {
        match write {
            CacheWrite::Embedding { table, key, bytes } => {
                store::put_embedding(&transaction, *table, key, bytes)?
            }
            CacheWrite::Content { mark, content } => store::put_content(&transaction, mark, content)?,
            CacheWrite::Model { space, name } => store::put_model(&transaction, space, name)?,
            CacheWrite::Use { table, keys } => {
                keys.iter().try_for_each(|key| store::note_use(&transaction, *table, key))?;
            }
        }
    }
    transaction.commit()
}
