//! AVX-VNNI: `vpdpbusd` on 256 bits, of processors without AVX-512 (Intel since 2021, AMD since 2024).

use super::avx2::Avx2;
use super::{DotSimd, Factors, registers, token};
use std::arch::x86_64::*;

token! {
    /// The token of AVX-VNNI.
    AvxVnni: "avx2" "fma" "avxvnni"
}

impl DotSimd for AvxVnni {
    type Float = Avx2;
    type Sum = i32;
    type Sums = __m256i;
    type X = __m256i;
    type W = __m256i;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;
    const FACTORS: Factors = Factors::Unsigned;

    #[inline(always)]
    fn float(self) -> Avx2 {
        Avx2::of_avx_vnni(self)
    }
    #[inline(always)]
    fn zero(self) -> __m256i {
        registers!(_mm256_setzero_si256())
    }
    #[inline(always)]
    unsafe fn load_sums_ptr(self, from: *const i32) -> __m256i {
        // SAFETY: the token's instructions; the memory is the caller's.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store_sums_ptr(self, to: *mut i32, sums: __m256i) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(to.cast(), sums) }
    }
    #[inline(always)]
    unsafe fn load_x_ptr(self, from: *const u8) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn load_w_ptr(self, from: *const u8) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    fn add_products(self, sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
        registers!(_mm256_dpbusd_avx_epi32(sums, x, w))
    }
}
