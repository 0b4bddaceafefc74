//! NEON: 32 registers of 4 f32, which every 64-bit ARM processor has, and its dot products of bytes,
//! which those since about 2018 have.

use super::{DotSimd, Factors, MAX_LANES, Simd, registers, token};
use std::arch::aarch64::*;
use std::arch::asm;

token! {
    /// The token of NEON.
    Neon: "neon"
}

token! {
    /// The token of NEON with dot products.
    NeonDot: "neon" "dotprod"
}

impl Simd for Neon {
    type F32 = float32x4_t;
    const LANES: usize = 4;
    const TILE_ROWS: usize = 8;
    const TILE_VECTORS: usize = 3;
    const DEPTH: usize = 768;

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        registers!(vdupq_n_f32(x))
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> float32x4_t {
        // SAFETY: the token's instructions; the memory is the caller's.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn load_i32_ptr(self, from: *const i32) -> float32x4_t {
        // SAFETY: as above.
        unsafe { vcvtq_f32_s32(vld1q_s32(from)) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, x: float32x4_t) {
        // SAFETY: as above.
        unsafe { vst1q_f32(to, x) }
    }
    #[inline(always)]
    fn add(self, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        registers!(vaddq_f32(x, y))
    }
    #[inline(always)]
    fn mul_add(self, x: float32x4_t, y: float32x4_t, z: float32x4_t) -> float32x4_t {
        registers!(vfmaq_f32(z, x, y))
    }
    #[inline(always)]
    fn div(self, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        registers!(vdivq_f32(x, y))
    }
    /// Compared and selected: NEON's own maximum is NaN where either is.
    #[inline(always)]
    fn max(self, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        registers!(vbslq_f32(vcgtq_f32(x, y), x, y))
    }
    #[inline(always)]
    fn min(self, x: float32x4_t, y: float32x4_t) -> float32x4_t {
        registers!(vbslq_f32(vcltq_f32(x, y), x, y))
    }
    #[inline(always)]
    fn power_of_two(self, x: float32x4_t) -> float32x4_t {
        registers! {
            let n = vshlq_n_s32::<23>(vreinterpretq_s32_f32(x));
            vreinterpretq_f32_s32(vaddq_s32(n, vdupq_n_s32(1f32.to_bits() as i32)))
        }
    }
    /// A transposing tree of pairwise adds.
    #[inline(always)]
    fn sum4(self, x: [float32x4_t; 4]) -> [f32; 4] {
        registers! {
            let sums = vpaddq_f32(vpaddq_f32(x[0], x[1]), vpaddq_f32(x[2], x[3]));
            std::mem::transmute::<float32x4_t, [f32; 4]>(sums)
        }
    }
    #[inline(always)]
    unsafe fn transpose4(self, rows: &[*const f32; MAX_LANES], to: *mut f32, stride: usize) {
        // SAFETY: the token's instructions; four elements of a row and of each place, by the contract.
        unsafe {
            let v = [0, 1, 2, 3].map(|n| vld1q_f32(rows[n]));
            // Pairs of rows 0 and 1, then of 2 and 3; then pairs of pairs.
            let (even01, odd01) = (vtrn1q_f32(v[0], v[1]), vtrn2q_f32(v[0], v[1]));
            let (even23, odd23) = (vtrn1q_f32(v[2], v[3]), vtrn2q_f32(v[2], v[3]));
            let pair = |x| vreinterpretq_f64_f32(x);
            let four = |x| vreinterpretq_f32_f64(x);
            vst1q_f32(to, four(vtrn1q_f64(pair(even01), pair(even23))));
            vst1q_f32(to.add(stride), four(vtrn1q_f64(pair(odd01), pair(odd23))));
            vst1q_f32(to.add(2 * stride), four(vtrn2q_f64(pair(even01), pair(even23))));
            vst1q_f32(to.add(3 * stride), four(vtrn2q_f64(pair(odd01), pair(odd23))));
        }
    }
}

impl DotSimd for NeonDot {
    type Float = Neon;
    type Sum = i32;
    type Sums = int32x4_t;
    type X = int8x16_t;
    type W = int8x16_t;
    const LANES: usize = 4;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 4;
    const FACTORS: Factors = Factors::Signed;

    #[inline(always)]
    fn float(self) -> Neon {
        // Whoever has the dot products has NEON.
        Neon(())
    }
    #[inline(always)]
    fn zero(self) -> int32x4_t {
        registers!(vdupq_n_s32(0))
    }
    #[inline(always)]
    unsafe fn load_sums_ptr(self, from: *const i32) -> int32x4_t {
        // SAFETY: the token's instructions; the memory is the caller's.
        unsafe { vld1q_s32(from) }
    }
    #[inline(always)]
    unsafe fn store_sums_ptr(self, to: *mut i32, sums: int32x4_t) {
        // SAFETY: as above.
        unsafe { vst1q_s32(to, sums) }
    }
    #[inline(always)]
    unsafe fn load_x_ptr(self, from: *const u8) -> int8x16_t {
        // SAFETY: as above.
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(from.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn load_w_ptr(self, from: *const u8) -> int8x16_t {
        // SAFETY: as above.
        unsafe { vld1q_s8(from.cast()) }
    }
    /// In assembly, as Rust has no stable function for it.
    #[inline(always)]
    fn add_products(self, mut sums: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
        // SAFETY: the token's instruction, on registers alone.
        unsafe {
            asm!(
                "sdot {sums:v}.4s, {w:v}.16b, {x:v}.16b",
                sums = inout(vreg) sums,
                w = in(vreg) w,
                x = in(vreg) x,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sums
    }
}
