//! A file of images and their labels, as CSV or JSON Lines.
//!
//! Of an image's name only a digest is kept, so that a million of them take about 40 MB.

use super::{Truth, Words};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

/// What such a file looks like.
const READ: &str = "a truth file is CSV with the columns image and label, or JSON Lines with \
                    {\"image\": …, \"label\": …}";

/// Images and what they show.
pub struct TruthTable {
    digester: [RandomState; 2],
    /// By the digest of an image's name, the position of what it shows.
    rows: HashMap<[u64; 2], u32>,
    truths: Vec<Truth>,
}

#[derive(Deserialize)]
struct JsonRow {
    image: String,
    #[serde(alias = "labels")]
    label: Value,
}

impl TruthTable {
    /// Reads a truth file.
    ///
    /// *Errors* when it is something else, or says two things of one image.
    pub fn parse(bytes: &[u8], words: &Words) -> Result<Self> {
        let mut table = Self { digester: Default::default(), rows: HashMap::new(), truths: Vec::new() };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.trim_ascii_start().starts_with(b"{") {
            table.read_json(bytes, words)?;
        } else {
            table.read_csv(bytes, words)?;
        }
        ensure!(!table.rows.is_empty(), "no images in it; {READ}");
        Ok(table)
    }

    fn read_json(&mut self, bytes: &[u8], words: &Words) -> Result<()> {
        let mut known: HashMap<String, u32> = HashMap::new();
        for (i, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let at = || format!("line {}; {READ}", i + 1);
            let JsonRow { image, label } = serde_json::from_slice(line).with_context(at)?;
            let place = self.place(&mut known, label.to_string(), || words.truth_of_value(&label));
            self.add(&image, place).with_context(at)?;
        }
        Ok(())
    }

    fn read_csv(&mut self, bytes: &[u8], words: &Words) -> Result<()> {
        // report/ owns the crate; this is its counterpart.
        let mut reader = csv::Reader::from_reader(bytes);
        let headers = reader.headers().context(READ)?.clone();
        let column = |name: &str| {
            let found = headers.iter().position(|header| header.trim() == name);
            found.with_context(|| format!("it has no column {name}; {READ}"))
        };
        let (image, label) = (column("image")?, column("label")?);
        let mut known: HashMap<String, u32> = HashMap::new();
        for record in reader.records() {
            let record = record.context(READ)?;
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |column: usize| record.get(column).unwrap_or("").to_owned();
            let text = cell(label).trim().to_owned();
            let place = self.place(&mut known, text.clone(), || words.truth_of_text(&text));
            self.add(&cell(image), place).with_context(|| format!("line {line}"))?;
        }
        Ok(())
    }

    /// Where what a text says is kept.
    fn place(
        &mut self,
        known: &mut HashMap<String, u32>,
        text: String,
        truth: impl FnOnce() -> Truth,
    ) -> u32 {
        *known.entry(text).or_insert_with(|| {
            self.truths.push(truth());
            self.truths.len() as u32 - 1
        })
    }

    fn add(&mut self, image: &str, place: u32) -> Result<()> {
        let earlier = self.rows.insert(self.digest(Path::new(image)), place);
        let is_same =
            earlier.is_none_or(|earlier| self.truths[earlier as usize] == self.truths[place as usize]);
        ensure!(
            is_same,
            "{image} was given another label before; several labels of an image stand in one row, a|b"
        );
        Ok(())
    }

    fn digest(&self, path: &Path) -> [u64; 2] {
        let path = path.strip_prefix(".").unwrap_or(path);
        self.digester.each_ref().map(|state| state.hash_one(path))
    }

    /// Whether some image has several labels.
    pub fn has_several(&self) -> bool {
        self.truths.iter().any(|truth| matches!(truth, Truth::Labels(labels) if labels.len() > 1))
    }

    /// What an image shows: by its name, or by its path below an input.
    pub(super) fn find<'a>(&self, path: &'a Path, below: impl Iterator<Item = &'a Path>) -> Option<Truth> {
        let names = std::iter::once(path).chain(below);
        let place = names.into_iter().find_map(|name| self.rows.get(&self.digest(name)))?;
        Some(self.truths[*place as usize].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TruthTable> {
        TruthTable::parse(text.as_bytes(), &Words::new(&["cat", "dog", "a|b"]))
    }

    #[track_caller]
    fn positions(table: &TruthTable, image: &str) -> Vec<usize> {
        match table.find(Path::new(image), std::iter::empty()) {
            Some(Truth::Labels(labels)) => labels.into_iter().flatten().collect(),
            other => panic!("{image}: {other:?}"),
        }
    }

    #[test]
    fn csv_and_json_lines_say_the_same() {
        let csv =
            "\u{feff}label,width,image\ncat,3,a.jpg\ncat|dog,4,\"b,1.jpg\"\na|b,5,./c.jpg\nnone,6,d.jpg\n";
        let json = concat!(
            r#"{"image":"a.jpg","label":"cat"}"#,
            "\n\n",
            r#"{"image":"b,1.jpg","label":["cat","dog"]}"#,
            "\n",
            r#"{"image":"c.jpg","label":"a|b"}"#,
            "\n",
            r#"{"image":"d.jpg","label":[]}"#
        );
        for text in [csv, json] {
            let table = parse(text).unwrap();
            assert!(table.has_several());
            assert_eq!(positions(&table, "a.jpg"), [0]);
            assert_eq!(positions(&table, "./b,1.jpg"), [0, 1]);
            assert_eq!(positions(&table, "c.jpg"), [2]);
            assert_eq!(table.find(Path::new("d.jpg"), std::iter::empty()), Some(Truth::None));
            assert_eq!(table.find(Path::new("e.jpg"), std::iter::empty()), None);
            assert_eq!(
                table.find(Path::new("x/a.jpg"), [Path::new("a.jpg")].into_iter()),
                Some(Truth::Labels(vec![vec![0]]))
            );
        }
    }

    #[test]
    fn what_is_no_truth_file_is_refused_with_the_reason() {
        for (text, told) in [
            ("file,label\na,cat\n", "no column image"),
            ("image,label\na.jpg,cat\na.jpg,dog\n", "line 3"),
            ("{\"image\":\"a.jpg\"}\n", "line 1"),
            ("image,label\n", "no images"),
        ] {
            let refusal = format!("{:#}", parse(text).err().unwrap());
            assert!(refusal.contains(told), "{refusal}");
        }
        assert!(parse("image,label\na.jpg,cat\na.jpg,cat\n").is_ok());
    }
}
