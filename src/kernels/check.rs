//! The instructions in use against the portable ones, at the sizes of ViT-B/32: what a processor, an
//! emulator or a compiler gets wrong.

use super::activation::Activation;
use super::attention::{Heads, attention_on};
use super::bf16::Bf16Matrix;
use super::instructions::{Bf16Set, FloatSet, Int8Set};
use super::int8::Int8Matrix;
use super::matmul::{self, Weight};
use super::norm::layer_norm_on;
use super::output::collect;
use super::panels::matmul_panels_on;
use super::softmax::softmax_on;

/// Tokens of an image.
const TOKENS: usize = 50;
/// Width of a token.
const WIDTH: usize = 768;
/// Width between the two products of a block's second half.
const INNER: usize = 4 * WIDTH;

/// f32 sums of 768 to 3,072 products, in another order and with or without fused additions, differ by less
/// than 1e-6 of the largest.
const F32_BOUND: f64 = 1e-5;
/// Sums of integers are exact, and only their scaling is rounded.
const INT8_BOUND: f64 = 1e-6;
/// What rounding to 255 levels costs a product of such sizes, of the largest.
const QUANTISED_BOUND: f64 = 0.02;
/// What rounding to eight bits costs one, of the largest.
const BF16_BOUND: f64 = 0.01;

/// How far a kernel is from what it should give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelCheck {
    pub name: &'static str,
    /// The largest difference of two elements, as a share of the largest element.
    pub error: f64,
    /// The largest error that rounding explains.
    pub bound: f64,
}

/// Runs every kernel with the instructions in use and with portable ones. `random` gives numbers from −1 to
/// 1 that belong to a name.
pub fn check(random: impl Fn(&str, usize) -> Vec<f32>) -> Vec<KernelCheck> {
    check_on(FloatSet::in_use(), Int8Set::in_use(), Bf16Set::in_use(), random)
}

fn check_on(
    float: FloatSet,
    int8: Int8Set,
    bf16: Option<Bf16Set>,
    random: impl Fn(&str, usize) -> Vec<f32>,
) -> Vec<KernelCheck> {
    let (x, long) = (random("rows", TOKENS * WIDTH), random("long rows", TOKENS * INNER));
    let (values, bias) = (random("weight", WIDTH * INNER), random("bias", INNER));
    let wide = [Weight { values: &values, bias: Some(&bias), inputs: WIDTH }];
    let narrow = [Weight { values: &values, bias: Some(&bias[..WIDTH]), inputs: INNER }];
    let against = |name, bound, run: &dyn Fn(FloatSet) -> Vec<f32>| KernelCheck {
        name,
        error: error(&run(float), &run(FloatSet::Portable)),
        bound,
    };
    let gelu = Some(Activation::QuickGelu);
    let multiply =
        |set, activation| collect(TOKENS * INNER, |y| matmul::matmul_on(set, &x, &wide, activation, y));
    let heads = Heads { tokens: TOKENS, width: WIDTH, heads: 12, causal: false, shared: 0 };
    let qkv = &long[..TOKENS * 3 * WIDTH];
    let mut checks = vec![
        against("product", F32_BOUND, &|set| multiply(set, None)),
        against("product with activation", F32_BOUND, &|set| multiply(set, gelu)),
        against("added product", F32_BOUND, &|set| {
            let mut y = x.clone();
            matmul::matmul_add_on(set, &long, &narrow, &mut y);
            y
        }),
        against("attention", F32_BOUND, &|set| {
            collect(TOKENS * WIDTH, |y| attention_on(set, qkv, heads, None, y))
        }),
        against("layer norm", F32_BOUND, &|set| {
            collect(TOKENS * WIDTH, |y| layer_norm_on(set, &x, &values[..WIDTH], &bias[..WIDTH], 1e-5, y))
        }),
        against("softmax", F32_BOUND, &|set| {
            let mut y = bias[..1000].to_vec();
            softmax_on(set, &mut y);
            y
        }),
    ];
    let exact = multiply(FloatSet::Portable, None);
    if let Some(matrix) = Int8Matrix::quantize(&wide) {
        let multiply_int8 = |set| collect(TOKENS * INNER, |y| matmul_panels_on(set, &x, &matrix, None, y));
        let (ours, portable) = (multiply_int8(int8), multiply_int8(Int8Set::Portable));
        checks.extend([
            KernelCheck { name: "int8 product", error: error(&ours, &portable), bound: INT8_BOUND },
            KernelCheck { name: "int8 against f32", error: error(&ours, &exact), bound: QUANTISED_BOUND },
        ]);
    }
    if let Some(bf16) = bf16 {
        let matrix = Bf16Matrix::round(&wide);
        let multiply_bf16 = |set| collect(TOKENS * INNER, |y| matmul_panels_on(set, &x, &matrix, None, y));
        let (ours, portable) = (multiply_bf16(bf16), multiply_bf16(Bf16Set::Portable));
        checks.extend([
            KernelCheck { name: "bf16 product", error: error(&ours, &portable), bound: F32_BOUND },
            KernelCheck { name: "bf16 against f32", error: error(&ours, &exact), bound: BF16_BOUND },
        ]);
    }
    checks
}

impl KernelCheck {
    /// Whether the kernel gives what it should; what is not a number is none.
    pub fn passed(&self) -> bool {
        self.error <= self.bound
    }
}

/// The largest difference of two elements, as a share of the largest element that should be.
fn error(is: &[f32], should_be: &[f32]) -> f64 {
    // Of NaN and a number, `f32::max` takes the number.
    let larger = |most: f32, x: f32| if x > most || x.is_nan() { x } else { most };
    let largest = should_be.iter().map(|x| x.abs()).fold(0.0, larger);
    let apart = is.iter().zip(should_be).map(|(is, should_be)| (is - should_be).abs()).fold(0.0, larger);
    f64::from(apart) / f64::from(largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::random;

    #[test]
    #[cfg_attr(miri, ignore = "an interpreter takes too long")]
    fn every_instruction_set_passes() {
        let numbers = |name: &str, count| random(count, name.len() as u32);
        for (i, float) in FloatSet::all().into_iter().enumerate() {
            for int8 in Int8Set::all().into_iter().skip(i) {
                for check in check_on(float, int8, None, numbers) {
                    assert!(check.passed(), "{float:?}, {int8:?}: {check:?}");
                }
            }
        }
        for bf16 in Bf16Set::all() {
            for check in check_on(FloatSet::Portable, Int8Set::Portable, Some(bf16), numbers) {
                assert!(check.passed(), "{bf16:?}: {check:?}");
            }
        }
    }

    #[test]
    fn a_wrong_element_fails_and_so_does_one_that_is_no_number() {
        let failed =
            |is: &[f32]| !KernelCheck { name: "", error: error(is, &[1.0, -2.0]), bound: F32_BOUND }.passed();
        assert!(!failed(&[1.0, -2.0]) && !failed(&[1.0 + 1e-6, -2.0]));
        assert!(failed(&[1.1, -2.0]) && failed(&[f32::NAN, -2.0]) && failed(&[1.0, f32::INFINITY]));
    }
}
