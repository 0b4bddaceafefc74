//! A file → whether it is only what Git LFS keeps in its place.
//!
//! Cloning a model's repository without Git LFS leaves small texts that name the large files. Read as
//! weights they are merely damaged, which sends people looking in the wrong place.

use super::ModelFiles;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// How every pointer begins (the LFS specification, version 1).
const BEGINNING: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// A pointer is shorter than this, by the same specification.
const LONGEST_POINTER_BYTES: u64 = 1024;

/// Gives the files back where all of them are there.
///
/// *Errors* when one is a pointer, or cannot be read.
pub fn refuse_pointers(files: ModelFiles) -> Result<ModelFiles> {
    for path in files.paths() {
        let pointer = pointer(path).with_context(|| format!("cannot read {}", path.display()))?;
        let Some(pointer) = pointer else { continue };
        let size = pointer.lines().find_map(|line| line.strip_prefix("size ")?.parse::<u64>().ok());
        let size = size.map_or_else(String::new, |bytes| format!(" of {bytes} bytes"));
        bail!(
            "{} is a Git LFS pointer, which stands for a file{size} that was not fetched: run \
             `git lfs install` and `git lfs pull` in that folder",
            path.display()
        );
    }
    Ok(files)
}

/// The text of a pointer, if the file is one.
fn pointer(path: &Path) -> std::io::Result<Option<String>> {
    let file = File::open(path)?;
    if file.metadata()?.len() >= LONGEST_POINTER_BYTES {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_POINTER_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).ok().filter(|text| text.as_bytes().starts_with(BEGINNING)))
}

#[cfg(test)]
mod tests {
    use crate::hub::{HubOptions, locate};
    use crate::messages::Messages;
    use std::fs;

    #[test]
    fn a_pointer_of_git_lfs_is_told_from_the_file_it_stands_for() {
        let folder = tempfile::tempdir().unwrap();
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 605247071\n";
        for (name, content) in
            [("config.json", "{}"), ("tokenizer.json", "{}"), ("model.safetensors", pointer)]
        {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let located =
            || locate(folder.path().to_str().unwrap(), &HubOptions::default(), &Messages::new(false));
        let message = format!("{:#}", located().unwrap_err());
        for part in ["model.safetensors", "Git LFS pointer", "605247071 bytes", "git lfs pull"] {
            assert!(message.contains(part), "no {part:?} in: {message}");
        }
        fs::write(folder.path().join("model.safetensors"), "weights").unwrap();
        assert!(located().is_ok());
    }
}
