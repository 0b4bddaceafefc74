//! How long an image took in earlier runs, kept beside the embeddings: `speeds.json`.
//!
//! Nothing depends on it but what `clipclass models` shows, so that whatever cannot be read counts as
//! nothing.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FILE: &str = "speeds.json";
/// How many runs are remembered.
const RUNS: usize = 5;

/// What a model takes for an image on one device in one precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownSpeed {
    /// What the model is called: a repository or a folder.
    pub model: String,
    /// The device that was used: `cpu`, `cuda:0`.
    pub device: String,
    /// What the network computed in.
    pub precision: String,
    /// Of the last runs, the latest at the end.
    runs_ms: Vec<f64>,
}

impl KnownSpeed {
    /// The median of the runs, in milliseconds.
    pub fn ms(&self) -> f64 {
        let mut runs = self.runs_ms.clone();
        runs.sort_by(f64::total_cmp);
        runs.get(runs.len() / 2).copied().unwrap_or_default()
    }
}

/// The speeds kept in the embedding cache's folder.
pub fn speeds(folder: &Path) -> Vec<KnownSpeed> {
    let read = || serde_json::from_slice(&fs::read(path(folder)).ok()?).ok();
    let speeds: Vec<KnownSpeed> = read().unwrap_or_default();
    speeds.into_iter().filter(|speed| !speed.runs_ms.is_empty()).collect()
}

/// Keeps what an image took in a run.
///
/// *Errors* when the folder cannot be written to.
pub fn keep_speed(folder: &Path, model: &str, device: &str, precision: &str, ms: f64) -> io::Result<()> {
    let mut all = speeds(folder);
    let is_same =
        |speed: &KnownSpeed| (&*speed.model, &*speed.device, &*speed.precision) == (model, device, precision);
    match all.iter_mut().find(|speed| is_same(speed)) {
        Some(speed) => {
            speed.runs_ms.push(ms);
            let excess = speed.runs_ms.len().saturating_sub(RUNS);
            speed.runs_ms.drain(..excess);
        }
        None => all.push(KnownSpeed {
            model: model.to_owned(),
            device: device.to_owned(),
            precision: precision.to_owned(),
            runs_ms: vec![ms],
        }),
    }
    // A reader sees the old file or the new one.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, &all)?;
    file.flush()?;
    file.persist(path(folder))?;
    Ok(())
}

/// Forgets all speeds.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_file(path(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_last_runs_is_told_for_each_device_and_precision() {
        let folder = tempfile::tempdir().unwrap();
        assert!(speeds(folder.path()).is_empty());
        for ms in [900.0, 20.0, 21.0, 25.0, 22.0, 23.0] {
            keep_speed(folder.path(), "a/b", "cpu", "f32", ms).unwrap();
        }
        keep_speed(folder.path(), "a/b", "cpu", "int8", 7.0).unwrap();
        let told: Vec<_> =
            speeds(folder.path()).iter().map(|speed| (speed.precision.clone(), speed.ms())).collect();
        assert_eq!(told, [("f32".to_owned(), 22.0), ("int8".to_owned(), 7.0)]);
    }

    #[test]
    fn a_damaged_file_counts_as_none_and_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path()), "[{").unwrap();
        assert!(speeds(folder.path()).is_empty());
        keep_speed(folder.path(), "a/b", "cpu", "f32", 5.0).unwrap();
        assert_eq!(speeds(folder.path())[0].ms(), 5.0);
        clear(folder.path()).unwrap();
        assert!(speeds(folder.path()).is_empty());
        clear(folder.path()).unwrap();
    }
}
