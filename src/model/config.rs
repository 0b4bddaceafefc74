//! `config.json` and `preprocessor_config.json` → typed configurations.
//!
//! What a file leaves out has Hugging Face's default; what clipclass cannot do is refused by name.

use super::activation::Activation;
use crate::pixels::{Filter, Resize, Transform};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

/// A CLIP model's `config.json`.
///
/// The special token ids in it are not read: those of OpenAI's files are wrong, the tokenizer has
/// the right ones.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipConfig {
    /// Width of the embeddings, `D`.
    pub projection_dim: usize,
    pub text: TextConfig,
    pub vision: VisionConfig,
}

/// What both towers have.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TowerConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    #[serde(default)]
    pub hidden_act: HiddenAct,
    #[serde(default = "default_layer_norm_eps")]
    pub layer_norm_eps: f32,
}

/// The text tower.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TextConfig {
    #[serde(flatten)]
    pub tower: TowerConfig,
    pub vocab_size: usize,
    /// Context length: the most tokens a prompt may have.
    pub max_position_embeddings: usize,
}

/// The vision tower.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct VisionConfig {
    #[serde(flatten)]
    pub tower: TowerConfig,
    /// Height and width of an image in pixels.
    pub image_size: usize,
    /// Height and width of a patch in pixels.
    pub patch_size: usize,
}

/// `hidden_act`: the name of an activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum HiddenAct {
    #[default]
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    #[serde(rename = "gelu")]
    Gelu,
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
}

impl HiddenAct {
    /// The function of that name.
    pub fn activation(self) -> Activation {
        match self {
            Self::QuickGelu => Activation::QuickGelu,
            Self::Gelu => Activation::Gelu,
            Self::GeluTanh => Activation::GeluTanh,
        }
    }
}

fn default_layer_norm_eps() -> f32 {
    1e-5
}

/// Defaults of `transformers.CLIPTextConfig`.
const TEXT_DEFAULTS: &str = r#"{"vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048,
    "num_hidden_layers": 12, "num_attention_heads": 8, "max_position_embeddings": 77}"#;

/// Defaults of `transformers.CLIPVisionConfig`.
const VISION_DEFAULTS: &str = r#"{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "image_size": 224, "patch_size": 32}"#;

/// Default of `transformers.CLIPConfig`.
const PROJECTION_DIM: usize = 512;

/// The most that any size in a configuration may be: far above every model there is, and low
/// enough that products of two do not overflow.
const MAX_SIZE: usize = 1 << 24;

impl ClipConfig {
    /// Reads a `config.json`.
    ///
    /// *Errors* when it is no CLIP configuration, or names something clipclass does not know.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || Self::parse(&fs::read_to_string(path)?);
        read().with_context(|| format!("cannot use {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let config: Map<String, Value> = serde_json::from_str(text)?;
        match config.get("model_type").map(|t| t.as_str().unwrap_or_default()) {
            None | Some("clip") => {}
            Some(other) => {
                bail!("model_type {other:?} is not supported; clipclass runs models of type \"clip\"")
            }
        }
        let text: TextConfig =
            serde_json::from_value(tower(&config, "text_config", TEXT_DEFAULTS)?).context("text_config")?;
        let vision: VisionConfig = serde_json::from_value(tower(&config, "vision_config", VISION_DEFAULTS)?)
            .context("vision_config")?;
        let projection_dim = match config.get("projection_dim") {
            None | Some(Value::Null) => PROJECTION_DIM,
            Some(dim) => dim.as_u64().context("projection_dim is not a whole number")? as usize,
        };
        let config = Self { projection_dim, text, vision };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let Self { projection_dim, text, vision } = self;
        let sizes = [
            ("projection_dim", *projection_dim),
            ("vocab_size", text.vocab_size),
            ("max_position_embeddings", text.max_position_embeddings),
            ("image_size", vision.image_size),
            ("patch_size", vision.patch_size),
        ];
        for (name, size) in sizes {
            ensure!((1..=MAX_SIZE).contains(&size), "{name} {size} is out of range");
        }
        for (name, tower) in [("text_config", &text.tower), ("vision_config", &vision.tower)] {
            let TowerConfig { hidden_size, intermediate_size, num_attention_heads: heads, .. } = tower;
            for size in [hidden_size, intermediate_size, heads] {
                ensure!((1..=MAX_SIZE).contains(size), "{name}: size {size} is out of range");
            }
            ensure!(
                hidden_size % heads == 0,
                "{name}: hidden_size {hidden_size} does not divide into {heads} heads"
            );
        }
        ensure!(
            vision.image_size % vision.patch_size == 0 && vision.image_size / vision.patch_size <= 1 << 10,
            "image_size {} does not divide into patches of {}",
            vision.image_size,
            vision.patch_size
        );
        Ok(())
    }
}

/// A tower's configuration over its defaults. `{name}_dict` is how early files overrode it.
fn tower(config: &Map<String, Value>, name: &str, defaults: &str) -> Result<Value> {
    let mut tower: Map<String, Value> = serde_json::from_str(defaults).expect("the defaults are valid JSON");
    for key in [name.to_owned(), format!("{name}_dict")] {
        match config.get(&key) {
            None | Some(Value::Null) => {}
            Some(Value::Object(given)) => {
                tower.extend(given.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())));
            }
            Some(_) => bail!("{key} is not an object"),
        }
    }
    Ok(Value::Object(tower))
}

/// Mean of OpenAI's training images, for each channel (`clip/clip.py`, `_transform`).
const OPENAI_MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
/// Standard deviation of OpenAI's training images, for each channel (`clip/clip.py`, `_transform`).
const OPENAI_STD: [f32; 3] = [0.26862954, 0.261_302_6, 0.275_777_1];

#[derive(Deserialize)]
struct PreprocessorConfig {
    #[serde(default = "yes")]
    do_resize: bool,
    #[serde(default = "yes")]
    do_center_crop: bool,
    #[serde(default = "yes")]
    do_rescale: bool,
    #[serde(default = "yes")]
    do_normalize: bool,
    size: Option<Size>,
    crop_size: Option<Size>,
    resample: Option<u8>,
    rescale_factor: Option<f64>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

fn yes() -> bool {
    true
}

/// A size in its historical forms.
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum Size {
    Number(u32),
    ShortestEdge { shortest_edge: u32 },
    Sides { height: u32, width: u32 },
}

/// Reads the transform of a `preprocessor_config.json`; without one it is OpenAI's, for images of
/// `image_size` pixels.
///
/// *Errors* when the file is malformed or its images would not fit the network.
pub fn read_transform(path: Option<&Path>, image_size: usize) -> Result<Transform> {
    match path {
        None => parse_transform("{}", image_size),
        Some(path) => {
            let read = || parse_transform(&fs::read_to_string(path)?, image_size);
            read().with_context(|| format!("cannot use {}", path.display()))
        }
    }
}

fn parse_transform(text: &str, image_size: usize) -> Result<Transform> {
    let config: PreprocessorConfig = serde_json::from_str(text)?;
    let image_size = u32::try_from(image_size)?;
    let resize = match config.size.unwrap_or(Size::Number(image_size)) {
        Size::Number(short) | Size::ShortestEdge { shortest_edge: short } => Resize::ShortestEdge(short),
        Size::Sides { height, width } => Resize::Exact { height, width },
    };
    let crop = match config.crop_size.unwrap_or(Size::Number(image_size)) {
        Size::Number(side) | Size::ShortestEdge { shortest_edge: side } => (side, side),
        Size::Sides { height, width } => (height, width),
    };
    let filter = match config.resample.unwrap_or(3) {
        0 => Filter::Nearest,
        1 => Filter::Lanczos,
        2 => Filter::Bilinear,
        3 => Filter::Bicubic,
        4 => Filter::Box,
        5 => Filter::Hamming,
        other => bail!("resample {other} is not one of Pillow's filters, 0 to 5"),
    };
    let (mean, std) = if config.do_normalize {
        (config.image_mean.unwrap_or(OPENAI_MEAN), config.image_std.unwrap_or(OPENAI_STD))
    } else {
        ([0.0; 3], [1.0; 3])
    };
    ensure!(std.iter().all(|std| *std > 0.0), "image_std {std:?} is not positive");
    let transform = Transform {
        resize: config.do_resize.then_some(resize),
        filter,
        crop: config.do_center_crop.then_some(crop),
        rescale: if config.do_rescale { config.rescale_factor.unwrap_or(1.0 / 255.0) } else { 1.0 },
        mean,
        std,
        image_size,
    };
    let size = (image_size, image_size);
    let fits = match (transform.crop, transform.resize) {
        (Some(crop), _) => crop == size,
        (None, Some(Resize::Exact { height, width })) => (height, width) == size,
        // Whether an image fits is seen when it comes.
        (None, Some(Resize::ShortestEdge(_)) | None) => true,
    };
    ensure!(fits, "its images do not have the network's size, {image_size} × {image_size} pixels");
    Ok(transform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_config_is_vit_b_32() {
        let config = ClipConfig::parse("{}").unwrap();
        assert_eq!(config.projection_dim, 512);
        let text = &config.text;
        assert_eq!((text.vocab_size, text.max_position_embeddings), (49408, 77));
        assert_eq!((text.tower.hidden_size, text.tower.num_attention_heads), (512, 8));
        let vision = &config.vision;
        assert_eq!((vision.image_size, vision.patch_size), (224, 32));
        assert_eq!((vision.tower.hidden_size, vision.tower.intermediate_size), (768, 3072));
        assert_eq!((vision.tower.hidden_act, vision.tower.layer_norm_eps), (HiddenAct::QuickGelu, 1e-5));
    }

    #[test]
    fn the_legacy_dict_overrides_the_config() {
        let text = r#"{"text_config": {"hidden_size": 640, "num_attention_heads": 10},
            "text_config_dict": {"hidden_size": 768, "num_attention_heads": 12}, "vision_config_dict": null}"#;
        assert_eq!(ClipConfig::parse(text).unwrap().text.tower.hidden_size, 768);
    }

    #[test]
    fn an_unknown_model_type_is_refused_by_name() {
        let error = ClipConfig::parse(r#"{"model_type": "siglip"}"#).unwrap_err();
        assert!(format!("{error:#}").contains("\"siglip\""), "{error:#}");
    }

    #[test]
    fn an_unknown_activation_is_refused_by_name() {
        let error = ClipConfig::parse(r#"{"text_config": {"hidden_act": "relu6"}}"#).unwrap_err();
        assert!(format!("{error:#}").contains("relu6"), "{error:#}");
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for text in [
            r#"{"projection_dim": 0}"#,
            r#"{"text_config": {"num_attention_heads": 0}}"#,
            r#"{"text_config": {"num_attention_heads": 7}}"#,
            r#"{"vision_config": {"patch_size": 0}}"#,
            r#"{"vision_config": {"patch_size": 33}}"#,
            r#"{"vision_config": {"image_size": 18446744073709551615}}"#,
            r#"{"text_config": []}"#,
            r#"{"text_config": {"hidden_size": -1}}"#,
        ] {
            assert!(ClipConfig::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_a_preprocessor_config_the_transform_is_openais() {
        let transform = read_transform(None, 224).unwrap();
        assert_eq!(transform.resize, Some(Resize::ShortestEdge(224)));
        assert_eq!(transform.crop, Some((224, 224)));
        assert_eq!(
            (transform.filter, transform.mean, transform.std),
            (Filter::Bicubic, OPENAI_MEAN, OPENAI_STD)
        );
    }

    #[test]
    fn all_historical_forms_of_a_size_are_read() {
        let legacy = parse_transform(r#"{"size": 224, "crop_size": 224}"#, 224).unwrap();
        let current = r#"{"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}"#;
        assert_eq!(legacy, parse_transform(current, 224).unwrap());
        let exact = r#"{"size": {"height": 224, "width": 224}, "do_center_crop": false}"#;
        let exact = parse_transform(exact, 224).unwrap();
        assert_eq!((exact.resize, exact.crop), (Some(Resize::Exact { height: 224, width: 224 }), None));
    }

    #[test]
    fn steps_that_are_turned_off_leave_values_alone() {
        let off =
            r#"{"do_resize": false, "do_center_crop": false, "do_rescale": false, "do_normalize": false}"#;
        let off = parse_transform(off, 224).unwrap();
        assert_eq!((off.resize, off.crop, off.rescale), (None, None, 1.0));
        assert_eq!((off.mean, off.std), ([0.0; 3], [1.0; 3]));
    }

    #[test]
    fn a_crop_of_another_size_than_the_network_is_refused() {
        assert!(parse_transform(r#"{"crop_size": 336}"#, 224).is_err());
        assert!(parse_transform(r#"{"resample": 9}"#, 224).is_err());
    }
}
