//! Products in 8-bit integers.
//!
//! A weight matrix has one scale for each output, found when it is loaded; `x` has one for each
//! row, found when it comes. Products of integers are summed exactly, so every instruction set
//! gives the same sums, and a row the same result alone as among others.

use super::instructions::Int8Set;
use super::matmul::Weight;
use super::panels::{InTiles, Narrow, PANEL, PanelMatrix, PanelProduct};
use super::simd::portable::Portable;
use super::simd::{DotSimd, Factors, Simd, Work};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::{panels::InMatrixUnit, simd::amx::MatrixUnit};

/// The most elements whose products, each at most 255 · 127, an i32 can sum.
const MAX_DEPTH: usize = 1 << 16;

/// 8-bit integers and their scales.
pub struct Int8;

/// Weight matrices side by side, quantised.
pub type Int8Matrix = PanelMatrix<Int8>;

impl Int8Matrix {
    /// Quantises matrices whose outputs follow one another; absent where the sums could overflow.
    ///
    /// # Panics
    ///
    /// If the matrices differ in their inputs.
    pub fn quantize(weights: &[Weight]) -> Option<Self> {
        (weights[0].inputs <= MAX_DEPTH).then(|| Self::of(weights))
    }
}

/// Of the columns of a panel.
#[derive(Default)]
pub struct Int8Columns {
    /// What a sum is multiplied with.
    scales: [f32; PANEL],
    /// −128 times the sum of a column's values: where sums start if `x` is taken as `x + 128`.
    offsets: [i32; PANEL],
}

impl Narrow for Int8 {
    type Set = Int8Set;
    type Sum = i32;
    type Columns = Int8Columns;
    /// What a row's sums are multiplied with.
    type Row = f32;
    const PER_WORD: usize = 4;

    fn set_in_use() -> Int8Set {
        Int8Set::in_use()
    }

    fn factors(set: Int8Set) -> Factors {
        fn of<D: DotSimd>(_: D) -> Factors {
            D::FACTORS
        }
        match set {
            Int8Set::Portable => of(Portable),
            #[cfg(target_arch = "x86_64")]
            Int8Set::Avx2(token) => of(token),
            #[cfg(target_arch = "x86_64")]
            Int8Set::AvxVnni(token) => of(token),
            #[cfg(target_arch = "x86_64")]
            Int8Set::Avx512Vnni(token) => of(token),
            #[cfg(target_arch = "aarch64")]
            Int8Set::NeonDot(token) => of(token),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Int8Set::Amx(_) => Factors::Signed,
        }
    }

    #[inline(always)]
    fn write_weights(weights: &[f32], to: &mut [u8], columns: &mut Int8Columns, n: usize) {
        let values: &mut [i8] = bytemuck::cast_slice_mut(to);
        columns.scales[n] = quantize(weights, values, |bits| bits as i8);
        let sum: i32 = values.iter().map(|&v| i32::from(v)).sum();
        columns.offsets[n] = -128 * sum;
    }

    #[inline(always)]
    fn write_row(x: &[f32], factors: Factors, to: &mut [u8]) -> f32 {
        match factors {
            Factors::Signed => quantize(x, to, |bits| bits as u8),
            Factors::Unsigned => quantize(x, to, |bits| bits as u8 ^ 128),
            Factors::Wide => quantize(x, bytemuck::cast_slice_mut(to), |bits| bits as i16),
            Factors::Bf16 => unreachable!("these are no integers"),
        }
    }

    fn starts(columns: &Int8Columns, factors: Factors) -> Option<&[i32; PANEL]> {
        (factors == Factors::Unsigned).then_some(&columns.offsets)
    }

    #[inline(always)]
    fn finish<S: Simd>(
        simd: S,
        sums: &[i32],
        row: f32,
        columns: &Int8Columns,
        column: usize,
        bias: S::F32,
    ) -> S::F32 {
        let scale = simd.mul(simd.load(&columns.scales[column..]), simd.splat(row));
        simd.mul_add(simd.load_i32(sums), scale, bias)
    }

    fn run(set: Int8Set, product: PanelProduct<Self>) {
        match set {
            Int8Set::Portable => InTiles(product).run(Portable),
            #[cfg(target_arch = "x86_64")]
            Int8Set::Avx2(token) => token.enable(InTiles(product)),
            #[cfg(target_arch = "x86_64")]
            Int8Set::AvxVnni(token) => token.enable(InTiles(product)),
            #[cfg(target_arch = "x86_64")]
            Int8Set::Avx512Vnni(token) => token.enable(InTiles(product)),
            #[cfg(target_arch = "aarch64")]
            Int8Set::NeonDot(token) => token.enable(InTiles(product)),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Int8Set::Amx(token) => token.float().enable(InMatrixUnit(product, token)),
        }
    }
}

/// Rounds `x / scale` to −127 … 127 and returns the scale. `keep` is given bits of which the lowest are
/// the rounded number, two's complement.
#[inline(always)]
fn quantize<T>(x: &[f32], to: &mut [T], keep: impl Fn(u32) -> T) -> f32 {
    // As integers, so that the compiler may reorder; a NaN is the largest and stays one.
    let largest = x.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest);
    let factor = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    // What adding this, 1.5 · 2²³, leaves of the number in the lowest bits is rounded.
    const ROUND: f32 = 12_582_912.0;
    for (x, to) in x.iter().zip(to) {
        *to = keep((x * factor + ROUND).to_bits());
    }
    largest / 127.0
}

#[cfg(test)]
mod tests {
    use super::super::activation::Activation;
    use super::super::matmul::Target;
    use super::super::panels::tests::{exact, product_on};
    use super::*;
    use crate::random::random;

    fn product(set: Int8Set, x: &[f32], w: &Int8Matrix) -> Vec<f32> {
        product_on(set, x, w, Target::Overwrite, &[])
    }

    #[test]
    fn every_instruction_set_gives_the_same_sums_close_to_the_exact_ones() {
        let sizes = [(1, 1, 1), (5, 67, 33), (50, 768, 96), (17, 130, 31), (33, 64, 32), (150, 192, 40)];
        // An interpreter takes minutes for more.
        for &(rows, inputs, outputs) in if cfg!(miri) { &sizes[..2] } else { &sizes } {
            let (x, w) = (random(rows * inputs, 1), random(outputs * inputs, 2));
            let bias = random(outputs, 3);
            let weight = Weight { values: &w, bias: Some(&bias), inputs };
            let matrix = Int8Matrix::quantize(&[weight]).expect("few inputs");
            let exact = exact(&x, &w, inputs);
            let before = random(rows * outputs, 4);
            let product = |set, target| product_on(set, &x, &matrix, target, &before);
            for target in [Target::Overwrite, Target::Add, Target::Activate(Activation::QuickGelu)] {
                let portable = product(Int8Set::Portable, target);
                for set in Int8Set::all() {
                    for (y, portable) in product(set, target).iter().zip(&portable) {
                        // Less than a step of the sums, 1 / 127²; scaling them rounds.
                        assert!((y - portable).abs() < 2e-5, "{set:?} {rows} × {inputs} × {outputs}");
                    }
                }
                // Half a step of each operand, summed over `inputs` products: three deviations.
                let tolerance = 3.0 * (2.0f64 * inputs as f64 / 3.0 / 12.0).sqrt() / 127.0 + 0.01;
                for (i, y) in portable.iter().enumerate() {
                    let sum = exact[i] + f64::from(bias[i % outputs]);
                    let want = match target {
                        Target::Overwrite => sum,
                        Target::Add => sum + f64::from(before[i]),
                        Target::Activate(_) => sum / (1.0 + (-1.702 * sum).exp()),
                    };
                    assert!((f64::from(*y) - want).abs() < tolerance * 2.0, "{y} is not {want}");
                }
            }
        }
    }

    #[test]
    fn extreme_values_do_not_saturate() {
        let (inputs, outputs) = (256, 32);
        for (x, w) in [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)] {
            let (xs, ws) = (vec![x; inputs], vec![w; inputs * outputs]);
            let matrix =
                Int8Matrix::quantize(&[Weight { values: &ws, bias: None, inputs }]).expect("few inputs");
            for set in Int8Set::all() {
                let y = product(set, &xs, &matrix);
                assert!(y.iter().all(|y| (y - x * w * 256.0).abs() < 1e-3), "{set:?}: {y:?}");
            }
        }
    }

    #[test]
    fn row_is_the_same_alone_as_among_others() {
        let (rows, inputs, outputs) = if cfg!(miri) { (520, 2, 3) } else { (1100, 64, 40) };
        let (x, w) = (random(rows * inputs, 5), random(outputs * inputs, 6));
        let matrix = Int8Matrix::quantize(&[Weight { values: &w, bias: None, inputs }]).expect("few inputs");
        for set in Int8Set::all() {
            let all = product(set, &x, &matrix);
            for row in [0, rows / 2 - 39, rows / 2, rows - 1] {
                let alone = product(set, &x[row * inputs..][..inputs], &matrix);
                assert_eq!(alone, all[row * outputs..][..outputs], "{set:?}");
            }
        }
    }

    #[test]
    fn zero_rows_give_the_bias() {
        let weight = [0.0; 8];
        let matrix = Int8Matrix::quantize(&[Weight { values: &weight, bias: Some(&[3.0, 4.0]), inputs: 4 }]);
        let matrix = matrix.expect("few inputs");
        let y = product(Int8Set::in_use(), &[0.0; 4], &matrix);
        assert_eq!(y, [3.0, 4.0]);
    }

    #[test]
    fn matrix_too_deep_for_exact_sums_is_refused() {
        let values = vec![1.0; MAX_DEPTH + 1];
        let weight = Weight { values: &values, bias: None, inputs: MAX_DEPTH + 1 };
        assert!(Int8Matrix::quantize(&[weight]).is_none());
    }
}
