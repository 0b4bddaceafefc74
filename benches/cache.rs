//! Look-ups and writes of image embeddings, as many as a large folder has.
//!
//! `cargo bench --bench cache`; the goal is 20,000 known images a second, their files looked at.

use clipclass::cache::{DEFAULT_LIMIT_BYTES, EmbeddingCache, ImageKey, ModelEmbeddings, SpaceKey};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::fs::{self, File};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const IMAGES: usize = 100_000;
const DIM: usize = 512;
/// How many images the pipeline asks for at a time.
const CHUNK: usize = 256;

fn open(folder: &Path) -> ModelEmbeddings {
    let cache = EmbeddingCache::open(folder, DEFAULT_LIMIT_BYTES, |text| panic!("{text}"));
    cache.of_model("bench", DIM, SpaceKey::new())
}

/// Files of a few bytes, changed long enough ago to be known by their marks.
fn make_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let then = SystemTime::now() - Duration::from_secs(60);
    let make = |i: usize| {
        let path = folder.join((i / 1000).to_string()).join(format!("{i}.jpg"));
        fs::create_dir_all(folder.join((i / 1000).to_string()))?;
        fs::write(&path, i.to_string())?;
        File::options().write(true).open(&path)?.set_modified(then)?;
        Ok(path)
    };
    (0..IMAGES).map(make).collect()
}

fn embedding(i: usize) -> Vec<f32> {
    (0..DIM).map(|d| ((i + d) as f32).sin()).collect()
}

fn look_up(cache: &ModelEmbeddings, keys: impl Iterator<Item = ImageKey>) {
    let keys: Vec<_> = keys.collect();
    assert!(black_box(cache.images(&keys)).iter().all(Option::is_some));
}

fn cache(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = make_files(&folder.path().join("images")).expect("files");
    let database = folder.path().join("cache");

    let mut group = criterion.benchmark_group("cache");
    group.sample_size(10);
    group.throughput(Throughput::Elements(IMAGES as u64));
    group.bench_function("keep", |bencher| {
        bencher.iter(|| {
            let cache = open(&database);
            for (i, path) in files.iter().enumerate() {
                let key = ImageKey::of_file(path).with_bytes(i.to_string().as_bytes());
                cache.keep_image(&key, &embedding(i));
            }
        });
    });
    group.bench_function("known files", |bencher| {
        bencher.iter(|| {
            let cache = open(&database);
            files
                .chunks(CHUNK)
                .for_each(|files| look_up(&cache, files.iter().map(|path| ImageKey::of_file(path))));
        });
    });
    group.bench_function("known contents", |bencher| {
        bencher.iter(|| {
            let cache = open(&database);
            for start in (0..IMAGES).step_by(CHUNK) {
                let end = IMAGES.min(start + CHUNK);
                look_up(&cache, (start..end).map(|i| ImageKey::of_bytes(i.to_string().as_bytes())));
            }
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("open and one known file", |bencher| {
        bencher.iter(|| look_up(&open(&database), files[..1].iter().map(|path| ImageKey::of_file(path))));
    });
    group.finish();
}

criterion_group!(benches, cache);
criterion_main!(benches);
