//! Products in bf16, the upper half of an f32: its range, with eight significant bits.
//!
//! Weights and rows of `x` are rounded to it, and their products summed in f32, in an order that each
//! instruction set has for itself. A row gives the same result alone as among others.

use super::instructions::Bf16Set;
use super::matmul::Weight;
use super::panels::{InTiles, Narrow, PANEL, PanelMatrix, PanelProduct};
use super::simd::portable::PortableBf16;
use super::simd::{Factors, Simd, Work};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::{panels::InMatrixUnit, simd::amx::MatrixUnit};

/// The upper halves of f32.
pub struct Bf16;

/// Weight matrices side by side, in bf16.
pub type Bf16Matrix = PanelMatrix<Bf16>;

impl Bf16Matrix {
    /// Rounds matrices whose outputs follow one another.
    ///
    /// # Panics
    ///
    /// If the matrices differ in their inputs.
    pub fn round(weights: &[Weight]) -> Self {
        Self::of(weights)
    }
}

impl Narrow for Bf16 {
    type Set = Bf16Set;
    type Sum = f32;
    type Columns = ();
    type Row = ();
    const PER_WORD: usize = 2;

    fn set_in_use() -> Bf16Set {
        Bf16Set::in_use().unwrap_or(Bf16Set::Portable)
    }

    fn factors(_: Bf16Set) -> Factors {
        Factors::Bf16
    }

    #[inline(always)]
    fn write_weights(weights: &[f32], to: &mut [u8], (): &mut (), _: usize) {
        round_all(weights, to);
    }

    #[inline(always)]
    fn write_row(x: &[f32], _: Factors, to: &mut [u8]) {
        round_all(x, to);
    }

    fn starts((): &(), _: Factors) -> Option<&[f32; PANEL]> {
        None
    }

    #[inline(always)]
    fn finish<S: Simd>(simd: S, sums: &[f32], (): (), (): &(), _: usize, bias: S::F32) -> S::F32 {
        simd.add(simd.load(sums), bias)
    }

    fn run(set: Bf16Set, product: PanelProduct<Self>) {
        match set {
            Bf16Set::Portable => InTiles(product).run(PortableBf16),
            #[cfg(target_arch = "x86_64")]
            Bf16Set::Avx512Bf16(token) => token.enable(InTiles(product)),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Bf16Set::Amx(token) => token.float().enable(InMatrixUnit(product, token)),
        }
    }
}

#[inline(always)]
fn round_all(x: &[f32], to: &mut [u8]) {
    let to: &mut [u16] = bytemuck::cast_slice_mut(to);
    for (x, to) in x.iter().zip(to) {
        *to = round(*x);
    }
}

/// The bits of the nearest bf16, of two equally near the even one; a NaN stays one.
#[inline(always)]
fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    // The even one: half of the last place that is kept, less one if that place is 0.
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // Rounding could carry a NaN's bits out of it.
    let quiet = bits >> 16 | 0x40;
    (if x.is_nan() { quiet } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::super::activation::Activation;
    use super::super::matmul::Target;
    use super::super::panels::tests::{exact, product_on};
    use super::*;
    use crate::random::random;

    fn rounded(x: &[f32]) -> Vec<f32> {
        x.iter().map(|x| f32::from_bits(u32::from(round(*x)) << 16)).collect()
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_and_between_two_to_the_even_one() {
        // The last place of 1 is 2⁻⁷.
        let step = 1.0 / 128.0;
        let kept = [0.0, -0.0, 1.0, 1.0 + step, -3.140625, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(rounded(&kept).iter().map(|x| x.to_bits()).collect::<Vec<_>>(), kept.map(f32::to_bits));
        let half = step / 2.0;
        assert_eq!(rounded(&[1.0 + half, 1.0 + 3.0 * half]), [1.0, 1.0 + 2.0 * step]);
        assert_eq!(rounded(&[-1.0 - half, -1.0 - 3.0 * half]), [-1.0, -1.0 - 2.0 * step]);
        assert_eq!(rounded(&[1.0 + half * 1.001, 1.0 + half * 0.999]), [1.0 + step, 1.0]);
        assert_eq!(rounded(&[2.0 - half, f32::MAX]), [2.0, f32::INFINITY]);
        let not_numbers = [f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)];
        assert!(rounded(&not_numbers).iter().all(|x| x.is_nan()));
    }

    #[test]
    fn every_instruction_set_sums_the_products_of_rounded_numbers() {
        let sizes = [(1, 1, 1), (5, 67, 33), (50, 768, 96), (17, 130, 31), (33, 64, 32), (150, 192, 40)];
        // An interpreter takes minutes for more.
        for &(rows, inputs, outputs) in if cfg!(miri) { &sizes[..2] } else { &sizes } {
            let (x, w) = (random(rows * inputs, 1), random(outputs * inputs, 2));
            let bias = random(outputs, 3);
            let matrix = Bf16Matrix::round(&[Weight { values: &w, bias: Some(&bias), inputs }]);
            let exact = exact(&rounded(&x), &rounded(&w), inputs);
            let before = random(rows * outputs, 4);
            for set in Bf16Set::all() {
                for target in [Target::Overwrite, Target::Add, Target::Activate(Activation::QuickGelu)] {
                    let y = product_on(set, &x, &matrix, target, &before);
                    assert_eq!(y.len(), rows * outputs);
                    for (i, y) in y.iter().enumerate() {
                        let sum = exact[i] + f64::from(bias[i % outputs]);
                        let want = match target {
                            Target::Overwrite => sum,
                            Target::Add => sum + f64::from(before[i]),
                            Target::Activate(_) => sum / (1.0 + (-1.702 * sum).exp()),
                        };
                        // Rounding of sums in f32 of products below 1, far less than a step of bf16.
                        let apart = (f64::from(*y) - want).abs();
                        assert!(
                            apart < 4e-5 + 1e-6 * want.abs(),
                            "{set:?} {rows} × {inputs}, {i}: {y} is not {want}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn matrices_lie_side_by_side() {
        let (x, first, second) = (random(3 * 10, 1), random(7 * 10, 2), random(30 * 10, 3));
        let bias = random(30, 4);
        let first = Weight { values: &first, bias: None, inputs: 10 };
        let second = Weight { values: &second, bias: Some(&bias), inputs: 10 };
        for set in Bf16Set::all() {
            let product =
                |weights: &[Weight]| product_on(set, &x, &Bf16Matrix::round(weights), Target::Overwrite, &[]);
            let (both, first, second) = (product(&[first, second]), product(&[first]), product(&[second]));
            for row in 0..3 {
                let apart = [&first[row * 7..][..7], &second[row * 30..][..30]].concat();
                assert_eq!(both[row * 37..][..37], apart, "{set:?}");
            }
        }
    }

    #[test]
    fn row_is_the_same_alone_as_among_others() {
        let (rows, inputs, outputs) = if cfg!(miri) { (520, 2, 3) } else { (1100, 192, 40) };
        let (x, w) = (random(rows * inputs, 5), random(outputs * inputs, 6));
        let matrix = Bf16Matrix::round(&[Weight { values: &w, bias: None, inputs }]);
        for set in Bf16Set::all() {
            let all = product_on(set, &x, &matrix, Target::Overwrite, &[]);
            for row in [0, 7, rows / 2 - 39, rows / 2, rows - 1] {
                let alone = product_on(set, &x[row * inputs..][..inputs], &matrix, Target::Overwrite, &[]);
                assert_eq!(alone, all[row * outputs..][..outputs], "{set:?}");
            }
        }
    }

    #[test]
    fn infinite_element_reaches_its_own_row_alone() {
        let mut x = random(3 * 8, 1);
        x[8] = f32::INFINITY;
        let w = vec![1.0; 2 * 8];
        let matrix = Bf16Matrix::round(&[Weight { values: &w, bias: None, inputs: 8 }]);
        for set in Bf16Set::all() {
            let y = product_on(set, &x, &matrix, Target::Overwrite, &[]);
            let finite: Vec<_> = y.iter().map(|y| y.is_finite()).collect();
            assert_eq!(finite, [true, true, false, false, true, true], "{set:?}: {y:?}");
        }
    }
}
