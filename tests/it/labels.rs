//! What is taken for labels and templates and what is refused, with the real binary and the fixture
//! model.

use crate::world::{CAT, MODEL, TREE, clipclass, feed, gzip, records_of, refusal, stderr_of};
use std::fs;
use std::process::{Command, Output};

/// A run over the tree and the cat.
fn command(arguments: &[&str]) -> Command {
    let mut command = clipclass();
    command.args(["--model", MODEL, "--json", "--no-cache", TREE, CAT]).args(arguments);
    command
}

/// A run with a file as `option`.
fn with_file(option: &str, contents: impl AsRef<[u8]>, arguments: &[&str]) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, contents).unwrap();
    command(arguments).arg(option).arg(file.path()).output().unwrap()
}

/// The labels of the first record.
#[track_caller]
fn labels_of(output: &Output) -> Vec<String> {
    let records = records_of(output, 0);
    let scores = records[0]["scores"].as_array().unwrap();
    scores.iter().map(|score| score["label"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_file_of_lines_and_a_json_list_give_the_same_labels() {
    let labels = ["a cat", "crane, bird", "the \"tree\"", "T-shirt", "no. #1", "猫", "l'arbre"];
    let lines = format!("\u{feff}# things\r\n{}\r\n\r\n", labels.join("\r\n"));
    assert_eq!(labels_of(&with_file("--labels-file", lines, &[])), labels);
    for list in [serde_json::to_string(&labels).unwrap(), serde_json::to_string_pretty(&labels).unwrap()] {
        assert_eq!(labels_of(&with_file("--labels-file", &list, &[])), labels);
        assert_eq!(labels_of(&command(&["--labels", &list]).output().unwrap()), labels);
        assert_eq!(labels_of(&feed(&mut command(&["--labels-file", "-"]), list.as_bytes())), labels);
    }
}

#[test]
fn a_label_has_the_same_numbers_alone_as_among_others_that_begin_like_it() {
    let labels = ["cat", "car", "cat in the snow", "tree"];
    for precision in ["f32", "int8"] {
        let cosines = |labels: &[&str]| {
            let list = serde_json::to_string(labels).unwrap();
            let arguments = ["--labels", &list, "--template", "a {}", "--template", "a photo of a {}"];
            let output = command(&[&arguments[..], &["--precision", precision]].concat()).output().unwrap();
            let records = records_of(&output, 0);
            let scores = records[0]["scores"].as_array().unwrap();
            scores.iter().map(|score| score["cosine"].as_f64().unwrap()).collect::<Vec<_>>()
        };
        let alone: Vec<_> = labels.iter().flat_map(|label| cosines(&[label])).collect();
        assert_eq!(cosines(&labels), alone, "{precision}");
    }
}

#[test]
fn a_file_that_looks_like_something_else_is_refused_with_what_is_read() {
    for (contents, told) in [
        ("[\"a cat\", [\"a dog\"]]", "column 10"),
        ("['a cat', 'a dog']", "double quotes"),
        ("\"a cat\",\n\"a dog\",\n", "line 1"),
        ("a cat\n[\n", "line 2"),
        ("{\"cat\": \"a photo of a cat\"}", "the label \"cat\""),
        ("id,label\n1,cat\n2,dog\n", "line 1"),
        ("1\tcat\n2\tdog\n", "line 1"),
        ("# mine\n- a cat\n- a dog\n", "line 2"),
        ("cat: a photo of a cat\ndog: a photo of a dog\n", "YAML"),
        ("1. a cat\n2. a dog\n", "numbered"),
        ("a cat, a dog\n", "several labels in one line"),
    ] {
        let refusal = refusal(&with_file("--labels-file", contents, &[]));
        assert!(refusal.contains("cannot use the labels file"), "{contents}: {refusal}");
        assert!(refusal.contains(told), "{contents}: {refusal}");
        assert!(refusal.contains("one label a line, a JSON list"), "{contents}: {refusal}");
    }
}

#[test]
fn a_file_that_is_no_text_is_refused_with_what_it_is() {
    let utf16: Vec<u8> = "\u{feff}a cat\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (contents, told) in [
        (utf16, "UTF-16: save it as UTF-8"),
        (gzip(b"a cat\na dog\n"), "gzip"),
        (fs::read(TREE).unwrap(), "an image"),
        (b"a cat\n\0\n".to_vec(), "line 2 has the control character U+0000"),
        (b"a cat\ncaf\xe9\n".to_vec(), "line 2 is not UTF-8"),
    ] {
        let refusal = refusal(&with_file("--labels-file", contents, &[]));
        assert!(refusal.contains(told), "{refusal}");
    }
}

#[test]
fn a_piece_of_json_on_the_command_line_is_refused() {
    for labels in ["\"a cat\",\"a dog\"", "['a cat','a dog']", "[\"a cat\",\"a dog\"", "a cat,a dog]"] {
        let refusal = refusal(&command(&["--labels", labels]).output().unwrap());
        assert!(refusal.contains("JSON"), "{labels}: {refusal}");
    }
}

#[test]
fn a_label_given_twice_is_two_classes_of_one_name_and_told_once() {
    let arguments = ["-l", "a cat,a tree,a cat", "-l", "a cat"];
    let output = command(&arguments).output().unwrap();
    assert_eq!(labels_of(&output), ["a cat", "a tree", "a cat", "a cat"]);
    let stderr = stderr_of(&output, 0);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("warning: ") && stderr.trim_end().ends_with(": a cat"), "{stderr}");
    assert_eq!(command(&arguments).arg("--quiet").output().unwrap().stderr, b"");
}

#[test]
fn templates_from_a_file_are_those_of_the_command_line() {
    let labels = ["-l", "cat,tree"];
    let expected = records_of(
        &command(&[&labels[..], &["-t", "a photo of a {}.", "-t", "a drawing of a {}, small"]].concat())
            .output()
            .unwrap(),
        0,
    );
    for contents in [
        "# two\r\na photo of a {}.\r\n\r\na drawing of a {}, small\r\n",
        "[\"a photo of a {}.\", \"a drawing of a {}, small\"]",
    ] {
        assert_eq!(records_of(&with_file("--template-file", contents, &labels), 0), expected);
    }
    let both = [&labels[..], &["-t", "a photo of a {}."]].concat();
    assert_eq!(records_of(&with_file("--template-file", "a drawing of a {}, small", &both), 0), expected);
}

#[test]
fn what_is_no_template_file_is_refused() {
    for (contents, told) in [
        ("a photo of {}\na photo\n", "line 2"),
        ("[\"a photo\"]", "entry 1"),
        ("'a photo of {}',\n", "line 1"),
        ("# none\n", "no templates"),
    ] {
        let refusal = refusal(&with_file("--template-file", contents, &["-l", "cat,tree"]));
        assert!(refusal.contains("cannot use the template file"), "{refusal}");
        assert!(refusal.contains(told), "{contents}: {refusal}");
    }
    let refusal = refusal(&command(&["--labels-file", "-", "--template-file", "-"]).output().unwrap());
    assert!(refusal.contains("labels and templates"), "{refusal}");
}
