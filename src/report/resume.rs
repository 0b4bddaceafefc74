//! What an earlier run left in a JSON Lines file: which images are done, and where to go on.

use crate::input::ImageName;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

/// The images that an earlier run has records of, each as often as it has.
#[derive(Debug, Default)]
pub struct Done(HashMap<ImageName, usize>);

impl Done {
    /// Whether an image of that name is done; each of its records speaks for one.
    pub fn take(&mut self, image: &ImageName) -> bool {
        match self.0.get_mut(image) {
            Some(records) if *records > 0 => {
                *records -= 1;
                true
            }
            _ => false,
        }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.0.values().sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Opens `path` where its last whole record ends, creating it if need be; a record that was cut
/// off is cut away.
///
/// *Errors* when the file cannot be written, holds something else, or was made with other labels.
pub(super) fn open(path: &Path, labels: &[String], top: Option<usize>) -> Result<(File, Done)> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    ensure!(file.metadata()?.is_file(), "only a regular file can be gone on with");
    let mut reader = BufReader::new(&file);
    let (mut end, mut done, mut compared) = (0, Done::default(), false);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            break;
        }
        let record: Earlier =
            serde_json::from_slice(&line).with_context(|| format!("line {number} is not a record"))?;
        if let Some(scores) = record.scores.as_ref().filter(|_| !compared) {
            compare(scores, labels, top).with_context(|| format!("line {number}"))?;
            compared = true;
        }
        *done.0.entry(record.name()?).or_default() += 1;
        end += length as u64;
    }
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok((file, done))
}

fn compare(scores: &[EarlierScore], labels: &[String], top: Option<usize>) -> Result<()> {
    let expected = top.map_or(labels.len(), |top| top.min(labels.len()));
    ensure!(
        scores.len() == expected,
        "it has {} scores an image, this run has {expected}; use the same options, or another file",
        scores.len()
    );
    for (i, score) in scores.iter().enumerate() {
        let known = if top.is_some() { labels.contains(&score.label) } else { score.label == labels[i] };
        if !known {
            bail!("it was made with other labels ({:?}); use the same ones, or another file", score.label);
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Earlier<'a> {
    #[serde(borrow)]
    image: Cow<'a, str>,
    image_bytes: Option<String>,
    scores: Option<Vec<EarlierScore>>,
}

#[derive(Deserialize)]
struct EarlierScore {
    label: String,
}

impl Earlier<'_> {
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
    bail!("a name that is not Unicode comes from another system")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    const RECORDS: &str = concat!(
        r#"{"image":"a.jpg","prediction":"x","probability":0.9,"scores":[{"label":"x","probability":0.9}]}"#,
        "\n",
        r#"{"image":"b.jpg","error":{"kind":"decode","message":""}}"#,
        "\n",
        r#"{"image":"a.jpg","prediction":"x","probability":0.9,"scores":[{"label":"x","probability":0.9}]}"#,
        "\n",
    );

    fn resume(contents: &str, labels: &[&str]) -> Result<(Done, String)> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("out.jsonl");
        fs::write(&path, contents)?;
        let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
        let (mut file, done) = open(&path, &labels, None)?;
        file.write_all(b"more\n")?;
        Ok((done, fs::read_to_string(&path)?))
    }

    #[test]
    fn every_record_speaks_for_one_image_of_its_name() {
        let (mut done, _) = resume(RECORDS, &["x"]).unwrap();
        let mut take = |name: &str| done.take(&ImageName::new(name));
        assert_eq!(
            ["a.jpg", "b.jpg", "b.jpg", "a.jpg", "a.jpg", "c.jpg"].map(&mut take),
            [true, true, false, true, false, false]
        );
    }

    #[test]
    fn a_record_that_was_cut_off_is_cut_away() {
        let cut = format!("{RECORDS}{{\"image\":\"c.jp");
        let (done, contents) = resume(&cut, &["x"]).unwrap();
        assert_eq!(done.len(), 3);
        assert_eq!(contents, format!("{RECORDS}more\n"));
    }

    #[test]
    fn records_of_other_labels_are_not_mixed_in() {
        assert!(format!("{:#}", resume(RECORDS, &["y"]).unwrap_err()).contains("other labels"));
        assert!(resume(RECORDS, &["x", "y"]).is_err());
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        assert!(resume("hello\nworld\n", &["x"]).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_unicode_is_known_again() {
        use std::os::unix::ffi::OsStringExt;
        let line = "{\"image\":\"caf\u{fffd}\",\"image_bytes\":\"636166e9\",\"error\":{}}\n";
        let (mut done, _) = resume(line, &["x"]).unwrap();
        assert!(done.take(&ImageName::new(OsString::from_vec(b"caf\xe9".to_vec()))));
    }
}
