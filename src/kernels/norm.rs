//! Layer normalisation.

use super::simd::{Isa, Kernel, Simd, dispatch};
use rayon::prelude::*;

/// Elements in one task.
const TASK_ELEMENTS: usize = 16 * 1024;

/// `y = (x - mean) / √(variance + eps) · weight + bias`, row by row.
///
/// *Shape* `x [R, E]`, `weight [E]`, `bias [E]`, `y [R, E]`.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    layer_norm_on(Isa::of_this_machine(), x, weight, bias, eps, y);
}

fn layer_norm_on(isa: Isa, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let width = weight.len();
    assert!(bias.len() == width && x.len() == y.len() && x.len().is_multiple_of(width));
    let elements = width * (TASK_ELEMENTS / width).max(1);
    y.par_chunks_mut(elements)
        .zip(x.par_chunks(elements))
        .for_each(|(y, x)| dispatch(isa, Rows { x, weight, bias, eps, y }));
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

        let factor = S::splat(scale);
        for i in (0..whole).step_by(S::LANES) {
            let d = S::add(S::load(x.as_ptr().add(i)), minus_mean);
            let normal = S::mul(d, factor);
            let (weight, bias) = (S::load(weight.as_ptr().add(i)), S::load(bias.as_ptr().add(i)));
            S::store(y.as_mut_ptr().add(i), S::mul_add(normal, weight, bias));
        }
        for i in whole..width {
            y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::random;
    use super::*;

    #[test]
    fn every_instruction_set_normalises_any_width() {
        for (rows, width) in [(1, 1), (3, 7), (40, 16), (5, 768), (30, 1025)] {
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
            for isa in Isa::all_of_this_machine() {
                let mut y = vec![0.0; rows * width];
                layer_norm_on(isa, &x, &weight, &bias, 1e-5, &mut y);
                for (y, want) in y.iter().zip(&want) {
                    // An f32 near 30 has steps of 2e-6, and the deviation is near 0.6.
                    assert!((y - want).abs() < 3e-5, "{isa:?} {rows} × {width}: {y} is not {want}");
                }
            }
        }
    }
}
