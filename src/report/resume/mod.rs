//! What an earlier run left in a JSON Lines file: which images are done, and where to go on.

mod recipe;

pub use recipe::{FittedRecipe, LabelRecipe, Recipe};

use super::output::beside;
use crate::input::ImageName;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

/// The images that an earlier run has records of, each as often as it has.
#[derive(Debug, Default)]
pub struct Done {
    records: HashMap<ImageName, usize>,
    failed: usize,
}

impl Done {
    /// Whether an image of that name is done; each of its records speaks for one.
    pub fn take(&mut self, image: &ImageName) -> bool {
        match self.records.get_mut(image) {
            Some(records) if *records > 0 => {
                *records -= 1;
                true
            }
            _ => false,
        }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.values().sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many of the records are of images that failed.
    pub fn failed(&self) -> usize {
        self.failed
    }
}

/// What becomes of the records of images that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlierFailures {
    /// They stay, and their images count as done.
    Keep,
    /// They go, and their images are tried again.
    Retry,
}

/// Opens `path` where its last whole record ends, creating it if need be; a record that was cut
/// off is cut away.
///
/// *Errors* when the file cannot be written, holds something else, or was made in another way than
/// `recipe` says.
pub(super) fn open(path: &Path, recipe: &Recipe, failures: EarlierFailures) -> Result<(File, Done)> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    ensure!(file.metadata()?.is_file(), "only a regular file can be gone on with");
    if file.metadata()?.len() == 0 {
        recipe.write(path)?;
        return Ok((file, Done::default()));
    }
    let (mut end, mut done) = (0, Done::default());
    for_each_record(&file, |line, record| {
        end += line.len() as u64;
        done.failed += usize::from(record.error.is_some());
        *done.records.entry(record.name()?).or_default() += 1;
        Ok(())
    })?;
    recipe.check_same(&Recipe::read(path)?)?;
    if failures == EarlierFailures::Retry && done.failed > 0 {
        remove_failures(path, &mut file)?;
        return open(path, recipe, EarlierFailures::Keep);
    }
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok((file, done))
}

/// Replaces the file by one that has all its records but those of images that failed.
fn remove_failures(path: &Path, file: &mut File) -> Result<()> {
    let mut kept = BufWriter::new(beside(path)?);
    file.rewind()?;
    for_each_record(file, |line, record| {
        if record.error.is_none() {
            kept.write_all(line)?;
        }
        Ok(())
    })?;
    kept.into_inner().map_err(|error| error.into_error())?.persist(path)?;
    Ok(())
}

/// Passes every whole line, its end included, and the record that it is.
fn for_each_record(file: &File, mut pass: impl FnMut(&[u8], EarlierRecord) -> Result<()>) -> Result<()> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        pass(&line, EarlierRecord::parse(&line, number)?)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct EarlierRecord<'a> {
    #[serde(borrow)]
    image: Cow<'a, str>,
    image_bytes: Option<String>,
    probability: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

impl EarlierRecord<'_> {
    fn parse(line: &[u8], number: usize) -> Result<EarlierRecord<'_>> {
        let record: EarlierRecord =
            serde_json::from_slice(line).with_context(|| format!("line {number} is not a record"))?;
        ensure!(
            record.probability.is_some() != record.error.is_some(),
            "line {number} is not a record: it has neither a probability nor an error"
        );
        Ok(record)
    }

    fn name(self) -> Result<ImageName> {
        match self.image_bytes {
            None => Ok(ImageName::new(self.image.into_owned())),
            Some(bytes) => Ok(ImageName::new(os_string(&bytes).context("image_bytes is malformed")?)),
        }
    }
}

#[cfg(unix)]
fn os_string(hexadecimal: &str) -> Result<OsString> {
    use std::os::unix::ffi::OsStringExt;
    let digits = hexadecimal.as_bytes().chunks(2);
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    digits.map(byte).collect::<Result<_>>().map(OsString::from_vec)
}

#[cfg(not(unix))]
fn os_string(_hexadecimal: &str) -> Result<OsString> {
    anyhow::bail!("a name that is not Unicode comes from another system")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const VERDICT: &str =
        concat!(r#"{"image":"a.jpg","prediction":"x","probability":0.9,"scores":[]}"#, "\n");
    const FAILURE: &str = concat!(r#"{"image":"b.jpg","error":{"kind":"decode","message":""}}"#, "\n");

    fn recipe() -> Recipe {
        Recipe {
            model: "tiny".into(),
            digest: "00".into(),
            precision: "f32".into(),
            text_cleaning: None,
            labels: Vec::new(),
            top: None,
            threshold: 0.0,
            min_cosine: None,
            min_margin: None,
            decoys: Vec::new(),
            multi: false,
            fitted: None,
        }
    }

    /// Goes on with a file of `contents`, made by the same recipe, and writes a line.
    fn resume(contents: &str, failures: EarlierFailures) -> Result<(Done, String)> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("out.jsonl");
        recipe().write(&path)?;
        fs::write(&path, contents)?;
        let (mut file, done) = open(&path, &recipe(), failures)?;
        file.write_all(b"more\n")?;
        Ok((done, fs::read_to_string(&path)?))
    }

    #[test]
    fn every_record_speaks_for_one_image_of_its_name() {
        let records = [VERDICT, FAILURE, VERDICT].concat();
        let (mut done, _) = resume(&records, EarlierFailures::Keep).unwrap();
        assert_eq!((done.len(), done.failed()), (3, 1));
        let mut take = |name: &str| done.take(&ImageName::new(name));
        assert_eq!(
            ["a.jpg", "b.jpg", "b.jpg", "a.jpg", "a.jpg", "c.jpg"].map(&mut take),
            [true, true, false, true, false, false]
        );
    }

    #[test]
    fn a_record_that_was_cut_off_is_cut_away() {
        let records = [VERDICT, FAILURE].concat();
        for failures in [EarlierFailures::Keep, EarlierFailures::Retry] {
            let (done, contents) = resume(&format!("{records}{{\"image\":\"c.jp"), failures).unwrap();
            let kept = if failures == EarlierFailures::Keep { &records } else { VERDICT };
            assert_eq!((done.len(), contents), (kept.lines().count(), format!("{kept}more\n")));
        }
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        for contents in ["hello\nworld\n", "{\"image\":\"a.jpg\"}\n"] {
            let error = format!("{:#}", resume(contents, EarlierFailures::Keep).unwrap_err());
            assert!(error.contains("line 1 is not a record"), "{error}");
        }
    }

    #[test]
    fn records_made_in_another_way_or_in_none_that_is_known_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        fs::write(&path, VERDICT).unwrap();
        assert!(open(&path, &recipe(), EarlierFailures::Retry).is_err());
        recipe().write(&path).unwrap();
        let other = Recipe { precision: "int8".into(), ..recipe() };
        assert!(open(&path, &other, EarlierFailures::Retry).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), VERDICT);
        assert_eq!(Recipe::read(&path).unwrap(), recipe());
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_unicode_is_known_again() {
        use std::os::unix::ffi::OsStringExt;
        let line = "{\"image\":\"caf\u{fffd}\",\"image_bytes\":\"636166e9\",\"error\":{}}\n";
        let (mut done, _) = resume(line, EarlierFailures::Keep).unwrap();
        assert!(done.take(&ImageName::new(OsString::from_vec(b"caf\xe9".to_vec()))));
    }
}
