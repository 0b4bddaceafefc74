//! Layer normalisation.

use super::simd::{Kernel, Simd, dispatch};
use rayon::prelude::*;

/// Elements in one task.
const TASK_ELEMENTS: usize = 16 * 1024;

/// `y = (x - mean) / √(variance + eps) · weight + bias`, row by row.
///
/// *Shape* `x [R, E]`, `weight [E]`, `bias [E]`, `y [R, E]`.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let width = weight.len();
    assert!(bias.len() == width && x.len() == y.len() && x.len() % width == 0);
    let elements = width * (TASK_ELEMENTS / width).max(1);
    y.par_chunks_mut(elements)
        .zip(x.par_chunks(elements))
        .for_each(|(y, x)| dispatch(Rows { x, weight, bias, eps, y }));
}

struct Rows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.weight.len();
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            unsafe { row::<S>(x, self.weight, self.bias, self.eps, y) };
        }
    }
}

#[inline(always)]
unsafe fn row<S: Simd>(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let width = x.len();
    let whole = width - width % S::LANES;
    unsafe {
        let mut sum = S::splat(0.0);
        for i in (0..whole).step_by(S::LANES) {
            sum = S::add(sum, S::load(x.as_ptr().add(i)));
        }
        let sum = S::sum(sum) + x[whole..].iter().sum::<f32>();
        let mean = sum / width as f32;

        let minus_mean = S::splat(-mean);
        let mut squares = S::splat(0.0);
        for i in (0..whole).step_by(S::LANES) {
            let d = S::add(S::load(x.as_ptr().add(i)), minus_mean);
            squares = S::mul_add(d, d, squares);
        }
        let squares = S::sum(squares) + x[whole..].iter().map(|x| (x - mean).powi(2)).sum::<f32>();
        let scale = 1.0 / (squares / width as f32 + eps).sqrt();

        let (factor, zero) = (S::splat(scale), S::splat(0.0));
        for i in (0..whole).step_by(S::LANES) {
            let d = S::add(S::load(x.as_ptr().add(i)), minus_mean);
            let normal = S::mul_add(d, factor, zero);
            let (weight, bias) = (S::load(weight.as_ptr().add(i)), S::load(bias.as_ptr().add(i)));
            S::store(y.as_mut_ptr().add(i), S::mul_add(normal, weight, bias));
        }
        for i in whole..width {
            y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
        }
    }
}
