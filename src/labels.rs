//! `--labels`, label files, templates and classifier files → a [`LabelSet`].
//!
//! What users give is checked here once, so that the rooms behind never meet an empty label, nor a
//! bracket or a table's row that was taken for one.

mod classifier;
mod file;
mod lookalike;

pub use classifier::{ClassifierFile, ClassifierLabel, NoneRule, SetRule, ThresholdRule};
pub use file::{parse_file, parse_template_file};

use anyhow::{Context, Result, bail, ensure};
use std::collections::HashSet;

/// Where the name of a label goes in a template.
const PLACE: &str = "{}";

/// One class: what it is called, and the prompts that stand for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub name: String,
    /// At least one.
    pub prompts: Vec<String>,
}

/// The classes of a run, in the order given: at least one.
///
/// Two of them may have one name, as in OpenAI's own list for ImageNet: there are two *missiles*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSet {
    labels: Vec<Label>,
    decoys: Vec<Label>,
    /// Those that every label was made with; none where one has prompts of its own.
    templates: Vec<Template>,
}

impl LabelSet {
    /// Joins labels with templates: a label without prompts of its own gets one from each
    /// template, or is its own prompt where there are none.
    ///
    /// *Errors* when there are no labels.
    pub fn new(given: Vec<GivenLabel>, templates: &[Template]) -> Result<Self> {
        ensure!(!given.is_empty(), "no labels given; name them with --labels or --labels-file");
        let are_names = given.iter().all(|given| matches!(given, GivenLabel::Name(_)));
        Ok(Self {
            labels: given.into_iter().map(|given| given.with_prompts(templates)).collect(),
            decoys: Vec::new(),
            templates: if are_names { templates.to_vec() } else { Vec::new() },
        })
    }

    /// Adds labels that compete with the others and are never predicted.
    #[must_use]
    pub fn with_decoys(mut self, given: Vec<GivenLabel>, templates: &[Template]) -> Self {
        self.decoys.extend(given.into_iter().map(|given| given.with_prompts(templates)));
        self
    }

    /// The labels in order.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// The decoys in order.
    pub fn decoys(&self) -> &[Label] {
        &self.decoys
    }

    /// The templates that every label was made with, in the order of their prompts; none where a label
    /// has prompts of its own.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// Their names in order.
    pub fn names(&self) -> Vec<&str> {
        self.labels.iter().map(|label| label.name.as_str()).collect()
    }

    /// Each name that more than one label has, once, in the order in which they come again.
    pub fn repeated_names(&self) -> Vec<&str> {
        let (mut seen, mut told) = (HashSet::new(), HashSet::new());
        let names = self.labels.iter().map(|label| label.name.as_str());
        names.filter(|name| !seen.insert(*name) && told.insert(*name)).collect()
    }
}

/// A label as the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenLabel {
    /// Its prompts are made from templates.
    Name(String),
    WithPrompts(Label),
}

impl GivenLabel {
    fn with_prompts(self, templates: &[Template]) -> Label {
        match self {
            Self::WithPrompts(label) => label,
            Self::Name(name) if templates.is_empty() => Label { prompts: vec![name.clone()], name },
            Self::Name(name) => {
                Label { prompts: templates.iter().map(|template| template.fill(&name)).collect(), name }
            }
        }
    }
}

/// Labels between commas, or in a JSON list, where they may have commas of their own.
///
/// *Errors* when there is nothing between two commas, or a label looks like a piece of JSON.
pub fn parse_list(list: &str) -> Result<Vec<GivenLabel>> {
    let trimmed = list.trim();
    if trimmed.starts_with('[') {
        let names = file::parse_json_list(trimmed).context(
            "it begins with a bracket but is not a JSON list of labels, as in [\"a cat\", \"a dog\"]",
        )?;
        return Ok(names.into_iter().map(GivenLabel::Name).collect());
    }
    if trimmed.starts_with('{') {
        bail!("it looks like JSON; a JSON object of prompts is given as a file, with --labels-file");
    }
    let label = |(i, name): (usize, &str)| {
        let name = name.trim();
        ensure!(!name.is_empty(), "label {} of {list:?} is empty", i + 1);
        ensure!(
            !lookalike::is_piece_of_json(name),
            "label {}, {name}, looks like a piece of JSON; give labels without quotes and brackets, \
             \"a cat,a dog\", or a whole JSON list",
            i + 1
        );
        ensure!(
            !name.contains(char::is_control),
            "label {}, {name:?}, has a line break or another control character; give labels of several \
             lines as a file, with --labels-file",
            i + 1
        );
        Ok(GivenLabel::Name(name.to_owned()))
    };
    list.split(',').enumerate().map(label).collect()
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

    /// The sentence as it was given.
    pub fn text(&self) -> &str {
        &self.0
    }

    fn fill(&self, name: &str) -> String {
        self.0.replace(PLACE, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<String> {
        let set = LabelSet::new(parse_list(list).unwrap(), &[]).unwrap();
        set.names().into_iter().map(str::to_owned).collect()
    }

    fn refusal(list: &str) -> String {
        format!("{:#}", parse_list(list).expect_err(list))
    }

    #[test]
    fn a_list_is_split_at_commas_and_trimmed() {
        assert_eq!(names("a cat, a dog ,été"), ["a cat", "a dog", "été"]);
    }

    #[test]
    fn an_empty_label_in_a_list_is_refused_with_its_place() {
        assert!(refusal("a cat,,a dog").contains("label 2"));
        assert!(parse_list("").is_err());
    }

    #[test]
    fn a_json_list_on_the_command_line_is_that_list() {
        assert_eq!(names(r#" ["a cat","crane, bird"] "#), ["a cat", "crane, bird"]);
        assert!(refusal("['a cat', 'a dog']").contains("double quotes"));
        assert!(refusal(r#"["a cat", "a dog""#).contains("not a JSON list"));
    }

    #[test]
    fn a_label_that_looks_like_a_piece_of_json_is_refused_with_its_place() {
        assert!(refusal(r#""a cat","a dog""#).contains("label 1"));
        assert!(refusal(r#"a cat,"a dog""#).contains("label 2"));
        assert!(refusal("a cat,a dog]").contains("label 2"));
        assert!(refusal("a cat,[a dog").contains("label 2"));
        assert!(refusal(r#"{"cat": ["a cat"]}"#).contains("--labels-file"));
    }

    #[test]
    fn a_label_of_several_lines_is_refused() {
        assert!(refusal("a cat\na dog").contains("line break"));
    }

    #[test]
    fn names_given_twice_are_kept_and_known() {
        let set = LabelSet::new(parse_list("cat,dog,cat,bird,dog,cat").unwrap(), &[]).unwrap();
        assert_eq!(set.names(), ["cat", "dog", "cat", "bird", "dog", "cat"]);
        assert_eq!(set.repeated_names(), ["cat", "dog"]);
    }

    #[test]
    fn every_template_is_filled_with_every_label() {
        let templates = ["a photo of {}", "{}, or the like of {}"].map(|t| Template::parse(t).unwrap());
        let set = LabelSet::new(parse_list("a cat,a dog").unwrap(), &templates).unwrap();
        assert_eq!(set.labels()[1].prompts, ["a photo of a dog", "a dog, or the like of a dog"]);
        assert!(Template::parse("a photo").is_err());
    }

    #[test]
    fn decoys_are_filled_in_as_labels_are_and_stand_apart() {
        let templates = [Template::parse("a photo of {}").unwrap()];
        let set = LabelSet::new(parse_list("a cat").unwrap(), &templates).unwrap();
        let set = set.with_decoys(parse_list("a blur,junk").unwrap(), &templates);
        assert_eq!((set.names(), set.decoys().len()), (vec!["a cat"], 2));
        assert_eq!(set.decoys()[1].prompts, ["a photo of junk"]);
    }

    #[test]
    fn templates_are_known_where_every_label_was_made_with_them() {
        let templates = [Template::parse("a photo of {}").unwrap()];
        let mut given = parse_list("a cat,a dog").unwrap();
        assert_eq!(LabelSet::new(given.clone(), &templates).unwrap().templates(), templates);
        given.push(GivenLabel::WithPrompts(Label { name: "a bird".into(), prompts: vec!["a crow".into()] }));
        assert!(LabelSet::new(given, &templates).unwrap().templates().is_empty());
    }

    #[test]
    fn without_templates_a_label_is_its_own_prompt() {
        let set = LabelSet::new(parse_list("a cat").unwrap(), &[]).unwrap();
        assert_eq!(set.labels()[0].prompts, ["a cat"]);
    }
}
