//! AVX-512 VNNI: `vpdpbusd` on 512 bits (Intel's servers since 2019, AMD since 2022).

use super::avx512::Avx512;
use super::{DotSimd, Factors, registers, token};
use std::arch::x86_64::*;

token! {
    /// The token of AVX-512 VNNI.
    Avx512Vnni: "avx2" "fma" "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni"
}

impl DotSimd for Avx512Vnni {
    type Float = Avx512;
    type Sum = i32;
    type Sums = __m512i;
    type X = __m512i;
    type W = __m512i;
    const LANES: usize = 16;
    /// One row more, and the compiler loads all factors before it uses them, and runs out of registers.
    const TILE_ROWS: usize = 11;
    const TILE_VECTORS: usize = 2;
    const FACTORS: Factors = Factors::Unsigned;

    #[inline(always)]
    fn float(self) -> Avx512 {
        Avx512::of_avx512_vnni(self)
    }
    #[inline(always)]
    fn zero(self) -> __m512i {
        registers!(_mm512_setzero_si512())
    }
    #[inline(always)]
    unsafe fn load_sums_ptr(self, from: *const i32) -> __m512i {
        // SAFETY: the token's instructions; the memory is the caller's.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store_sums_ptr(self, to: *mut i32, sums: __m512i) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(to.cast(), sums) }
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
    fn add_products(self, sums: __m512i, x: __m512i, w: __m512i) -> __m512i {
        registers!(_mm512_dpbusd_epi32(sums, x, w))
    }
}
