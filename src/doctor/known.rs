//! A small picture and a small network, whose results Pillow and PyTorch computed (`fixtures/doctor.py`).

use super::SelfTest;
use crate::hub::{FileRole, OpenFile, WeightFiles};
use crate::model::backend::{Backend, Products};
use crate::model::config::ModelConfig;
use crate::model::formula::{fnv1a, write_checkpoint};
use crate::model::layout::Layout;
use crate::model::tower::{TextTower, TextWeights, VisionTower, VisionWeights};
use crate::model::weights::Weights;
use crate::pixels::{Picture, Pixels, Transform};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const PICTURE: &[u8] = include_bytes!("known.jpg");
const NUMBERS: &[u8] = include_bytes!("known.json");

/// PyTorch's f32 is 3e-7 off the exact values, and so may ours be.
const F32_BOUND: f64 = 1e-5;
/// What 255 levels cost the cosine of a network as narrow as this one.
const INT8_BOUND: f64 = 0.01;

#[derive(Deserialize)]
struct Known {
    decoded_fnv1a: String,
    resized_fnv1a: String,
    config: Map<String, Value>,
    tensors: BTreeMap<String, Vec<usize>>,
    image_embedding: Vec<f32>,
    token_ids: Vec<u32>,
    prompt_embedding: Vec<f32>,
}

/// The network, its weights on the disk, and how it takes pictures.
struct KnownNetwork {
    config: ModelConfig,
    weights: Weights,
    transform: Transform,
}

impl KnownNetwork {
    fn write(known: &Known, folder: &Path) -> Result<Self> {
        let (config, weights) = (folder.join("config.json"), folder.join("model.safetensors"));
        let json = serde_json::to_vec(&known.config)?;
        fs::write(&config, json).with_context(|| format!("cannot write {}", config.display()))?;
        write_checkpoint(&weights, &known.tensors)?;
        let config = OpenFile::open(FileRole::Config, &config)?;
        let (config, transform) = ModelConfig::read(Layout::HuggingFace, &config, None)?;
        let weights = Weights::open(&WeightFiles::Safetensors(vec![weights]), Layout::HuggingFace)?;
        Ok(Self { config, weights, transform })
    }

    fn image_embedding(&self, pixels: Pixels, products: Products) -> Result<Vec<f32>> {
        let tower = VisionWeights::find(&self.weights, &self.config)?;
        let tower = VisionTower::load(&tower, &Backend::Kernels(products))?;
        Ok(tower.forward(&[pixels])?.flatten_all()?.to_vec1()?)
    }

    fn prompt_embedding(&self, token_ids: &[u32]) -> Result<Vec<f32>> {
        let tower = TextWeights::find(&self.weights, &self.config)?;
        let tower = TextTower::load(&tower, &Backend::Kernels(Products::F32))?;
        Ok(tower.forward(&[token_ids])?.flatten_all()?.to_vec1()?)
    }
}

/// Runs the picture through decoder, resize and network, and a prompt's tokens through its own.
///
/// *Errors* when the folder of temporary files cannot be written to, or a step cannot be done at all.
pub(super) fn checks() -> Result<Vec<SelfTest>> {
    let known: Known = serde_json::from_slice(NUMBERS).context("the known numbers are damaged")?;
    let picture = Picture::decode(PICTURE).context("cannot decode the known picture")?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let network = KnownNetwork::write(&known, folder.path())?;
    let resized = network.transform.resize_and_crop(&picture)?;
    let pixels = network.transform.apply(&picture)?;
    let image = network.image_embedding(pixels.clone(), Products::F32)?;
    let quantised = network.image_embedding(pixels, Products::Int8)?;
    let prompt = network.prompt_embedding(&known.token_ids)?;
    Ok(vec![
        same_bytes("known picture decoded", picture.levels(), &known.decoded_fnv1a),
        same_bytes("known picture resized", &resized, &known.resized_fnv1a),
        SelfTest::measured("known image embedding", farthest(&image, &known.image_embedding), F32_BOUND),
        SelfTest::measured("known prompt embedding", farthest(&prompt, &known.prompt_embedding), F32_BOUND),
        SelfTest::measured(
            "known image embedding, int8",
            1.0 - cosine(&quantised, &known.image_embedding),
            INT8_BOUND,
        ),
    ])
}

fn same_bytes(name: &'static str, bytes: &[u8], hash: &str) -> SelfTest {
    SelfTest { name, passed: format!("{:016x}", fnv1a(bytes)) == hash, error: None, bound: None }
}

/// The largest difference of two elements.
fn farthest(a: &[f32], b: &[f32]) -> f64 {
    // Of NaN and a number, `f64::max` takes the number.
    let larger = |most: f64, x: f64| if x > most || x.is_nan() { x } else { most };
    let apart = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, larger);
    if a.len() == b.len() { apart } else { f64::INFINITY }
}

/// The cosine of two embeddings of unit length.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_numbers_come_out() {
        for check in checks().unwrap() {
            assert!(check.passed, "{check:?}");
        }
    }

    #[test]
    fn another_picture_or_embedding_fails() {
        let known: Known = serde_json::from_slice(NUMBERS).unwrap();
        assert!(!same_bytes("", b"other", &known.decoded_fnv1a).passed);
        let mut other = known.image_embedding.clone();
        other[0] += 2e-5;
        assert!(!SelfTest::measured("", farthest(&other, &known.image_embedding), F32_BOUND).passed);
        other[0] = f32::NAN;
        assert!(!SelfTest::measured("", farthest(&other, &known.image_embedding), F32_BOUND).passed);
        assert!(!SelfTest::measured("", 1.0 - cosine(&other, &other), INT8_BOUND).passed);
        assert_eq!(farthest(&other[1..], &known.image_embedding), f64::INFINITY);
    }
}
