//! What this machine computes in a second.

use super::KernelSpeed;
use crate::kernels::{Bf16Matrix, Int8Matrix, Weight, collect, matmul, matmul_panels, require_bf16};
use crate::model::formula::uniform;
use crate::model::{Checkpoint, ImageEncoder};
use crate::pixels::Pixels;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// Token rows of eight images of ViT-B/32, and the sizes of its largest products.
const ROWS: usize = 8 * 50;
const INPUTS: usize = 768;
const OUTPUTS: usize = 4 * INPUTS;

/// How long a product is repeated.
const TIME: Duration = Duration::from_millis(150);

/// Images in a batch, as many as a run takes unless the user says otherwise.
pub(super) const BATCH: usize = 8;
/// Batches that are timed.
const BATCHES: usize = 3;
/// An image that takes longer is timed alone.
const SLOW_MS: f64 = 500.0;

/// Times the largest product of ViT-B/32, in batches of eight.
pub(super) fn of_kernels() -> KernelSpeed {
    let (x, values) = (uniform("rows", ROWS * INPUTS, 0), uniform("weight", INPUTS * OUTPUTS, 0));
    let weight = [Weight { values: &values, bias: None, inputs: INPUTS }];
    let operations = (2 * ROWS * INPUTS * OUTPUTS) as f64;
    let giga_a_second = |product: &dyn Fn()| operations / 1e6 / least_ms(product);
    let int8 = Int8Matrix::quantize(&weight);
    let bf16 = require_bf16().is_ok().then(|| Bf16Matrix::round(&weight));
    KernelSpeed {
        f32_gflops: giga_a_second(&|| drop(collect(ROWS * OUTPUTS, |y| matmul(&x, &weight, None, y)))),
        int8_gops: int8.map(|matrix| {
            giga_a_second(&|| drop(collect(ROWS * OUTPUTS, |y| matmul_panels(&x, &matrix, None, y))))
        }),
        bf16_gflops: bf16.map(|matrix| {
            giga_a_second(&|| drop(collect(ROWS * OUTPUTS, |y| matmul_panels(&x, &matrix, None, y))))
        }),
    }
}

/// The milliseconds of the fastest try: whatever else the machine does makes it slower.
fn least_ms(run: &dyn Fn()) -> f64 {
    // The first one wakes threads and fetches memory.
    run();
    let (start, mut least) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < TIME {
        least = least.min(ms_of(run));
    }
    least
}

fn ms_of(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64() * 1e3
}

/// The milliseconds that the vision tower takes for an image, in batches of [`BATCH`] or, where it is slow,
/// alone.
///
/// *Errors* when the tower cannot be loaded or run, or does not give numbers.
pub(super) fn of_model(checkpoint: &Checkpoint) -> Result<f64> {
    let encoder = checkpoint.image_encoder()?;
    let size = checkpoint.transform().image_size as usize;
    let image =
        |i| Pixels { height: size, width: size, values: uniform(&format!("pixels.{i}"), 3 * size * size, 0) };
    let images: Vec<_> = (0..BATCH).map(image).collect();
    encode(&encoder, &images[..1])?;
    let alone = encode(&encoder, &images[..1])?;
    if alone > SLOW_MS {
        return Ok(alone);
    }
    let mut times = (0..BATCHES).map(|_| encode(&encoder, &images)).collect::<Result<Vec<_>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[BATCHES / 2])
}

/// Embeds images, and gives the milliseconds that one takes.
fn encode(encoder: &ImageEncoder, images: &[Pixels]) -> Result<f64> {
    let mut encoded = None;
    let ms = ms_of(|| encoded = Some(encoder.encode(images)));
    let embeddings = encoded.transpose()?;
    let is_sound = |row: &[f32]| row.iter().all(|x| x.is_finite());
    ensure!(
        embeddings.is_some_and(|embeddings| is_sound(&embeddings.values)),
        "its embeddings are not made of numbers"
    );
    Ok(ms / images.len() as f64)
}
