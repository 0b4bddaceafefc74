//! The network beside candle-transformers' CLIP, which knows the original's activation and pooling.

use crate::world::MODEL;
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::clip::text_model::{Activation, ClipTextConfig};
use candle_transformers::models::clip::vision_model::ClipVisionConfig;
use candle_transformers::models::clip::{ClipConfig as OracleConfig, ClipModel, div_l2_norm};
use clipclass::hub::{FileRole, OpenFile, WeightFiles};
use clipclass::model::backend::{Backend, Products};
use clipclass::model::config::{ModelConfig, TowerConfig};
use clipclass::model::layout::Layout;
use clipclass::model::tower::{TextTower, TextWeights, VisionTower, VisionWeights};
use clipclass::model::weights::Weights;
use clipclass::pixels::Pixels;
use std::path::Path;

const KERNELS: Backend = Backend::Kernels(Products::F32);

fn oracle_config(config: &ModelConfig) -> OracleConfig {
    let (text, vision) = (&config.text, &config.vision);
    let TowerConfig { hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, .. } =
        text.tower;
    OracleConfig {
        text_config: ClipTextConfig {
            vocab_size: text.vocab_size,
            embed_dim: hidden_size,
            intermediate_size,
            max_position_embeddings: text.max_position_embeddings,
            pad_with: None,
            num_hidden_layers,
            num_attention_heads,
            projection_dim: config.projection_dim,
            activation: Activation::QuickGelu,
        },
        vision_config: ClipVisionConfig {
            embed_dim: vision.tower.hidden_size,
            activation: Activation::QuickGelu,
            intermediate_size: vision.tower.intermediate_size,
            num_hidden_layers: vision.tower.num_hidden_layers,
            num_attention_heads: vision.tower.num_attention_heads,
            projection_dim: config.projection_dim,
            num_channels: 3,
            image_size: vision.image_size,
            patch_size: vision.patch_size,
        },
        logit_scale_init_value: 2.6592,
        image_size: vision.image_size,
    }
}

fn config() -> Result<ModelConfig> {
    let file = OpenFile::open(FileRole::Config, &Path::new(MODEL).join("config.json"))?;
    Ok(ModelConfig::read(Layout::HuggingFace, &file, None)?.0)
}

/// The tensors of both towers.
fn towers(config: &ModelConfig) -> Result<(VisionWeights, TextWeights)> {
    let file = Path::new(MODEL).join("model.safetensors");
    let weights = Weights::open(&WeightFiles::Safetensors(vec![file]), Layout::HuggingFace)?;
    Ok((VisionWeights::find(&weights, config)?, TextWeights::find(&weights, config)?))
}

/// Values of an image, others for another `shift`.
fn image(size: usize, shift: usize) -> Vec<f32> {
    (shift..shift + 3 * size * size).map(|i| (i as f32 * 0.7).sin() * 2.0).collect()
}

/// The tokens of start and end of text.
fn ends(config: &ModelConfig) -> (u32, u32) {
    (config.text.vocab_size as u32 - 2, config.text.vocab_size as u32 - 1)
}

fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    Ok((a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar()?)
}

#[test]
fn both_towers_agree_with_candle_transformers() -> Result<()> {
    let device = Device::Cpu;
    let config = config()?;
    let bytes = std::fs::read(Path::new(MODEL).join("model.safetensors"))?;
    let oracle = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &device)?;
    let oracle = ClipModel::new(oracle, &oracle_config(&config))?;
    let (vision, text) = towers(&config)?;

    let size = config.vision.image_size;
    let images = [0, 1000].map(|shift| image(size, shift));
    let batch = Tensor::from_vec(images.concat(), (2, 3, size, size), &device)?;
    let expected = div_l2_norm(&oracle.get_image_features(&batch)?)?;
    let tower = VisionTower::load(&vision, &KERNELS)?;
    let images = images.map(|values| Pixels { height: size, width: size, values });
    // Both round to f32 along the way, in another order.
    assert!(largest_difference(&tower.forward(&images)?, &expected)? < 1e-5);

    // The oracle pools at the largest id, which in this vocabulary is the end of text.
    let (start, end) = ends(&config);
    let prompt = [start, 70, 300, 9, 511, end];
    let expected = div_l2_norm(&oracle.get_text_features(&Tensor::new(&prompt, &device)?.unsqueeze(0)?)?)?;
    let tower = TextTower::load(&text, &KERNELS)?;
    assert!(largest_difference(&tower.forward(&[&prompt])?, &expected)? < 1e-5);
    Ok(())
}

/// On a GPU the towers run in candle's operations, which a CPU has as well.
#[test]
fn towers_in_candles_operations_agree_with_the_kernels() -> Result<()> {
    let config = config()?;
    let (vision, text) = towers(&config)?;
    let size = config.vision.image_size;
    let image = [Pixels { height: size, width: size, values: image(size, 0) }];
    let (start, end) = ends(&config);
    let prompts: [&[u32]; 2] = [&[start, 70, 300, 9, 511, end], &[start, 12, end]];
    let embed = |backend: &Backend| -> Result<[Tensor; 2]> {
        Ok([
            VisionTower::load(&vision, backend)?.forward(&image)?,
            TextTower::load(&text, backend)?.forward(&prompts)?,
        ])
    };
    let exact = embed(&KERNELS)?;
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 1e-3), (DType::BF16, 1e-2)] {
        let operations = Backend::Operations { device: Device::Cpu, dtype };
        for (close, exact) in embed(&operations)?.iter().zip(&exact) {
            let difference = largest_difference(close, exact)?;
            assert!(difference > 0.0 && difference < tolerance, "{dtype:?}: off by {difference}");
        }
    }
    Ok(())
}
