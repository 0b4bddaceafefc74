//! Where images come from, with the real binary and the fixture model: shards, folders, and every
//! kind of input that goes wrong among others that do not.

use crate::world::{CAT_BYTES as CAT, MODEL, TREE_BYTES as TREE, clipclass, feed, tar_of, told_of};
use std::fs;
use std::path::Path;

const BOMB: &[u8] = include_bytes!("../../fixtures/broken/bomb.png");

/// What the binary says about inputs in a folder: `name prediction` or `name kind`, and its exit code.
fn classify(folder: &Path, arguments: &[&str], stdin: &[u8]) -> (Vec<String>, i32) {
    let mut command = clipclass();
    command
        .args(["--model", MODEL, "--labels", "a cat,a dog,a tree", "--json", "--no-cache"])
        .args(arguments)
        .current_dir(folder);
    let output = feed(&mut command, stdin);
    let code = output.status.code().unwrap();
    (told_of(&output, code), code)
}

#[test]
fn every_bad_input_is_a_record_and_all_others_are_classified() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("folder.jpg/deep")).unwrap();
    for (name, bytes) in [
        ("truncated.png", &CAT[..CAT.len() / 2]),
        ("empty.jpg", b""),
        ("text.jpg", b"no image at all"),
        ("bomb.png", BOMB),
        ("folder.jpg/deep/cat.png", CAT),
        ("tree.jpg", TREE),
    ] {
        fs::write(path(name), bytes).unwrap();
    }
    let shard = tar_of([("1.jpg", TREE), ("1.txt", b"a tree"), ("2.png", b""), ("3.png", CAT)]);
    // Within the content of 3.png, behind which come its padding and the end mark.
    fs::write(path("cut.tar"), &shard[..shard.len() - 1024 - CAT.len() / 2]).unwrap();
    let inputs = [
        "truncated.png",
        "tree.jpg",
        "empty.jpg",
        "text.jpg",
        "bomb.png",
        "vanished.jpg",
        "folder.jpg",
        "cut.tar",
        "tree.jpg",
    ];
    let (told, code) = classify(folder.path(), &inputs, b"");
    let expected = [
        "truncated.png decode",
        "tree.jpg a tree",
        "empty.jpg empty",
        "text.jpg format",
        "bomb.png limit",
        "vanished.jpg not_found",
        "folder.jpg/deep/cat.png a cat",
        "cut.tar/1.jpg a tree",
        "cut.tar/2.png empty",
        "cut.tar/3.png archive",
        "cut.tar archive",
        "tree.jpg a tree",
    ];
    assert_eq!((told, code), (expected.map(str::to_owned).to_vec(), 1));
}

#[test]
fn a_tar_on_standard_input_is_classified_member_by_member() {
    let folder = tempfile::tempdir().unwrap();
    let shard = tar_of([("a/1.jpg", TREE), ("a/1.cls", b"3"), ("a/2.png", CAT)]);
    let expected = ["-/a/1.jpg a tree", "-/a/2.png a cat"].map(str::to_owned).to_vec();
    assert_eq!(classify(folder.path(), &["-"], &shard), (expected, 0));
}

#[test]
fn the_parts_of_a_list_of_shards_are_disjoint_and_complete() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.tar"), tar_of([("1.jpg", TREE), ("2.png", CAT)])).unwrap();
    fs::write(folder.path().join("b.png"), CAT).unwrap();
    let part = |part| classify(folder.path(), &["--files-from", "-", "--shard", part], b"a.tar\nb.png\n");
    assert_eq!(part("1/2"), (vec!["a.tar/1.jpg a tree".to_owned(), "b.png a cat".to_owned()], 0));
    assert_eq!(part("2/2"), (vec!["a.tar/2.png a cat".to_owned()], 0));
}
