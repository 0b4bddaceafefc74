//! What `--precision int8` costs, on the model that knows drawings.

use anyhow::Result;
use candle_core::Device;
use clipclass::hub::{HubOptions, locate};
use clipclass::messages::Messages;
use clipclass::model::precision::Precision;
use clipclass::model::{Checkpoint, Embeddings};
use clipclass::pixels::Picture;
use std::fs;

const IMAGES: [&str; 6] = ["bird.bmp", "boat.png", "car.jpg", "cat.png", "dog.webp", "tree.jpg"];
const PROMPTS: [&str; 6] = [
    "a photo of a bird",
    "a photo of a boat",
    "a photo of a car",
    "a photo of a cat",
    "a photo of a dog",
    "a photo of a tree",
];

/// Embeddings of the images and of the prompts.
fn embed(precision: Precision) -> Result<[Embeddings; 2]> {
    let files = locate("fixtures/tiny-clip", &HubOptions::default(), &Messages::new(false))?;
    let checkpoint = Checkpoint::open(&files, &Device::Cpu, precision)?;
    let pixels = IMAGES.iter().map(|image| {
        let picture = Picture::decode(&fs::read(format!("fixtures/images/{image}"))?)?;
        Ok(checkpoint.transform().apply(&picture)?)
    });
    let images = checkpoint.image_encoder()?.encode(&pixels.collect::<Result<Vec<_>>>()?)?;
    Ok([images, checkpoint.text_encoder()?.encode(&PROMPTS)?.embeddings])
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn int8_stays_close_to_f32_and_gives_every_image_its_prompt() -> Result<()> {
    let exact = embed(Precision::F32)?;
    let [images, prompts] = embed(Precision::Int8)?;
    for (int8, exact) in [&images, &prompts].into_iter().zip(&exact) {
        assert!(int8 != exact, "int8 was not computed in integers");
        for (i, (int8, exact)) in int8.rows().zip(exact.rows()).enumerate() {
            // Measured: 0.9996 at least. One wrong scale costs far more.
            assert!(cosine(int8, exact) > 0.999, "embedding {i}: cosine {}", cosine(int8, exact));
        }
    }
    for (i, image) in images.rows().enumerate() {
        let best =
            prompts.rows().map(|prompt| cosine(image, prompt)).enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        assert_eq!(best.map(|best| PROMPTS[best.0]), Some(PROMPTS[i]));
    }
    Ok(())
}

#[test]
fn image_in_int8_has_the_same_embedding_alone_as_in_a_batch() -> Result<()> {
    let files = locate("fixtures/tiny-clip", &HubOptions::default(), &Messages::new(false))?;
    let checkpoint = Checkpoint::open(&files, &Device::Cpu, Precision::Int8)?;
    let encoder = checkpoint.image_encoder()?;
    let picture = |name: &str| -> Result<_> {
        let picture = Picture::decode(&fs::read(format!("fixtures/images/{name}"))?)?;
        Ok(checkpoint.transform().apply(&picture)?)
    };
    let pixels = IMAGES.into_iter().map(picture).collect::<Result<Vec<_>>>()?;
    let together = encoder.encode(&pixels)?;
    for (pixels, together) in pixels.iter().zip(together.rows()) {
        let alone = encoder.encode(std::slice::from_ref(pixels))?;
        let apart = alone.values.iter().zip(together).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= 1e-6, "the batch moved an embedding by {apart}");
    }
    Ok(())
}
