//! `preprocessor_config.json`, or what `processor_config.json` has under `image_processor`, → a
//! [`Transform`].

use crate::hub::{OpenFile, PreprocessorFile};
use crate::model::family::Family;
use crate::pixels::{Filter, Resize, Transform};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::sync::Arc;

/// Mean of OpenAI's training images, for each channel (`clip/clip.py`, `_transform`).
const OPENAI_MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
/// Standard deviation of OpenAI's training images, for each channel (`clip/clip.py`, `_transform`).
const OPENAI_STD: [f32; 3] = [0.26862954, 0.261_302_6, 0.275_777_1];

/// Mean and standard deviation of OpenAI's models.
pub(super) const OPENAI_NORMALISATION: ([f32; 3], [f32; 3]) = (OPENAI_MEAN, OPENAI_STD);
/// Mean and standard deviation of SigLIP (`transformers`, `IMAGENET_STANDARD_MEAN`).
const SIGLIP_NORMALISATION: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);

/// `processor_config.json`.
#[derive(Deserialize)]
struct ProcessorConfig {
    image_processor: PreprocessorConfig,
}

#[derive(Deserialize, Default)]
struct PreprocessorConfig {
    /// Whose defaults are meant.
    image_processor_type: Option<String>,
    do_resize: Option<bool>,
    do_center_crop: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    size: Option<Size>,
    crop_size: Option<Size>,
    resample: Option<u8>,
    rescale_factor: Option<f64>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

/// A size in its historical forms.
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum Size {
    Number(u32),
    ShortestEdge { shortest_edge: u32 },
    Sides { height: u32, width: u32 },
}

/// Reads how images are prepared for a network that takes `image_size` pixels; without a file it is
/// the family's way.
///
/// *Errors* when the file is malformed or its images would not fit the network.
pub fn read_transform(
    preprocessor: Option<&PreprocessorFile<Arc<OpenFile>>>,
    family: Family,
    image_size: usize,
) -> Result<Transform> {
    let Some(preprocessor) = preprocessor else {
        return transform_of(PreprocessorConfig::default(), family, image_size);
    };
    let file = preprocessor.file();
    let json = file.contents()?;
    let read = || {
        let config = match preprocessor {
            PreprocessorFile::Alone(_) => serde_json::from_slice(&json)?,
            PreprocessorFile::Nested(_) => serde_json::from_slice::<ProcessorConfig>(&json)?.image_processor,
        };
        transform_of(config, family, image_size)
    };
    read().with_context(|| format!("cannot use {}", file.path().display()))
}

fn transform_of(config: PreprocessorConfig, family: Family, image_size: usize) -> Result<Transform> {
    let image_size = u32::try_from(image_size)?;
    // The classes for arrays on a GPU have a longer name, and the same defaults.
    let defaults = match config.image_processor_type.as_deref() {
        Some(name) if name.starts_with("Siglip2") => {
            bail!("image_processor_type {name:?} makes images of any shape, which is not supported")
        }
        Some(name) if name.starts_with("Siglip") => Family::Siglip,
        Some(name) if name.starts_with("CLIP") => Family::Clip,
        _ => family,
    };
    let (size, crops, (mean, std)) = match defaults {
        Family::Clip => (Size::Number(image_size), true, OPENAI_NORMALISATION),
        Family::Siglip => {
            (Size::Sides { height: image_size, width: image_size }, false, SIGLIP_NORMALISATION)
        }
    };
    let resize = match config.size.unwrap_or(size) {
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
    let (mean, std) = if config.do_normalize.unwrap_or(true) {
        (config.image_mean.unwrap_or(mean), config.image_std.unwrap_or(std))
    } else {
        ([0.0; 3], [1.0; 3])
    };
    ensure!(std.iter().all(|std| *std > 0.0), "image_std {std:?} is not positive");
    let transform = Transform {
        resize: config.do_resize.unwrap_or(true).then_some(resize),
        filter,
        crop: config.do_center_crop.unwrap_or(crops).then_some(crop),
        rescale: if config.do_rescale.unwrap_or(true) {
            config.rescale_factor.unwrap_or(1.0 / 255.0)
        } else {
            1.0
        },
        mean,
        std,
        image_size,
    };
    let size = (image_size, image_size);
    let fits = match (transform.crop, transform.resize) {
        (Some(crop), _) => crop == size,
        (None, Some(Resize::Exact { height, width })) => (height, width) == size,
        // Whether an image fits is seen when it comes.
        (None, Some(Resize::ShortestEdge(_) | Resize::LongestEdge { .. }) | None) => true,
    };
    ensure!(fits, "its images do not have the network's size, {image_size} × {image_size} pixels");
    Ok(transform)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_transform(json: &str, image_size: usize) -> Result<Transform> {
        transform_of(serde_json::from_str(json)?, Family::Clip, image_size)
    }

    #[test]
    fn defaults_are_those_of_the_class_that_a_file_names_or_else_the_familys() {
        let siglip = read_transform(None, Family::Siglip, 256).unwrap();
        assert_eq!((siglip.resize, siglip.crop), (Some(Resize::Exact { height: 256, width: 256 }), None));
        assert_eq!((siglip.filter, siglip.mean, siglip.std), (Filter::Bicubic, [0.5; 3], [0.5; 3]));
        assert_eq!(
            parse_transform(r#"{"image_processor_type": "SiglipImageProcessor"}"#, 256).unwrap(),
            siglip
        );
        assert_eq!(
            parse_transform(r#"{"image_processor_type": "CLIPImageProcessorFast"}"#, 256).unwrap(),
            read_transform(None, Family::Clip, 256).unwrap()
        );
        let error = parse_transform(r#"{"image_processor_type": "Siglip2ImageProcessor"}"#, 256).unwrap_err();
        assert!(error.to_string().contains("Siglip2ImageProcessor"), "{error}");
    }

    #[test]
    fn without_a_preprocessor_config_the_transform_is_openais() {
        let transform = read_transform(None, Family::Clip, 224).unwrap();
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
