//! AVX-512 BF16: `vdpbf16ps` on 512 bits (Intel's servers since 2020, AMD since 2022).
//!
//! Measured on Sapphire Rapids, products take 1.6 times as long with it as in f32; such processors have AMX,
//! which is used instead.

use super::avx512::Avx512;
use super::{DotSimd, Factors, registers, token};
use std::arch::x86_64::*;
use std::mem::transmute;

token! {
    /// The token of AVX-512 BF16.
    Avx512Bf16: "avx2" "fma" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512bf16"
}

impl DotSimd for Avx512Bf16 {
    type Float = Avx512;
    type Sum = f32;
    type Sums = __m512;
    type X = __m512i;
    type W = __m512i;
    const LANES: usize = 16;
    /// As many as of 8-bit integers, for the same registers.
    const TILE_ROWS: usize = 11;
    const TILE_VECTORS: usize = 2;
    const FACTORS: Factors = Factors::Bf16;

    #[inline(always)]
    fn float(self) -> Avx512 {
        Avx512::of_avx512_bf16(self)
    }
    #[inline(always)]
    fn zero(self) -> __m512 {
        registers!(_mm512_setzero_ps())
    }
    #[inline(always)]
    unsafe fn load_sums_ptr(self, from: *const f32) -> __m512 {
        // SAFETY: the token's instructions; the memory is the caller's.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_sums_ptr(self, to: *mut f32, sums: __m512) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, sums) }
    }
    #[inline(always)]
    unsafe fn load_x_ptr(self, from: *const u8) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn load_w_ptr(self, from: *const u8) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    fn add_products(self, sums: __m512, x: __m512i, w: __m512i) -> __m512 {
        // SAFETY: the token's instructions; all bits are vectors of bf16.
        unsafe {
            _mm512_dpbf16_ps(sums, transmute::<__m512i, __m512bh>(x), transmute::<__m512i, __m512bh>(w))
        }
    }
}
