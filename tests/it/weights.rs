//! Every form that weights come in, with the real binary.

use crate::world::{MODEL, clipclass};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

/// A tensor's type, shape and bytes.
type Tensor = (Dtype, Vec<usize>, Vec<u8>);

/// The tensors of the fixture model.
fn tensors() -> BTreeMap<String, Tensor> {
    let bytes = fs::read(Path::new(MODEL).join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let own = |(name, view): (String, TensorView)| {
        (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    tensors.tensors().into_iter().map(own).collect()
}

/// The values of all tensors in another type of two bytes.
fn narrowed(dtype: Dtype, bits: impl Fn(f32) -> u16) -> BTreeMap<String, Tensor> {
    let narrow = |(name, (_, shape, bytes)): (String, Tensor)| {
        let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        (name, (dtype, shape, values.flat_map(|value| bits(value).to_le_bytes()).collect()))
    };
    tensors().into_iter().map(narrow).collect()
}

fn write<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>) {
    let views = tensors.into_iter().map(|(name, (dtype, shape, bytes))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// A folder with all of the fixture model but its weights.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json"] {
        fs::copy(Path::new(MODEL).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

fn folder_of(tensors: &BTreeMap<String, Tensor>) -> TempDir {
    let folder = folder();
    write(&folder.path().join("model.safetensors"), tensors);
    folder
}

fn classify(model: &Path) -> Output {
    let images = ["tree.jpg", "cat.png", "car.jpg"].map(|name| format!("fixtures/images/{name}"));
    clipclass()
        .args(["--json", "--no-cache", "-l", "a tree,a cat,a car,a fish", "--model"])
        .arg(model)
        .args(images)
        .output()
        .unwrap()
}

fn cosines(model: &Path) -> Vec<f64> {
    let output = classify(model);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let records = String::from_utf8(output.stdout).unwrap();
    let record = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let scores = records.lines().flat_map(|line| record(line)["scores"].as_array().unwrap().clone());
    scores.map(|score| score["cosine"].as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_near(model: &Path, bound: f64) {
    let original = cosines(Path::new(MODEL));
    for (a, b) in cosines(model).iter().zip(&original) {
        assert!((a - b).abs() <= bound, "cosine {a} instead of {b}");
    }
}

#[track_caller]
fn refusal(model: &Path) -> String {
    let output = classify(model);
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn shards_are_one_model() {
    let folder = folder();
    let tensors = tensors();
    let (first, second): (Vec<_>, Vec<_>) = tensors.iter().partition(|(name, _)| name.starts_with("text"));
    let mut map = serde_json::Map::new();
    for (file, shard) in
        [("model-00001-of-00002.safetensors", first), ("model-00002-of-00002.safetensors", second)]
    {
        map.extend(shard.iter().map(|(name, _)| ((*name).clone(), json!(file))));
        write(&folder.path().join(file), shard);
    }
    let index = json!({"metadata": {}, "weight_map": map});
    fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    assert_near(folder.path(), 0.0);
}

#[test]
fn half_precision_is_widened() {
    // f16 keeps 11 bits of a weight and bf16 eight.
    assert_near(folder_of(&narrowed(Dtype::F16, |x| half::f16::from_f32(x).to_bits())).path(), 2e-3);
    assert_near(folder_of(&narrowed(Dtype::BF16, |x| half::bf16::from_f32(x).to_bits())).path(), 2e-2);
}

#[test]
fn a_pickle_of_torch_has_the_numbers_of_the_same_safetensors() {
    let pickled = folder();
    fs::copy("fixtures/golden/pytorch_model.bin", pickled.path().join("pytorch_model.bin")).unwrap();
    let mapped = folder_of(&narrowed(Dtype::F16, |x| half::f16::from_f32(x).to_bits()));
    assert_eq!(cosines(pickled.path()), cosines(mapped.path()));
}

#[test]
fn a_missing_tensor_is_named_with_its_file() {
    let mut tensors = tensors();
    let name = "vision_model.encoder.layers.1.mlp.fc1.weight";
    tensors.remove(name).unwrap();
    let stderr = refusal(folder_of(&tensors).path());
    assert!(stderr.contains(name) && stderr.contains("missing"), "{stderr}");
    assert!(stderr.contains("model.safetensors"), "{stderr}");
}

#[test]
fn a_misshapen_tensor_is_named_with_what_was_found() {
    let mut tensors = tensors();
    let name = "text_projection.weight";
    let (_, shape, _) = tensors.get_mut(name).unwrap();
    let found = vec![shape[0] / 2, shape[1] * 2];
    *shape = found.clone();
    let stderr = refusal(folder_of(&tensors).path());
    assert!(stderr.contains(name) && stderr.contains(&format!("{found:?}")), "{stderr}");
}

#[test]
fn damaged_files_are_refused() {
    let folder = folder();
    let whole = fs::read(Path::new(MODEL).join("model.safetensors")).unwrap();
    let weights = folder.path().join("model.safetensors");
    for bytes in [&whole[..whole.len() / 2], &whole[..4], &[0xff; 64], &[]] {
        fs::write(&weights, bytes).unwrap();
        let stderr = refusal(folder.path());
        assert!(stderr.contains("model.safetensors"), "{stderr}");
    }
    fs::write(&weights, &whole).unwrap();
    fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    assert!(refusal(folder.path()).contains("tokenizer.json"));
    fs::write(folder.path().join("config.json"), r#"{"model_type": "siglip"}"#).unwrap();
    assert!(refusal(folder.path()).contains("\"siglip\""));
}

#[test]
fn a_folder_without_weights_says_what_was_looked_for() {
    let stderr = refusal(folder().path());
    for file in ["model.safetensors", "pytorch_model.bin"] {
        assert!(stderr.contains(file), "{stderr}");
    }
}
