//! The network's parts at the sizes of ViT-B/32, on random weights: what to watch while a kernel
//! changes. `compare.py` says how the whole stands against others.

use clipclass::kernels::{
    Activation, Heads, Int8Matrix, Weight, attention, layer_norm, matmul, matmul_add, matmul_panels,
    matmul_panels_add,
};
use clipclass::score::{Classifier, Judgement, Scoring};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::mem::MaybeUninit;

/// Tokens of an image.
const TOKENS: usize = 50;
/// Width of a token.
const WIDTH: usize = 768;
/// Inputs and outputs of a block's products.
const LINEAR: [(&str, usize, usize); 4] =
    [("qkv", WIDTH, 3 * WIDTH), ("out", WIDTH, WIDTH), ("fc1", WIDTH, 4 * WIDTH), ("fc2", 4 * WIDTH, WIDTH)];
const BATCHES: [usize; 2] = [1, 8];

/// Memory for `len` results, which every iteration writes again.
fn memory(len: usize) -> Vec<MaybeUninit<f32>> {
    vec![MaybeUninit::new(0.0); len]
}

fn linear(c: &mut Criterion) {
    for (name, inputs, outputs) in LINEAR {
        let mut group = c.benchmark_group(format!("linear {name}"));
        let (values, bias) = (random(inputs * outputs), random(outputs));
        let weight = Weight { values: &values, bias: Some(&bias), inputs };
        let int8 = Int8Matrix::quantize(&[weight]).expect("few inputs");
        for batch in BATCHES {
            let x = random(batch * TOKENS * inputs);
            let mut y = memory(batch * TOKENS * outputs);
            group.throughput(Throughput::Elements((batch * TOKENS * inputs * outputs) as u64));
            group.bench_function(BenchmarkId::new("f32", batch), |b| {
                b.iter(|| {
                    matmul(&x, &[weight], None, &mut y);
                });
            });
            group.bench_function(BenchmarkId::new("int8", batch), |b| {
                b.iter(|| {
                    matmul_panels(&x, &int8, None, &mut y);
                });
            });
        }
    }
}

fn quantize(c: &mut Criterion) {
    let values = random(WIDTH * 4 * WIDTH);
    c.bench_function("quantize fc1", |b| {
        b.iter(|| Int8Matrix::quantize(&[Weight { values: &values, bias: None, inputs: WIDTH }]));
    });
}

fn between(c: &mut Criterion) {
    let (weight, bias) = (random(WIDTH), random(WIDTH));
    for batch in BATCHES {
        let rows = batch * TOKENS;
        let (qkv, mut y) = (random(rows * 3 * WIDTH), memory(rows * WIDTH));
        let heads = Heads { tokens: TOKENS, width: WIDTH, heads: 12, causal: false, shared: 0 };
        c.bench_function(&format!("attention/{batch}"), |b| {
            b.iter(|| {
                attention(&qkv, heads, None, &mut y);
            });
        });
        let x = random(rows * WIDTH);
        c.bench_function(&format!("layer norm/{batch}"), |b| {
            b.iter(|| {
                layer_norm(&x, &weight, &bias, 1e-5, &mut y);
            });
        });
    }
}

/// A block's steps, one after another.
fn block(c: &mut Criterion) {
    let weights = LINEAR.map(|(_, inputs, outputs)| (random(inputs * outputs), random(outputs), inputs));
    let weights =
        weights.each_ref().map(|(values, bias, inputs)| Weight { values, bias: Some(bias), inputs: *inputs });
    let int8 = weights.map(|weight| Int8Matrix::quantize(&[weight]).expect("few inputs"));
    let (weight, bias) = (random(WIDTH), random(WIDTH));
    for batch in BATCHES {
        let rows = batch * TOKENS;
        let heads = Heads { tokens: TOKENS, width: WIDTH, heads: 12, causal: false, shared: 0 };
        let mut x = random(rows * WIDTH);
        let [mut normal, mut mixed] = [(); 2].map(|()| memory(rows * WIDTH));
        let (mut qkv, mut inner) = (memory(rows * 3 * WIDTH), memory(rows * 4 * WIDTH));
        let gelu = Some(Activation::QuickGelu);
        c.bench_function(&format!("block f32/{batch}"), |b| {
            b.iter(|| {
                let normed = layer_norm(&x, &weight, &bias, 1e-5, &mut normal);
                let qkv = matmul(normed, &weights[..1], None, &mut qkv);
                let mixed = attention(qkv, heads, None, &mut mixed);
                matmul_add(mixed, &weights[1..2], &mut x);
                let normed = layer_norm(&x, &weight, &bias, 1e-5, &mut normal);
                let inner = matmul(normed, &weights[2..3], gelu, &mut inner);
                matmul_add(inner, &weights[3..], &mut x);
            });
        });
        c.bench_function(&format!("block int8/{batch}"), |b| {
            b.iter(|| {
                let normed = layer_norm(&x, &weight, &bias, 1e-5, &mut normal);
                let qkv = matmul_panels(normed, &int8[0], None, &mut qkv);
                let mixed = attention(qkv, heads, None, &mut mixed);
                matmul_panels_add(mixed, &int8[1], &mut x);
                let normed = layer_norm(&x, &weight, &bias, 1e-5, &mut normal);
                let inner = matmul_panels(normed, &int8[2], gelu, &mut inner);
                matmul_panels_add(inner, &int8[3], &mut x);
            });
        });
    }
}

/// An image's embedding against those of a thousand labels.
fn score(c: &mut Criterion) {
    const DIM: usize = 512;
    let classifier = Classifier::new(random(1000 * DIM), DIM, Scoring::Softmax { scale: 100.0 });
    let image = random(DIM);
    c.bench_function("score/1000 labels", |b| b.iter(|| classifier.judge(&image, &Judgement::default())));
}

/// Values between −1 and 1.
fn random(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let value = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(value).take(count).collect()
}

criterion_group!(network, linear, quantize, between, block, score);
criterion_main!(network);
