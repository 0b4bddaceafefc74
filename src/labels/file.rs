//! Files of labels and of templates: one a line, or JSON.

use super::lookalike::{self, TextLine};
use super::{GivenLabel, Label, Template};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::fmt;

const LABELS_READ: &str = "a labels file has one label a line, a JSON list, [\"a cat\", \"a dog\"], or a JSON \
                           object of prompts, {\"cat\": [\"a photo of a cat\", \"a kitten\"]}; a label that \
                           looks like something else can be given in a JSON list";
const TEMPLATES_READ: &str = "a template file has one template a line, or a JSON list, [\"a photo of {}\", \"a \
                              drawing of {}\"]; a template that looks like something else can be given in a \
                              JSON list";

/// The labels in a file: a JSON object that gives each class its prompts, a JSON list, or one label
/// a line, where blank lines and those that begin with `#` are passed over.
///
/// *Errors* when the file has no labels, is not UTF-8, is malformed JSON, or looks like something
/// else than what is read.
pub fn parse_file(bytes: &[u8]) -> Result<Vec<GivenLabel>> {
    let text = lookalike::text_of(bytes)?;
    let labels: Vec<_> = match text.trim_start().as_bytes().first() {
        Some(b'{') => parse_json_object(text).map_err(|error| with_help(error, LABELS_READ))?,
        Some(b'[') => {
            let names = parse_json_list(text).map_err(|error| with_help(error, LABELS_READ))?;
            names.into_iter().map(GivenLabel::Name).collect()
        }
        _ => {
            let lines = lookalike::lines_of(text);
            let strange = lookalike::strange_line(&lines).or_else(|| lookalike::strange_whole(&lines));
            refuse(strange, LABELS_READ)?;
            lines.into_iter().map(|line| GivenLabel::Name(line.text.to_owned())).collect()
        }
    };
    ensure!(!labels.is_empty(), "no labels in it");
    Ok(labels)
}

/// The templates in a file: a JSON list, or one template a line, where blank lines and those that
/// begin with `#` are passed over.
///
/// *Errors* as for labels, and when a template has no `{}`.
pub fn parse_template_file(bytes: &[u8]) -> Result<Vec<Template>> {
    let text = lookalike::text_of(bytes)?;
    let templates: Vec<_> = if text.trim_start().starts_with('[') {
        let templates = parse_json_list(text).map_err(|error| with_help(error, TEMPLATES_READ))?;
        let template = |(i, text): (usize, &String)| {
            Template::parse(text).with_context(|| format!("entry {} of the list, {text:?}", i + 1))
        };
        templates.iter().enumerate().map(template).collect::<Result<_>>()?
    } else {
        let lines = lookalike::lines_of(text);
        refuse(lookalike::strange_line(&lines), TEMPLATES_READ)?;
        let template = |line: &TextLine| {
            Template::parse(line.text).with_context(|| format!("line {}, {:?}", line.number, line.text))
        };
        lines.iter().map(template).collect::<Result<_>>()?
    };
    ensure!(!templates.is_empty(), "no templates in it");
    Ok(templates)
}

fn refuse(strange: Option<(&TextLine, &str)>, read: &str) -> Result<()> {
    match strange {
        Some((TextLine { number, text }, what)) => {
            bail!("line {number}, {text:?}, looks like {what}; {read}")
        }
        None => Ok(()),
    }
}

/// The strings of a JSON list, trimmed.
pub(super) fn parse_json_list(text: &str) -> Result<Vec<String>> {
    let entries: Vec<String> = serde_json::from_str(text).map_err(|error| explain(error, text))?;
    let entry = |(i, entry): (usize, String)| {
        let entry = entry.trim();
        ensure!(!entry.is_empty(), "entry {} of the list is empty", i + 1);
        ensure_one_line(entry)?;
        Ok(entry.to_owned())
    };
    entries.into_iter().enumerate().map(entry).collect()
}

fn parse_json_object(text: &str) -> Result<Vec<GivenLabel>> {
    let ClassPrompts(classes) = serde_json::from_str(text).map_err(|error| explain(error, text))?;
    let label = |(name, prompts): (String, Vec<String>)| {
        let name = name.trim().to_owned();
        ensure!(!name.is_empty(), "a label is empty");
        ensure_one_line(&name)?;
        ensure!(!prompts.is_empty(), "the label {name:?} has no prompts");
        ensure!(prompts.iter().all(|p| !p.trim().is_empty()), "the label {name:?} has an empty prompt");
        ensure!(
            !lookalike::is_wordnet_id(&prompts[0]),
            "the first prompt of the label {name:?} is the WordNet number {}, as in Keras's class index",
            prompts[0]
        );
        Ok(GivenLabel::WithPrompts(Label { name, prompts }))
    };
    classes.into_iter().map(label).collect()
}

fn ensure_one_line(name: &str) -> Result<()> {
    ensure!(!name.contains(char::is_control), "{name:?} has a line break or another control character");
    Ok(())
}

fn with_help(error: anyhow::Error, read: &str) -> anyhow::Error {
    anyhow!("{error:#}; {read}")
}

/// What is wrong with JSON, and where.
fn explain(error: serde_json::Error, text: &str) -> anyhow::Error {
    if error.is_syntax() && text.contains('\'') && !text.contains('"') {
        return anyhow!("{error}; JSON has double quotes, not single ones");
    }
    error.into()
}

/// The entries of a JSON object, repeated ones included, which a map would lose.
struct ClassPrompts(Vec<(String, Vec<String>)>);

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
                while let Some(name) = map.next_key::<String>()? {
                    let prompts = map.next_value().map_err(|error| {
                        A::Error::custom(format_args!("the prompts of the label {name:?}: {error}"))
                    })?;
                    entries.push((name, prompts));
                }
                Ok(ClassPrompts(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::LabelSet;

    #[track_caller]
    fn names(file: &[u8]) -> Vec<String> {
        let set = LabelSet::new(parse_file(file).unwrap(), &[]).unwrap();
        set.names().into_iter().map(str::to_owned).collect()
    }

    #[track_caller]
    fn refusal(file: &str) -> String {
        format!("{:#}", parse_file(file.as_bytes()).expect_err(file))
    }

    #[test]
    fn a_file_has_one_label_a_line_and_comments() {
        let file = "\u{feff}# animals\r\na cat\r\n\r\n  a dog  \n#a bird\nno. #1";
        assert_eq!(names(file.as_bytes()), ["a cat", "a dog", "no. #1"]);
        assert_eq!(names(b"a cat\ra dog\r"), ["a cat", "a dog"]);
    }

    #[test]
    fn a_json_file_gives_classes_their_own_prompts() {
        let given = parse_file(br#" {"cat": ["a photo of a cat", "a kitten"], "dog": ["a dog"]}"#).unwrap();
        let set = LabelSet::new(given, &[Template::parse("a drawing of {}").unwrap()]).unwrap();
        assert_eq!(set.names(), ["cat", "dog"]);
        assert_eq!(set.labels()[0].prompts, ["a photo of a cat", "a kitten"]);
    }

    #[test]
    fn a_class_given_twice_in_json_is_kept_twice() {
        assert_eq!(names(br#"{"cat": ["a"], "dog": ["b"], "cat": ["c"]}"#), ["cat", "dog", "cat"]);
    }

    #[test]
    fn a_json_list_is_its_labels() {
        for file in [
            r##"["a cat", "crane, bird", "#1"]"##,
            "\u{feff}[\r\n  \"a cat\",\r\n  \"crane, bird\",\r\n  \" #1\"\r\n]\r\n",
        ] {
            assert_eq!(names(file.as_bytes()), ["a cat", "crane, bird", "#1"]);
        }
    }

    #[test]
    fn other_json_is_refused_with_its_place() {
        for (file, place) in [
            (r#"["a cat", ["a dog"]]"#, "line 1 column 10"),
            (r#"["a cat", 3]"#, "expected a string at line 1 column 11"),
            (r#"["a cat" "a dog"]"#, "line 1 column 10"),
            ("[\n  \"a cat\",\n]", "line 3 column 1"),
            ("[\"a cat\"]\n[\"a dog\"]", "line 2 column 1"),
            (r#"["a cat", " "]"#, "entry 2"),
            (r#"[{"name": "a cat"}]"#, "line 1 column 1"),
            ("['a cat', 'a dog']", "double quotes"),
            (r#"{"cat": "a photo of a cat"}"#, "label \"cat\""),
            (r#"{"cat": {"prompts": ["a cat"]}}"#, "label \"cat\""),
            ("{\"label\": [\"cat\"]}\n{\"label\": [\"dog\"]}", "line 2 column 1"),
            (r#"{"0": ["n01440764", "tench"]}"#, "WordNet"),
            ("[abstract]\n", "line 1 column 2"),
        ] {
            let refusal = refusal(file);
            assert!(refusal.contains(place) && refusal.contains("one label a line"), "{file}: {refusal}");
        }
    }

    #[test]
    fn files_without_labels_or_prompts_are_refused() {
        for file in [
            "",
            "# nothing\n\n",
            "[]",
            "{}",
            r#"{"cat": []}"#,
            r#"{"cat": [" "]}"#,
            r#"{"cat": "#,
            r#"{"cat": 3}"#,
        ] {
            assert!(parse_file(file.as_bytes()).is_err(), "{file:?}");
        }
    }

    #[test]
    fn a_line_that_is_no_label_is_refused_with_its_number_and_what_is_read() {
        let refusal = refusal("# birds\ncrane\n\"a dog\",\n");
        assert!(refusal.starts_with(r#"line 3, "\"a dog\",", looks like a piece of JSON"#), "{refusal}");
        assert!(refusal.contains("one label a line") && refusal.contains("JSON list"), "{refusal}");
    }

    #[test]
    fn a_template_file_has_one_template_a_line_or_is_a_json_list() {
        let expected = ["a photo of {}.", "art of {}, framed"].map(|text| Template::parse(text).unwrap());
        for file in [
            "# OpenAI's\na photo of {}.\r\n\nart of {}, framed\n",
            r#"["a photo of {}.", "art of {}, framed"]"#,
        ] {
            assert_eq!(parse_template_file(file.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_its_place() {
        for (file, place) in [
            ("", "no templates"),
            ("a photo of {}\na photo\n", "line 2"),
            (r#"["a photo of {}", "a photo"]"#, "entry 2"),
            ("'a bad photo of a {}.',\n", "line 1"),
            ("- a photo of {}\n", "line 1"),
            (r#"{"cat": ["a photo of {}"]}"#, "line 1"),
            ("a photo of {}\ta drawing of {}\n", "line 1"),
        ] {
            let refusal = format!("{:#}", parse_template_file(file.as_bytes()).expect_err(file));
            assert!(refusal.contains(place), "{file}: {refusal}");
        }
    }
}
