//! clipclass's side of `compare.py` and `gpu.py`: loads a model once, then answers each line of stdin with the
//! milliseconds that it took.
//!
//! Arguments: model folder, file of labels (a JSON list), precision, threads, device (default: cpu).
//! Requests: `vision BATCH`, `text COUNT …`. Or `pixels`, threads, without a model; then all requests are
//! `pixels FILE`.

use anyhow::{Context, Result, bail};
use clipclass::hub::{ModelFiles, TokenizerFiles, WeightFiles};
use clipclass::model::Checkpoint;
use clipclass::model::config::read_transform;
use clipclass::model::device::DeviceChoice;
use clipclass::model::family::Family;
use clipclass::model::layout::Layout;
use clipclass::model::precision::Precision;
use clipclass::pixels::{Picture, Pixels};
use rayon::ThreadPoolBuilder;
use std::env::args;
use std::fs;
use std::hint::black_box;
use std::io::stdin;
use std::path::Path;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let arguments: Vec<_> = args().collect();
    // On a worker, as clipclass's pipeline does it: work shared from elsewhere starts later.
    let pool = |threads: &str| {
        Ok::<_, anyhow::Error>(ThreadPoolBuilder::new().num_threads(threads.parse()?).build()?)
    };
    match &arguments[..] {
        [_, what, threads] if what == "pixels" => pool(threads)?.install(serve_pixels),
        [_, folder, labels, precision, threads, device @ ..] => {
            let device = device.first().map_or("cpu", String::as_str).parse::<DeviceChoice>()?;
            pool(threads)?.install(|| serve(Path::new(folder), Path::new(labels), precision.parse()?, device))
        }
        _ => bail!("compare.py runs this: MODEL LABELS PRECISION THREADS [DEVICE], or pixels THREADS"),
    }
}

/// Decodes and resizes, as for CLIP.
fn serve_pixels() -> Result<()> {
    let transform = read_transform(None, Family::Clip, 224)?;
    println!("ready");
    for line in stdin().lines() {
        let line = line?;
        let file = line.strip_prefix("pixels ").context("all requests are `pixels FILE`")?;
        let start = Instant::now();
        let picture = Picture::decode(&fs::read(file)?)?;
        black_box(transform.apply(&picture)?);
        println!("{}", start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

fn serve(folder: &Path, labels: &Path, precision: Precision, device: DeviceChoice) -> Result<()> {
    let labels: Vec<String> = serde_json::from_str(&fs::read_to_string(labels)?)?;
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    let checkpoint = Checkpoint::open(&files(folder), &device.open()?, precision)?;
    let size = checkpoint.transform().image_size as usize;
    let (mut images, mut texts) = (None, None);
    let image = random_image(size);
    let mut pixels = Vec::new();

    println!("ready");
    for line in stdin().lines() {
        let line = line?;
        let (what, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let count = || rest.split(' ').next().unwrap_or_default().parse::<usize>();
        let start = match what {
            "vision" => {
                let encoder = match &mut images {
                    Some(encoder) => encoder,
                    none => none.insert(checkpoint.image_encoder()?),
                };
                pixels.resize(count()?, image.clone());
                let start = Instant::now();
                black_box(encoder.encode(&pixels)?);
                start
            }
            "text" => {
                let encoder = match &mut texts {
                    Some(encoder) => encoder,
                    none => none.insert(checkpoint.text_encoder()?),
                };
                let start = Instant::now();
                black_box(encoder.encode(&labels[..count()?])?);
                start
            }
            other => bail!("unknown request {other}"),
        };
        println!("{}", start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

fn files(folder: &Path) -> ModelFiles {
    let file = |name| folder.join(name);
    ModelFiles {
        name: folder.display().to_string(),
        layout: Layout::HuggingFace,
        config: file("config.json"),
        preprocessor: None,
        weights: WeightFiles::Safetensors(vec![file("model.safetensors")]),
        tokenizer: TokenizerFiles::Bpe { vocab: file("vocab.json"), merges: file("merges.txt") },
    }
}

/// Values between −2 and 2, without a dependency for them.
fn random_image(size: usize) -> Pixels {
    let mut state = 1u32;
    let value = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    };
    Pixels {
        height: size,
        width: size,
        values: std::iter::repeat_with(value).take(3 * size * size).collect(),
    }
}
