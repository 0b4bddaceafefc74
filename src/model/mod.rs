//! A checkpoint's files → encoders of images and prompts into one embedding space.
//!
//! ```text
//! hub ─▶ config/, tokenizer, weights + layout ─▶ tower/ ─▶ layers/ ─▶ kernels/
//!                                                  ▲
//!                           family: what differs between kinds of models
//! ```
//!
//! The towers describe the network once, for every device and family. The layers below them know how
//! a step is best done: on a GPU with candle's operations, on a CPU with the `kernels`.

pub mod backend;
pub mod config;
pub mod device;
mod encoders;
pub mod family;
pub mod formula;
pub mod layers;
pub mod layout;
pub mod precision;
pub mod tokenizer;
pub mod tower;
pub mod weights;

pub use encoders::{Embeddings, EncodedPrompts, ImageEncoder, TextEncoder};

use crate::hub::{FileDigest, FileRole, ModelDigest, ModelFiles, OpenFile, PreprocessorFile, TokenizerFiles};
use crate::pixels::Transform;
use crate::score::Scoring;
use anyhow::{Context, Result};
use backend::Backend;
use candle_core::Device;
use config::ModelConfig;
use device::{DeviceTask, explain_memory};
use precision::Precision;
use std::io;
use std::sync::Arc;
use tokenizer::cleaning::TextCleaning;
use tokenizer::{PromptFormat, Tokenizer};
use tower::{TextTower, TextWeights, VisionTower, VisionWeights};
use weights::Weights;

/// A checkpoint whose configuration and tensors are known to fit, not yet loaded.
pub struct Checkpoint {
    config: ModelConfig,
    transform: Transform,
    scoring: Scoring,
    tokenizer: TokenizerFiles<Arc<OpenFile>>,
    text: TextWeights,
    vision: VisionWeights,
    /// All of the files, in a fixed order.
    files: Arc<[Arc<OpenFile>]>,
    backend: Backend,
    precision: Precision,
    /// What the user chose.
    text_cleaning: Option<TextCleaning>,
}

impl Checkpoint {
    /// Opens all files, reads the configuration and finds every tensor that the network needs.
    ///
    /// *Errors* when a file cannot be read, the configuration asks for what clipclass does not know,
    /// a tensor is missing or has another shape than the configuration says, or the device does not
    /// compute in that precision.
    pub fn open(files: &ModelFiles, device: &Device, precision: Precision) -> Result<Self> {
        let backend = Backend::of(device, precision)?;
        let config_file = Arc::new(OpenFile::open(FileRole::Config, &files.config)?);
        let preprocessor = files.preprocessor.as_ref().map(PreprocessorFile::open).transpose()?;
        let (config, transform) = ModelConfig::read(files.layout, &config_file, preprocessor.as_ref())?;
        let tokenizer = files.tokenizer.open()?;
        let weights = Weights::open(&files.weights, files.layout)?;
        let mut open = vec![config_file];
        open.extend(preprocessor.iter().map(|preprocessor| preprocessor.file().clone()));
        open.extend(tokenizer.all().into_iter().cloned());
        open.extend(weights.files().iter().cloned());
        let text = TextWeights::find(&weights, &config)?;
        let vision = VisionWeights::find(&weights, &config)?;
        let scoring = config.family.scoring(&weights)?;
        weights.check_all_used()?;
        Ok(Self {
            text,
            vision,
            scoring,
            config,
            transform,
            tokenizer,
            files: open.into(),
            backend,
            precision,
            text_cleaning: None,
        })
    }

    /// Has prompts cleaned in another way than the family was trained with.
    #[must_use]
    pub fn with_text_cleaning(self, text_cleaning: Option<TextCleaning>) -> Self {
        Self { text_cleaning, ..self }
    }

    /// How prompts are cleaned.
    pub fn text_cleaning(&self) -> TextCleaning {
        self.text_cleaning.unwrap_or_else(|| PromptFormat::of(&self.config).usual_cleaning())
    }

    /// How prompts are cleaned, if it is another way than the family was trained with.
    pub fn unusual_text_cleaning(&self) -> Option<TextCleaning> {
        let usual = PromptFormat::of(&self.config).usual_cleaning();
        self.text_cleaning.filter(|chosen| *chosen != usual)
    }

    /// How an image becomes the vision tower's input.
    pub fn transform(&self) -> &Transform {
        &self.transform
    }

    /// How cosines become probabilities.
    pub fn scoring(&self) -> Scoring {
        self.scoring
    }

    /// Width of an embedding, `D`.
    pub fn dim(&self) -> usize {
        self.config.projection_dim
    }

    /// The device that was opened, which `auto` does not name: `cpu`, `cuda:0`, `metal:0`.
    pub fn device_name(&self) -> String {
        device::name_of(self.backend.device())
    }

    /// What the network computes in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The digest of all files, of the very bytes that are open here.
    ///
    /// `compute` gives the digest of a file that is not a blob of the hub cache. It is asked for each
    /// and may [read](OpenFile::sha256) it, or remember that it did.
    ///
    /// *Errors* when a file cannot be read, or was written to since it was opened.
    pub fn digest(&self, compute: impl Fn(&OpenFile) -> io::Result<FileDigest>) -> Result<ModelDigest> {
        let digest = |file: &Arc<OpenFile>| {
            let digest = file.digest(&compute)?;
            file.check_unchanged()?;
            Ok((file.role(), digest))
        };
        Ok(ModelDigest::of(&self.files.iter().map(digest).collect::<Result<Vec<_>>>()?))
    }

    /// Reads every file whose name says what its content is, as the hub cache's do, and compares. Says how
    /// many those were.
    ///
    /// *Errors* when one is damaged.
    pub fn check_contents(&self) -> Result<usize> {
        let checked = self.files.iter().map(|file| file.check_content());
        Ok(checked.collect::<Result<Vec<_>>>()?.into_iter().filter(|was_named| *was_named).count())
    }

    /// Loads the tokenizer and the text tower.
    ///
    /// *Errors* when the tokenizer is malformed, or the device does not hold the tower.
    pub fn text_encoder(&self) -> Result<TextEncoder> {
        let format = PromptFormat::of(&self.config);
        let tokenizer = Tokenizer::read(&self.tokenizer, format, self.text_cleaning())?;
        let tower = TextTower::load(&self.text, &self.backend)
            .map_err(|error| explain_memory(error, DeviceTask::Tower))
            .context("cannot load the text tower")?;
        Ok(TextEncoder::new(tokenizer, tower, self.files.clone()))
    }

    /// Loads the vision tower.
    ///
    /// *Errors* when the device does not hold it.
    pub fn image_encoder(&self) -> Result<ImageEncoder> {
        let tower = VisionTower::load(&self.vision, &self.backend)
            .map_err(|error| explain_memory(error, DeviceTask::Tower))
            .context("cannot load the vision tower")?;
        Ok(ImageEncoder::new(tower, self.files.clone()))
    }
}
