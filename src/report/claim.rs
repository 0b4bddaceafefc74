//! A file that a run writes → a claim on it, so that two runs never write to one file.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;

/// A lock on `.NAME.lock` beside the file, which holds who has it; let go and removed when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    /// Absent where the file system has no locks.
    lock: Option<File>,
    path: PathBuf,
}

impl Claim {
    /// Claims `target`, which need not exist.
    ///
    /// *Errors* when another run has it, or its folder cannot be written.
    pub(super) fn take(target: &Path) -> Result<Self> {
        let mut name = OsString::from(".");
        name.push(target.file_name().context("it has no file name")?);
        name.push(".lock");
        let path = target.with_file_name(name);
        loop {
            let mut lock = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    // Some systems do not let others read what is locked.
                    let _ = lock.read_to_string(&mut holder);
                    let holder = if holder.is_empty() { String::new() } else { format!(" ({holder})") };
                    bail!(
                        "another clipclass{holder} is writing to it; wait for its end, or name another file"
                    );
                }
                Err(TryLockError::Error(_)) => return Ok(Self { lock: None, path }),
            }
            let holder = format!("process {}", process::id());
            lock.set_len(0)?;
            lock.write_all(holder.as_bytes())?;
            // Whoever had it before may have removed it since it was opened here. Some systems do not
            // let it be read, nor removed as long as it is open.
            match fs::read_to_string(&path) {
                Ok(found) if found != holder => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => return Ok(Self { lock: Some(lock), path }),
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // What stays behind is in nobody's way.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_claim_at_a_time_and_the_second_hears_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.jsonl");
        let first = Claim::take(&target).unwrap();
        let refusal = Claim::take(&target).unwrap_err().to_string();
        if cfg!(unix) {
            assert!(refusal.contains(&format!("process {}", process::id())), "{refusal}");
        }
        Claim::take(&folder.path().join("other.jsonl")).unwrap();
        drop(first);
        Claim::take(&target).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_run_left_behind_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".out.jsonl.lock"), "process 1").unwrap();
        Claim::take(&folder.path().join("out.jsonl")).unwrap();
    }
}
