//! Plain arrays, which the compiler turns into SSE, NEON or whatever the target has for certain.

use super::{DotSimd, Factors, MAX_LANES, Simd};
use crate::panels::PANEL;

/// The token of no instructions beyond the target's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portable;

impl Simd for Portable {
    type F32 = [f32; 8];
    const LANES: usize = 8;
    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 3;
    const DEPTH: usize = 768;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F32 {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> Self::F32 {
        // SAFETY: the caller's.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_i32_ptr(self, from: *const i32) -> Self::F32 {
        // SAFETY: the caller's.
        unsafe { from.cast::<[i32; 8]>().read_unaligned() }.map(|i| i as f32)
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, x: Self::F32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(x) }
    }
    #[inline(always)]
    fn add(self, x: Self::F32, y: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| x[i] + y[i])
    }
    #[inline(always)]
    fn mul_add(self, x: Self::F32, y: Self::F32, z: Self::F32) -> Self::F32 {
        // Without the instruction `f32::mul_add` is a slow call.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            std::array::from_fn(|i| x[i].mul_add(y[i], z[i]))
        } else {
            std::array::from_fn(|i| x[i] * y[i] + z[i])
        }
    }
    #[inline(always)]
    fn div(self, x: Self::F32, y: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| x[i] / y[i])
    }
    #[inline(always)]
    fn max(self, x: Self::F32, y: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| if x[i] > y[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn min(self, x: Self::F32, y: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| if x[i] < y[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn power_of_two(self, x: Self::F32) -> Self::F32 {
        x.map(|x| f32::from_bits((x.to_bits() << 23).wrapping_add(1f32.to_bits())))
    }
    #[inline(always)]
    fn sum4(self, x: [Self::F32; 4]) -> [f32; 4] {
        x.map(|v| ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])))
    }
    #[inline(always)]
    unsafe fn transpose4(self, rows: &[*const f32; MAX_LANES], to: *mut f32, stride: usize) {
        for i in 0..4 {
            for (n, row) in rows.iter().take(8).enumerate() {
                // SAFETY: four elements of the row, eight of each place, by the contract.
                unsafe { *to.add(i * stride + n) = *row.add(i) };
            }
        }
    }
}

/// A whole panel in one vector: the compiler divides it as the target likes.
impl DotSimd for Portable {
    type Float = Self;
    type Sum = i32;
    type Sums = [i32; PANEL];
    type X = [i8; 4];
    type W = [[i8; 4]; PANEL];
    const LANES: usize = PANEL;
    const TILE_ROWS: usize = 1;
    const TILE_VECTORS: usize = 1;
    const FACTORS: Factors = Factors::Signed;

    #[inline(always)]
    fn float(self) -> Self {
        self
    }
    #[inline(always)]
    fn zero(self) -> Self::Sums {
        [0; PANEL]
    }
    #[inline(always)]
    unsafe fn load_sums_ptr(self, from: *const i32) -> Self::Sums {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::Sums>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_sums_ptr(self, to: *mut i32, sums: Self::Sums) {
        // SAFETY: the caller's.
        unsafe { to.cast::<Self::Sums>().write_unaligned(sums) }
    }
    #[inline(always)]
    unsafe fn load_x_ptr(self, from: *const u8) -> Self::X {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::X>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_w_ptr(self, from: *const u8) -> Self::W {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::W>().read_unaligned() }
    }
    #[inline(always)]
    fn add_products(self, mut sums: Self::Sums, x: Self::X, w: Self::W) -> Self::Sums {
        for (sum, w) in sums.iter_mut().zip(&w) {
            for (x, w) in x.iter().zip(w) {
                *sum += i32::from(*x) * i32::from(*w);
            }
        }
        sums
    }
}

/// The token of bf16 in no instructions beyond the target's own: what they are on a processor that has
/// none for them, far too slowly to be of use but to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortableBf16;

impl DotSimd for PortableBf16 {
    type Float = Portable;
    type Sum = f32;
    type Sums = [f32; PANEL];
    type X = [u16; 2];
    type W = [[u16; 2]; PANEL];
    const LANES: usize = PANEL;
    const TILE_ROWS: usize = 1;
    const TILE_VECTORS: usize = 1;
    const FACTORS: Factors = Factors::Bf16;

    #[inline(always)]
    fn float(self) -> Portable {
        Portable
    }
    #[inline(always)]
    fn zero(self) -> Self::Sums {
        [0.0; PANEL]
    }
    #[inline(always)]
    unsafe fn load_sums_ptr(self, from: *const f32) -> Self::Sums {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::Sums>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_sums_ptr(self, to: *mut f32, sums: Self::Sums) {
        // SAFETY: the caller's.
        unsafe { to.cast::<Self::Sums>().write_unaligned(sums) }
    }
    #[inline(always)]
    unsafe fn load_x_ptr(self, from: *const u8) -> Self::X {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::X>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_w_ptr(self, from: *const u8) -> Self::W {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::W>().read_unaligned() }
    }
    /// In the order of AVX-512 BF16. A product has at most 16 bits, so it is exact.
    #[inline(always)]
    fn add_products(self, mut sums: Self::Sums, x: Self::X, w: Self::W) -> Self::Sums {
        let widen = |bits: u16| f32::from_bits(u32::from(bits) << 16);
        for (sum, w) in sums.iter_mut().zip(&w) {
            *sum += widen(x[1]) * widen(w[1]);
            *sum += widen(x[0]) * widen(w[0]);
        }
        sums
    }
}
