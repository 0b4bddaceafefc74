//! The network beside candle-transformers' CLIP, which knows the original's activation and pooling.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::clip::text_model::{Activation, ClipTextConfig};
use candle_transformers::models::clip::vision_model::ClipVisionConfig;
use candle_transformers::models::clip::{ClipConfig as OracleConfig, ClipModel, div_l2_norm};
use clipclass::model::clip::{TextTower, TextWeights, VisionTower, VisionWeights};
use clipclass::model::config::{ClipConfig, TowerConfig};
use clipclass::model::hub::WeightFiles;
use clipclass::model::precision::Precision;
use clipclass::model::weights::Weights;
use clipclass::pixels::Pixels;
use std::path::Path;

const MODEL: &str = "fixtures/tiny-clip";

fn oracle_config(config: &ClipConfig) -> OracleConfig {
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

fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f32> {
    Ok((a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar()?)
}

#[test]
fn both_towers_agree_with_candle_transformers() -> Result<()> {
    let device = Device::Cpu;
    let config = ClipConfig::read(&Path::new(MODEL).join("config.json"))?;
    let file = Path::new(MODEL).join("model.safetensors");
    let bytes = std::fs::read(&file)?;
    let oracle = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &device)?;
    let oracle = ClipModel::new(oracle, &oracle_config(&config))?;
    let weights = Weights::open(&WeightFiles::Safetensors(vec![file]))?;

    let size = config.vision.image_size;
    let value = |i: usize| (i as f32 * 0.7).sin() * 2.0;
    let images = [0, 1000].map(|shift| (0..3 * size * size).map(|i| value(i + shift)).collect::<Vec<_>>());
    let batch = Tensor::from_vec(images.concat(), (2, 3, size, size), &device)?;
    let expected = div_l2_norm(&oracle.get_image_features(&batch)?)?;
    let tower = VisionWeights::find(&weights, &config.vision, config.projection_dim)?;
    let tower = VisionTower::load(&tower, &device, Precision::F32)?;
    let images = images.map(|values| Pixels { height: size, width: size, values });
    // Both round to f32 along the way, in another order.
    assert!(largest_difference(&tower.forward(&images)?, &expected)? < 1e-5);

    // The oracle pools at the largest id, which in this vocabulary is the end of text.
    let (start, end) = (config.text.vocab_size as u32 - 2, config.text.vocab_size as u32 - 1);
    let prompt = [start, 70, 300, 9, 511, end];
    let expected = div_l2_norm(&oracle.get_text_features(&Tensor::new(&prompt, &device)?.unsqueeze(0)?)?)?;
    let tower = TextWeights::find(&weights, &config.text, config.projection_dim)?;
    let tower = TextTower::load(&tower, &device, Precision::F32)?;
    assert!(largest_difference(&tower.forward(&[&prompt])?, &expected)? < 1e-5);
    Ok(())
}

/// On a GPU the towers run in candle's operations, as they do here in the precisions that a CPU has no
/// kernels for.
#[test]
fn towers_in_candles_operations_agree_with_the_kernels() -> Result<()> {
    let device = Device::Cpu;
    let config = ClipConfig::read(&Path::new(MODEL).join("config.json"))?;
    let weights = Weights::open(&WeightFiles::Safetensors(vec![Path::new(MODEL).join("model.safetensors")]))?;
    let vision = VisionWeights::find(&weights, &config.vision, config.projection_dim)?;
    let text = TextWeights::find(&weights, &config.text, config.projection_dim)?;
    let size = config.vision.image_size;
    let values = (0..3 * size * size).map(|i| (i as f32 * 0.7).sin() * 2.0).collect();
    let image = [Pixels { height: size, width: size, values }];
    let (start, end) = (config.text.vocab_size as u32 - 2, config.text.vocab_size as u32 - 1);
    let prompts: [&[u32]; 2] = [&[start, 70, 300, 9, 511, end], &[start, 12, end]];
    let embed = |precision| -> Result<[Tensor; 2]> {
        Ok([
            VisionTower::load(&vision, &device, precision)?.forward(&image)?,
            TextTower::load(&text, &device, precision)?.forward(&prompts)?,
        ])
    };
    let exact = embed(Precision::F32)?;
    for (precision, tolerance) in [(Precision::F16, 1e-3), (Precision::Bf16, 1e-2)] {
        for (close, exact) in embed(precision)?.iter().zip(&exact) {
            let difference = largest_difference(close, exact)?;
            assert!(difference > 0.0 && difference < tolerance, "{precision}: off by {difference}");
        }
    }
    Ok(())
}
