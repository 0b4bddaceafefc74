//! What is known of an image → its truth: from its folder, from the members beside it in a shard, or from
//! a file.
//!
//! A word stands for a label by its name or through a file of classes. What stands for no label is never
//! counted as a mistake: its images are left out, and that is told.

mod table;

pub use table::TruthTable;

use crate::input::{Annotation, ImageName};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The word for images that are none of the labels, where no label has this name.
pub const NONE: &str = "none";

/// What an image really shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// Each of its labels: the positions that go by its name, mostly one.
    Labels(Vec<Vec<usize>>),
    /// None of the labels.
    None,
    /// Something that no label stands for, by this word.
    Outside(String),
    /// Nothing says what it shows.
    Unknown,
}

/// Words → labels.
#[derive(Debug, Clone)]
pub struct Words {
    positions: HashMap<String, Vec<usize>>,
    /// Words of a file of classes, which go first.
    classes: HashMap<String, Vec<usize>>,
    labels: usize,
}

impl Words {
    /// Knows the labels by their names.
    pub fn new(names: &[&str]) -> Self {
        let mut positions: HashMap<String, Vec<usize>> = HashMap::new();
        for (position, name) in names.iter().enumerate() {
            positions.entry((*name).to_owned()).or_default().push(position);
        }
        Self { positions, classes: HashMap::new(), labels: names.len() }
    }

    /// Adds words for labels: a JSON object of words and the labels that they stand for, by name or by
    /// number from 0. Where several labels have one name, the words for it stand for them in order.
    ///
    /// *Errors* when it is no such object, or names what is no label.
    pub fn with_classes(mut self, json: &[u8]) -> Result<Self> {
        const READ: &str = "a file of classes is a JSON object, as in {\"n02084071\": \"a dog\"}";
        let classes: serde_json::Map<String, Value> = serde_json::from_slice(json).context(READ)?;
        let mut words_of: HashMap<Vec<usize>, Vec<&String>> = HashMap::new();
        for (word, label) in &classes {
            let positions = match label {
                Value::String(name) => self.named(name),
                Value::Number(number) => self.numbered(number.as_u64()),
                _ => None,
            };
            let positions = positions.with_context(|| {
                format!("the class {word:?} stands for {label}, which is no label; {READ}")
            })?;
            words_of.entry(positions).or_default().push(word);
        }
        for (positions, words) in words_of {
            let in_order = positions.len() > 1 && words.len() == positions.len();
            for (i, word) in words.into_iter().enumerate() {
                let positions = if in_order { vec![positions[i]] } else { positions.clone() };
                self.classes.insert(word.clone(), positions);
            }
        }
        Ok(self)
    }

    fn named(&self, word: &str) -> Option<Vec<usize>> {
        let spaced = || self.positions.get(&word.replace('_', " "));
        self.positions.get(word).or_else(spaced).cloned()
    }

    fn numbered(&self, number: Option<u64>) -> Option<Vec<usize>> {
        let number = usize::try_from(number?).ok()?;
        (number < self.labels).then(|| vec![number])
    }

    /// The positions of the labels that a word stands for.
    fn find(&self, word: &str) -> Option<Vec<usize>> {
        self.classes.get(word).cloned().or_else(|| self.named(word))
    }

    fn truth_of(&self, word: &str) -> Truth {
        match self.find(word) {
            Some(positions) => Truth::Labels(vec![positions]),
            None if word == NONE || word.is_empty() => Truth::None,
            None => Truth::Outside(word.to_owned()),
        }
    }

    /// One label, or several between bars.
    fn truth_of_text(&self, text: &str) -> Truth {
        match self.truth_of(text) {
            Truth::Outside(_) if text.contains('|') => {
                self.joined(text.split('|').map(|word| self.truth_of(word.trim())))
            }
            truth => truth,
        }
    }

    /// All labels of parts together; one that is outside takes all outside.
    fn joined(&self, parts: impl Iterator<Item = Truth>) -> Truth {
        let mut labels = Vec::new();
        for part in parts {
            match part {
                Truth::Labels(more) => labels.extend(more),
                Truth::None | Truth::Unknown => {}
                outside => return outside,
            }
        }
        if labels.is_empty() { Truth::None } else { Truth::Labels(labels) }
    }

    /// What a JSON value says: a name, a number from 0, or a list of them.
    fn truth_of_value(&self, value: &Value) -> Truth {
        match value {
            Value::String(text) => self.truth_of_text(text.trim()),
            Value::Number(number) => self.truth_of_number(&number.to_string()),
            Value::Array(values) => self.joined(values.iter().map(|value| self.truth_of_value(value))),
            Value::Null => Truth::Unknown,
            other => Truth::Outside(other.to_string()),
        }
    }

    /// What a number says that may be a word of the file of classes, too.
    fn truth_of_number(&self, number: &str) -> Truth {
        match self.truth_of_text(number) {
            Truth::Outside(word) => self
                .numbered(number.parse().ok())
                .map_or(Truth::Outside(word), |label| Truth::Labels(vec![label])),
            truth => truth,
        }
    }

    /// What the members beside an image in a shard say.
    fn truth_of_annotations(&self, annotations: &[Annotation]) -> Truth {
        let text_of = |extension: &str| {
            let annotation = annotations.iter().find(|annotation| annotation.extension == extension)?;
            Some(String::from_utf8_lossy(&annotation.bytes).trim().to_owned())
        };
        if let Some(text) = text_of("cls") {
            return self.truth_of_number(&text);
        }
        let object = text_of("json").and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let said = object
            .as_ref()
            .and_then(|object| ["label", "labels", "cls"].iter().find_map(|key| object.get(key)));
        if let Some(value) = said {
            return self.truth_of_value(value);
        }
        match text_of("txt") {
            Some(text) => self.joined(text.lines().map(|line| self.truth_of_text(line.trim()))),
            None => Truth::Unknown,
        }
    }
}

/// Where the truth comes from.
pub struct TruthSource {
    words: Words,
    table: Option<TruthTable>,
    /// The inputs that images may lie below.
    roots: Vec<PathBuf>,
}

impl TruthSource {
    /// From the folders of images and the members beside them, or from a table alone where there is one.
    pub fn new(words: Words, table: Option<TruthTable>, inputs: &[OsString]) -> Self {
        Self { words, table, roots: inputs.iter().map(PathBuf::from).collect() }
    }

    /// Whether it is known beforehand that images may have several labels.
    pub fn has_several(&self) -> bool {
        self.table.as_ref().is_some_and(TruthTable::has_several)
    }

    /// What an image shows.
    pub fn of(&self, image: &ImageName, annotations: &[Annotation]) -> Truth {
        let path = Path::new(image.as_os_str());
        if let Some(table) = &self.table {
            let below = self.roots.iter().filter_map(|root| path.strip_prefix(root).ok());
            return table.find(path, below).unwrap_or(Truth::Unknown);
        }
        match self.words.truth_of_annotations(annotations) {
            Truth::Unknown => self.of_folders(path),
            truth => truth,
        }
    }

    /// The nearest folder that stands for a label, up to the input that was named.
    fn of_folders(&self, path: &Path) -> Truth {
        let name = |folder: &Path| folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let folders = || path.ancestors().skip(1);
        let Some(nearest) = folders().next().and_then(name) else { return Truth::Unknown };
        let truth = self.words.truth_of(&nearest);
        if !matches!(truth, Truth::Outside(_)) {
            return truth;
        }
        let root = self.roots.iter().find(|root| path.starts_with(root));
        let within = folders().take_while(|folder| root.is_some_and(|root| folder.starts_with(root)));
        let above = within.skip(1).filter_map(name).map(|name| self.words.truth_of(&name));
        above.into_iter().find(|truth| !matches!(truth, Truth::Outside(_))).unwrap_or(truth)
    }
}

/// *Errors* when an image has several labels where each is to have one.
pub(super) fn single(truth: &[Vec<usize>], image: &ImageName) -> Result<Vec<usize>> {
    ensure!(truth.len() == 1, "{image} has {} labels; with --multi pictures may have several", truth.len());
    Ok(truth[0].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(positions: &[usize]) -> Truth {
        Truth::Labels(positions.iter().map(|&position| vec![position]).collect())
    }

    fn source(inputs: &[&str]) -> TruthSource {
        let words = Words::new(&["cat", "golden retriever", "crane", "crane"]);
        TruthSource::new(words, None, &inputs.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn of_folder(inputs: &[&str], image: &str) -> Truth {
        source(inputs).of(&ImageName::new(image), &[])
    }

    #[test]
    fn the_folder_of_an_image_says_what_it_is() {
        assert_eq!(of_folder(&["photos"], "photos/cat/1.jpg"), labels(&[0]));
        assert_eq!(of_folder(&["photos/cat"], "photos/cat/1.jpg"), labels(&[0]));
        assert_eq!(of_folder(&["cat/1.jpg"], "cat/1.jpg"), labels(&[0]));
        assert_eq!(of_folder(&["photos"], "photos/golden_retriever/1.jpg"), labels(&[1]));
        assert_eq!(of_folder(&["photos"], "photos/none/1.jpg"), Truth::None);
        assert_eq!(of_folder(&["photos"], "photos/zebra/1.jpg"), Truth::Outside("zebra".into()));
        assert_eq!(of_folder(&["a.tar"], "a.tar/cat/1.jpg"), labels(&[0]));
        assert_eq!(of_folder(&["1.jpg"], "1.jpg"), Truth::Unknown);
    }

    #[test]
    fn a_folder_above_counts_only_below_the_input_that_was_named() {
        assert_eq!(of_folder(&["photos"], "photos/cat/2024/1.jpg"), labels(&[0]));
        assert_eq!(of_folder(&["cat/photos"], "cat/photos/zebra/1.jpg"), Truth::Outside("zebra".into()));
        assert_eq!(of_folder(&["elsewhere"], "cat/photos/1.jpg"), Truth::Outside("photos".into()));
    }

    #[test]
    fn labels_of_one_name_stand_together_unless_classes_tell_them_apart() {
        assert_eq!(of_folder(&["x"], "x/crane/1.jpg"), Truth::Labels(vec![vec![2, 3]]));
        let words = Words::new(&["cat", "dog", "crane", "crane"]);
        let json = br#"{"n1": "cat", "n2": "crane", "n3": "crane", "n4": 1}"#;
        let words = words.with_classes(json).unwrap();
        assert_eq!(
            ["n1", "n2", "n3", "n4"].map(|word| words.truth_of(word)),
            [0, 2, 3, 1].map(|p| labels(&[p]))
        );
        let told = Words::new(&["cat"]).with_classes(br#"{"n1": "dog"}"#).unwrap_err().to_string();
        assert!(told.contains("n1") && told.contains("no label"), "{told}");
        assert!(Words::new(&["cat"]).with_classes(b"[]").is_err());
    }

    #[test]
    fn members_beside_an_image_say_what_it_is() {
        let of = |extension: &str, text: &str| {
            let annotation = Annotation { extension: extension.to_owned(), bytes: text.into() };
            source(&[]).of(&ImageName::new("a.tar/x/1.jpg"), &[annotation])
        };
        assert_eq!(of("cls", "1\n"), labels(&[1]));
        assert_eq!(of("cls", "cat"), labels(&[0]));
        assert_eq!(of("cls", "4"), Truth::Outside("4".into()));
        assert_eq!(of("txt", "cat\ngolden retriever\n"), labels(&[0, 1]));
        assert_eq!(of("json", r#"{"label": "cat"}"#), labels(&[0]));
        assert_eq!(of("json", r#"{"labels": ["cat", 1]}"#), labels(&[0, 1]));
        assert_eq!(of("json", r#"{"width": 3}"#), Truth::Outside("x".into()));
        assert_eq!(of("txt", "none"), Truth::None);
    }
}
