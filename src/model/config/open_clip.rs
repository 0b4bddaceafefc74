//! The `open_clip_config.json` of open_clip: `{"model_cfg": …, "preprocess_cfg": …}`.
//!
//! open_clip makes its towers of `CLIPVisionCfg` and `CLIPTextCfg` (`open_clip/model.py`, version
//! 3.3.0). Every key of these is read here; those that only change training or what else is returned
//! are skipped, and a key that is not theirs is refused, as open_clip does.

use super::keys::Keys;
use super::preprocessor::OPENAI_NORMALISATION;
use super::timm::{self, TrunkKind};
use super::{
    ModelConfig, OpenClipCleaning, PostNorm, Projection, TextConfig, TokensConfig, TowerConfig, VisionConfig,
};
use crate::model::family::{Family, ImagePooling, Mask, TextPooling};
use crate::model::layers::activation::Activation;
use crate::pixels::{Filter, Resize, Transform};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Keys of either tower that change the arithmetic of a block, and the value without such a change.
fn block_keys() -> [(&'static str, Value); 7] {
    [
        ("block_type", json!("default")),
        ("qk_norm", json!(false)),
        ("scaled_cosine_attn", json!(false)),
        ("scale_heads", json!(false)),
        ("scale_attn_inner", json!(false)),
        ("scale_attn", json!(false)),
        ("scale_fc", json!(false)),
    ]
}

/// A side or two, which have to be the same.
#[derive(Deserialize)]
#[serde(untagged)]
enum Side {
    One(usize),
    Two([usize; 2]),
}

impl Side {
    fn square(self, key: &str) -> Result<usize> {
        match self {
            Self::One(side) => Ok(side),
            Self::Two([height, width]) => {
                ensure!(height == width, "{key} {height} × {width} is not square, which is not supported");
                Ok(height)
            }
        }
    }
}

/// A value for each channel, or one for all.
#[derive(Deserialize)]
#[serde(untagged)]
enum Channels {
    All(f32),
    Each([f32; 3]),
}

impl Channels {
    fn each(self) -> [f32; 3] {
        match self {
            Self::All(value) => [value; 3],
            Self::Each(values) => values,
        }
    }
}

/// Reads the file's content.
///
/// *Errors* when it is not the configuration of a model that clipclass runs, or names something that it
/// does not know.
pub(super) fn parse(json: &[u8]) -> Result<(ModelConfig, Transform)> {
    let mut file: Map<String, Value> = serde_json::from_slice(json)?;
    let preprocessing = match file.remove("preprocess_cfg") {
        Some(Value::Object(preprocessing)) => preprocessing,
        None | Some(Value::Null) => Map::new(),
        Some(_) => bail!("preprocess_cfg is not an object"),
    };
    let model = match file.remove("model_cfg") {
        Some(Value::Object(model)) => model,
        // As the package keeps its own.
        None if file.contains_key("embed_dim") => file,
        _ => bail!("there is no model_cfg in it"),
    };
    let config = model_of(Keys::new("model_cfg", model))?;
    let transform = transform(Keys::new("preprocess_cfg", preprocessing), config.vision.image_size)?;
    Ok((config, transform))
}

fn model_of(mut keys: Keys) -> Result<ModelConfig> {
    if keys.has("multimodal_cfg") {
        bail!(
            "it is a CoCa in open_clip's layout, which clipclass does not run; near ones: {}",
            near("large").join(", ")
        );
    }
    let projection_dim = keys.take("embed_dim")?.context("model_cfg: there is no embed_dim")?;
    let gelu = if keys.take_or("quick_gelu", false)? { Activation::QuickGelu } else { Activation::Gelu };
    let bias: Option<f32> = keys.take("init_logit_bias")?;
    let object = |keys: &mut Keys, key: &'static str| -> Result<Keys> {
        let object = keys.take(key)?.with_context(|| format!("model_cfg: there is no {key}"))?;
        Ok(Keys::new(key, object))
    };
    let vision = vision(object(&mut keys, "vision_cfg")?, gelu)?;
    let text = text(object(&mut keys, "text_cfg")?, gelu)?;
    // The names of tensors show whether the text tower is a module of its own.
    keys.skip(&["custom_text", "init_logit_scale", "nonscalar_logit_scale", "cast_dtype", "output_dict"]);
    keys.end()?;
    let family = if bias.is_some() { Family::Siglip } else { Family::Clip };
    Ok(ModelConfig { family, projection_dim, text, vision })
}

fn vision(mut keys: Keys, gelu: Activation) -> Result<VisionConfig> {
    let image_size = keys.take_or("image_size", Side::One(224))?.square("image_size")?;
    if let Some(name) = keys.take::<String>("timm_model_name")? {
        return trunk(keys, &name, image_size);
    }
    let layers = match keys.take_or("layers", json!(12))? {
        Value::Array(_) => refuse_tower("a ResNet tower", "base")?,
        layers => layers.as_u64().with_context(|| format!("vision_cfg: layers cannot be {layers}"))? as usize,
    };
    let width: usize = keys.take_or("width", 768)?;
    let head_width: usize = keys.take_or("head_width", 64)?;
    let patch_size = keys.take_or("patch_size", Side::One(16))?.square("patch_size")?;
    let (pooling, post_norm) = match keys.take_or("pool_type", "tok".to_owned())?.as_str() {
        "tok" => (ImagePooling::ClassToken, PostNorm::AfterPooling),
        "avg" => (ImagePooling::Mean, PostNorm::BeforePooling),
        other => bail!("vision_cfg: pool_type {other:?} is not supported"),
    };
    let after: bool = keys.take_or("final_ln_after_pool", false)?;
    // Either way is an embedding in the file.
    match keys.take_or("pos_embed_type", "learnable".to_owned())?.as_str() {
        "learnable" | "sin_cos_2d" => {}
        other => bail!("vision_cfg: pos_embed_type {other:?} is not supported"),
    }
    keys.only_default(&[("attentional_pool", json!(false))])?;
    keys.only_default(&block_keys())?;
    ensure!(head_width > 0, "vision_cfg: head_width is 0");
    let config = VisionConfig {
        tower: TowerConfig {
            hidden_size: width,
            intermediate_size: scaled(width, keys.take_or("mlp_ratio", 4.0)?),
            num_hidden_layers: layers,
            num_attention_heads: width / head_width,
            activation: activation(&mut keys, gelu)?,
            layer_norm_eps: eps(&mut keys)?,
            layer_scale: keys.take::<f32>("ls_init_value")?.is_some(),
            projection: Projection::Linear,
        },
        image_size,
        patch_size,
        patch_bias: false,
        class_token: true,
        pre_norm: !keys.take_or("no_ln_pre", false)?,
        pooling,
        post_norm: if after { PostNorm::AfterPooling } else { post_norm },
    };
    keys.skip(&["patch_dropout", "output_tokens", "attn_pooler_queries", "attn_pooler_heads"]);
    keys.skip(&["timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias"]);
    keys.skip(&["timm_drop", "timm_drop_path"]);
    keys.end()?;
    Ok(config)
}

/// A tower of timm (`open_clip/timm_model.py`), to which all of open_clip's other keys mean nothing.
fn trunk(mut keys: Keys, name: &str, image_size: usize) -> Result<VisionConfig> {
    let Some(trunk) = timm::trunk(name) else {
        let small = ["small", "tiny", "base", "mci0", "mci1", "mci2", "medium"];
        let size = if small.iter().any(|size| name.contains(size)) { "base" } else { "large" };
        return refuse_tower(&timm::kind_of(name), size);
    };
    ensure!(
        image_size == trunk.image_size,
        "vision_cfg: image_size is {image_size}, and {name} takes images of {} pixels; position embeddings \
         are not resized",
        trunk.image_size
    );
    let default_pool = match trunk.kind {
        TrunkKind::Clip => "token",
        TrunkKind::Siglip => "map",
        TrunkKind::SiglipMean => "avg",
    };
    let has_projection = keys.has("timm_proj");
    let projection = keys.take::<String>("timm_proj")?;
    let projection = if has_projection { projection.unwrap_or_default() } else { "linear".to_owned() };
    let has_bias = keys.take_or("timm_proj_bias", false)?;
    let pool = keys.take_or("timm_pool", "avg".to_owned())?;
    let (projection, made_with) = match projection.as_str() {
        // timm's own classifier projects.
        "" => (Projection::LinearWithBias, pool.as_str()),
        "none" => (Projection::None, pool.as_str()),
        "linear" if has_bias => (Projection::LinearWithBias, default_pool),
        "linear" => (Projection::Linear, default_pool),
        other => bail!("vision_cfg: timm_proj {other:?} is not supported"),
    };
    let pooling = match (if pool.is_empty() { default_pool } else { &pool }, trunk.kind) {
        ("token", TrunkKind::Clip) => ImagePooling::ClassToken,
        ("map", TrunkKind::Siglip) => ImagePooling::Attention,
        ("avg", _) => ImagePooling::Mean,
        (other, _) => bail!("vision_cfg: timm_pool {other:?} of {name} is not supported"),
    };
    ensure!(!made_with.is_empty(), "vision_cfg: timm_pool \"\" of {name} is not supported");
    keys.skip(&[
        "layers",
        "width",
        "head_width",
        "mlp_ratio",
        "patch_size",
        "ls_init_value",
        "patch_dropout",
    ]);
    keys.skip(&[
        "attentional_pool",
        "attn_pooler_queries",
        "attn_pooler_heads",
        "no_ln_pre",
        "pos_embed_type",
    ]);
    keys.skip(&["final_ln_after_pool", "pool_type", "output_tokens", "act_kwargs", "norm_kwargs"]);
    keys.skip(&["timm_model_pretrained", "timm_drop", "timm_drop_path"]);
    keys.skip(&block_keys().each_ref().map(|(key, _)| *key));
    keys.end()?;
    let is_clip = trunk.kind == TrunkKind::Clip;
    Ok(VisionConfig {
        tower: TowerConfig {
            hidden_size: trunk.width,
            intermediate_size: trunk.inner,
            num_hidden_layers: trunk.layers,
            num_attention_heads: trunk.heads,
            activation: trunk.activation,
            layer_norm_eps: trunk.layer_norm_eps,
            layer_scale: false,
            projection,
        },
        image_size,
        patch_size: trunk.patch_size,
        patch_bias: !is_clip,
        class_token: is_clip,
        pre_norm: is_clip,
        pooling,
        post_norm: match (made_with, trunk.kind) {
            ("avg", TrunkKind::Clip | TrunkKind::Siglip) => PostNorm::AfterPooling,
            _ => PostNorm::BeforePooling,
        },
    })
}

fn text(mut keys: Keys, gelu: Activation) -> Result<TextConfig> {
    if let Some(name) = keys.take::<String>("hf_model_name")? {
        bail!(
            "its text tower is {name} of Hugging Face in open_clip's layout, which clipclass does not run; of \
             many languages are facebook/metaclip-2-worldwide-b32 and google/siglip2-base-patch16-224"
        );
    }
    let width: usize = keys.take_or("width", 512)?;
    let projection = match keys.take_or("proj_type", "linear".to_owned())?.as_str() {
        "none" => Projection::None,
        "linear" if keys.take_or("proj_bias", false)? => Projection::LinearWithBias,
        "linear" => Projection::Linear,
        other => bail!("text_cfg: proj_type {other:?} is not supported"),
    };
    let eos_id = keys.take_or("eos_id", 2)?;
    let pooling = match keys.take_or("pool_type", "argmax".to_owned())?.as_str() {
        "argmax" => TextPooling::LargestId,
        "eos" => TextPooling::Id(eos_id),
        "first" => TextPooling::First,
        "last" => TextPooling::Last,
        other => bail!("text_cfg: pool_type {other:?} is not supported"),
    };
    keys.only_default(&[("embed_cls", json!(false))])?;
    keys.only_default(&block_keys())?;
    let config = TextConfig {
        tower: TowerConfig {
            hidden_size: width,
            intermediate_size: scaled(width, keys.take_or("mlp_ratio", 4.0)?),
            num_hidden_layers: keys.take_or("layers", 12)?,
            num_attention_heads: keys.take_or("heads", 8)?,
            activation: activation(&mut keys, gelu)?,
            layer_norm_eps: eps(&mut keys)?,
            layer_scale: keys.take::<f32>("ls_init_value")?.is_some(),
            projection,
        },
        vocab_size: keys.take_or("vocab_size", 49408)?,
        max_position_embeddings: keys.take_or("context_length", 77)?,
        mask: if keys.take_or("no_causal_mask", false)? { Mask::None } else { Mask::Causal },
        pooling,
        tokens: tokens(&mut keys)?,
    };
    // `pad_id` is that of a mask which is used with `embed_cls` only; what is padded with is the tokenizer's.
    keys.skip(&["pad_id", "proj_bias", "final_ln_after_pool", "output_tokens"]);
    keys.skip(&["hf_model_pretrained", "hf_proj_type", "hf_pooler_type"]);
    keys.end()?;
    Ok(config)
}

fn tokens(keys: &mut Keys) -> Result<TokensConfig> {
    // Another mode drops tokens or puts some elsewhere.
    keys.only_default(&[("tokenizer_mode", json!(""))])?;
    let name: Option<String> = keys.take("hf_tokenizer_name")?;
    let mut options = Keys::new("tokenizer_kwargs", keys.take_or("tokenizer_kwargs", Map::new())?);
    let cleaning = options.take("clean")?;
    let strips_separator = options.take_or("strip_sep_token", false)?;
    if name.is_none() {
        ensure!(!strips_separator, "tokenizer_kwargs: strip_sep_token without hf_tokenizer_name");
    }
    options.end()?;
    Ok(match name.filter(|name| !name.is_empty()) {
        Some(name) => {
            let cleaning = cleaning.unwrap_or(OpenClipCleaning::Whitespace);
            TokensConfig::Named { name, cleaning, strips_separator }
        }
        None => TokensConfig::OpenClip(cleaning.unwrap_or(OpenClipCleaning::Lower)),
    })
}

/// `int(width * ratio)`, as Python has it.
fn scaled(width: usize, ratio: f64) -> usize {
    (width as f64 * ratio) as usize
}

/// The activation function with its options.
fn activation(keys: &mut Keys, gelu: Activation) -> Result<Activation> {
    let mut options = Keys::new("act_kwargs", keys.take_or("act_kwargs", Map::new())?);
    let approximate: Option<String> = options.take("approximate")?;
    options.end()?;
    Ok(match (approximate.as_deref(), gelu) {
        (None, gelu) => gelu,
        (Some("none"), Activation::Gelu) => Activation::Gelu,
        (Some("tanh"), Activation::Gelu) => Activation::GeluTanh,
        (Some(other), _) => bail!("act_kwargs: approximate {other:?} is not supported with this activation"),
    })
}

/// What a normalisation adds to the variance (default of `torch.nn.LayerNorm`).
fn eps(keys: &mut Keys) -> Result<f32> {
    let mut options = Keys::new("norm_kwargs", keys.take_or("norm_kwargs", Map::new())?);
    let eps = options.take_or("eps", 1e-5)?;
    options.end()?;
    Ok(eps)
}

fn refuse_tower<T>(kind: &str, size: &str) -> Result<T> {
    bail!(
        "it has {kind} in open_clip's layout, which clipclass does not run; near ones: {}",
        near(size).join(", ")
    )
}

/// Models of about a size that run.
fn near(size: &str) -> &'static [&'static str] {
    match size {
        "base" => &["apple/DFN2B-CLIP-ViT-B-16", "timm/ViT-B-16-SigLIP2"],
        _ => &["laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K", "timm/ViT-L-16-SigLIP2-256"],
    }
}

/// Reads how images are prepared for a network that takes `image_size` pixels (`open_clip/transform.py`).
/// Its `size` counts for nothing: open_clip puts the network's there.
fn transform(mut keys: Keys, image_size: usize) -> Result<Transform> {
    let size = u32::try_from(image_size)?;
    let mode = keys.take_or("mode", "RGB".to_owned())?;
    ensure!(mode == "RGB", "preprocess_cfg: mode {mode:?} is not supported");
    let (mean, std) = OPENAI_NORMALISATION;
    let fill = keys.take_or("fill_color", 0)?;
    let (resize, crop) = match keys.take_or("resize_mode", "shortest".to_owned())?.as_str() {
        "shortest" => (Resize::ShortestEdge(size), Some((size, size))),
        "squash" => (Resize::Exact { height: size, width: size }, None),
        "longest" => (Resize::LongestEdge { long: size, fill }, None),
        other => bail!("preprocess_cfg: resize_mode {other:?} is not supported"),
    };
    Ok(Transform {
        resize: Some(resize),
        filter: match keys.take_or("interpolation", "bicubic".to_owned())?.as_str() {
            // In training it may be either; in use it is this one.
            "bicubic" | "random" => Filter::Bicubic,
            "bilinear" => Filter::Bilinear,
            other => bail!("preprocess_cfg: interpolation {other:?} is not supported"),
        },
        crop,
        rescale: 1.0 / 255.0,
        mean: keys.take_or("mean", Channels::Each(mean))?.each(),
        std: keys.take_or("std", Channels::Each(std))?.each(),
        image_size: size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the package's `ViT-B-32` says, with more keys.
    fn config(model: Value, vision: Value, text: Value, preprocess: Value) -> Value {
        let mut model_cfg = json!({
            "embed_dim": 512,
            "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
        });
        let merge = |into: &mut Value, from: Value| {
            let Value::Object(from) = from else { panic!("not an object") };
            into.as_object_mut().unwrap().extend(from);
        };
        merge(&mut model_cfg["vision_cfg"], vision);
        merge(&mut model_cfg["text_cfg"], text);
        merge(&mut model_cfg, model);
        json!({"model_cfg": model_cfg, "preprocess_cfg": preprocess})
    }

    fn parsed(config: &Value) -> Result<(ModelConfig, Transform)> {
        let (config, transform) = parse(config.to_string().as_bytes())?;
        config.check()?;
        Ok((config, transform))
    }

    #[test]
    fn plain_config_is_that_of_clip_with_an_exact_gelu() {
        let (config, transform) = parsed(&config(json!({}), json!({}), json!({}), json!({}))).unwrap();
        assert_eq!((config.family, config.projection_dim), (Family::Clip, 512));
        let vision = &config.vision;
        assert_eq!((vision.tower.num_attention_heads, vision.tower.intermediate_size), (12, 3072));
        assert_eq!((vision.tower.activation, vision.pooling), (Activation::Gelu, ImagePooling::ClassToken));
        assert_eq!((vision.pre_norm, vision.tokens()), (true, 50));
        let text = &config.text;
        assert_eq!((text.mask, text.pooling), (Mask::Causal, TextPooling::LargestId));
        assert_eq!(text.tokens, TokensConfig::OpenClip(OpenClipCleaning::Lower));
        assert_eq!((transform.resize, transform.crop), (Some(Resize::ShortestEdge(224)), Some((224, 224))));
        assert_eq!((transform.mean, transform.std), OPENAI_NORMALISATION);
    }

    #[test]
    fn name_of_a_config_without_more_is_read_too() {
        let Value::Object(mut file) = config(json!({}), json!({}), json!({}), json!({})) else { panic!() };
        let model = file.remove("model_cfg").unwrap();
        assert_eq!(parsed(&model).unwrap().0.projection_dim, 512);
        assert!(parsed(&json!({"model": 1})).unwrap_err().to_string().contains("no model_cfg"));
    }

    #[test]
    fn preprocessing_is_as_it_says_at_the_size_of_the_network() {
        let of = |preprocess| {
            parsed(&config(json!({}), json!({"image_size": [256, 256]}), json!({}), preprocess)).unwrap().1
        };
        let squashed =
            of(json!({"size": 999, "mean": 0.5, "std": [0.5, 0.25, 1.0], "interpolation": "bilinear",
            "resize_mode": "squash", "fill_color": 0, "mode": "RGB"}));
        assert_eq!((squashed.resize, squashed.crop), (Some(Resize::Exact { height: 256, width: 256 }), None));
        assert_eq!((squashed.mean, squashed.std), ([0.5; 3], [0.5, 0.25, 1.0]));
        assert_eq!(squashed.filter, Filter::Bilinear);
        let longest = of(json!({"resize_mode": "longest", "fill_color": 114, "interpolation": "random"}));
        assert_eq!(longest.resize, Some(Resize::LongestEdge { long: 256, fill: 114 }));
        assert_eq!(longest.filter, Filter::Bicubic);
    }

    #[test]
    fn tokens_are_made_as_the_config_says() {
        let of = |text| parsed(&config(json!({}), json!({}), text, json!({}))).unwrap().0.text.tokens;
        let name = "bert-base-uncased".to_owned();
        assert_eq!(
            of(json!({"hf_tokenizer_name": name, "tokenizer_kwargs": {"strip_sep_token": true}})),
            TokensConfig::Named { name, cleaning: OpenClipCleaning::Whitespace, strips_separator: true }
        );
        assert_eq!(
            of(json!({"tokenizer_kwargs": {"clean": "canonicalize"}})),
            TokensConfig::OpenClip(OpenClipCleaning::Canonicalize)
        );
    }

    #[test]
    fn towers_that_are_not_built_are_called_by_their_kind_with_near_ones() {
        let trunk = |name: &str| json!({"timm_model_name": name, "timm_pool": "token", "timm_proj": null});
        for (vision, kind, near) in [
            (trunk("eva02_base_patch16_clip_224"), "an EVA02 tower", "apple/DFN2B-CLIP-ViT-B-16"),
            (trunk("eva02_large_patch14_clip_336"), "an EVA02 tower", "CLIP-ViT-L-14-DataComp"),
            (trunk("fastvit_mci2"), "a FastViT tower", "timm/ViT-B-16-SigLIP2"),
            (trunk("vit_base_mci_224"), "a hybrid", "apple/DFN2B-CLIP-ViT-B-16"),
            (trunk("vit_pe_core_large_patch14_336"), "a Perception Encoder's tower", "ViT-L-16-SigLIP2-256"),
            (trunk("convnext_large"), "a ConvNeXt tower", "ViT-L-16-SigLIP2-256"),
            (trunk("vitamin_small_224"), "a ViTamin tower", "ViT-B-16-SigLIP2"),
            (trunk("vit_medium_patch16_gap_256"), "vit_medium_patch16_gap_256", "ViT-B-16-SigLIP2"),
            (json!({"layers": [3, 4, 6, 3], "width": 64}), "a ResNet tower", "apple/DFN2B-CLIP-ViT-B-16"),
        ] {
            let told = parsed(&config(json!({}), vision, json!({}), json!({}))).unwrap_err().to_string();
            assert!(
                told.contains("in open_clip's layout, which clipclass does not run; near ones: "),
                "{told}"
            );
            assert!(told.contains(kind) && told.contains(near), "{told}");
        }
        let told =
            parsed(&config(json!({"multimodal_cfg": {}}), json!({}), json!({}), json!({}))).unwrap_err();
        assert!(told.to_string().contains("it is a CoCa"), "{told}");
        let told =
            parsed(&config(json!({}), json!({}), json!({"hf_model_name": "xlm-roberta-base"}), json!({})));
        assert!(told.unwrap_err().to_string().contains("its text tower is xlm-roberta-base of Hugging Face"));
    }

    #[test]
    fn every_key_that_changes_a_number_is_read_or_refused_by_name() {
        for (model, vision, text, preprocess, told) in [
            (json!({"spin": 1}), json!({}), json!({}), json!({}), "model_cfg: spin 1"),
            (json!({}), json!({"swirl": 1}), json!({}), json!({}), "vision_cfg: swirl 1"),
            (json!({}), json!({}), json!({"twist": 1}), json!({}), "text_cfg: twist 1"),
            (json!({}), json!({"attentional_pool": true}), json!({}), json!({}), "attentional_pool true"),
            (json!({}), json!({"pool_type": "none"}), json!({}), json!({}), "pool_type \"none\""),
            (json!({}), json!({"qk_norm": true}), json!({}), json!({}), "vision_cfg: qk_norm true"),
            (json!({}), json!({"block_type": "custom"}), json!({}), json!({}), "block_type \"custom\""),
            (json!({}), json!({"image_size": [224, 336]}), json!({}), json!({}), "not square"),
            (
                json!({}),
                json!({"norm_kwargs": {"bias": false}}),
                json!({}),
                json!({}),
                "norm_kwargs: bias false",
            ),
            (json!({}), json!({}), json!({"embed_cls": true}), json!({}), "text_cfg: embed_cls true"),
            (json!({}), json!({}), json!({"pool_type": "none"}), json!({}), "pool_type \"none\""),
            (json!({}), json!({}), json!({"proj_type": "mlp"}), json!({}), "proj_type \"mlp\""),
            (json!({}), json!({}), json!({"scale_fc": true}), json!({}), "text_cfg: scale_fc true"),
            (json!({}), json!({}), json!({"tokenizer_mode": "clips"}), json!({}), "tokenizer_mode \"clips\""),
            (
                json!({}),
                json!({}),
                json!({"tokenizer_kwargs": {"clean": "wash"}}),
                json!({}),
                "clean cannot be \"wash\"",
            ),
            (
                json!({}),
                json!({}),
                json!({"tokenizer_kwargs": {"language": "de"}}),
                json!({}),
                "language \"de\"",
            ),
            (
                json!({"quick_gelu": true}),
                json!({"act_kwargs": {"approximate": "tanh"}}),
                json!({}),
                json!({}),
                "approximate",
            ),
            (json!({}), json!({}), json!({}), json!({"resize_mode": "wide"}), "resize_mode \"wide\""),
            (
                json!({}),
                json!({}),
                json!({}),
                json!({"interpolation": "lanczos"}),
                "interpolation \"lanczos\"",
            ),
            (json!({}), json!({}), json!({}), json!({"mode": "L"}), "mode \"L\""),
        ] {
            let error = parsed(&config(model, vision, text, preprocess)).unwrap_err();
            assert!(format!("{error:#}").contains(told), "{error:#} but not {told}");
        }
    }

    #[test]
    fn trunk_of_another_size_than_its_name_says_is_refused() {
        let vision = json!({"timm_model_name": "vit_base_patch16_siglip_224", "image_size": 256,
            "timm_pool": "map", "timm_proj": "none"});
        let told = parsed(&config(json!({}), vision, json!({}), json!({}))).unwrap_err().to_string();
        assert!(
            told.contains("image_size is 256, and vit_base_patch16_siglip_224 takes images of 224"),
            "{told}"
        );
    }
}
