//! Decoding and resizing, for a photo of a phone (12 megapixels) and one of the web.

use clipclass::model::config::read_transform;
use clipclass::model::family::Family;
use clipclass::pixels::Picture;
use criterion::{Criterion, criterion_group, criterion_main};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use std::hint::black_box;
use std::io::Cursor;

/// A JPEG with broad shapes and some noise, about as hard to decode as a photo.
fn photo(width: u32, height: u32) -> Vec<u8> {
    let mut state = 1u32;
    let picture = RgbImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 28) as f32;
        let wave = |scale: f32| 100.0 + 90.0 * (x as f32 / scale).sin() * (y as f32 / (scale + 9.0)).cos();
        Rgb([wave(13.0) + noise, wave(37.0) + noise, wave(111.0) + noise].map(|level| level as u8))
    });
    let mut bytes = Vec::new();
    DynamicImage::from(picture)
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Jpeg)
        .expect("writing to memory succeeds");
    bytes
}

fn pixels(criterion: &mut Criterion) {
    let transform = read_transform(None, Family::Clip, 224).expect("OpenAI's transform is valid");
    for (name, width, height) in [("500x375", 500, 375), ("4000x3000", 4000, 3000)] {
        let bytes = photo(width, height);
        let picture = Picture::decode(&bytes).expect("the photo is a JPEG");
        let mut group = criterion.benchmark_group(name);
        group.bench_function("decode", |bencher| bencher.iter(|| Picture::decode(black_box(&bytes))));
        group.bench_function("transform", |bencher| bencher.iter(|| transform.apply(black_box(&picture))));
    }
}

criterion_group!(benches, pixels);
criterion_main!(benches);
