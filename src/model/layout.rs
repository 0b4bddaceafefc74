//! A tensor's canonical name → the name that a checkpoint keeps it under.
//!
//! The towers ask for tensors by canonical names, which are the same for every checkpoint:
//!
//! ```text
//! logit_scale
//! {text,vision}.blocks.N.{norm1,query,key,value,out,norm2,fc1,fc2}.{weight,bias}
//! text.{token_embedding,position_embedding,projection}.weight    text.final_norm.{weight,bias}
//! vision.class_embedding                                         vision.{pre_norm,post_norm}.{weight,bias}
//! vision.{patch_embedding,position_embedding,projection}.weight
//! ```

/// The canonical name of the trained factor of a cosine.
pub const LOGIT_SCALE: &str = "logit_scale";

/// How a checkpoint keeps its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// As the `CLIPModel` of Hugging Face's transformers.
    HuggingFace,
}

/// What begins a canonical name, and what begins it in transformers.
const HUGGING_FACE: &[(&str, &str)] = &[
    ("text.token_embedding", "text_model.embeddings.token_embedding"),
    ("text.position_embedding", "text_model.embeddings.position_embedding"),
    ("text.blocks", "text_model.encoder.layers"),
    ("text.final_norm", "text_model.final_layer_norm"),
    ("text.projection", "text_projection"),
    ("vision.class_embedding", "vision_model.embeddings.class_embedding"),
    ("vision.patch_embedding", "vision_model.embeddings.patch_embedding"),
    ("vision.position_embedding", "vision_model.embeddings.position_embedding"),
    // The spelling is the checkpoints' own.
    ("vision.pre_norm", "vision_model.pre_layrnorm"),
    ("vision.blocks", "vision_model.encoder.layers"),
    ("vision.post_norm", "vision_model.post_layernorm"),
    ("vision.projection", "visual_projection"),
];

/// A part of a block, and its name in transformers.
const HUGGING_FACE_BLOCK: &[(&str, &str)] = &[
    ("norm1", "layer_norm1"),
    ("query", "self_attn.q_proj"),
    ("key", "self_attn.k_proj"),
    ("value", "self_attn.v_proj"),
    ("out", "self_attn.out_proj"),
    ("norm2", "layer_norm2"),
    ("fc1", "mlp.fc1"),
    ("fc2", "mlp.fc2"),
];

impl Layout {
    /// The name in the checkpoint of the tensor with this canonical name.
    pub fn name_of(self, canonical: &str) -> String {
        match self {
            Self::HuggingFace => hugging_face(canonical).unwrap_or_else(|| canonical.to_owned()),
        }
    }
}

fn hugging_face(canonical: &str) -> Option<String> {
    HUGGING_FACE.iter().find_map(|(from, to)| match canonical.strip_prefix(from)? {
        "" => Some((*to).to_owned()),
        rest => {
            let rest = rest.strip_prefix('.')?;
            Some(format!("{to}.{}", in_block(rest).as_deref().unwrap_or(rest)))
        }
    })
}

/// `N.part.rest` with the part's name in transformers.
fn in_block(name: &str) -> Option<String> {
    let (block, name) = name.split_once('.')?;
    let (part, rest) = name.split_once('.')?;
    let (_, part) = HUGGING_FACE_BLOCK.iter().find(|(from, _)| *from == part)?;
    Some(format!("{block}.{part}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_names_are_found_under_those_of_transformers() {
        for (canonical, name) in [
            (LOGIT_SCALE, "logit_scale"),
            ("vision.class_embedding", "vision_model.embeddings.class_embedding"),
            ("vision.patch_embedding.weight", "vision_model.embeddings.patch_embedding.weight"),
            ("vision.pre_norm.bias", "vision_model.pre_layrnorm.bias"),
            ("vision.projection.weight", "visual_projection.weight"),
            ("text.projection.weight", "text_projection.weight"),
            ("text.blocks.11.query.bias", "text_model.encoder.layers.11.self_attn.q_proj.bias"),
            ("vision.blocks.0.fc2.weight", "vision_model.encoder.layers.0.mlp.fc2.weight"),
            ("vision.blocks.3.norm1.weight", "vision_model.encoder.layers.3.layer_norm1.weight"),
        ] {
            assert_eq!(Layout::HuggingFace.name_of(canonical), name);
        }
    }
}
