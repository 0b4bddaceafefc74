//! How a file of records was made, kept beside it as `FILE.run.json`, so that the file itself stays
//! plain JSON Lines.

use super::super::output::beside;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// All that decides what a record says, besides its image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the user called the model; the digest says which it was.
    pub model: String,
    /// Digest of the model's files, in hexadecimal.
    pub digest: String,
    pub precision: String,
    /// How prompts were cleaned; as the model's family was trained when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_cleaning: Option<String>,
    pub labels: Vec<LabelRecipe>,
    /// The most scores in a record; all when absent.
    pub top: Option<usize>,
    /// Least probability of a prediction.
    pub threshold: f32,
    #[serde(default)]
    pub min_cosine: Option<f32>,
    #[serde(default)]
    pub min_margin: Option<f32>,
    #[serde(default)]
    pub decoys: Vec<LabelRecipe>,
    /// Whether each image is given every label that passes.
    #[serde(default)]
    pub multi: bool,
    /// What a classifier file says beyond labels and the rules above.
    #[serde(default)]
    pub fitted: Option<FittedRecipe>,
}

/// What was learned from labelled images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedRecipe {
    pub temperature: Option<f32>,
    /// What the thresholds are of.
    pub quantity: Option<String>,
    /// One a label.
    pub thresholds: Vec<f32>,
    #[serde(default)]
    pub min_contrast: Option<f32>,
    pub set_probability: Option<f32>,
}

/// A label and its prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelRecipe {
    pub label: String,
    pub prompts: Vec<String>,
}

impl Recipe {
    /// Reads how `file` was made.
    ///
    /// *Errors* when nothing says so.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let path = path(file);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "nothing says how its records were made: {} is missing; name another file",
                path.display()
            ),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} does not say how the records were made", path.display()))
    }

    /// Notes how `file` is about to be made.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let path = path(file);
        let write = || {
            let mut beside = beside(&path)?;
            serde_json::to_writer_pretty(&mut beside, self)?;
            beside.write_all(b"\n")?;
            beside.persist(&path)?;
            anyhow::Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// *Errors* when records made as `self` says would differ from those made as `earlier` says,
    /// naming all that does.
    pub(super) fn check_same(&self, earlier: &Self) -> Result<()> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, now: &dyn ToString, then: &dyn ToString| {
            let (now, then) = (now.to_string(), then.to_string());
            if now != then {
                differences.push(format!("{what} was {then} and is {now}"));
            }
        };
        if self.digest != earlier.digest {
            let model = |recipe: &Self| {
                format!("{} ({})", recipe.model, recipe.digest.get(..12).unwrap_or(&recipe.digest))
            };
            compare("the model", &model(self), &model(earlier));
        }
        compare("the precision", &self.precision, &earlier.precision);
        let cleaning = |recipe: &Self| recipe.text_cleaning.clone().unwrap_or_else(|| "absent".to_owned());
        compare("--text-cleaning", &cleaning(self), &cleaning(earlier));
        let top = |recipe: &Self| recipe.top.map_or("absent".to_owned(), |top| top.to_string());
        compare("--top", &top(self), &top(earlier));
        compare("--threshold", &self.threshold, &earlier.threshold);
        let least = |least: Option<f32>| least.map_or("absent".to_owned(), |least| least.to_string());
        compare("--min-cosine", &least(self.min_cosine), &least(earlier.min_cosine));
        compare("--min-margin", &least(self.min_margin), &least(earlier.min_margin));
        let given = |given: bool| if given { "given" } else { "absent" };
        compare("--multi", &given(self.multi), &given(earlier.multi));
        if self.fitted != earlier.fitted {
            differences.push("what the classifier file has learned is something else".to_owned());
        }
        differences.extend(difference("label", &self.labels, &earlier.labels));
        differences.extend(difference("decoy", &self.decoys, &earlier.decoys));
        ensure!(
            differences.is_empty(),
            "its records were made in another way: {}; use the same options, or another file",
            differences.join(", ")
        );
        Ok(())
    }
}

/// The first label or decoy that is another one now than it was then.
fn difference(what: &str, now: &[LabelRecipe], then: &[LabelRecipe]) -> Option<String> {
    let i = (0..now.len().max(then.len())).find(|&i| now.get(i) != then.get(i))?;
    let name = |labels: &[LabelRecipe]| {
        labels.get(i).map_or("absent".to_owned(), |label| format!("{:?}", label.label))
    };
    let (now, then) = (name(now), name(then));
    Some(if now == then {
        format!("the prompts of {now} are other ones")
    } else {
        format!("{what} {} was {then} and is {now}", i + 1)
    })
}

fn path(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".run.json");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let label =
            |label: &str| LabelRecipe { label: label.into(), prompts: vec![format!("a photo of {label}")] };
        Recipe {
            model: "tiny".into(),
            digest: "00ff".into(),
            precision: "f32".into(),
            text_cleaning: None,
            labels: vec![label("a cat"), label("a dog")],
            top: None,
            threshold: 0.1,
            min_cosine: Some(0.2),
            min_margin: None,
            decoys: vec![label("junk")],
            multi: false,
            fitted: None,
        }
    }

    #[test]
    fn a_recipe_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out.jsonl");
        assert!(Recipe::read(&file).unwrap_err().to_string().contains("out.jsonl.run.json is missing"));
        recipe().write(&file).unwrap();
        assert_eq!(Recipe::read(&file).unwrap(), recipe());
    }

    #[test]
    fn a_recipe_of_before_there_were_decoys_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out.jsonl");
        let old =
            r#"{"model":"tiny","digest":"00ff","precision":"f32","labels":[],"top":null,"threshold":0.1}"#;
        fs::write(folder.path().join("out.jsonl.run.json"), old).unwrap();
        let read = Recipe::read(&file).unwrap();
        assert_eq!((read.decoys, read.multi, read.min_cosine, read.fitted), (vec![], false, None, None));
    }

    #[test]
    fn all_that_differs_is_named() {
        recipe().check_same(&Recipe { model: "elsewhere/tiny".into(), ..recipe() }).unwrap();
        let mut other = Recipe { digest: "11".into(), precision: "int8".into(), ..recipe() };
        (other.top, other.threshold, other.multi) = (Some(1), 0.5, true);
        (other.min_cosine, other.min_margin) = (None, Some(0.1));
        other.decoys[0].label = "noise".into();
        other.fitted = Some(FittedRecipe {
            temperature: Some(2.0),
            quantity: None,
            thresholds: Vec::new(),
            min_contrast: None,
            set_probability: None,
        });
        other.text_cleaning = Some("none".into());
        other.labels[1].prompts[0].push('!');
        let told = other.check_same(&recipe()).unwrap_err().to_string();
        for part in [
            "the model was tiny (00ff) and is tiny (11)",
            "the precision was f32 and is int8",
            "--text-cleaning was absent and is none",
            "--top was absent and is 1",
            "--threshold was 0.1 and is 0.5",
            "--min-cosine was 0.2 and is absent",
            "--min-margin was absent and is 0.1",
            "--multi was absent and is given",
            "what the classifier file has learned is something else",
            "decoy 1 was \"junk\" and is \"noise\"",
            "the prompts of \"a dog\" are other ones",
        ] {
            assert!(told.contains(part), "{told}");
        }
        other.labels.pop();
        assert!(
            other
                .check_same(&recipe())
                .unwrap_err()
                .to_string()
                .contains("label 2 was \"a dog\" and is absent")
        );
    }
}
