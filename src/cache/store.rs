//! The rows of the database: looked up, kept, and removed when they are too many.

use blake3::Hash;
use rusqlite::{Connection, OptionalExtension, params};
use std::time::{SystemTime, UNIX_EPOCH};

/// A table whose rows have a key and the day they were last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Image,
    Prompt,
    File,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Prompt => "prompt",
            Self::File => "file",
        }
    }
}

/// What a look-up gave.
pub(super) struct Answers {
    /// For each key what was kept, and was still what had been written.
    pub bytes: Vec<Option<Vec<u8>>>,
    /// Keys whose use is not noted for today.
    pub unnoted: Vec<Hash>,
    /// How many were kept, but had changed since.
    pub falsified: usize,
}

/// Looks up embeddings; they have `len` bytes each.
pub(super) fn embeddings(
    connection: &Connection,
    table: Table,
    keys: &[Option<Hash>],
    len: usize,
) -> rusqlite::Result<Answers> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT bytes, used, checksum FROM {} JOIN embedding ON id = embedding WHERE key = ?",
        table.name()
    ))?;
    look_up(keys, |key| {
        let row = |row: &rusqlite::Row| {
            let bytes = row.get_ref(0)?.as_blob_or_null().ok().flatten().unwrap_or_default();
            let intact = bytes.len() == len && row.get_ref(2)?.as_i64() == Ok(checksum(key, bytes));
            Ok((intact.then(|| bytes.to_vec()), row.get_ref(1)?.as_i64().unwrap_or(0)))
        };
        select.query_row([key.as_bytes()], row).optional()
    })
}

/// Looks up the content that files with these marks had.
pub(super) fn contents(connection: &Connection, marks: &[Option<Hash>]) -> rusqlite::Result<Answers> {
    let mut select = connection.prepare_cached("SELECT content, used FROM file WHERE key = ?")?;
    look_up(marks, |mark| {
        let row = |row: &rusqlite::Row| {
            let bytes = row.get_ref(0)?.as_blob_or_null().ok().flatten().unwrap_or_default();
            let intact = bytes.len() == blake3::OUT_LEN;
            Ok((intact.then(|| bytes.to_vec()), row.get_ref(1)?.as_i64().unwrap_or(0)))
        };
        select.query_row([mark.as_bytes()], row).optional()
    })
}

/// A row's bytes, if they are intact, and the day of its last use.
type Row = (Option<Vec<u8>>, i64);

fn look_up(
    keys: &[Option<Hash>],
    mut find: impl FnMut(&Hash) -> rusqlite::Result<Option<Row>>,
) -> rusqlite::Result<Answers> {
    let today = today();
    let mut answers = Answers { bytes: Vec::with_capacity(keys.len()), unnoted: Vec::new(), falsified: 0 };
    for key in keys {
        let row = key.as_ref().map(&mut find).transpose()?.flatten();
        if let (Some(key), Some((bytes, used))) = (key, &row) {
            if bytes.is_none() {
                answers.falsified += 1;
            } else if *used < today {
                answers.unnoted.push(*key);
            }
        }
        answers.bytes.push(row.and_then(|(bytes, _)| bytes));
    }
    Ok(answers)
}

/// Keeps an embedding, in place of what was kept under the key.
pub(super) fn put_embedding(
    connection: &Connection,
    table: Table,
    key: &Hash,
    bytes: &[u8],
) -> rusqlite::Result<()> {
    let table = table.name();
    let row = connection
        .prepare_cached(&format!("SELECT embedding FROM {table} WHERE key = ?"))?
        .query_row([key.as_bytes()], |row| row.get::<_, Option<i64>>(0))
        .optional()?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO embedding (id, bytes) VALUES (?, ?)")?
        .execute(params![row.flatten(), bytes])?;
    connection
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO {table} (key, embedding, checksum, used) VALUES (?, ?, ?, ?)"
        ))?
        .execute(params![key.as_bytes(), connection.last_insert_rowid(), checksum(key, bytes), today()])?;
    Ok(())
}

/// Keeps the content that a file with this mark has.
pub(super) fn put_content(connection: &Connection, mark: &Hash, content: &Hash) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO file (key, content, used) VALUES (?, ?, ?)")?
        .execute(params![mark.as_bytes(), content.as_bytes(), today()])?;
    Ok(())
}

/// Notes that there are embeddings of a model.
pub(super) fn put_model(connection: &Connection, space: &Hash, name: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO model (key, name) VALUES (?, ?)")?
        .execute(params![space.as_bytes(), name])?;
    Ok(())
}

/// Notes that a row was used today.
pub(super) fn note_use(connection: &Connection, table: Table, key: &Hash) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!("UPDATE {} SET used = ? WHERE key = ?", table.name()))?
        .execute(params![today(), key.as_bytes()])?;
    Ok(())
}

/// Removes what was not used for longest, a quarter of each table at a time, while more than the
/// limit is kept.
pub(super) fn evict(connection: &mut Connection, limit_bytes: u64) -> rusqlite::Result<()> {
    while bytes_used(connection)? > limit_bytes {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut removed = 0;
        for table in [Table::Image, Table::Prompt, Table::File].map(Table::name) {
            let oldest = format!(
                "FROM {table} ORDER BY used{} LIMIT (SELECT (count(*) + 3) / 4 FROM {table})",
                if table == "file" { "" } else { ", embedding" }
            );
            if table != "file" {
                transaction
                    .execute(&format!("DELETE FROM embedding WHERE id IN (SELECT embedding {oldest})"), [])?;
            }
            removed += transaction
                .execute(&format!("DELETE FROM {table} WHERE key IN (SELECT key {oldest})"), [])?;
        }
        transaction.commit()?;
        if removed == 0 {
            break;
        }
    }
    let over = bytes_on(connection, "page_count")?.saturating_sub(limit_bytes);
    if over > 0 {
        let pages = over / number(connection, "page_size")? + 1;
        // Each row frees a page.
        let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut freed = vacuum.query([])?;
        while freed.next()?.is_some() {}
    }
    Ok(())
}

/// Counts the rows of a table.
pub(super) fn count(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
        .map(|n| n as u64)
}

/// Bytes of the pages in use.
fn bytes_used(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(bytes_on(connection, "page_count")?.saturating_sub(bytes_on(connection, "freelist_count")?))
}

fn bytes_on(connection: &Connection, pages: &str) -> rusqlite::Result<u64> {
    Ok(number(connection, pages)? * number(connection, "page_size")?)
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map(|number| number.max(0) as u64)
}

/// Days since 1970.
fn today() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| (since.as_secs() / 86_400) as i64)
}

/// Of a row's bytes under their key, so that neither a flipped bit nor another row's bytes pass.
fn checksum(key: &Hash, bytes: &[u8]) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::keyed_hash(key.as_bytes(), bytes).as_bytes()[..8]);
    i64::from_le_bytes(first)
}
