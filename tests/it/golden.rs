//! What the Python originals said, and how near ours is.

use candle_core::Tensor;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::Value;
use std::fs;

/// The content of a JSON file.
pub fn json(path: &str) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The rows of a golden tensor, f32 or f16.
pub fn rows(file: &str, name: &str) -> Vec<Vec<f32>> {
    let bytes = fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let width = *tensor.shape().last().unwrap();
    let values: Vec<_> = match tensor.dtype() {
        Dtype::F16 => tensor
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|bytes| half::f16::from_le_bytes(*bytes).to_f32())
            .collect(),
        _ => tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
    };
    values.chunks_exact(width).map(<[f32]>::to_vec).collect()
}

/// Fails unless every embedding points where the golden one does, and every element is near it.
#[track_caller]
pub fn assert_same_embeddings(ours: &[Vec<f32>], golden: &[Vec<f32>], element: f32) {
    assert_eq!(ours.len(), golden.len());
    for (i, (ours, golden)) in ours.iter().zip(golden).enumerate() {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let cosine = dot(ours, golden) / (dot(ours, ours) * dot(golden, golden)).sqrt();
        assert!(cosine >= 0.999999, "embedding {i}: cosine {cosine}");
        let apart = ours.iter().zip(golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= element, "embedding {i}: an element is {apart} off");
    }
}

/// The rows of a matrix.
pub fn rows_of(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.to_vec2().unwrap()
}
