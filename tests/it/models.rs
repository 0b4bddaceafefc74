//! `clipclass models`, short names, and `--text-cleaning`.

use crate::world::{CAT, MODEL, TREE, clipclass, records_of, refusal, stderr_of, stdout_of};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// The program in a home of its own.
fn at_home(home: &Path, arguments: &[&str]) -> Output {
    let mut command = clipclass();
    command.env("HF_HOME", home).env("HF_HUB_OFFLINE", "1").args(arguments).output().unwrap()
}

fn listed(home: &Path, name: &str, more: &[&str]) -> Value {
    let models = records_of(&at_home(home, &[&["models", "--json"], more].concat()), 0);
    models.into_iter().find(|model| model["name"] == name).unwrap()
}

/// Puts a file where the hub cache has it.
fn keep(home: &Path, repository: &str, file: &str, content: &[u8]) {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let folder = home.join("hub").join(format!("models--{}", repository.replace('/', "--")));
    for (path, content) in
        [(format!("snapshots/{commit}/{file}"), content), ("refs/main".to_owned(), commit.as_bytes())]
    {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[test]
fn models_are_listed_for_reading() {
    let home = tempfile::tempdir().unwrap();
    let table = stdout_of(&at_home(home.path(), &["models"]), 0);
    let row =
        |name: &str| table.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().to_owned();
    let words: Vec<_> = row("datacomp-b32").split_whitespace().map(str::to_owned).collect();
    let repository = "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K";
    assert_eq!(words.join(" "), format!("datacomp-b32 CLIP 605 MB 256 px 72.8 % – – {repository}"));
    assert!(row("bioclip").contains(" –  "), "{}", row("bioclip"));
}

#[test]
fn what_the_hub_cache_has_of_a_model_is_told() {
    let home = tempfile::tempdir().unwrap();
    let (name, repository) = ("laion-b32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K");
    assert_eq!(listed(home.path(), name, &[])["hub_cache"], "none");
    let weights = vec![0; 1000];
    keep(home.path(), repository, "model.safetensors", &weights);
    let model = listed(home.path(), name, &[]);
    assert_eq!((&model["hub_cache"], &model["hub_cache_bytes"]), (&"part".into(), &1000.into()));
    keep(home.path(), repository, "config.json", b"{}");
    keep(home.path(), repository, "tokenizer.json", b"{}");
    let model = listed(home.path(), name, &[]);
    assert_eq!((&model["hub_cache"], &model["hub_cache_bytes"]), (&"whole".into(), &1004.into()));
}

#[test]
fn a_short_name_is_taken_for_its_repository() {
    let home = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"] {
        let content = fs::read(Path::new(MODEL).join(file)).unwrap();
        keep(home.path(), "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", file, &content);
    }
    let output = at_home(home.path(), &["-m", "laion-b32", "-l", "a cat,a tree", "--json", TREE]);
    assert_eq!(records_of(&output, 0)[0]["prediction"], "a tree");
    let folder = stdout_of(&at_home(home.path(), &["fetch", "laion-b32"]), 0);
    assert!(folder.contains("models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"), "{folder}");
}

#[test]
fn a_short_name_that_is_none_is_told_the_nearest() {
    let home = tempfile::tempdir().unwrap();
    let told = refusal(&at_home(home.path(), &["fetch", "datacomp-b23"]));
    assert!(told.contains("did you mean datacomp-b32"), "{told}");
    let told = refusal(&at_home(home.path(), &["-m", "resnet", "-l", "a,b", TREE]));
    assert!(told.contains("clipclass models lists") && !told.contains("did you mean"), "{told}");
}

#[test]
fn what_an_image_took_is_told_after_a_run_over_enough_of_them() {
    let home = tempfile::tempdir().unwrap();
    let repository = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K";
    for file in ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"] {
        keep(home.path(), repository, file, &fs::read(Path::new(MODEL).join(file)).unwrap());
    }
    let cache = home.path().join("embeddings");
    let cache = ["--cache", cache.to_str().unwrap()];
    let run = |images: &[&str]| {
        let command = ["-m", "laion-b32", "-l", "a cat,a tree", "--batch-size", "2", "--json"];
        records_of(&at_home(home.path(), &[&command[..], &cache, images].concat()), 0)
    };
    run(&[TREE, CAT]);
    assert_eq!(listed(home.path(), "laion-b32", &cache)["speeds"], Value::Array(Vec::new()));
    let many: Vec<_> = (1..=8).map(|i| format!("fixtures/images/orientation-{i}.jpg")).collect();
    let many: Vec<_> = many
        .iter()
        .map(String::as_str)
        .chain(["fixtures/images/star.jpg", "fixtures/images/car.jpg"])
        .collect();
    run(&many);
    let speeds = listed(home.path(), "laion-b32", &cache)["speeds"].clone();
    assert_eq!((&speeds[0]["device"], &speeds[0]["precision"]), (&"cpu".into(), &"f32".into()));
    assert!(speeds[0]["ms_per_image"].as_f64().unwrap() > 0.0);
}

/// The cosine of the tree and the first label.
fn cosine(command: &mut Command, labels: &str, more: &[&str]) -> f64 {
    let arguments = ["-m", MODEL, "--json", "-l", labels];
    records_of(&command.args(arguments).args(more).arg(TREE).output().unwrap(), 0)[0]["scores"]
        .as_array()
        .unwrap()
        .iter()
        .find(|score| score["label"] == labels.split(',').next().unwrap())
        .unwrap()["cosine"]
        .as_f64()
        .unwrap()
}

#[test]
fn prompts_are_cleaned_as_they_are_asked_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let cache = ["--cache", folder.path().to_str().unwrap()];
    let ask = |labels: &str, more: &[&str]| cosine(&mut clipclass(), labels, &[&cache, more].concat());
    let plain = ask("a red tree,a cat", &[]);
    let marked = ask("a_red tree!,a cat", &[]);
    assert_ne!(plain, marked);
    assert_eq!(ask("a_red tree!,a cat", &["--text-cleaning", "canonical"]), plain);
    // Neither takes what was kept of the other.
    assert_eq!(ask("a_red tree!,a cat", &["--text-cleaning", "folder"]), marked);
    assert_eq!(ask("a_red tree!,a cat", &[]), marked);
    assert_eq!(ask("a_red tree!,a cat", &["--text-cleaning", "none"]), marked);
}

#[test]
fn records_are_not_gone_on_with_when_prompts_are_cleaned_in_another_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.jsonl");
    let run = |more: &[&str]| {
        let mut command = clipclass();
        command.args(["-m", MODEL, "-l", "a cat,a tree", TREE, "--resume"]).arg(&file).args(more);
        command.output().unwrap()
    };
    stdout_of(&run(&[]), 0);
    stdout_of(&run(&["--text-cleaning", "folder"]), 0);
    let told = refusal(&run(&["--text-cleaning", "canonical"]));
    assert!(told.contains("--text-cleaning was absent and is canonical"), "{told}");
}

#[test]
fn a_prompt_that_was_decoded_with_the_wrong_encoding_is_told() {
    let mut command = clipclass();
    let output = command.args(["-m", MODEL, "-l", "a cafÃ©,a tree", TREE]).output().unwrap();
    let told = stderr_of(&output, 0);
    assert!(told.contains("wrong encoding") && told.contains("\"a café\""), "{told}");
}
