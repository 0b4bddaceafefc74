//! How near the kernels come to what the processor can do. `kernels.py` runs this with every
//! instruction set of the machine, and looks at the machine code.
//!
//! Prints the peak of multiply-adds on one thread, measured beside each product, then GFLOPS and
//! their ratio to it. One thread: a product's tasks are alike. The largest of many short runs counts,
//! because a machine is rarely quiet for long.

use clipclass::kernels::{
    Bf16Matrix, Heads, Int8Matrix, Kernel, Simd, Weight, attention, dispatch, instructions, layer_norm,
    matmul, matmul_panels, require_bf16,
};
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// Rows, inputs and outputs: one image of ViT-B/32, then eight, then labels.
const PRODUCTS: [(usize, usize, usize); 6] =
    [(50, 768, 768), (50, 768, 3072), (50, 3072, 768), (400, 768, 3072), (400, 3072, 768), (32, 64, 20_000)];
/// Sequences, tokens, width and whether causal: ViT-B/32, B/16, L/14, L/14 at 336 pixels, text.
const ATTENTIONS: [(usize, usize, usize, bool); 5] = [
    (8, 50, 768, false),
    (2, 197, 768, false),
    (1, 257, 1024, false),
    (1, 577, 1024, false),
    (8, 77, 512, true),
];

fn main() -> anyhow::Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    println!("instructions: {}", instructions()?);
    pool.install(run);
    Ok(())
}

fn run() {
    for (rows, inputs, outputs) in PRODUCTS {
        let (x, values, bias) = (random(rows * inputs), random(inputs * outputs), random(outputs));
        let weight = Weight { values: &values, bias: Some(&bias), inputs };
        let int8 = Int8Matrix::quantize(&[weight]).expect("few inputs");
        let mut y = memory(rows * outputs);
        let what = format!("{rows} x {inputs} x {outputs}");
        let operations = 2 * rows * inputs * outputs;
        report(&format!("f32  {what}"), operations, || {
            matmul(&x, &[weight], None, &mut y);
        });
        report(&format!("int8 {what}"), operations, || {
            matmul_panels(&x, &int8, None, &mut y);
        });
        if require_bf16().is_ok() {
            let bf16 = Bf16Matrix::round(&[weight]);
            report(&format!("bf16 {what}"), operations, || {
                matmul_panels(&x, &bf16, None, &mut y);
            });
        }
    }
    for (sequences, tokens, width, causal) in ATTENTIONS {
        let qkv = random(sequences * tokens * 3 * width);
        let heads = Heads { tokens, width, heads: width / 64, causal, shared: 0 };
        let mut y = memory(sequences * tokens * width);
        let seen = if causal { tokens * (tokens + 1) / 2 } else { tokens * tokens };
        let what = if causal { ", causal" } else { "" };
        report(
            &format!("attention {sequences} x {tokens} x {width}{what}"),
            4 * sequences * seen * width,
            || {
                attention(&qkv, heads, None, &mut y);
            },
        );
    }
    let (x, weight, bias) = (random(400 * 768), random(768), random(768));
    let mut y = memory(x.len());
    report("layer norm 400 x 768", 8 * x.len(), || {
        layer_norm(&x, &weight, &bias, 1e-5, &mut y);
    });
}

/// The best of half a second, the peak measured in turns with it.
fn report(what: &str, operations: usize, mut run: impl FnMut()) {
    let (mut least, mut peak) = (f64::MAX, 0f64);
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        peak = peak.max(dispatch(Peak::<6>)).max(dispatch(Peak::<12>));
        let start = Instant::now();
        run();
        least = least.min(start.elapsed().as_secs_f64());
    }
    let gflops = operations as f64 / least / 1e9;
    println!("{what:28} {gflops:7.1} of {peak:6.1} GFLOPS {:5.0} %", 100.0 * gflops / peak);
}

/// Multiply-adds, `SUMS` at a time: enough that none waits for the one before, few enough for the registers.
struct Peak<const SUMS: usize>;

impl<const SUMS: usize> Kernel for Peak<SUMS> {
    /// GFLOPS.
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        const ROUNDS: usize = 20_000;
        let (factor, summand) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
        let mut sums = [simd.splat(1.0); SUMS];
        let start = Instant::now();
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add(*sum, factor, summand);
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let sum = sums.into_iter().fold(simd.splat(0.0), |sum, x| simd.add(sum, x));
        black_box(simd.sum(sum));
        (2 * ROUNDS * SUMS * S::LANES) as f64 / seconds / 1e9
    }
}

fn memory(len: usize) -> Vec<MaybeUninit<f32>> {
    vec![MaybeUninit::new(0.0); len]
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
