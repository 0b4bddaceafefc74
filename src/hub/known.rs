//! Models worth knowing: a short name → its repository and what its publishers say of it.
//!
//! Accuracy is what was measured by those who publish a model, and is absent where they do not say.
//! Sizes are computed: four bytes for each parameter, since all of these keep 32-bit floats.

/// Where a figure is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FigureSource {
    /// `docs/openclip_results.csv` of github.com/mlfoundations/open_clip, of June 2026, which also has
    /// the numbers of parameters.
    OpenClip,
    /// `big_vision/configs/proj/image_text/README_siglip2.md` of github.com/google-research/big_vision.
    BigVision,
}

impl FigureSource {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenClip => "open_clip's results",
            Self::BigVision => "big_vision's SigLIP 2",
        }
    }
}

/// A model worth knowing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownModel {
    /// What `--model` may call it.
    pub name: &'static str,
    /// Where it is on the hub.
    pub repository: &'static str,
    /// How it was trained, or what for.
    pub family: &'static str,
    /// Millions of parameters.
    pub parameters_m: f32,
    /// Height and width of its images.
    pub image_size_px: u32,
    /// Accuracy on ImageNet without training on it, in percent, and who says so.
    pub imagenet: Option<(f32, FigureSource)>,
}

impl KnownModel {
    /// Bytes of its weights, and about those of a download.
    pub fn size_bytes(&self) -> u64 {
        (f64::from(self.parameters_m) * 4e6) as u64
    }
}

const fn measured(
    name: &'static str,
    repository: &'static str,
    family: &'static str,
    parameters_m: f32,
    image_size_px: u32,
    imagenet: (f32, FigureSource),
) -> KnownModel {
    KnownModel { name, repository, family, parameters_m, image_size_px, imagenet: Some(imagenet) }
}

const fn special(
    name: &'static str,
    repository: &'static str,
    family: &'static str,
    parameters_m: f32,
    image_size_px: u32,
) -> KnownModel {
    KnownModel { name, repository, family, parameters_m, image_size_px, imagenet: None }
}

use FigureSource::{BigVision, OpenClip};

/// All of them, each family from small to large.
pub const KNOWN_MODELS: &[KnownModel] = &[
    measured("clip-b32", "openai/clip-vit-base-patch32", "CLIP", 151.28, 224, (63.32, OpenClip)),
    measured("clip-b16", "openai/clip-vit-base-patch16", "CLIP", 149.62, 224, (68.34, OpenClip)),
    measured("clip-l14", "openai/clip-vit-large-patch14", "CLIP", 427.62, 224, (75.54, OpenClip)),
    measured("clip-l14-336", "openai/clip-vit-large-patch14-336", "CLIP", 427.94, 336, (76.56, OpenClip)),
    measured("laion-b32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "CLIP", 151.28, 224, (66.56, OpenClip)),
    measured("laion-b16", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "CLIP", 149.62, 224, (70.23, OpenClip)),
    measured("laion-l14", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K", "CLIP", 427.62, 224, (75.25, OpenClip)),
    measured("laion-h14", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "CLIP", 986.11, 224, (77.96, OpenClip)),
    measured("laion-g14", "laion/CLIP-ViT-g-14-laion2B-s34B-b88K", "CLIP", 1366.68, 224, (78.47, OpenClip)),
    measured(
        "datacomp-b32",
        "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
        "CLIP",
        151.29,
        256,
        (72.81, OpenClip),
    ),
    measured(
        "datacomp-b16",
        "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
        "CLIP",
        149.62,
        224,
        (73.49, OpenClip),
    ),
    measured(
        "datacomp-l14",
        "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        "CLIP",
        427.62,
        224,
        (79.21, OpenClip),
    ),
    measured("dfn-b16", "apple/DFN2B-CLIP-ViT-B-16", "CLIP", 149.62, 224, (76.24, OpenClip)),
    measured("dfn-l14", "apple/DFN2B-CLIP-ViT-L-14", "CLIP", 427.62, 224, (81.41, OpenClip)),
    measured("dfn-h14", "apple/DFN5B-CLIP-ViT-H-14", "CLIP", 986.11, 224, (83.44, OpenClip)),
    measured("metaclip-b32", "facebook/metaclip-b32-fullcc2.5b", "CLIP", 151.28, 224, (67.66, OpenClip)),
    measured("metaclip-b16", "facebook/metaclip-b16-fullcc2.5b", "CLIP", 149.62, 224, (72.12, OpenClip)),
    measured("metaclip-l14", "facebook/metaclip-l14-fullcc2.5b", "CLIP", 427.62, 224, (79.17, OpenClip)),
    measured("metaclip-h14", "facebook/metaclip-h14-fullcc2.5b", "CLIP", 986.11, 224, (80.51, OpenClip)),
    measured("siglip-b16", "google/siglip-base-patch16-224", "SigLIP", 203.16, 224, (76.04, OpenClip)),
    measured("siglip-b16-256", "google/siglip-base-patch16-256", "SigLIP", 203.2, 256, (76.53, OpenClip)),
    measured("siglip-l16-256", "google/siglip-large-patch16-256", "SigLIP", 652.15, 256, (80.45, OpenClip)),
    measured("siglip-so400m", "google/siglip-so400m-patch14-224", "SigLIP", 877.36, 224, (82.03, OpenClip)),
    measured(
        "siglip-so400m-384",
        "google/siglip-so400m-patch14-384",
        "SigLIP",
        877.96,
        384,
        (83.08, OpenClip),
    ),
    measured("siglip2-b32", "google/siglip2-base-patch32-256", "SigLIP 2", 376.86, 256, (74.0, BigVision)),
    measured("siglip2-b16", "google/siglip2-base-patch16-224", "SigLIP 2", 375.19, 224, (78.2, BigVision)),
    measured("siglip2-l16", "google/siglip2-large-patch16-256", "SigLIP 2", 881.53, 256, (82.5, BigVision)),
    measured(
        "siglip2-so400m",
        "google/siglip2-so400m-patch14-224",
        "SigLIP 2",
        1135.46,
        224,
        (83.2, BigVision),
    ),
    measured(
        "siglip2-so400m-384",
        "google/siglip2-so400m-patch14-384",
        "SigLIP 2",
        1136.01,
        384,
        (84.1, BigVision),
    ),
    special("fashion-clip", "patrickjohncyh/fashion-clip", "CLIP for clothes", 151.28, 224),
    special("streetclip", "geolocal/StreetCLIP", "CLIP for places", 427.94, 336),
    special("bioclip", "imageomics/bioclip", "CLIP for species", 149.62, 224),
    special("bioclip-2", "imageomics/bioclip-2", "CLIP for species", 427.62, 224),
];

/// The model of that short name.
pub fn known_model(name: &str) -> Option<&'static KnownModel> {
    KNOWN_MODELS.iter().find(|model| model.name.eq_ignore_ascii_case(name))
}

/// The short names that are nearest to one that is none, the nearest first; none where all are far.
/// Hyphens do not count.
pub(super) fn nearest_names(name: &str) -> Vec<&'static str> {
    let name = name.to_ascii_lowercase().replace('-', "");
    let far = name.len() / 3 + 1;
    let mut near: Vec<_> = KNOWN_MODELS
        .iter()
        .map(|model| (model.name.replace('-', ""), model.name))
        .map(|(known, full)| (!known.starts_with(&name), edits(&name, &known), full))
        .filter(|(is_other, edits, _)| *edits <= far || !is_other)
        .collect();
    near.sort();
    near.into_iter().map(|(.., name)| name).take(3).collect()
}

/// How many characters have to be put in, left out, changed or swapped with their neighbour to make
/// one text of another.
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<_>, Vec<_>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let changed = rows[i][j] + usize::from(a != b);
            let mut least = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from[i - 1] == *b && to[j - 1] == *a {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn short_names_and_repositories_are_each_given_once() {
        let names: BTreeSet<_> = KNOWN_MODELS.iter().map(|model| model.name).collect();
        let repositories: BTreeSet<_> = KNOWN_MODELS.iter().map(|model| model.repository).collect();
        assert_eq!((names.len(), repositories.len()), (KNOWN_MODELS.len(), KNOWN_MODELS.len()));
        // A name with a slash would be a repository's.
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')));
    }

    #[test]
    fn a_misspelt_short_name_is_told_its_nearest() {
        assert_eq!(edits("clpi-b32", "clip-b32"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(nearest_names("datacomp-b-32")[0], "datacomp-b32");
        assert_eq!(nearest_names("siglip2")[0], "siglip2-b16");
        assert_eq!(nearest_names("Bioclip2")[0], "bioclip-2");
        assert!(nearest_names("resnet50").is_empty());
    }
}
