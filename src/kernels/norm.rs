//! Layer normalisation.

use super::instructions::FloatSet;
use super::output::{SliceWriter, write_chunks};
use super::simd::{Kernel, Simd, dispatch_on};
use std::mem::MaybeUninit;

/// Elements in one task.
const TASK_ELEMENTS: usize = 16 * 1024;

/// `y = (x - mean) / √(variance + eps) · weight + bias`, row by row.
///
/// *Shape* `x [R, E]`, `weight [E]`, `bias [E]`, `y [R, E]`.
///
/// # Panics
///
/// If the shapes do not fit.
pub fn layer_norm<'y>(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    layer_norm_on(FloatSet::in_use(), x, weight, bias, eps, y)
}

pub(super) fn layer_norm_on<'y>(
    set: FloatSet,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    y: &'y mut [MaybeUninit<f32>],
) -> &'y mut [f32] {
    let width = weight.len();
    assert!(bias.len() == width && x.len() == y.len() && x.len().is_multiple_of(width));
    let elements = width * (TASK_ELEMENTS / width).max(1);
    write_chunks(y, elements, |i, y| {
        let x = &x[i * elements..][..y.len()];
        dispatch_on(set, NormRows { x, weight, bias, eps, y })
    })
}

struct NormRows<'a, 'y> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    y: &'y mut [MaybeUninit<f32>],
}

impl<'y> Kernel for NormRows<'_, 'y> {
    type Output = &'y mut [f32];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let mut y = SliceWriter::new(self.y);
        for x in self.x.chunks_exact(self.weight.len()) {
            row(simd, x, self.weight, self.bias, self.eps, &mut y);
        }
        y.finish()
    }
}

#[inline(always)]
fn row<S: Simd>(simd: S, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut SliceWriter) {
    let width = x.len();
    let vectors = x.chunks_exact(S::LANES);
    let rest = vectors.remainder();
    let mut sum = simd.splat(0.0);
    for x in vectors.clone() {
        sum = simd.add(sum, simd.load(x));
    }
    let sum = simd.sum(sum) + rest.iter().sum::<f32>();
    let mean = sum / width as f32;

    let minus_mean = simd.splat(-mean);
    let mut squares = simd.splat(0.0);
    for x in vectors.clone() {
        let d = simd.add(simd.load(x), minus_mean);
        squares = simd.mul_add(d, d, squares);
    }
    let squares = simd.sum(squares) + rest.iter().map(|x| (x - mean).powi(2)).sum::<f32>();
    let scale = 1.0 / (squares / width as f32 + eps).sqrt();

    let factor = simd.splat(scale);
    for ((x, weight), bias) in vectors.zip(weight.chunks_exact(S::LANES)).zip(bias.chunks_exact(S::LANES)) {
        let normal = simd.mul(simd.add(simd.load(x), minus_mean), factor);
        y.push_vector(simd, simd.mul_add(normal, simd.load(weight), simd.load(bias)));
    }
    for i in width - rest.len()..width {
        y.push((x[i] - mean) * scale * weight[i] + bias[i]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::collect;
    use super::*;
    use crate::random::random;

    #[test]
    fn every_instruction_set_normalises_any_width() {
        let sizes = [(1, 1), (3, 7), (40, 16), (5, 768), (30, 1025)];
        // An interpreter takes minutes for more.
        for &(rows, width) in if cfg!(miri) { &sizes[..2] } else { &sizes } {
            // Far from zero, where a careless variance loses its digits.
            let x: Vec<_> = random(rows * width, width as u32).iter().map(|x| x + 30.0).collect();
            let (weight, bias) = (random(width, 2), random(width, 3));
            let mut want = Vec::new();
            for x in x.chunks_exact(width) {
                let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
                let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width as f64;
                let normal = x.iter().map(|&x| (f64::from(x) - mean) / (variance + 1e-5).sqrt());
                want.extend(normal.zip(&weight).zip(&bias).map(|((x, w), b)| (x * f64::from(*w)) as f32 + b));
            }
            for set in FloatSet::all() {
                let y = collect(x.len(), |y| layer_norm_on(set, &x, &weight, &bias, 1e-5, y));
                for (y, want) in y.iter().zip(&want) {
                    // An f32 near 30 has steps of 2e-6, and the deviation is near 0.6.
                    assert!((y - want).abs() < 3e-5, "{set:?} {rows} × {width}: {y} is not {want}");
                }
            }
        }
    }
}
