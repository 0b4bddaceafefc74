//! Names → numbers, by a formula that Python evaluates to the same bits (`fixtures/README.md`): networks
//! whose results are known, and which nobody has to download.

use anyhow::{Context, Result};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// The FNV-1a hash, of 64 bits.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, add)
}

/// Values of `[-2^exponent, 2^exponent)` that belong to a name.
pub fn uniform(name: &str, count: usize, exponent: i32) -> Vec<f32> {
    let hash = fnv1a(name.as_bytes());
    let seed = (hash ^ (hash >> 32)) as u32;
    let scale = 2f32.powi(exponent - 23);
    let value = |i: u32| {
        let mut x = i.wrapping_mul(0x9e37_79b9).wrapping_add(seed);
        x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
        x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        x ^= x >> 16;
        ((x >> 8) as i32 - (1 << 23)) as f32 * scale
    };
    (0..count as u32).into_par_iter().map(value).collect()
}

/// The tensor of that name in a checkpoint.
///
/// # Panics
///
/// If it is a scalar that the formula does not know.
pub fn weight(name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    match name {
        "logit_scale" => return vec![4.6052; count],
        "logit_bias" => return vec![-10.0; count],
        _ => {}
    }
    match shape {
        [] => panic!("no formula for the scalar {name}"),
        [_] if name.ends_with("weight") => uniform(name, count, -3).iter().map(|x| 1.0 + x).collect(),
        [_] => uniform(name, count, -4),
        [_, inputs @ ..] => {
            let inputs: usize = inputs.iter().product();
            uniform(name, count, -(inputs.ilog2() as i32 / 2))
        }
    }
}

/// Writes the tensors of these names and shapes to a safetensors file.
///
/// *Errors* when it cannot be written.
pub fn write_checkpoint(path: &Path, tensors: &BTreeMap<String, Vec<usize>>) -> Result<()> {
    let values: Vec<_> = tensors.iter().map(|(name, shape)| (weight(name, shape), name, shape)).collect();
    let write = || {
        let mut views = Vec::with_capacity(values.len());
        for (values, name, shape) in &values {
            let bytes = bytemuck::cast_slice(values);
            views.push((name, TensorView::new(Dtype::F32, (*shape).clone(), bytes)?));
        }
        anyhow::Ok(safetensors::serialize_to_file(views, None, path)?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
