//! The `config.json` of a Hugging Face `CLIPModel`.
//!
//! The special token ids in it are not read: those of OpenAI's files are wrong, the tokenizer has
//! the right ones.

use super::{ModelConfig, TextConfig, VisionConfig};
use crate::model::family::Family;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// Defaults of `transformers.CLIPTextConfig`.
const TEXT_DEFAULTS: &str = r#"{"vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048,
    "num_hidden_layers": 12, "num_attention_heads": 8, "max_position_embeddings": 77}"#;

/// Defaults of `transformers.CLIPVisionConfig`.
const VISION_DEFAULTS: &str = r#"{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "image_size": 224, "patch_size": 32}"#;

/// Default of `transformers.CLIPConfig`.
const PROJECTION_DIM: usize = 512;

/// Reads the file's content.
///
/// *Errors* when it is not a CLIP configuration, or names something that clipclass does not know.
pub(super) fn parse(json: &[u8]) -> Result<ModelConfig> {
    let config: Map<String, Value> = serde_json::from_slice(json)?;
    match config.get("model_type").map(|t| t.as_str().unwrap_or_default()) {
        None | Some("clip") => {}
        Some(other) => {
            bail!("model_type {other:?} is not supported; clipclass runs models of type \"clip\"")
        }
    }
    let text: TextConfig =
        serde_json::from_value(tower(&config, "text_config", TEXT_DEFAULTS)?).context("text_config")?;
    let vision: VisionConfig =
        serde_json::from_value(tower(&config, "vision_config", VISION_DEFAULTS)?).context("vision_config")?;
    let projection_dim = match config.get("projection_dim") {
        None | Some(Value::Null) => PROJECTION_DIM,
        Some(dim) => dim.as_u64().context("projection_dim is not a whole number")? as usize,
    };
    Ok(ModelConfig { family: Family::Clip, projection_dim, text, vision })
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
    use super::super::HiddenAct;
    use super::*;

    fn parse_and_check(text: &str) -> Result<ModelConfig> {
        let config = parse(text.as_bytes())?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn an_empty_config_is_vit_b_32() {
        let config = parse_and_check("{}").unwrap();
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
        assert_eq!(parse_and_check(text).unwrap().text.tower.hidden_size, 768);
    }

    #[test]
    fn an_unknown_model_type_is_refused_by_name() {
        let error = parse_and_check(r#"{"model_type": "siglip"}"#).unwrap_err();
        assert!(format!("{error:#}").contains("\"siglip\""), "{error:#}");
    }

    #[test]
    fn an_unknown_activation_is_refused_by_name() {
        let error = parse_and_check(r#"{"text_config": {"hidden_act": "relu6"}}"#).unwrap_err();
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
            assert!(parse_and_check(text).is_err(), "{text}");
        }
    }
}
