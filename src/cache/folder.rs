//! A folder → the SQLite database in it, opened safely and made anew when it cannot be used.
//!
//! A lock file beside the database says who uses it. It is held shared while a connection is open,
//! and exclusively by whoever makes or removes the database, since SQLite does not survive losing a
//! file under an open connection.

use anyhow::{Context, Result, bail};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

const DATABASE: &str = "embeddings.sqlite";
const LOCK: &str = "embeddings.lock";

/// `PRAGMA application_id`: "clip".
const APPLICATION_ID: i32 = 0x636c_6970;
/// `PRAGMA user_version`: raised when an older clipclass could not read the tables.
const FORMAT: i32 = 1;

/// How long to wait for another process.
const PATIENCE: Duration = Duration::from_secs(5);

/// The keys are apart from the embeddings, so that noting their use rewrites few pages. A page
/// holds seven embeddings of 512 values, or five of 768.
const SCHEMA: &str = "
    CREATE TABLE image (key BLOB PRIMARY KEY, embedding INTEGER, checksum INTEGER, used INTEGER) WITHOUT ROWID;
    CREATE TABLE prompt (key BLOB PRIMARY KEY, embedding INTEGER, checksum INTEGER, used INTEGER) WITHOUT ROWID;
    CREATE TABLE embedding (id INTEGER PRIMARY KEY, bytes BLOB);
    CREATE TABLE file (key BLOB PRIMARY KEY, content BLOB, used INTEGER) WITHOUT ROWID;
    CREATE TABLE model (key BLOB PRIMARY KEY, name TEXT) WITHOUT ROWID;
";

/// The embedding cache's folder, in use by this process.
pub(super) struct CacheFolder {
    path: PathBuf,
    lock: File,
}

/// What is where the database should be.
pub(super) enum FoundDatabase {
    Ready(Connection),
    /// Nothing, or an older format.
    Nothing,
    Damaged(Error),
}

impl CacheFolder {
    /// Makes the folder where it is missing, and holds its lock shared.
    pub(super) fn enter(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        let lock_path = path.join(LOCK);
        let lock = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&lock_path)
            .or_else(|_| File::open(&lock_path))
            .with_context(|| format!("cannot write in {}", path.display()))?;
        let folder = Self { path: path.to_owned(), lock };
        folder.wait_for(File::try_lock_shared)?;
        Ok(folder)
    }

    /// Opens the database and makes it where it is missing; a damaged one is told of and made anew.
    ///
    /// *Errors* when that cannot be done, or the database is a newer clipclass's.
    pub(super) fn open(path: &Path, warn: impl Fn(&str)) -> Result<(Self, Connection)> {
        let folder = Self::enter(path)?;
        if let FoundDatabase::Ready(connection) = folder.find()? {
            return Ok((folder, connection));
        }
        folder.lock.unlock()?;
        folder.wait_for(File::try_lock)?;
        // Another process may have made it in the meantime.
        let connection = match folder.find()? {
            FoundDatabase::Ready(connection) => connection,
            FoundDatabase::Nothing => folder.create()?,
            FoundDatabase::Damaged(error) => {
                warn(&format!("{} is damaged and made anew: {error}", folder.database().display()));
                folder.create()?
            }
        };
        // Some systems cannot turn one lock into the other.
        folder.lock.unlock()?;
        folder.wait_for(File::try_lock_shared)?;
        Ok((folder, connection))
    }

    /// One more connection to the database.
    pub(super) fn connect(&self) -> rusqlite::Result<Connection> {
        connect(&self.database(), is_on_network(&self.path))
    }

    /// Removes the database, unless another process uses it.
    ///
    /// No connection of this process may be open.
    pub(super) fn remove(&self) -> Result<()> {
        self.lock.unlock()?;
        match self.lock.try_lock() {
            Ok(()) => self.remove_files(),
            Err(TryLockError::WouldBlock) => {
                bail!("another clipclass is using it; try again when that has ended")
            }
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock it"),
        }
    }

    /// Bytes that the database takes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.files().iter().map(|path| path.metadata().map_or(0, |found| found.len())).sum()
    }

    fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The database and what SQLite puts beside it.
    fn files(&self) -> [PathBuf; 4] {
        ["", "-wal", "-shm", "-journal"].map(|suffix| self.path.join(format!("{DATABASE}{suffix}")))
    }

    fn wait_for(&self, try_lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<()> {
        let start = Instant::now();
        loop {
            match try_lock(&self.lock) {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(error)) => {
                    return Err(error)
                        .with_context(|| format!("cannot lock {}", self.path.join(LOCK).display()));
                }
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    bail!("another clipclass keeps {} from being opened", self.database().display())
                }
            }
        }
    }

    /// Looks for the database.
    ///
    /// *Errors* when it cannot be opened, or is not for this clipclass to change.
    pub(super) fn find(&self) -> Result<FoundDatabase> {
        let path = self.database();
        if !path.try_exists().with_context(|| format!("cannot look for {}", path.display()))? {
            return Ok(FoundDatabase::Nothing);
        }
        let look = || {
            let connection = self.connect()?;
            let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
            let found = (number("application_id")?, number("user_version")?);
            let tables: i64 =
                connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            if found == (APPLICATION_ID, FORMAT) {
                check_tables(&connection)?;
            }
            Ok((connection, found, tables))
        };
        Ok(match look() {
            Ok((connection, (APPLICATION_ID, FORMAT), _)) => FoundDatabase::Ready(connection),
            Ok((_, (APPLICATION_ID, ..FORMAT), _)) | Ok((_, (0, 0), 0)) => FoundDatabase::Nothing,
            Ok((_, (APPLICATION_ID, _), _)) => {
                bail!(
                    "{} was written by a newer clipclass; update this one, or use another folder",
                    path.display()
                )
            }
            Ok(_) => bail!("{} is not clipclass's; use another folder", path.display()),
            Err(error) if is_damage(&error) => FoundDatabase::Damaged(error),
            Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
        })
    }

    /// Makes the database. Only under the exclusive lock.
    fn create(&self) -> Result<Connection> {
        self.remove_files()?;
        let path = self.database();
        let make = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&path, flags)?;
            // Nothing is lost if the machine fails now, and so nothing waits for the disk.
            connection.execute_batch(
                "PRAGMA page_size = 16384; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA synchronous = OFF;",
            )?;
            if !is_on_network(&self.path) {
                connection.execute_batch("PRAGMA journal_mode = WAL;")?;
            }
            connection.execute_batch(&format!(
                "BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
            ))?;
            drop(connection);
            self.connect()
        };
        make().with_context(|| format!("cannot create {}", path.display()))
    }

    fn remove_files(&self) -> Result<()> {
        for path in self.files() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether the file, not the moment, is to blame.
pub(super) fn is_damage(error: &Error) -> bool {
    // "No such table" and the like come without a code of their own.
    let codes = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase, ErrorCode::Unknown];
    error.sqlite_error_code().is_none_or(|code| codes.contains(&code))
}

fn connect(path: &Path, on_network: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    // The last process to end would otherwise wait for the disk, each time. The log stays short
    // enough to be read in a moment.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch(
        "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 256; PRAGMA journal_size_limit = 8388608;
         PRAGMA cache_size = -16384; PRAGMA cell_size_check = ON;",
    )?;
    if on_network {
        // Write-ahead logs need memory that all processes share; those of several machines do not.
        connection.execute_batch("PRAGMA journal_mode = TRUNCATE;")?;
    }
    Ok(connection)
}

fn check_tables(connection: &Connection) -> rusqlite::Result<()> {
    for columns in [
        "key, embedding, checksum, used FROM image",
        "key, embedding, checksum, used FROM prompt",
        "id, bytes FROM embedding",
        "key, content, used FROM file",
        "key, name FROM model",
    ] {
        connection.prepare(&format!("SELECT {columns}"))?;
    }
    Ok(())
}

/// Whether other machines may have the folder mounted.
#[cfg(target_os = "linux")]
fn is_on_network(folder: &Path) -> bool {
    // `f_type` of statfs(2) and of the file systems' own headers: NFS, SMB, CIFS, SMB2, FUSE
    // (sshfs and its like), 9P, AFS, Ceph, Lustre, GPFS, BeeGFS.
    const TYPES: [u32; 11] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x6573_5546,
        0x0102_1997,
        0x5346_414f,
        0x00c3_6400,
        0x0bd0_0bd0,
        0x4750_4653,
        0x1983_0326,
    ];
    rustix::fs::statfs(folder).is_ok_and(|found| TYPES.contains(&(found.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn is_on_network(_folder: &Path) -> bool {
    false
}
