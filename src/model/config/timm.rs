//! The vision towers of timm, which its names describe: `vit_base_patch16_siglip_256`.

use crate::model::layers::activation::Activation;

/// A Vision Transformer of timm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trunk {
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Width within a block's second half.
    pub inner: usize,
    pub patch_size: usize,
    pub image_size: usize,
    pub activation: Activation,
    pub layer_norm_eps: f32,
    pub kind: TrunkKind,
}

/// What a trunk was made for, which decides how it begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrunkKind {
    /// A class token, a normalisation before the blocks, patches without a bias.
    Clip,
    /// Patches with a bias; attention pooling.
    Siglip,
    /// Patches with a bias; their mean.
    SiglipMean,
}

/// Name, width, layers, heads, and how many times the width a block is wide within
/// (`timm/models/vision_transformer.py`, version 1.0.31).
const SIZES: &[(&str, usize, usize, usize, f64)] = &[
    ("xsmall", 256, 10, 4, 4.0),
    ("medium", 512, 12, 8, 4.0),
    ("betwixt", 640, 12, 10, 4.0),
    ("base", 768, 12, 12, 4.0),
    ("base_plus", 896, 12, 14, 4.0),
    ("large", 1024, 24, 16, 4.0),
    ("so400m", 1152, 27, 16, 3.7362),
    ("huge", 1280, 32, 16, 4.0),
    ("giant", 1408, 40, 16, 48.0 / 11.0),
    ("giantopt", 1536, 40, 16, 4.0),
    ("gigantic", 1664, 48, 16, 64.0 / 13.0),
];

/// The tower of that name; absent when it is of another kind.
pub(super) fn trunk(name: &str) -> Option<Trunk> {
    let (size, rest) = name.strip_prefix("vit_")?.split_once("_patch")?;
    let (patch_size, rest) = rest.split_once('_')?;
    let (kind, image_size) = rest.rsplit_once('_')?;
    let (patch_size, image_size) = (patch_size.parse().ok()?, image_size.parse().ok()?);
    let (kind, size, quick) = match kind {
        "clip" => (TrunkKind::Clip, size.to_owned(), false),
        "clip_quickgelu" => (TrunkKind::Clip, size.to_owned(), true),
        "plus_clip" => (TrunkKind::Clip, format!("{size}_plus"), false),
        "siglip" => (TrunkKind::Siglip, size.to_owned(), false),
        "siglip_gap" => (TrunkKind::SiglipMean, size.to_owned(), false),
        _ => return None,
    };
    let &(_, width, layers, heads, ratio) = SIZES.iter().find(|(name, ..)| *name == size)?;
    // Of SigLIP's those that came with SigLIP 2, whatever they are used for.
    let is_later = matches!(
        (size.as_str(), patch_size, image_size),
        ("base", 32, _) | ("large", _, 512) | ("so400m", 16, _) | ("giantopt", ..)
    );
    let activation = match kind {
        TrunkKind::Clip if quick => Activation::QuickGelu,
        TrunkKind::Siglip | TrunkKind::SiglipMean if is_later => Activation::GeluTanh,
        _ => Activation::Gelu,
    };
    let layer_norm_eps = if kind == TrunkKind::Clip { 1e-5 } else { 1e-6 };
    let inner = (width as f64 * ratio) as usize;
    Some(Trunk { width, layers, heads, inner, patch_size, image_size, activation, layer_norm_eps, kind })
}

/// What kind of tower a name of timm stands for that is not a [trunk](Trunk).
pub(super) fn kind_of(name: &str) -> String {
    const KINDS: &[(&str, &str)] = &[
        ("eva02", "an EVA02 tower"),
        ("eva", "an EVA tower"),
        ("vit_pe_", "a Perception Encoder's tower"),
        ("fastvit_mci", "a FastViT tower, as MobileCLIP's are,"),
        ("vit_base_mci", "a hybrid of convolutions and a ViT, as MobileCLIP-B's tower is,"),
        ("convnext", "a ConvNeXt tower"),
        ("vitamin", "a ViTamin tower"),
        ("swin", "a Swin tower"),
        ("resnet", "a ResNet tower"),
        ("vit_relpos", "a ViT with relative positions"),
    ];
    match KINDS.iter().find(|(start, _)| name.starts_with(start)) {
        Some((_, kind)) => (*kind).to_owned(),
        None => format!("a tower of timm's {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn trunks_are_what_timm_makes_of_their_names() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/golden/timm.json");
        let golden: Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
        let trunks = golden["trunks"].as_array().unwrap();
        assert!(trunks.len() >= 50);
        for golden in trunks {
            let name = golden["name"].as_str().unwrap();
            let trunk = trunk(name).unwrap_or_else(|| panic!("no {name}"));
            let number = |key: &str| golden[key].as_u64().unwrap() as usize;
            assert_eq!(
                [trunk.width, trunk.layers, trunk.heads, trunk.inner, trunk.patch_size, trunk.image_size],
                ["width", "layers", "heads", "inner", "patch_size", "image_size"].map(number),
                "{name}"
            );
            let activation = match golden["activation"].as_str().unwrap() {
                "QuickGELU" => Activation::QuickGelu,
                "GELU" => Activation::Gelu,
                "GELUTanh" => Activation::GeluTanh,
                other => panic!("{name}: {other}"),
            };
            assert_eq!(trunk.activation, activation, "{name}");
            assert_eq!(
                f64::from(trunk.layer_norm_eps) as f32,
                golden["eps"].as_f64().unwrap() as f32,
                "{name}"
            );
            let kind = match (golden["class_token"].as_bool().unwrap(), golden["pool"].as_str().unwrap()) {
                (true, "token") => TrunkKind::Clip,
                (false, "map") => TrunkKind::Siglip,
                (false, "avg") => TrunkKind::SiglipMean,
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(trunk.kind, kind, "{name}");
        }
    }

    #[test]
    fn other_towers_are_not_taken_for_trunks() {
        for name in [
            "vit_base_patch16_224",
            "vit_base_mci_224",
            "vit_pe_core_base_patch16_224",
            "vit_medium_patch16_gap_256",
            "vit_relpos_medium_patch16_cls_224",
            "eva02_base_patch16_clip_224",
            "convnext_base",
        ] {
            assert_eq!(trunk(name), None, "{name}");
        }
    }
}
