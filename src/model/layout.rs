//! A tensor's canonical name → where and how a checkpoint keeps it.
//!
//! The towers ask for tensors by canonical names, which are the same for every checkpoint:
//!
//! ```text
//! logit_scale, logit_bias
//! {text,vision}.blocks.N.{norm1,query,key,value,out,norm2,fc1,fc2}.{weight,bias}
//! {text,vision}.blocks.N.{scale1,scale2}                         {text,vision}.projection.{weight,bias}
//! text.{token_embedding,position_embedding}.weight               text.final_norm.{weight,bias}
//! vision.class_embedding                                         vision.patch_embedding.{weight,bias}
//! vision.position_embedding.weight                               vision.{pre_norm,post_norm}.{weight,bias}
//! vision.pool.probe                                              vision.pool.{query,key,value,out,norm,fc1,fc2}.{weight,bias}
//! ```
//!
//! A layout may keep one in several ways; a checkpoint has one of them.

/// The canonical name of the trained factor of a cosine.
pub const LOGIT_SCALE: &str = "logit_scale";
/// The canonical name of what is added to a scaled cosine before its sigmoid.
pub const LOGIT_BIAS: &str = "logit_bias";

/// How a checkpoint keeps its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// As `CLIPModel` and `SiglipModel` of Hugging Face's transformers.
    HuggingFace,
    /// As open_clip: the text tower with or without `text.` before its names, the vision tower its own
    /// or, under `visual.trunk.`, timm's.
    OpenClip,
}

/// A way in which a checkpoint may keep a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name there.
    pub name: String,
    /// What of that tensor is meant.
    pub form: StoredForm,
}

/// What of a stored tensor is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredForm {
    /// All of it, as it is.
    Whole,
    /// All of it, `[inputs, outputs]` instead of `[outputs, inputs]`.
    Transposed,
    /// One of so many equal parts that follow one another along the first dimension.
    Part { index: usize, of: usize },
}

use StoredForm::{Part, Transposed, Whole};

/// What begins a canonical name, what begins it in the checkpoint, and the names of parts below it.
type Rule = (&'static str, &'static str, Parts);

/// A part of a block, its name in the checkpoint, and what of that tensor it is.
type Parts = &'static [(&'static str, &'static str, StoredForm)];

/// How a whole name is kept that does not end in a part.
const NAME: Parts = &[("", "", Whole)];

/// The same, of a matrix that is multiplied from the other side and called without `.weight`.
const RIGHT_FACTOR: Parts = &[("weight", "", Transposed)];

const HUGGING_FACE: &[Rule] = &[
    ("logit_scale", "logit_scale", NAME),
    ("logit_bias", "logit_bias", NAME),
    ("text.token_embedding", "text_model.embeddings.token_embedding", NAME),
    ("text.position_embedding", "text_model.embeddings.position_embedding", NAME),
    ("text.blocks", "text_model.encoder.layers", HUGGING_FACE_BLOCK),
    ("text.final_norm", "text_model.final_layer_norm", NAME),
    ("text.projection", "text_projection", NAME),
    // Of SigLIP.
    ("text.projection", "text_model.head", NAME),
    ("vision.class_embedding", "vision_model.embeddings.class_embedding", NAME),
    ("vision.patch_embedding", "vision_model.embeddings.patch_embedding", NAME),
    ("vision.position_embedding", "vision_model.embeddings.position_embedding", NAME),
    // The spelling is the checkpoints' own.
    ("vision.pre_norm", "vision_model.pre_layrnorm", NAME),
    ("vision.blocks", "vision_model.encoder.layers", HUGGING_FACE_BLOCK),
    ("vision.post_norm", "vision_model.post_layernorm", NAME),
    ("vision.pool", "vision_model.head", HUGGING_FACE_POOL),
    ("vision.projection", "visual_projection", NAME),
];

const HUGGING_FACE_BLOCK: Parts = &[
    ("norm1", "layer_norm1", Whole),
    ("query", "self_attn.q_proj", Whole),
    ("key", "self_attn.k_proj", Whole),
    ("value", "self_attn.v_proj", Whole),
    ("out", "self_attn.out_proj", Whole),
    ("norm2", "layer_norm2", Whole),
    ("fc1", "mlp.fc1", Whole),
    ("fc2", "mlp.fc2", Whole),
];

const HUGGING_FACE_POOL: Parts = &[
    ("probe", "probe", Whole),
    ("query.weight", "attention.in_proj_weight", Part { index: 0, of: 3 }),
    ("key.weight", "attention.in_proj_weight", Part { index: 1, of: 3 }),
    ("value.weight", "attention.in_proj_weight", Part { index: 2, of: 3 }),
    ("query.bias", "attention.in_proj_bias", Part { index: 0, of: 3 }),
    ("key.bias", "attention.in_proj_bias", Part { index: 1, of: 3 }),
    ("value.bias", "attention.in_proj_bias", Part { index: 2, of: 3 }),
    ("out", "attention.out_proj", Whole),
    ("norm", "layernorm", Whole),
    ("fc1", "mlp.fc1", Whole),
    ("fc2", "mlp.fc2", Whole),
];

const OPEN_CLIP: &[Rule] = &[
    ("logit_scale", "logit_scale", NAME),
    ("logit_bias", "logit_bias", NAME),
    ("text.token_embedding", "token_embedding", NAME),
    ("text.token_embedding", "text.token_embedding", NAME),
    ("text.position_embedding.weight", "positional_embedding", NAME),
    ("text.position_embedding.weight", "text.positional_embedding", NAME),
    ("text.blocks", "transformer.resblocks", OPEN_CLIP_BLOCK),
    ("text.blocks", "text.transformer.resblocks", OPEN_CLIP_BLOCK),
    ("text.final_norm", "ln_final", NAME),
    ("text.final_norm", "text.ln_final", NAME),
    ("text.projection", "text_projection", RIGHT_FACTOR),
    ("text.projection", "text.text_projection", RIGHT_FACTOR),
    // With a bias it is a layer like any other.
    ("text.projection", "text_projection", NAME),
    ("text.projection", "text.text_projection", NAME),
    ("vision.class_embedding", "visual.class_embedding", NAME),
    ("vision.patch_embedding", "visual.conv1", NAME),
    ("vision.position_embedding.weight", "visual.positional_embedding", NAME),
    ("vision.pre_norm", "visual.ln_pre", NAME),
    ("vision.blocks", "visual.transformer.resblocks", OPEN_CLIP_BLOCK),
    ("vision.post_norm", "visual.ln_post", NAME),
    ("vision.projection", "visual.proj", RIGHT_FACTOR),
    ("vision.class_embedding", "visual.trunk.cls_token", NAME),
    ("vision.patch_embedding", "visual.trunk.patch_embed.proj", NAME),
    ("vision.position_embedding.weight", "visual.trunk.pos_embed", NAME),
    ("vision.pre_norm", "visual.trunk.norm_pre", NAME),
    ("vision.blocks", "visual.trunk.blocks", TIMM_BLOCK),
    ("vision.post_norm", "visual.trunk.norm", NAME),
    // After the mean of all patches.
    ("vision.post_norm", "visual.trunk.fc_norm", NAME),
    ("vision.pool", "visual.trunk.attn_pool", TIMM_POOL),
    ("vision.projection", "visual.trunk.head", NAME),
    ("vision.projection", "visual.head.proj", NAME),
];

const OPEN_CLIP_BLOCK: Parts = &[
    ("norm1", "ln_1", Whole),
    ("query.weight", "attn.in_proj_weight", Part { index: 0, of: 3 }),
    ("key.weight", "attn.in_proj_weight", Part { index: 1, of: 3 }),
    ("value.weight", "attn.in_proj_weight", Part { index: 2, of: 3 }),
    ("query.bias", "attn.in_proj_bias", Part { index: 0, of: 3 }),
    ("key.bias", "attn.in_proj_bias", Part { index: 1, of: 3 }),
    ("value.bias", "attn.in_proj_bias", Part { index: 2, of: 3 }),
    ("out", "attn.out_proj", Whole),
    ("scale1", "ls_1.gamma", Whole),
    ("norm2", "ln_2", Whole),
    ("fc1", "mlp.c_fc", Whole),
    ("fc2", "mlp.c_proj", Whole),
    ("scale2", "ls_2.gamma", Whole),
];

const TIMM_BLOCK: Parts = &[
    ("norm1", "norm1", Whole),
    ("query", "attn.qkv", Part { index: 0, of: 3 }),
    ("key", "attn.qkv", Part { index: 1, of: 3 }),
    ("value", "attn.qkv", Part { index: 2, of: 3 }),
    ("out", "attn.proj", Whole),
    ("norm2", "norm2", Whole),
    ("fc1", "mlp.fc1", Whole),
    ("fc2", "mlp.fc2", Whole),
];

const TIMM_POOL: Parts = &[
    ("probe", "latent", Whole),
    ("query", "q", Whole),
    ("key", "kv", Part { index: 0, of: 2 }),
    ("value", "kv", Part { index: 1, of: 2 }),
    ("out", "proj", Whole),
    ("norm", "norm", Whole),
    ("fc1", "mlp.fc1", Whole),
    ("fc2", "mlp.fc2", Whole),
];

impl Layout {
    /// Every way in which a checkpoint may keep the tensor with this canonical name.
    pub fn stored(self, canonical: &str) -> Vec<Stored> {
        let rules = match self {
            Self::HuggingFace => HUGGING_FACE,
            Self::OpenClip => OPEN_CLIP,
        };
        rules.iter().filter_map(|rule| apply(rule, canonical)).collect()
    }

    /// Whether a tensor that no tower asks for changes nothing: buffers that old files have.
    pub fn is_idle(self, name: &str) -> bool {
        match self {
            // A folder may have more than the model, as a classifier's head.
            Self::HuggingFace => true,
            Self::OpenClip => {
                let last = name.rsplit('.').next().unwrap_or(name);
                ["attn_mask", "position_ids", "input_resolution", "context_length", "vocab_size"]
                    .contains(&last)
            }
        }
    }
}

fn apply((from, to, parts): &Rule, canonical: &str) -> Option<Stored> {
    let rest = after(canonical, from)?;
    // The number of a block stands before its part.
    let (number, rest) = match rest.split_once('.') {
        Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => (Some(number), rest),
        _ => (None, rest),
    };
    parts.iter().find_map(|(part, name, form)| {
        let rest = after(rest, part)?;
        let words = [Some(*to), number, Some(*name), Some(rest)];
        let words: Vec<_> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
        Some(Stored { name: words.join("."), form: *form })
    })
}

/// What of a dotted name comes after `start`, if it begins with that.
fn after<'a>(name: &'a str, start: &str) -> Option<&'a str> {
    match name.strip_prefix(start)? {
        "" => Some(""),
        rest if start.is_empty() => Some(rest),
        rest => rest.strip_prefix('.'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(layout: Layout, canonical: &str) -> Vec<String> {
        layout.stored(canonical).into_iter().map(|stored| stored.name).collect()
    }

    #[test]
    fn canonical_names_are_found_under_those_of_transformers() {
        for (canonical, name) in [
            (LOGIT_SCALE, "logit_scale"),
            ("vision.class_embedding", "vision_model.embeddings.class_embedding"),
            ("vision.patch_embedding.weight", "vision_model.embeddings.patch_embedding.weight"),
            ("vision.pre_norm.bias", "vision_model.pre_layrnorm.bias"),
            ("vision.projection.weight", "visual_projection.weight"),
            ("text.blocks.11.query.bias", "text_model.encoder.layers.11.self_attn.q_proj.bias"),
            ("vision.blocks.0.fc2.weight", "vision_model.encoder.layers.0.mlp.fc2.weight"),
            ("vision.blocks.3.norm1.weight", "vision_model.encoder.layers.3.layer_norm1.weight"),
            ("vision.pool.probe", "vision_model.head.probe"),
            ("vision.pool.norm.bias", "vision_model.head.layernorm.bias"),
            ("vision.pool.value.bias", "vision_model.head.attention.in_proj_bias"),
        ] {
            assert_eq!(names(Layout::HuggingFace, canonical), [name]);
        }
        assert_eq!(
            names(Layout::HuggingFace, "text.projection.weight"),
            ["text_projection.weight", "text_model.head.weight"]
        );
    }

    #[test]
    fn canonical_names_are_found_under_those_of_open_clip_and_timm() {
        let both = |canonical: &str| names(Layout::OpenClip, canonical);
        assert_eq!(
            both("text.blocks.2.key.weight"),
            [
                "transformer.resblocks.2.attn.in_proj_weight",
                "text.transformer.resblocks.2.attn.in_proj_weight"
            ]
        );
        assert_eq!(
            both("vision.blocks.10.value.bias"),
            ["visual.transformer.resblocks.10.attn.in_proj_bias", "visual.trunk.blocks.10.attn.qkv.bias"]
        );
        assert_eq!(
            both("text.position_embedding.weight"),
            ["positional_embedding", "text.positional_embedding"]
        );
        assert_eq!(
            both("vision.projection.weight"),
            ["visual.proj", "visual.trunk.head.weight", "visual.head.proj.weight"]
        );
        assert_eq!(both("vision.projection.bias"), ["visual.trunk.head.bias", "visual.head.proj.bias"]);
        assert_eq!(both("vision.pool.key.weight"), ["visual.trunk.attn_pool.kv.weight"]);
        assert_eq!(both("vision.blocks.0.scale1"), ["visual.transformer.resblocks.0.ls_1.gamma"]);
    }

    #[test]
    fn fused_matrices_are_taken_apart_and_right_factors_transposed() {
        let form = |canonical: &str| Layout::OpenClip.stored(canonical)[0].form;
        assert_eq!(form("vision.blocks.0.value.weight"), Part { index: 2, of: 3 });
        assert_eq!(form("vision.pool.value.bias"), Part { index: 1, of: 2 });
        assert_eq!(form("vision.projection.weight"), Transposed);
        assert_eq!(form("vision.blocks.0.out.weight"), Whole);
    }
}
