//! A model name or folder → local files.

use anyhow::Result;
use std::path::PathBuf;

/// How to find a model that is not a local folder.
#[derive(Debug, Clone, Default)]
pub struct HubOptions {
    /// Branch, tag or commit; the repository's main branch when absent.
    pub revision: Option<String>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// Whether a download shows no progress.
    pub quiet: bool,
}

/// Finds the files of `model`, a folder or a repository, downloading what the cache lacks.
pub fn locate(_model: &str, _options: &HubOptions) -> Result<ModelFiles> {
    todo!()
}

/// The files of one model, all on the local disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// What the user called it: a repository id or a folder.
    pub name: String,
    /// `config.json`.
    pub config: PathBuf,
    /// `preprocessor_config.json`, where the model has one.
    pub preprocessor: Option<PathBuf>,
    pub weights: WeightFiles,
    pub tokenizer: TokenizerFiles,
}

/// Where the weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFiles {
    /// `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    Safetensors(Vec<PathBuf>),
    /// `pytorch_model.bin`.
    Pickle(PathBuf),
}

/// Where the tokenizer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerFiles {
    /// `tokenizer.json`.
    Json(PathBuf),
    /// `vocab.json` and `merges.txt`.
    Bpe { vocab: PathBuf, merges: PathBuf },
}

impl ModelFiles {
    /// The folder they are in.
    pub fn folder(&self) -> &std::path::Path {
        self.config.parent().expect("a file is in a folder")
    }

    /// Every file that says what the model computes, in a fixed order.
    pub fn paths(&self) -> Vec<&std::path::Path> {
        let mut paths = vec![self.config.as_path()];
        paths.extend(self.preprocessor.as_deref());
        match &self.tokenizer {
            TokenizerFiles::Json(path) => paths.push(path),
            TokenizerFiles::Bpe { vocab, merges } => paths.extend([vocab.as_path(), merges]),
        }
        match &self.weights {
            WeightFiles::Safetensors(files) => paths.extend(files.iter().map(PathBuf::as_path)),
            WeightFiles::Pickle(path) => paths.push(path),
        }
        paths
    }
}
