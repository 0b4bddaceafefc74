//! The `config.json` of a model of Hugging Face's transformers: `clip`, `metaclip_2` and `siglip`.

use super::{ModelConfig, PostNorm, Projection, TextConfig, TokensConfig, TowerConfig, VisionConfig};
use crate::model::family::{Family, ImagePooling, Mask, TextPooling};
use crate::model::layers::activation::Activation;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Defaults of `transformers.CLIPTextConfig` and `MetaClip2TextConfig`.
const CLIP_TEXT: &str = r#"{"vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048,
    "num_hidden_layers": 12, "num_attention_heads": 8, "max_position_embeddings": 77,
    "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "eos_token_id": 49407}"#;

/// Defaults of `transformers.CLIPVisionConfig` and `MetaClip2VisionConfig`.
const CLIP_VISION: &str = r#"{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "image_size": 224, "patch_size": 32,
    "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}"#;

/// Default of `transformers.CLIPConfig`.
const PROJECTION_DIM: usize = 512;

/// Defaults of `transformers.SiglipTextConfig`.
const SIGLIP_TEXT: &str = r#"{"vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072,
    "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 64,
    "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "eos_token_id": null}"#;

/// Defaults of `transformers.SiglipVisionConfig`.
const SIGLIP_VISION: &str = r#"{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "image_size": 224, "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}"#;

/// The `eos_token_id` of OpenAI's files, which is wrong: with it transformers takes the largest id.
const WRONG_EOS: u32 = 2;

/// Kinds of models of transformers that clipclass runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ModelType {
    Clip,
    MetaClip2,
    Siglip,
}

impl ModelType {
    /// *Errors* when clipclass does not run models of that type.
    fn of(config: &Map<String, Value>) -> Result<Self> {
        Ok(match config.get("model_type").map(|name| name.as_str().unwrap_or_default()) {
            None | Some("clip") => Self::Clip,
            Some("metaclip_2") => Self::MetaClip2,
            Some("siglip") => Self::Siglip,
            Some("siglip2") => bail!(
                "it is a NaFlex model of SigLIP 2 (model_type \"siglip2\"), which takes images of any shape \
                 and which clipclass does not run; those of a fixed size, as \
                 google/siglip2-base-patch16-224, it does"
            ),
            // It would take more than a configuration: blocks that normalise after each half, a norm and
            // token types in front of them, attention that leaves out the padding of a batch (here it
            // is causal, or all of it counts), in the kernels as in candle's operations, and word
            // pieces from a bare vocab.txt. Its vision tower is CLIP's, and would do.
            Some("chinese_clip") => bail!(
                "it is a Chinese-CLIP (model_type \"chinese_clip\"), whose text tower is a BERT, which \
                 clipclass does not run; of many languages are facebook/metaclip-2-worldwide-b32 and \
                 google/siglip2-base-patch16-224"
            ),
            Some(other) => bail!(
                "model_type {other:?} is not supported; clipclass runs models of the types \"clip\", \
                 \"metaclip_2\" and \"siglip\", and those of open_clip with an open_clip_config.json"
            ),
        })
    }
}

/// Whether a `config.json` is that of a model of transformers that clipclass runs: repositories of
/// other layouts may have a file of that name, too.
pub fn is_hugging_face(json: &[u8]) -> bool {
    match serde_json::from_slice::<Map<String, Value>>(json) {
        Ok(config) => {
            let is_model = ["model_type", "text_config"].iter().any(|key| config.contains_key(*key));
            is_model && ModelType::of(&config).is_ok()
        }
        Err(_) => false,
    }
}

#[derive(Deserialize)]
struct Tower {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: HiddenAct,
    layer_norm_eps: f32,
}

#[derive(Deserialize)]
struct Text {
    #[serde(flatten)]
    tower: Tower,
    vocab_size: usize,
    max_position_embeddings: usize,
    eos_token_id: Option<u32>,
    /// Of SigLIP; the hidden size when absent.
    projection_size: Option<usize>,
}

#[derive(Deserialize)]
struct Vision {
    #[serde(flatten)]
    tower: Tower,
    image_size: usize,
    patch_size: usize,
    num_channels: Option<usize>,
    /// Of SigLIP: whether there is attention pooling.
    vision_use_head: Option<bool>,
}

/// The name of an activation function.
#[derive(Deserialize)]
enum HiddenAct {
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    #[serde(rename = "gelu")]
    Gelu,
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
}

impl Tower {
    fn with(self, projection: Projection) -> TowerConfig {
        TowerConfig {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            activation: match self.hidden_act {
                HiddenAct::QuickGelu => Activation::QuickGelu,
                HiddenAct::Gelu => Activation::Gelu,
                HiddenAct::GeluTanh => Activation::GeluTanh,
            },
            layer_norm_eps: self.layer_norm_eps,
            layer_scale: false,
            projection,
        }
    }
}

/// Reads the file's content.
///
/// *Errors* when it is not the configuration of a model that clipclass runs, or names something that it
/// does not know.
pub(super) fn parse(json: &[u8]) -> Result<ModelConfig> {
    let config: Map<String, Value> = serde_json::from_slice(json)?;
    let model_type = ModelType::of(&config)?;
    let (text_defaults, vision_defaults) = match model_type {
        ModelType::Clip | ModelType::MetaClip2 => (CLIP_TEXT, CLIP_VISION),
        ModelType::Siglip => (SIGLIP_TEXT, SIGLIP_VISION),
    };
    let text: Text =
        serde_json::from_value(tower(&config, "text_config", text_defaults)?).context("text_config")?;
    let vision: Vision =
        serde_json::from_value(tower(&config, "vision_config", vision_defaults)?).context("vision_config")?;
    ensure!(
        vision.num_channels.is_none_or(|count| count == 3),
        "images of three channels are supported only"
    );
    match model_type {
        ModelType::Clip | ModelType::MetaClip2 => clip(&config, model_type, text, vision),
        ModelType::Siglip => siglip(text, vision),
    }
}

fn clip(
    config: &Map<String, Value>,
    model_type: ModelType,
    text: Text,
    vision: Vision,
) -> Result<ModelConfig> {
    let projection_dim = match config.get("projection_dim") {
        None | Some(Value::Null) => PROJECTION_DIM,
        Some(dim) => dim.as_u64().context("projection_dim is not a whole number")? as usize,
    };
    Ok(ModelConfig {
        family: Family::Clip,
        projection_dim,
        text: TextConfig {
            tower: text.tower.with(Projection::Linear),
            vocab_size: text.vocab_size,
            max_position_embeddings: text.max_position_embeddings,
            mask: Mask::Causal,
            tokens: match model_type {
                ModelType::MetaClip2 => TokensConfig::Folder,
                ModelType::Clip | ModelType::Siglip => TokensConfig::Family,
            },
            pooling: match (model_type, text.eos_token_id) {
                (ModelType::Clip, Some(WRONG_EOS)) => TextPooling::LargestId,
                (_, Some(id)) => TextPooling::Id(id),
                (_, None) => bail!("text_config: eos_token_id is null, and an embedding is taken there"),
            },
        },
        vision: VisionConfig {
            tower: vision.tower.with(Projection::Linear),
            image_size: vision.image_size,
            patch_size: vision.patch_size,
            patch_bias: false,
            class_token: true,
            pre_norm: true,
            pooling: ImagePooling::ClassToken,
            post_norm: PostNorm::AfterPooling,
        },
    })
}

fn siglip(text: Text, vision: Vision) -> Result<ModelConfig> {
    ensure!(
        vision.vision_use_head != Some(false),
        "vision_config: vision_use_head false is not supported: without attention pooling there is no embedding"
    );
    let projection_dim = text.projection_size.unwrap_or(text.tower.hidden_size);
    Ok(ModelConfig {
        family: Family::Siglip,
        projection_dim,
        text: TextConfig {
            tower: text.tower.with(Projection::LinearWithBias),
            vocab_size: text.vocab_size,
            max_position_embeddings: text.max_position_embeddings,
            mask: Mask::None,
            pooling: TextPooling::Last,
            tokens: TokensConfig::Family,
        },
        vision: VisionConfig {
            tower: vision.tower.with(Projection::None),
            image_size: vision.image_size,
            patch_size: vision.patch_size,
            patch_bias: true,
            class_token: false,
            pre_norm: false,
            pooling: ImagePooling::Attention,
            post_norm: PostNorm::BeforePooling,
        },
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_and_check(text: &str) -> Result<ModelConfig> {
        let config = parse(text.as_bytes())?;
        config.check()?;
        Ok(config)
    }

    fn refusal(text: &str) -> String {
        format!("{:#}", parse_and_check(text).unwrap_err())
    }

    #[test]
    fn an_empty_config_is_vit_b_32() {
        let config = parse_and_check("{}").unwrap();
        assert_eq!((config.family, config.projection_dim), (Family::Clip, 512));
        let text = &config.text;
        assert_eq!((text.vocab_size, text.max_position_embeddings), (49408, 77));
        assert_eq!((text.tower.hidden_size, text.tower.num_attention_heads), (512, 8));
        assert_eq!((text.mask, text.pooling), (Mask::Causal, TextPooling::Id(49407)));
        let vision = &config.vision;
        assert_eq!((vision.image_size, vision.patch_size), (224, 32));
        assert_eq!((vision.tower.hidden_size, vision.tower.intermediate_size), (768, 3072));
        assert_eq!((vision.tower.activation, vision.tower.layer_norm_eps), (Activation::QuickGelu, 1e-5));
    }

    #[test]
    fn an_empty_config_of_siglip_is_b_16() {
        let config = parse_and_check(r#"{"model_type": "siglip"}"#).unwrap();
        assert_eq!((config.family, config.projection_dim), (Family::Siglip, 768));
        assert_eq!((config.text.vocab_size, config.text.max_position_embeddings), (32000, 64));
        assert_eq!((config.text.mask, config.text.pooling), (Mask::None, TextPooling::Last));
        assert_eq!((config.vision.patch_size, config.vision.tokens()), (16, 196));
        assert_eq!(config.vision.tower.activation, Activation::GeluTanh);
        assert_eq!(config.vision.tower.layer_norm_eps, 1e-6);
    }

    #[test]
    fn embedding_is_taken_at_the_largest_id_where_the_end_of_text_is_openais_wrong_one() {
        let pooling = |text: &str| parse_and_check(text).unwrap().text.pooling;
        assert_eq!(pooling(r#"{"text_config": {"eos_token_id": 2}}"#), TextPooling::LargestId);
        let meta = r#"{"model_type": "metaclip_2", "text_config": {"eos_token_id": 2}}"#;
        assert_eq!(pooling(meta), TextPooling::Id(2));
    }

    #[test]
    fn patches_that_do_not_fit_are_cut_off() {
        let so400m = r#"{"model_type": "siglip", "vision_config": {"image_size": 384, "patch_size": 14}}"#;
        assert_eq!(parse_and_check(so400m).unwrap().vision.tokens(), 27 * 27);
    }

    #[test]
    fn towers_of_two_widths_meet_in_the_projection() {
        let giant = r#"{"model_type": "siglip", "text_config": {"hidden_size": 1152, "num_attention_heads": 16,
            "projection_size": 1536}, "vision_config": {"hidden_size": 1536, "num_attention_heads": 16}}"#;
        assert_eq!(parse_and_check(giant).unwrap().projection_dim, 1536);
        assert!(
            refusal(&giant.replace("\"projection_size\": 1536", "\"x\": 0")).contains("nothing projects it")
        );
    }

    #[test]
    fn the_legacy_dict_overrides_the_config() {
        let text = r#"{"text_config": {"hidden_size": 640, "num_attention_heads": 10},
            "text_config_dict": {"hidden_size": 768, "num_attention_heads": 12}, "vision_config_dict": null}"#;
        assert_eq!(parse_and_check(text).unwrap().text.tower.hidden_size, 768);
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (text, told) in [
            (r#"{"model_type": "blip"}"#, "\"blip\""),
            (r#"{"model_type": "siglip2"}"#, "NaFlex"),
            (r#"{"model_type": "chinese_clip"}"#, "BERT"),
            (r#"{"text_config": {"hidden_act": "relu6"}}"#, "relu6"),
            (r#"{"vision_config": {"num_channels": 4}}"#, "three channels"),
            (r#"{"model_type": "siglip", "vision_config": {"vision_use_head": false}}"#, "vision_use_head"),
        ] {
            assert!(refusal(text).contains(told), "{}", refusal(text));
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for text in [
            r#"{"projection_dim": 0}"#,
            r#"{"text_config": {"num_attention_heads": 0}}"#,
            r#"{"text_config": {"num_attention_heads": 7}}"#,
            r#"{"vision_config": {"patch_size": 0}}"#,
            r#"{"vision_config": {"patch_size": 225}}"#,
            r#"{"vision_config": {"image_size": 18446744073709551615}}"#,
            r#"{"text_config": []}"#,
            r#"{"text_config": {"hidden_size": -1}}"#,
        ] {
            assert!(parse_and_check(text).is_err(), "{text}");
        }
    }
}
