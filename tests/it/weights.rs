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
fn pieces_are_one_model() {
    let folder = folder();
    let tensors = tensors();
    let (first, second): (Vec<_>, Vec<_>) = tensors.iter().partition(|(name, _)| name.starts_with("text"));
    let mut map = serde_json::Map::new();
    for (file, piece) in
        [("model-00001-of-00002.safetensors", first), ("model-00002-of-00002.safetensors", second)]
    {
        map.extend(piece.iter().map(|(name, _)| ((*name).clone(), json!(file))));
        write(&folder.path().join(file), piece);
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
    fs::write(folder.path().join("config.json"), r#"{"model_type": "blip"}"#).unwrap();
    assert!(refusal(folder.path()).contains("\"blip\""));
}

#[test]
fn a_folder_without_weights_says_what_was_looked_for() {
    let stderr = refusal(folder().path());
    for file in ["model.safetensors", "pytorch_model.bin"] {
        assert!(stderr.contains(file), "{stderr}");
    }
}

#[test]
fn pointer_of_git_lfs_is_named_for_what_it_stands_for() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 605157884\n";
    for (file, role) in [
        ("model.safetensors", "weights"),
        ("tokenizer.json", "tokenizer"),
        ("config.json", "configuration"),
        ("preprocessor_config.json", "preprocessing"),
    ] {
        let folder = folder_of(&tensors());
        fs::write(folder.path().join(file), pointer).unwrap();
        let stderr = refusal(folder.path());
        let told = format!("{file}: it is a Git LFS pointer, not the {role}; run git lfs pull");
        assert!(stderr.contains(&told), "{stderr}");
    }
}

/// The folder's transform, with another mean of the channels.
fn preprocessor_with_mean(mean: f32) -> Value {
    let bytes = fs::read(Path::new(MODEL).join("preprocessor_config.json")).unwrap();
    let mut preprocessor: Value = serde_json::from_slice(&bytes).unwrap();
    preprocessor["image_mean"] = json!([mean, mean, mean]);
    preprocessor
}

#[test]
fn folder_of_transformers_5_is_run_with_the_transform_that_is_nested_in_it() {
    let alone = folder_of(&tensors());
    fs::write(alone.path().join("preprocessor_config.json"), preprocessor_with_mean(0.25).to_string())
        .unwrap();
    let nested = folder_of(&tensors());
    let processor =
        json!({"image_processor": preprocessor_with_mean(0.25), "processor_class": "CLIPProcessor"});
    fs::write(nested.path().join("processor_config.json"), processor.to_string()).unwrap();
    // As transformers 5 reads a folder with both; it writes none with both.
    assert_eq!(cosines(nested.path()), cosines(alone.path()));
    fs::remove_file(nested.path().join("preprocessor_config.json")).unwrap();
    assert_eq!(cosines(nested.path()), cosines(alone.path()));
    assert_ne!(cosines(nested.path()), cosines(Path::new(MODEL)));
    assert!(classify(nested.path()).stderr.is_empty());
}

#[test]
fn folder_that_does_not_say_how_images_are_prepared_is_told_of() {
    let folder = folder_of(&tensors());
    fs::remove_file(folder.path().join("preprocessor_config.json")).unwrap();
    for processor in [None, Some(r#"{"processor_class": "CLIPProcessor"}"#)] {
        if let Some(processor) = processor {
            fs::write(folder.path().join("processor_config.json"), processor).unwrap();
        }
        let output = classify(folder.path());
        assert!(output.status.success());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with("warning: ") && stderr.contains("has neither"), "{stderr}");
        assert!(stderr.contains("preprocessor_config.json") && stderr.contains("OpenAI"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn prompt_that_the_network_does_not_know_is_named() {
    let folder = folder_of(&tensors());
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let added = json!({"id": 9999, "content": "zebra", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": false});
    tokenizer["added_tokens"].as_array_mut().unwrap().push(added);
    fs::write(&path, tokenizer.to_string()).unwrap();
    let output = clipclass()
        .args(["--no-cache", "-l", "a zebra", "fixtures/images/tree.jpg", "--model"])
        .arg(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("cannot encode the prompt \"a zebra\""), "{stderr}");
    assert!(stderr.contains("the tokenizer gives token"), "{stderr}");
}

/// The model's parts in this process.
fn checkpoint(folder: &Path) -> clipclass::model::Checkpoint {
    use clipclass::model::precision::Precision;
    let options = clipclass::hub::HubOptions::default();
    let messages = clipclass::messages::Messages::new(true);
    let files = clipclass::hub::locate(folder.to_str().unwrap(), &options, &messages).unwrap();
    clipclass::model::Checkpoint::open(&files, &candle_core::Device::Cpu, Precision::F32).unwrap()
}

fn set_modified(path: &Path, seconds_ago: u64) {
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds_ago);
    fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn weights_written_to_during_a_run_end_it_and_replaced_ones_do_not() {
    let folder = folder_of(&tensors());
    let path = folder.path().join("model.safetensors");
    set_modified(&path, 60);
    let checkpoint = checkpoint(folder.path());
    let (images, texts) = (checkpoint.image_encoder().unwrap(), checkpoint.text_encoder().unwrap());
    let size = checkpoint.transform().image_size as usize;
    let image = [clipclass::pixels::Pixels { height: size, width: size, values: vec![0.5; 3 * size * size] }];
    let before = images.encode(&image).unwrap();

    let mut changed = tensors();
    changed.values_mut().for_each(|(_, _, bytes)| bytes.fill(0));
    let new = folder.path().join("new");
    write(&new, &changed);
    let old = folder.path().join("old");
    fs::rename(&path, &old).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(images.encode(&image).unwrap(), before);

    fs::write(&old, fs::read(&path).unwrap()).unwrap();
    for error in [images.encode(&image).err(), texts.encode(&["a cat"]).err()] {
        let error = error.unwrap().to_string();
        assert!(error.contains("was written to while it was in use"), "{error}");
    }
}

#[test]
fn digest_is_of_the_bytes_that_are_open_wherever_they_are_kept() {
    let folder = folder_of(&tensors());
    let digest = |checkpoint: &clipclass::model::Checkpoint| {
        checkpoint.digest(clipclass::hub::OpenFile::sha256).unwrap()
    };
    let opened = checkpoint(folder.path());
    let original = digest(&opened);
    assert_eq!(digest(&checkpoint(folder_of(&tensors()).path())), original);

    // Another model takes the folder after it was opened.
    let mut changed = tensors();
    changed.get_mut("logit_scale").unwrap().2[0] ^= 1;
    write(&folder.path().join("new"), &changed);
    fs::rename(folder.path().join("new"), folder.path().join("model.safetensors")).unwrap();
    assert_eq!(digest(&opened), original);
    let mut digests = vec![original, digest(&checkpoint(folder.path()))];
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json"] {
        let path = folder.path().join(file);
        fs::write(&path, [fs::read(&path).unwrap(), b"\n".to_vec()].concat()).unwrap();
        digests.push(digest(&checkpoint(folder.path())));
    }
    for (i, one) in digests.iter().enumerate() {
        assert_eq!(digests.iter().position(|other| other == one), Some(i), "{digests:?}");
    }
}
