//! clipclass's side of `compare.py` and `gpu.py`: loads a model once, then answers each line of stdin with the
//! milliseconds that it took.
//!
//! Arguments: model folder, file of labels (a JSON list), precision, threads, device (default: cpu).
//! Requests: `vision BATCH`, `text COUNT …`, `pixels FILE`.

use anyhow::{Result, bail};
use clipclass::hub::{ModelFiles, TokenizerFiles, WeightFiles};
use clipclass::model::Checkpoint;
use clipclass::model::device::DeviceChoice;
use clipclass::model::layout::Layout;
use clipclass::model::precision::Precision;
use clipclass::pixels::{Picture, Pixels};
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
    let [_, folder, labels, precision, threads, device @ ..] = &arguments[..] else {
        bail!("compare.py runs this: MODEL LABELS PRECISION THREADS [DEVICE]");
    };
    let device = device.first().map_or("cpu", String::as_str).parse::<DeviceChoice>()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build()?;
    // On a worker, as clipclass's pipeline does it: work shared from elsewhere starts later.
    pool.install(|| serve(Path::new(folder), Path::new(labels), precision.parse()?, device))
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
            "pixels" => {
                let start = Instant::now();
                let picture = Picture::decode(&fs::read(rest)?)?;
                black_box(checkpoint.transform().apply(&picture)?);
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
