//! How right labels are and what is learned from images, with the real binary and the fixture model; and
//! every metric against scikit-learn on 2,000 drawings.

use crate::golden;
use crate::world::{CAT, CAT_BYTES, MODEL, TREE, TREE_BYTES, TRUNCATED, clipclass, records_of, refusal};
use crate::world::{stderr_of, stdout_of, tar_of};
use clipclass::eval::calibration::{Calibration, softmax_loss};
use clipclass::eval::classes::{ClassCount, Confusion, balanced_accuracy, macro_f1, micro_f1};
use clipclass::eval::fit::{ChosenFor, Labelled, Link, fit_temperature, fit_threshold, set_probability};
use clipclass::eval::{Interval, Share, ranking::average_precision};
use clipclass::score::{Judgement, Scoring, verdict};
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Logits of 2,000 drawings with 16 things and 9 colours, and which of either each is.
pub struct Drawings {
    pub logits: Vec<Vec<f32>>,
    pub things: Vec<usize>,
    pub colours: Vec<usize>,
    golden: Value,
}

const THINGS: usize = 16;
const LABELS: usize = 25;

pub fn drawings() -> Drawings {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden");
    let bytes = fs::read(folder.join("metrics.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let truth = tensors.tensor("truth").unwrap();
    let column = |i: usize| truth.data().iter().skip(i).step_by(2).map(|&label| label.into()).collect();
    Drawings {
        logits: golden::rows("fixtures/golden/metrics.safetensors", "logits"),
        things: column(0),
        colours: column(1),
        golden: serde_json::from_slice(&fs::read(folder.join("metrics.json")).unwrap()).unwrap(),
    }
}

#[track_caller]
fn assert_equal(ours: Option<f64>, theirs: &Value, what: &str) {
    let (ours, theirs) = (ours.unwrap(), theirs.as_f64().unwrap());
    assert!((ours - theirs).abs() <= 1e-9, "{what}: {ours}, and scikit-learn has {theirs}");
}

fn best(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

#[test]
fn metrics_of_one_label_an_image_are_those_of_scikit_learn() {
    let Drawings { logits, things, golden, .. } = drawings();
    let golden = &golden["single"];
    let (mut confusion, mut calibration) = (Confusion::default(), Calibration::default());
    let (mut right, mut top5) = (Share::default(), Share::default());
    for (logits, &truth) in logits.iter().zip(&things) {
        let logits = &logits[..THINGS];
        let best = best(logits);
        confusion.add(truth, best);
        right.add(best == truth);
        top5.add(logits.iter().filter(|logit| **logit > logits[truth]).count() < 5);
        calibration.add_softmax(logits, THINGS, truth, best);
    }
    let classes = confusion.classes(THINGS);
    assert_eq!(right.of, 2000);
    assert_equal(right.value(), &golden["accuracy"], "accuracy");
    let Interval(low, high) = right.interval().unwrap();
    assert_equal(Some(low), &golden["accuracy_interval"][0], "interval");
    assert_equal(Some(high), &golden["accuracy_interval"][1], "interval");
    assert_equal(top5.value(), &golden["top5"], "top 5");
    assert_equal(balanced_accuracy(&classes), &golden["balanced_accuracy"], "balanced accuracy");
    assert_equal(macro_f1(&classes), &golden["macro_f1"], "macro F1");
    assert_equal(calibration.ece(), &golden["ece"], "ECE");
    assert_equal(calibration.brier(), &golden["brier"], "Brier");
    assert_equal(calibration.log_loss(), &golden["log_loss"], "log loss");
    for (i, class) in classes.iter().enumerate() {
        assert_equal(Some(class.precision()), &golden["precision"][i], "precision");
        assert_equal(Some(class.recall()), &golden["recall"][i], "recall");
        assert_equal(Some(class.f1()), &golden["f1"][i], "F1");
        assert_eq!(class.support, golden["support"][i]);
    }
    assert_eq!(serde_json::to_value(confusion.matrix(THINGS)).unwrap(), golden["confusion"]);
}

#[test]
fn metrics_of_several_labels_an_image_are_those_of_scikit_learn() {
    let Drawings { logits, things, colours, golden } = drawings();
    let golden = &golden["several"];
    let shift = golden["shift"].as_f64().unwrap() as f32;
    let has = |image: usize, label: usize| things[image] == label || THINGS + colours[image] == label;
    let mut classes = vec![ClassCount::default(); LABELS];
    let (mut calibration, mut right) = (Calibration::default(), Share::default());
    for (image, logits) in logits.iter().enumerate() {
        let logits: Vec<_> = logits.iter().map(|logit| logit - shift).collect();
        calibration.add_sigmoid(&logits, |label| has(image, label), None);
        let mut is_right = true;
        for (label, logit) in logits.iter().enumerate() {
            let (is_given, has) = (*logit >= 0.0, has(image, label));
            classes[label].predicted += u64::from(is_given);
            classes[label].support += u64::from(has);
            classes[label].right += u64::from(is_given && has);
            is_right &= is_given == has;
        }
        right.add(is_right);
    }
    let precision = |label: usize| {
        average_precision(
            logits.iter().enumerate().map(|(i, logits)| (logits[label], has(i, label))).collect(),
        )
    };
    let precisions: Vec<_> = (0..LABELS).map(|label| precision(label).unwrap()).collect();
    for (label, precision) in precisions.iter().enumerate() {
        assert_equal(Some(*precision), &golden["average_precision"][label], "average precision");
    }
    let mean = precisions.iter().sum::<f64>() / LABELS as f64;
    assert_equal(Some(mean), &golden["mean_average_precision"], "mAP");
    assert_equal(macro_f1(&classes), &golden["macro_f1"], "macro F1");
    assert_equal(micro_f1(&classes), &golden["micro_f1"], "micro F1");
    assert_equal(right.value(), &golden["accuracy"], "accuracy");
    assert_equal(calibration.ece(), &golden["ece"], "ECE");
    assert_equal(calibration.brier(), &golden["brier"], "Brier");
    assert_equal(calibration.log_loss(), &golden["log_loss"], "log loss");
}

#[test]
fn what_is_fitted_is_what_scipy_and_scikit_learn_find() {
    let Drawings { logits, things, colours, golden } = drawings();
    let all: Vec<_> = (0..logits.len()).collect();
    let labelled = |image: usize| {
        let logits = logits[image][..THINGS].iter().enumerate();
        logits.map(|(label, logit)| (f64::from(*logit), things[image] == label)).collect()
    };
    let temperature = fit_temperature(&all, Link::Softmax, labelled);
    // SciPy's bounded search stops at about the root of a double's precision.
    assert!((temperature - golden["temperature"].as_f64().unwrap()).abs() < 1e-5, "{temperature}");
    let loss: f64 =
        logits.iter().zip(&things).map(|(logits, &thing)| softmax_loss(&logits[..THINGS], thing)).sum();
    assert!(loss.is_finite());
    for label in 0..LABELS {
        let has = |image: usize| things[image] == label || THINGS + colours[image] == label;
        let images: Vec<Labelled> = all.iter().map(|&image| (logits[image][label], has(image))).collect();
        let threshold = fit_threshold(images.clone(), None, ChosenFor::F1);
        let given = images.iter().filter(|image| image.0 >= threshold);
        let class = ClassCount {
            right: given.clone().filter(|image| image.1).count() as u64,
            predicted: given.count() as u64,
            support: images.iter().filter(|image| image.1).count() as u64,
        };
        assert_equal(Some(class.f1()), &golden["best_f1"][label], "the best F1");
    }
}

#[test]
fn prediction_sets_are_those_of_the_reference_and_cover_what_the_theory_says() {
    let Drawings { logits, things, golden, .. } = drawings();
    let golden = &golden["conformal"];
    let judge = |logits: &[f32]| {
        verdict(&logits[..THINGS], THINGS, Scoring::Softmax { scale: 1.0 }, &Judgement::default()).unwrap()
    };
    let probabilities: Vec<_> =
        logits.iter().zip(&things).map(|(logits, &thing)| judge(logits).scores[thing].probability).collect();
    let half: Vec<usize> =
        golden["first_half"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect();
    let least = set_probability(half.iter().map(|&i| probabilities[i]).collect(), 0.9).unwrap();
    // Probabilities are f32 here, with seven digits.
    assert!((f64::from(least) - golden["least"].as_f64().unwrap()).abs() < 1e-6, "{least}");
    let others: Vec<_> = (0..2000).filter(|i| !half.contains(i)).collect();
    let covered = others.iter().filter(|&&i| probabilities[i] >= least).count() as f64 / others.len() as f64;
    assert!((covered - golden["coverages"][0].as_f64().unwrap()).abs() < 2e-3, "{covered}");
    let coverages = golden["coverages"].as_array().unwrap();
    let mean = coverages.iter().map(|c| c.as_f64().unwrap()).sum::<f64>() / coverages.len() as f64;
    // Over 200 splits of 1,000 the mean has a standard error of 0.001; equal f16 probabilities cover more.
    assert!((0.9 - 0.003..=0.9 + 1.0 / 1001.0 + 0.006).contains(&mean), "{mean}");
}

/// A folder of files.
fn folder_of(names: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in names {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn eval(inputs: &[&Path], labels: &str, more: &[&str]) -> Command {
    let mut command = clipclass();
    command.arg("eval").args(inputs).args(["-m", MODEL, "-l", labels]).args(more);
    command
}

#[track_caller]
fn report(command: &mut Command, code: i32) -> Value {
    let text = stdout_of(&command.output().unwrap(), code);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn folders_say_what_their_images_are_and_all_keys_are_there() {
    let broken = fs::read(TRUNCATED).unwrap();
    let folder = folder_of(&[
        ("a tree/1.jpg", TREE_BYTES),
        ("a tree/deep/2.jpg", TREE_BYTES),
        ("a_cat/1.png", CAT_BYTES),
        ("a_cat/2.jpg", TREE_BYTES),
        ("none/1.jpg", TREE_BYTES),
        ("zebra/1.jpg", TREE_BYTES),
        ("a_cat/bad.jpg", &broken),
    ]);
    let report = report(&mut eval(&[folder.path()], "a cat,a tree,a boat", &["--json"]), 1);
    let keys: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    for key in [
        "images",
        "failed",
        "accuracy",
        "accuracy_interval",
        "top5",
        "balanced_accuracy",
        "macro_f1",
        "ece",
        "brier",
        "log_loss",
        "classes",
        "confusion",
        "templates",
        "mistakes",
    ] {
        assert!(keys.contains(&key), "{key} is not among {keys:?}");
    }
    assert_eq!((&report["images"], &report["failed"]), (&5.into(), &1.into()));
    assert_eq!(report["accuracy"], 0.6);
    assert_eq!(
        report["confusion"],
        serde_json::json!([[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
    );
    assert_eq!(report["left_out"]["words"], serde_json::json!({"zebra": 1}));
    assert_eq!(report["labels"]["never_predicted"], serde_json::json!(["a boat"]));
    assert_eq!(report["labels"]["not_in_truth"], serde_json::json!(["a boat"]));
    assert_eq!(report["mistakes"].as_array().unwrap().len(), 2);
    assert_eq!(report["classes"][0]["label"], "a cat");
    assert_eq!(report["classes"][1]["recall"], 1.0);
    let text = stdout_of(&eval(&[folder.path()], "a cat,a tree,a boat", &[]).output().unwrap(), 1);
    assert!(text.contains("accuracy              60.00 % (3 of 5)"), "{text}");
    assert!(text.contains("1 of no label: zebra 1"), "{text}");
    assert!(text.contains("a cat taken for a tree"), "{text}");
}

#[test]
fn shards_and_truth_files_say_what_images_are() {
    let shard = tar_of([
        ("1.cls", b"1" as &[u8]),
        ("1.jpg", TREE_BYTES),
        ("2.jpg", CAT_BYTES),
        ("2.txt", b"a cat\n"),
        ("3.jpg", TREE_BYTES),
        ("3.json", br#"{"label": "a tree"}"#),
    ]);
    let folder = folder_of(&[("s.tar", &shard), ("x/1.jpg", TREE_BYTES), ("x/2.png", CAT_BYTES)]);
    let of_shard = report(&mut eval(&[&folder.path().join("s.tar")], "a cat,a tree", &["--json"]), 0);
    assert_eq!((&of_shard["images"], &of_shard["accuracy"]), (&3.into(), &1.0.into()));
    for (name, text) in [
        ("truth.csv", "image,label\n1.jpg,a tree\n2.png,a tree\n"),
        (
            "truth.jsonl",
            "{\"image\":\"1.jpg\",\"label\":\"a tree\"}\n{\"image\":\"2.png\",\"label\":\"a tree\"}\n",
        ),
    ] {
        let truth = folder.path().join(name);
        fs::write(&truth, text).unwrap();
        let arguments = ["--json", "--truth", truth.to_str().unwrap()];
        let report = report(&mut eval(&[&folder.path().join("x")], "a cat,a tree", &arguments), 0);
        assert_eq!((&report["images"], &report["accuracy"]), (&2.into(), &0.5.into()));
    }
}

#[test]
fn images_of_several_labels_are_ranked_and_thresholded() {
    let folder = folder_of(&[("1.jpg", TREE_BYTES), ("2.png", CAT_BYTES)]);
    let truth = folder.path().join("truth.csv");
    fs::write(&truth, "image,label\n1.jpg,a tree|something green\n2.png,a cat\n").unwrap();
    let run = |more: &[&str]| {
        let arguments = [&["--json", "--truth", truth.to_str().unwrap()], more].concat();
        report(&mut eval(&[folder.path()], "a cat,a tree,something green", &arguments), 0)
    };
    let ranked = run(&[]);
    assert!(ranked["mean_average_precision"].as_f64().unwrap() >= 0.5, "{ranked}");
    assert_eq!((&ranked["macro_f1"], &ranked["accuracy"]), (&Value::Null, &Value::Null));
    let all = run(&["--multi", "--min-cosine", "-1"]);
    // Everything passes: three of six are right and all three are found.
    assert!((all["micro_f1"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9, "{all}");
    assert_eq!(all["accuracy"], 0.0);
}

#[test]
fn an_evaluation_of_openais_kind_runs_from_files_with_two_classes_of_one_name() {
    let folder =
        folder_of(&[("val/n1/1.jpg", TREE_BYTES), ("val/n2/1.png", CAT_BYTES), ("val/n3/1.jpg", TREE_BYTES)]);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let labels = write("classes.json", r#"["tree", "cat", "tree", "boat"]"#);
    let templates = write("templates.json", r#"["a photo of a {}.", "a drawing of the {}.", "{}"]"#);
    let classes = write("folders.json", r#"{"n1": "tree", "n2": "cat", "n3": "tree"}"#);
    let run = |templates: &[&str]| {
        let mut command = clipclass();
        command.arg("eval").arg(folder.path().join("val")).args(["-m", MODEL, "--json", "-q"]);
        report(command.args(["--labels-file", &labels, "--classes", &classes]).args(templates), 0)
    };
    let all = run(&["--template-file", &templates]);
    assert_eq!(all["classes"].as_array().unwrap().len(), 4);
    // Of two classes with the same prompts the first is always predicted.
    assert_eq!(all["confusion"], serde_json::json!([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]));
    assert_eq!(all["labels"]["coinciding"][0]["labels"], serde_json::json!(["tree", "tree"]));
    let told = all["templates"].as_array().unwrap();
    let given = ["a photo of a {}.", "a drawing of the {}.", "{}"];
    for (i, result) in told.iter().enumerate() {
        assert_eq!(result["template"], given[i]);
        assert_eq!(result["accuracy"], run(&["-t", given[i]])["accuracy"]);
        let rest: Vec<_> = given.iter().filter(|other| **other != given[i]).flat_map(|t| ["-t", t]).collect();
        assert_eq!(result["without"], run(&rest)["accuracy"]);
    }
}

#[test]
fn nothing_to_evaluate_and_too_few_images_to_fit_to_are_told() {
    let folder = folder_of(&[("zebra/1.jpg", TREE_BYTES)]);
    let told = refusal(&eval(&[folder.path()], "a cat,a tree", &[]).output().unwrap());
    assert!(told.contains("zebra") && told.contains("--classes"), "{told}");
    let truth = folder.path().join("truth.csv");
    fs::write(&truth, "image,label\nelsewhere/2.jpg,a tree\n").unwrap();
    let mut command = eval(&[folder.path()], "a cat,a tree", &["--truth", truth.to_str().unwrap()]);
    let told = refusal(&command.output().unwrap());
    assert!(told.contains("truth.csv names none of the 1 images"), "{told}");
    let few = folder_of(&[("a tree/1.jpg", TREE_BYTES)]);
    let file = few.path().join("fit.json");
    let told =
        refusal(&eval(&[few.path()], "a cat,a tree", &["--fit", file.to_str().unwrap()]).output().unwrap());
    assert!(told.contains("1 images") && told.contains("at least 20"), "{told}");
    assert!(!file.exists());
}

#[test]
fn a_classifier_file_is_used_whole_and_refuses_what_it_was_not_made_with() {
    let mut names: Vec<(String, &[u8])> = Vec::new();
    for i in 0..15 {
        names.push((format!("a tree/{i}.jpg"), TREE_BYTES));
        names.push((format!("a cat/{i}.png"), CAT_BYTES));
    }
    let names: Vec<_> = names.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let folder = folder_of(&names);
    let file = folder.path().join("fit.json");
    let path = file.to_str().unwrap();
    let arguments = ["--json", "--fit", path, "--coverage", "0.8"];
    let output = eval(&[folder.path()], "a cat,a tree,a boat", &arguments).output().unwrap();
    let fit: Value = serde_json::from_str(&stdout_of(&output, 0)).unwrap();
    assert_eq!((&fit["fit"]["images"], &fit["fit"]["parts"]), (&30.into(), &5.into()));
    let stderr = stderr_of(&output, 0);
    assert!(stderr.contains("1 labels have too few images") && stderr.contains("a boat 0"), "{stderr}");
    assert!(stderr.contains("these images are too easy to tell how sure to be"), "{stderr}");
    assert!(!stderr.contains("no part of what --fit learns"), "{stderr}");
    let mut command = eval(&[folder.path()], "a cat,a tree,a boat", &arguments);
    let stderr = stderr_of(&command.args(["--threshold", "0.5"]).output().unwrap(), 0);
    assert!(stderr.contains("--threshold, --min-cosine and --min-margin are no part of what --fit learns"));
    let much = ["--fit", path, "--coverage", "0.99"];
    let told = refusal(&eval(&[folder.path()], "a cat,a tree", &much).output().unwrap());
    assert!(told.contains("24 images are too few") && told.contains("about 124 in all"), "{told}");
    let use_it = |more: &[&str]| {
        let mut command = clipclass();
        command.args([TREE, CAT, "--json", "--classifier", path]).args(more);
        command.output().unwrap()
    };
    let records = records_of(&use_it(&[]), 0);
    assert_eq!([&records[0]["prediction"], &records[1]["prediction"]], ["a tree", "a cat"]);
    assert_eq!(records[0]["prediction_set"], serde_json::json!(["a tree"]));
    assert_eq!(records_of(&use_it(&["--multi"]), 0)[0]["predictions"], serde_json::json!(["a tree"]));
    let told = refusal(&use_it(&["--precision", "int8"]));
    assert!(told.contains("--precision f32") && told.contains("int8"), "{told}");
    let told = refusal(&use_it(&["--text-cleaning", "none"]));
    assert!(told.contains("this is --text-cleaning none"), "{told}");
    let text = fs::read_to_string(&file).unwrap();
    let parsed: Value = serde_json::from_str(&text).unwrap();
    let digest = parsed["digest"].as_str().unwrap();
    fs::write(&file, text.replace(digest, &"0".repeat(64))).unwrap();
    let told = refusal(&use_it(&[]));
    assert!(told.contains("fitted with the model") && told.contains("000000000000"), "{told}");
    fs::write(&file, "{}").unwrap();
    assert!(refusal(&use_it(&[])).contains("clipclass eval --fit"));
}
