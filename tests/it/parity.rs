//! The numbers of the Python originals: token ids, embeddings and probabilities.
//!
//! `fixtures/README.md` says what made them. What Pillow says is in `pixels.rs`.

use crate::golden::{assert_same_embeddings, json, rows, rows_of};
use crate::world::{MODEL, clipclass};
use anyhow::Result;
use clipclass::hub::{FileRole, OpenFile, TokenizerFiles, WeightFiles};
use clipclass::model::backend::{Backend, Products};
use clipclass::model::config::ModelConfig;
use clipclass::model::formula::{uniform, write_checkpoint};
use clipclass::model::layout::Layout;
use clipclass::model::tokenizer::cleaning::{FolderCleaning, TextCleaning};
use clipclass::model::tokenizer::{Dialect, PromptFormat, Tokenizer};
use clipclass::model::tower::{TextTower, TextWeights, VisionTower, VisionWeights};
use clipclass::model::weights::Weights;
use clipclass::pixels::Pixels;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn read_config(path: &Path) -> Result<ModelConfig> {
    Ok(ModelConfig::read(Layout::HuggingFace, &OpenFile::open(FileRole::Config, path)?, None)?.0)
}

// Tokens.

/// Compares the token ids of all prompts with those of transformers.
fn assert_same_tokens(files: &TokenizerFiles, vocabulary: &str, place: usize) {
    let format = PromptFormat { dialect: Dialect::Clip, context: 77, cleaning: FolderCleaning::Nothing };
    let tokenizer = Tokenizer::read(&files.open().unwrap(), format, TextCleaning::Folder).unwrap();
    let golden = json("fixtures/golden/tokens.json");
    let prompts = golden["prompts"].as_array().unwrap();
    assert!(prompts.len() >= 200);
    for prompt in prompts {
        let text = prompt["prompt"].as_str().unwrap();
        let tokens = tokenizer.encode(text).unwrap();
        let ids: Vec<u32> = serde_json::from_value(prompt[vocabulary].clone()).unwrap();
        assert_eq!(tokens.ids, ids, "{text:?}");
        assert_eq!(tokens.truncated, prompt["truncated"][place], "{text:?}");
    }
}

fn byte_pair_files(folder: &str) -> TokenizerFiles {
    let file = |name| Path::new(folder).join(name);
    TokenizerFiles::Bpe { vocab: file("vocab.json"), merges: file("merges.txt") }
}

#[test]
fn tokens_are_those_of_transformers() {
    let json = PathBuf::from(MODEL).join("tokenizer.json");
    assert_same_tokens(&TokenizerFiles::Json(json), "tiny", 0);
}

#[test]
fn tokens_are_the_same_without_a_tokenizer_json() {
    assert_same_tokens(&byte_pair_files(MODEL), "tiny", 0);
}

#[test]
fn tokens_of_the_real_vocabulary_are_those_of_transformers() {
    let folder = "fixtures/clip-vocab";
    if !Path::new(folder).exists() {
        // The vocabulary is too large for the repository.
        assert!(std::env::var_os("CI").is_none(), "make it with: python fixtures/vocab.py");
        eprintln!("skipped: make {folder} with python fixtures/vocab.py");
        return;
    }
    assert_same_tokens(&byte_pair_files(folder), "clip", 1);
}

// Networks whose weights come from a formula.

/// Names and shapes of a checkpoint's tensors.
fn tensors_of(config: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
    let mut tensors = BTreeMap::from([("logit_scale".to_owned(), vec![])]);
    let mut add = |name: &str, shape: &[usize]| tensors.insert(name.to_owned(), shape.to_vec());
    let dim = config.projection_dim;
    for (tower, sizes) in [("text", &config.text.tower), ("vision", &config.vision.tower)] {
        let (width, inner) = (sizes.hidden_size, sizes.intermediate_size);
        for layer in 0..sizes.num_hidden_layers {
            let name = format!("{tower}_model.encoder.layers.{layer}");
            let attention =
                ["q_proj", "k_proj", "v_proj", "out_proj"].map(|part| format!("self_attn.{part}"));
            let linear = attention.iter().map(|part| (part.as_str(), width, width));
            for (part, inputs, outputs) in
                linear.chain([("mlp.fc1", width, inner), ("mlp.fc2", inner, width)])
            {
                add(&format!("{name}.{part}.weight"), &[outputs, inputs]);
                add(&format!("{name}.{part}.bias"), &[outputs]);
            }
            for norm in ["layer_norm1", "layer_norm2"] {
                add(&format!("{name}.{norm}.weight"), &[width]);
                add(&format!("{name}.{norm}.bias"), &[width]);
            }
        }
    }
    let (text, vision) = (&config.text, &config.vision);
    let (text_width, width) = (text.tower.hidden_size, vision.tower.hidden_size);
    let patches = (vision.image_size / vision.patch_size).pow(2);
    add("text_model.embeddings.token_embedding.weight", &[text.vocab_size, text_width]);
    add("text_model.embeddings.position_embedding.weight", &[text.max_position_embeddings, text_width]);
    add("text_projection.weight", &[dim, text_width]);
    add("vision_model.embeddings.class_embedding", &[width]);
    add("vision_model.embeddings.patch_embedding.weight", &[width, 3, vision.patch_size, vision.patch_size]);
    add("vision_model.embeddings.position_embedding.weight", &[patches + 1, width]);
    add("visual_projection.weight", &[dim, width]);
    for (norm, width) in [
        ("text_model.final_layer_norm", text_width),
        ("vision_model.pre_layrnorm", width),
        ("vision_model.post_layernorm", width),
    ] {
        add(&format!("{norm}.weight"), &[width]);
        add(&format!("{norm}.bias"), &[width]);
    }
    tensors
}

fn formula_images(config: &ModelConfig) -> Vec<Pixels> {
    let (size, patch) = (config.vision.image_size, config.vision.patch_size);
    let count = 3 * size * size;
    let noise = uniform("pixels.2", count, 1);
    let of_rows = (0..count).map(|i| {
        let (channel, y) = (i / (size * size), i / size % size);
        noise[(channel * size + y / patch * patch) * size]
    });
    let images = [
        uniform("pixels.0", count, 1),
        uniform("pixels.1", count, -2),
        of_rows.collect(),
        vec![-1.75; count],
    ];
    images.map(|values| Pixels { height: size, width: size, values }).into()
}

/// Runs the golden network of that name.
fn assert_same_network(name: &str) {
    let golden = json("fixtures/golden/formula.json");
    let networks = golden["networks"].as_array().unwrap();
    let network = networks.iter().find(|network| network["name"] == name).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    fs::write(&file, network["config"].to_string()).unwrap();
    let config = read_config(&file).unwrap();
    let file = folder.path().join("model.safetensors");
    write_checkpoint(&file, &tensors_of(&config)).unwrap();

    let weights = Weights::open(&WeightFiles::Safetensors(vec![file]), Layout::HuggingFace).unwrap();
    let vision = VisionWeights::find(&weights, &config).unwrap();
    let vision = VisionTower::load(&vision, &Backend::Kernels(Products::F32)).unwrap();
    let golden_file = "fixtures/golden/formula.safetensors";
    let images = rows_of(&vision.forward(&formula_images(&config)).unwrap());
    // 1e-5: torch's own f32 is 3e-7 off the exact values.
    assert_same_embeddings(&images, &rows(golden_file, &format!("{name}.image_embeddings")), 1e-5);

    let text = TextWeights::find(&weights, &config).unwrap();
    let text = TextTower::load(&text, &Backend::Kernels(Products::F32)).unwrap();
    let ids: Vec<Vec<u32>> = serde_json::from_value(network["token_ids"].clone()).unwrap();
    let golden = rows(golden_file, &format!("{name}.text_embeddings"));
    let together = rows_of(&text.forward(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap());
    assert_same_embeddings(&together, &golden, 1e-5);
    for (ids, together) in ids.iter().zip(&together) {
        let alone = &rows_of(&text.forward(&[ids]).unwrap())[0];
        let apart = alone.iter().zip(together).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= 1e-6, "padding moved an embedding by {apart}");
    }
}

#[test]
fn vit_b_32_at_full_size_has_the_embeddings_of_torch() {
    assert_same_network("vit-b-32");
}

#[test]
fn a_network_with_quick_gelu_has_the_embeddings_of_torch() {
    assert_same_network("quick_gelu");
}

#[test]
fn a_network_with_gelu_has_the_embeddings_of_torch() {
    assert_same_network("gelu");
}

#[test]
fn a_network_with_gelu_new_has_the_embeddings_of_torch() {
    assert_same_network("gelu_new");
}

// The trained fixture model.

const TINY: &str = "fixtures/golden/tiny-clip.safetensors";

#[test]
fn the_fixture_model_has_the_embedding_of_torch_for_the_same_pixels() -> Result<()> {
    let config = read_config(&Path::new(MODEL).join("config.json"))?;
    let file = Path::new(MODEL).join("model.safetensors");
    let weights = Weights::open(&WeightFiles::Safetensors(vec![file]), Layout::HuggingFace)?;
    let tower = VisionWeights::find(&weights, &config)?;
    let size = config.vision.image_size;
    let values = rows(TINY, "pixels").concat();
    let tree = VisionTower::load(&tower, &Backend::Kernels(Products::F32))?.forward(&[Pixels {
        height: size,
        width: size,
        values,
    }])?;
    let images = json("fixtures/golden/tiny-clip.json");
    let images = images["images"].as_array().unwrap();
    let place = images.iter().position(|image| image["image"] == "tree.jpg").unwrap();
    assert_same_embeddings(&rows_of(&tree), &rows(TINY, "image_embeddings")[place..=place], 1e-5);
    Ok(())
}

/// Classifies all images as the goldens do and compares every number.
fn assert_same_probabilities(kind: &str) {
    let golden = json("fixtures/golden/tiny-clip.json");
    let strings = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).unwrap();
    let images: Vec<_> =
        golden["images"].as_array().unwrap().iter().map(|i| i["image"].as_str().unwrap()).collect();
    let mut command = clipclass();
    command.args(["--json", "--no-cache", "--model", MODEL]);
    for label in strings(&golden["labels"]) {
        command.args(["--labels", &label]);
    }
    for template in strings(&golden[kind]) {
        command.args(["--template", &template]);
    }
    command.args(images.iter().map(|image| format!("fixtures/images/{image}")));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let records = String::from_utf8(output.stdout).unwrap();
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), images.len());
    let cosines = rows(TINY, &format!("{kind}.cosines"));
    let probabilities = rows(TINY, &format!("{kind}.probabilities"));
    for (((image, record), cosines), probabilities) in
        images.iter().zip(&records).zip(&cosines).zip(&probabilities)
    {
        let (cosine_bound, probability_bound) = (1e-6, 1e-5);
        for ((score, cosine), probability) in
            record["scores"].as_array().unwrap().iter().zip(cosines).zip(probabilities)
        {
            let off = |field: &str, golden: f32| (score[field].as_f64().unwrap() - f64::from(golden)).abs();
            assert!(off("cosine", *cosine) <= cosine_bound, "{image}: {score} but cosine {cosine}");
            assert!(
                off("probability", *probability) <= probability_bound,
                "{image}: {score} but probability {probability}"
            );
        }
    }
}

#[test]
fn probabilities_are_those_of_torch_and_pillow() {
    assert_same_probabilities("single");
}

#[test]
fn probabilities_of_an_ensemble_are_those_of_torch_and_pillow() {
    assert_same_probabilities("ensemble");
}
