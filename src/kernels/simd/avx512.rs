//! AVX-512: 32 registers of 16 f32.

use super::avx2::Avx2;
use super::avx512_bf16::Avx512Bf16;
use super::avx512_vnni::Avx512Vnni;
use super::{MAX_LANES, Simd, registers, token};
use std::arch::x86_64::*;

token! {
    /// The token of AVX-512 with the extensions that every such processor but the Xeon Phi has.
    Avx512: "avx2" "fma" "avx512f" "avx512bw" "avx512dq" "avx512vl"
}

impl Avx512 {
    /// The token of AVX-512 alone.
    #[inline(always)]
    pub fn of_avx512_vnni(_: Avx512Vnni) -> Self {
        Self(())
    }

    /// The token of AVX-512 alone.
    #[inline(always)]
    pub fn of_avx512_bf16(_: Avx512Bf16) -> Self {
        Self(())
    }

    #[inline(always)]
    fn avx2(self) -> Avx2 {
        Avx2::of_avx512(self)
    }
}

impl Simd for Avx512 {
    type F32 = __m512;
    const LANES: usize = 16;
    const TILE_ROWS: usize = 8;
    const TILE_VECTORS: usize = 3;
    /// 144 KiB of columns, in the second-level cache: 36 KiB, which the first would hold, are slower.
    const DEPTH: usize = 768;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        registers!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> __m512 {
        // SAFETY: the token's instructions; the memory is the caller's.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_i32_ptr(self, from: *const i32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_cvtepi32_ps(_mm512_loadu_si512(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, x: __m512) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, x) }
    }
    #[inline(always)]
    fn add(self, x: __m512, y: __m512) -> __m512 {
        registers!(_mm512_add_ps(x, y))
    }
    #[inline(always)]
    fn mul_add(self, x: __m512, y: __m512, z: __m512) -> __m512 {
        registers!(_mm512_fmadd_ps(x, y, z))
    }
    #[inline(always)]
    fn div(self, x: __m512, y: __m512) -> __m512 {
        registers!(_mm512_div_ps(x, y))
    }
    #[inline(always)]
    fn max(self, x: __m512, y: __m512) -> __m512 {
        registers!(_mm512_max_ps(x, y))
    }
    #[inline(always)]
    fn min(self, x: __m512, y: __m512) -> __m512 {
        registers!(_mm512_min_ps(x, y))
    }
    #[inline(always)]
    fn power_of_two(self, x: __m512) -> __m512 {
        registers! {
            let n = _mm512_slli_epi32::<23>(_mm512_castps_si512(x));
            _mm512_castsi512_ps(_mm512_add_epi32(n, _mm512_set1_epi32(1f32.to_bits() as i32)))
        }
    }
    #[inline(always)]
    fn sum4(self, x: [__m512; 4]) -> [f32; 4] {
        // Not `map`: its closure was left a call, without these instructions.
        let mut halves = [registers!(_mm256_setzero_ps()); 4];
        for i in 0..4 {
            halves[i] = registers! {
                _mm256_add_ps(_mm512_castps512_ps256(x[i]), _mm512_extractf32x8_ps::<1>(x[i]))
            };
        }
        self.avx2().sum4(halves)
    }
    #[inline(always)]
    unsafe fn transpose4(self, rows: &[*const f32; MAX_LANES], to: *mut f32, stride: usize) {
        // SAFETY: the token's instructions; four elements of a row and sixteen of each place, by
        // the contract.
        unsafe {
            // Quarter q of vector i is of row 4q + i, so what is left is to transpose within quarters.
            let gather = |i: usize| {
                let quarter = |q: usize| _mm_loadu_ps(rows[4 * q + i]);
                let v = _mm512_castps128_ps512(quarter(0));
                let v = _mm512_insertf32x4::<1>(v, quarter(1));
                let v = _mm512_insertf32x4::<2>(v, quarter(2));
                _mm512_insertf32x4::<3>(v, quarter(3))
            };
            let v = [gather(0), gather(1), gather(2), gather(3)];
            let (low01, high01) = (_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
            let (low23, high23) = (_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
            _mm512_storeu_ps(to, _mm512_shuffle_ps::<0x44>(low01, low23));
            _mm512_storeu_ps(to.add(stride), _mm512_shuffle_ps::<0xee>(low01, low23));
            _mm512_storeu_ps(to.add(2 * stride), _mm512_shuffle_ps::<0x44>(high01, high23));
            _mm512_storeu_ps(to.add(3 * stride), _mm512_shuffle_ps::<0xee>(high01, high23));
        }
    }
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: a prefetch does not fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
