//! A checkpoint → its digest, and the key of the embeddings that it makes: what was computed, with
//! what, and on what.

use crate::cache::{EmbeddingCache, SpaceKey};
use crate::hub::{FileDigest, ModelDigest};
use crate::kernels;
use crate::model::Checkpoint;
use crate::pixels::{Filter, Resize, Transform};
use anyhow::Result;

/// The digest of a checkpoint's files, which `cache` remembers of those that did not change. One that
/// is [off](EmbeddingCache::off) has all of them read.
///
/// *Errors* when a file cannot be read, or was written to since it was opened.
pub fn digest(checkpoint: &Checkpoint, cache: &EmbeddingCache) -> Result<ModelDigest> {
    checkpoint.digest(|file| {
        let sha256 = || Ok(*file.sha256()?.bytes());
        cache.digest(file.file(), file.path(), sha256).map(FileDigest::from_bytes)
    })
}

/// Everything that changes a digit of an embedding: a home folder may serve several machines, so their
/// instructions are part of it.
pub fn key(checkpoint: &Checkpoint, digest: &ModelDigest) -> SpaceKey {
    // A field that is added to the transform has to be added here.
    let Transform { resize, filter, crop, rescale, mean, std, image_size } = checkpoint.transform();
    let (resize, size) = match resize {
        None => ("none", None),
        Some(Resize::ShortestEdge(short)) => ("shortest edge", Some((*short, *short))),
        Some(Resize::Exact { height, width }) => ("exact", Some((*height, *width))),
        Some(Resize::LongestEdge { long, fill }) => ("longest edge", Some((*long, u32::from(*fill)))),
    };
    SpaceKey::new()
        .field("model", *digest.bytes())
        .field("device", checkpoint.device_name().as_str())
        .field("precision", checkpoint.precision().name())
        .field("kernels", kernels::arithmetic().as_str())
        .field("decoders", decoders())
        .field("resize", (resize, size))
        .field("filter", filter_name(*filter))
        .field("crop", *crop)
        .field("rescale", *rescale)
        .field("mean", *mean)
        .field("std", *std)
        .field("image size", *image_size)
}

/// The instructions that decoders of images find by themselves.
fn decoders() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        return "avx2";
    }
    "portable"
}

fn filter_name(filter: Filter) -> &'static str {
    match filter {
        Filter::Nearest => "nearest",
        Filter::Lanczos => "lanczos",
        Filter::Bilinear => "bilinear",
        Filter::Bicubic => "bicubic",
        Filter::Box => "box",
        Filter::Hamming => "hamming",
    }
}
