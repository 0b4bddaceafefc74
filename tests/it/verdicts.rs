//! None of these, and several labels a picture: the rules of a verdict, with the real binary and the
//! fixture model.

use crate::world::{CAT, MODEL, TREE, classify, clipclass, records_of, refusal, stdout_of};
use serde_json::Value;

/// The record of the tree.
#[track_caller]
fn record(arguments: &[&str]) -> Value {
    records_of(&classify(&[&["--json", TREE], arguments].concat()), 0).remove(0)
}

/// What is said of the tree after its scores.
#[track_caller]
fn conclusion(arguments: &[&str]) -> String {
    stdout_of(&classify(&[&[TREE], arguments].concat()), 0).lines().last().unwrap().to_owned()
}

#[test]
fn each_rule_can_say_that_a_picture_is_none_of_the_labels() {
    for (arguments, rule, told) in [
        (&["--threshold", "0.9999"][..], "threshold", "below 0.9999)"),
        (&["--min-cosine", "0.99"], "cosine", "below 0.99)"),
        (&["--min-margin", "0.9999"], "margin", "below 0.9999)"),
        (&["--decoys", "something else", "--decoys", "a green tree,junk"], "decoy", "a decoy)"),
    ] {
        let record = record(arguments);
        assert_eq!((&record["prediction"], &record["rejected"]), (&Value::Null, &rule.into()), "{record}");
        let conclusion = conclusion(arguments);
        assert!(conclusion.starts_with("prediction: none (best: a "), "{conclusion}");
        assert!(conclusion.ends_with(told), "{conclusion}");
    }
    let all = ["--threshold", "0.9999", "--min-cosine", "0.99", "--min-margin", "0.9999"];
    assert_eq!(record(&all)["rejected"], "threshold");
    let passing = ["--threshold", "0.5", "--min-cosine", "-1", "--min-margin", "0.5", "--decoys", "a boat"];
    let record = record(&passing);
    assert_eq!((&record["prediction"], record.get("rejected")), (&"a tree".into(), None));
}

#[test]
fn decoys_share_the_probability_and_are_shown_apart() {
    let record = record(&["--decoys", "a boat", "--top", "2"]);
    let scores = record["scores"].as_array().unwrap();
    let labels: Vec<_> =
        scores.iter().map(|score| (score["label"].as_str().unwrap(), &score["decoy"])).collect();
    assert_eq!(labels.len(), 3);
    assert_eq!((labels[0], labels[2]), (("a tree", &Value::Null), ("a boat", &true.into())));
    let all = records_of(&classify(&["--json", "--decoys", "a boat", TREE]), 0).remove(0);
    let sum: f64 =
        all["scores"].as_array().unwrap().iter().map(|score| score["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5);
    let text = stdout_of(&classify(&["--decoys", "a boat", TREE]), 0);
    assert_eq!(text.lines().filter(|line| line.starts_with("  a boat (decoy)  0.")).count(), 1, "{text}");
    let csv = stdout_of(&classify(&["--format", "csv", "--decoys", "a boat", TREE]), 0);
    assert!(csv.starts_with("image,prediction,probability,rejected,a cat,"), "{csv}");
    assert!(csv.lines().next().unwrap().ends_with(",decoy: a boat"), "{csv}");
}

#[test]
fn every_label_that_passes_is_given_with_multi() {
    let arguments = ["--json", "-l", "a tree,a green tree,a boat", "--multi", "--min-cosine"];
    let run = |least: &str, more: &[&str]| {
        let mut command = clipclass();
        command.args(["-m", MODEL, TREE]).args(arguments).arg(least).args(more);
        command.output().unwrap()
    };
    let record = records_of(&run("-1", &[]), 0).remove(0);
    let keys: Vec<_> = record.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["image", "predictions", "prediction", "probability", "scores"]);
    assert_eq!(record["predictions"].as_array().unwrap().len(), 3);
    assert_eq!(record["prediction"], record["predictions"][0]);
    let cosines: Vec<_> =
        record["scores"].as_array().unwrap().iter().map(|s| s["cosine"].as_f64().unwrap()).collect();
    let between = format!("{}", (cosines[1].min(cosines[0]) + cosines[2]) / 2.0);
    let record = &records_of(&run(&between, &[]), 0)[0];
    assert_eq!(record["predictions"].as_array().unwrap().len(), 2, "{record}");
    let record = &records_of(&run("0.999", &[]), 0)[0];
    assert_eq!((&record["predictions"], &record["rejected"]), (&Value::Array(vec![]), &"cosine".into()));
}

#[test]
fn multi_without_a_rule_is_wrong_usage() {
    let told = refusal(&classify(&["--multi", TREE]));
    assert!(told.contains("--min-cosine") && told.contains("--classifier"), "{told}");
    let told = refusal(&classify(&["--multi", "--min-cosine", "0.1", "--min-margin", "0.1", TREE]));
    assert!(told.contains("--min-margin"), "{told}");
    assert!(refusal(&classify(&["--min-cosine", "1.5", TREE])).contains("between -1 and 1"));
    assert!(refusal(&classify(&["--decoys", "a,,b", TREE])).contains("--decoys: label 2"));
}

#[test]
fn predictions_are_a_column_and_a_line() {
    let arguments = ["--multi", "--min-cosine", "-1", "--top", "1"];
    let csv = stdout_of(&classify(&[&["--format", "csv", TREE], &arguments[..]].concat()), 0);
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines[0], "image,prediction,probability,predictions,rejected,label_1,probability_1");
    assert!(lines[1].contains(",a tree|") && lines[1].matches('|').count() == 4, "{csv}");
    let conclusion = conclusion(&arguments);
    assert!(conclusion.starts_with("predictions: a tree, a "), "{conclusion}");
}

#[test]
fn records_made_by_other_rules_are_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let resume = |more: &[&str]| {
        let resume = ["--resume", path.to_str().unwrap(), "--decoys", "a boat"];
        classify(&[&resume, more].concat())
    };
    assert_eq!(stdout_of(&resume(&[TREE, "--min-cosine", "0.1"]), 0), "");
    for (more, told) in [
        (&[][..], "--min-cosine was 0.1 and is absent"),
        (&["--min-cosine", "0.1", "--min-margin", "0.2"], "--min-margin was absent and is 0.2"),
        (&["--min-cosine", "0.1", "--decoys", "a star"], "decoy 2 was absent and is \"a star\""),
        (&["--min-cosine", "0.1", "--multi"], "--multi was absent and is given"),
    ] {
        let refusal = refusal(&resume(&[&[CAT], more].concat()));
        assert!(refusal.contains(told), "{refusal}");
    }
    assert_eq!(stdout_of(&resume(&[TREE, CAT, "--min-cosine", "0.1"]), 0), "");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
}
