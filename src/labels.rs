//! `--labels`, label files and templates → a [`LabelSet`].
//!
//! A set is checked here once, so that the rooms behind never meet an empty or repeated label.

use anyhow::{Context, Result, bail, ensure};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Where the name of a label goes in a template.
const PLACE: &str = "{}";

/// One class: what it is called, and the prompts that stand for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub name: String,
    /// At least one.
    pub prompts: Vec<String>,
}

/// The classes of a run, in the order given: at least one, no two of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSet(Vec<Label>);

impl LabelSet {
    /// Joins labels with templates: a label without prompts of its own gets one from each
    /// template, or is its own prompt where there are none.
    ///
    /// *Errors* when there are no labels, or one is given twice.
    pub fn new(given: Vec<GivenLabel>, templates: &[Template]) -> Result<Self> {
        ensure!(!given.is_empty(), "no labels given; name them with --labels or --labels-file");
        let mut seen = HashSet::new();
        for label in &given {
            ensure!(seen.insert(&label.name), "the label {:?} is given twice", label.name);
        }
        let label = |GivenLabel { name, prompts }| {
            let prompts = match prompts {
                Some(prompts) => prompts,
                None if templates.is_empty() => vec![name.clone()],
                None => templates.iter().map(|template| template.fill(&name)).collect(),
            };
            Label { name, prompts }
        };
        Ok(Self(given.into_iter().map(label).collect()))
    }

    /// The labels in order.
    pub fn labels(&self) -> &[Label] {
        &self.0
    }

    /// Their names in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|label| label.name.as_str()).collect()
    }
}

/// A label as the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenLabel {
    name: String,
    prompts: Option<Vec<String>>,
}

impl GivenLabel {
    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), prompts: None }
    }
}

/// Labels between commas.
///
/// *Errors* when there is nothing between two of them.
pub fn parse_list(list: &str) -> Result<Vec<GivenLabel>> {
    let label = |(i, name): (usize, &str)| {
        let name = name.trim();
        ensure!(!name.is_empty(), "label {} of {list:?} is empty", i + 1);
        Ok(GivenLabel::named(name))
    };
    list.split(',').enumerate().map(label).collect()
}

/// The labels in a file: JSON that gives each class its prompts, or one label a line, where blank
/// lines and those that begin with `#` are passed over.
///
/// *Errors* when the file has no labels, is not UTF-8, or is malformed JSON.
pub fn parse_file(bytes: &[u8]) -> Result<Vec<GivenLabel>> {
    let text = std::str::from_utf8(bytes).context("not UTF-8")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let labels = if text.trim_start().starts_with('{') {
        let ClassPrompts(classes) = serde_json::from_str(text).context("not a JSON object of prompts")?;
        let own = |(name, Prompts(prompts)): (String, Prompts)| {
            let name = name.trim().to_owned();
            ensure!(!name.is_empty(), "a label is empty");
            ensure!(!prompts.is_empty(), "the label {name:?} has no prompts");
            ensure!(prompts.iter().all(|p| !p.trim().is_empty()), "the label {name:?} has an empty prompt");
            Ok(GivenLabel { name, prompts: Some(prompts) })
        };
        classes.into_iter().map(own).collect::<Result<Vec<_>>>()?
    } else {
        let lines = text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(GivenLabel::named).collect()
    };
    if labels.is_empty() {
        bail!("no labels in it");
    }
    Ok(labels)
}

/// A sentence with `{}` where a label goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// *Errors* when the text has no `{}`.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(
            text.contains(PLACE),
            "a template needs {PLACE} where the label goes, as in \"a photo of {PLACE}\""
        );
        Ok(Self(text.to_owned()))
    }

    fn fill(&self, name: &str) -> String {
        self.0.replace(PLACE, name)
    }
}

/// The entries of a JSON object, repeated ones included, which a map would lose.
struct ClassPrompts(Vec<(String, Prompts)>);

impl<'de> Deserialize<'de> for ClassPrompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = ClassPrompts;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with a list of prompts for each label")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClassPrompts, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(ClassPrompts(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Prompts(Vec<String>);

#[cfg(test)]
mod tests {
    use super::*;

    fn names(labels: &[GivenLabel]) -> Vec<&str> {
        labels.iter().map(|label| label.name.as_str()).collect()
    }

    #[test]
    fn a_list_is_split_at_commas_and_trimmed() {
        assert_eq!(names(&parse_list("a cat, a dog ,été").unwrap()), ["a cat", "a dog", "été"]);
    }

    #[test]
    fn an_empty_label_in_a_list_is_refused_with_its_place() {
        let error = parse_list("a cat,,a dog").unwrap_err().to_string();
        assert!(error.contains("label 2"), "{error}");
        assert!(parse_list("").is_err());
    }

    #[test]
    fn a_file_has_one_label_a_line_and_comments() {
        let file = "\u{feff}# animals\r\na cat\r\n\r\n  a dog  \n#a bird\nno. #1";
        assert_eq!(names(&parse_file(file.as_bytes()).unwrap()), ["a cat", "a dog", "no. #1"]);
    }

    #[test]
    fn a_json_file_gives_classes_their_own_prompts() {
        let given = parse_file(br#" {"cat": ["a photo of a cat", "a kitten"], "dog": ["a dog"]}"#).unwrap();
        let set = LabelSet::new(given, &[Template::parse("a drawing of {}").unwrap()]).unwrap();
        assert_eq!(set.names(), ["cat", "dog"]);
        assert_eq!(set.labels()[0].prompts, ["a photo of a cat", "a kitten"]);
    }

    #[test]
    fn a_label_given_twice_is_refused() {
        let twice = parse_file(br#"{"cat": ["a"], "dog": ["b"], "cat": ["c"]}"#).unwrap();
        for given in [twice, parse_list("cat,dog,cat").unwrap()] {
            let error = LabelSet::new(given, &[]).unwrap_err().to_string();
            assert!(error.contains("\"cat\""), "{error}");
        }
    }

    #[test]
    fn files_without_labels_or_prompts_are_refused() {
        for file in
            ["", "# nothing\n\n", "{}", r#"{"cat": []}"#, r#"{"cat": [" "]}"#, r#"{"cat": "#, r#"{"cat": 3}"#]
        {
            assert!(parse_file(file.as_bytes()).is_err(), "{file:?}");
        }
        assert!(parse_file(b"caf\xe9").is_err());
    }

    #[test]
    fn every_template_is_filled_with_every_label() {
        let templates = ["a photo of {}", "{}, or the like of {}"].map(|t| Template::parse(t).unwrap());
        let set = LabelSet::new(parse_list("a cat,a dog").unwrap(), &templates).unwrap();
        assert_eq!(set.labels()[1].prompts, ["a photo of a dog", "a dog, or the like of a dog"]);
        assert!(Template::parse("a photo").is_err());
    }

    #[test]
    fn without_templates_a_label_is_its_own_prompt() {
        let set = LabelSet::new(parse_list("a cat").unwrap(), &[]).unwrap();
        assert_eq!(set.labels()[0].prompts, ["a cat"]);
    }
}
