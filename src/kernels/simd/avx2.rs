//! AVX2 with FMA: 16 registers of 8 f32. Nearly every x86 processor since 2013.

use super::avx_vnni::AvxVnni;
use super::avx512::Avx512;
use super::{DotSimd, Factors, MAX_LANES, Simd, registers, token};
use std::arch::x86_64::*;

token! {
    /// The token of AVX2 and FMA.
    Avx2: "avx2" "fma"
}

impl Avx2 {
    /// The token of AVX2 alone.
    #[inline(always)]
    pub fn of_avx_vnni(_: AvxVnni) -> Self {
        Self(())
    }

    /// The token of AVX2 alone.
    #[inline(always)]
    pub fn of_avx512(_: Avx512) -> Self {
        Self(())
    }
}

impl Simd for Avx2 {
    type F32 = __m256;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;
    /// 24 KiB of columns, which the first-level cache holds: 5 % faster than 768.
    const DEPTH: usize = 384;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        registers!(_mm256_set1_ps(x))
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> __m256 {
        // SAFETY: the token's instructions; the memory is the caller's.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_i32_ptr(self, from: *const i32) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_cvtepi32_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, x: __m256) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(to, x) }
    }
    #[inline(always)]
    fn add(self, x: __m256, y: __m256) -> __m256 {
        registers!(_mm256_add_ps(x, y))
    }
    #[inline(always)]
    fn mul_add(self, x: __m256, y: __m256, z: __m256) -> __m256 {
        registers!(_mm256_fmadd_ps(x, y, z))
    }
    #[inline(always)]
    fn div(self, x: __m256, y: __m256) -> __m256 {
        registers!(_mm256_div_ps(x, y))
    }
    #[inline(always)]
    fn max(self, x: __m256, y: __m256) -> __m256 {
        registers!(_mm256_max_ps(x, y))
    }
    #[inline(always)]
    fn min(self, x: __m256, y: __m256) -> __m256 {
        registers!(_mm256_min_ps(x, y))
    }
    #[inline(always)]
    fn power_of_two(self, x: __m256) -> __m256 {
        registers! {
            let n = _mm256_slli_epi32::<23>(_mm256_castps_si256(x));
            _mm256_castsi256_ps(_mm256_add_epi32(n, _mm256_set1_epi32(1f32.to_bits() as i32)))
        }
    }
    /// A transposing tree of horizontal adds.
    #[inline(always)]
    fn sum4(self, x: [__m256; 4]) -> [f32; 4] {
        registers! {
            let pairs = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
            let sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
            std::mem::transmute::<__m128, [f32; 4]>(sums)
        }
    }
    #[inline(always)]
    unsafe fn transpose4(self, rows: &[*const f32; MAX_LANES], to: *mut f32, stride: usize) {
        // SAFETY: the token's instructions; four elements of a row and eight of each place, by the
        // contract.
        unsafe {
            // Half h of vector i is of row 4h + i, so what is left is to transpose within halves.
            let gather = |i: usize| {
                let half = |h: usize| _mm_loadu_ps(rows[4 * h + i]);
                _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(half(0)), half(1))
            };
            let v = [gather(0), gather(1), gather(2), gather(3)];
            let (low01, high01) = (_mm256_unpacklo_ps(v[0], v[1]), _mm256_unpackhi_ps(v[0], v[1]));
            let (low23, high23) = (_mm256_unpacklo_ps(v[2], v[3]), _mm256_unpackhi_ps(v[2], v[3]));
            _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(low01, low23));
            _mm256_storeu_ps(to.add(stride), _mm256_shuffle_ps::<0xee>(low01, low23));
            _mm256_storeu_ps(to.add(2 * stride), _mm256_shuffle_ps::<0x44>(high01, high23));
            _mm256_storeu_ps(to.add(3 * stride), _mm256_shuffle_ps::<0xee>(high01, high23));
        }
    }
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: a prefetch does not fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}

/// Without an instruction for bytes: products of 16-bit integers, whose pairs cannot overflow. Weights
/// are widened as they are loaded, which the units that add and multiply have time for; factors come
/// wide, since each is loaded for every vector of columns.
impl DotSimd for Avx2 {
    type Float = Self;
    type Sum = i32;
    /// Two sums for each column, side by side: of its first two products in four, and its last.
    type Sums = [__m256i; 2];
    type X = __m256i;
    type W = [__m256i; 2];
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 1;
    const FACTORS: Factors = Factors::Wide;

    #[inline(always)]
    fn float(self) -> Self {
        self
    }
    #[inline(always)]
    fn zero(self) -> [__m256i; 2] {
        [registers!(_mm256_setzero_si256()); 2]
    }
    #[inline(always)]
    unsafe fn load_sums_ptr(self, from: *const i32) -> [__m256i; 2] {
        // SAFETY: the token's instructions; the memory is the caller's.
        unsafe {
            let half = |h: usize| _mm256_cvtepu32_epi64(_mm_loadu_si128(from.add(4 * h).cast()));
            [half(0), half(1)]
        }
    }
    #[inline(always)]
    unsafe fn store_sums_ptr(self, to: *mut i32, [low, high]: [__m256i; 2]) {
        // SAFETY: as above.
        unsafe {
            // The horizontal sums of columns 0 1 4 5 and 2 3 6 7.
            let sums = _mm256_hadd_epi32(low, high);
            _mm256_storeu_si256(to.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(sums));
        }
    }
    #[inline(always)]
    unsafe fn load_x_ptr(self, from: *const u8) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_set1_epi64x(from.cast::<i64>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn load_w_ptr(self, from: *const u8) -> [__m256i; 2] {
        // SAFETY: as above.
        unsafe {
            let half = |h: usize| _mm256_cvtepi8_epi16(_mm_loadu_si128(from.add(16 * h).cast()));
            [half(0), half(1)]
        }
    }
    #[inline(always)]
    fn add_products(self, [low, high]: [__m256i; 2], x: __m256i, w: [__m256i; 2]) -> [__m256i; 2] {
        registers! {
            [
                _mm256_add_epi32(low, _mm256_madd_epi16(x, w[0])),
                _mm256_add_epi32(high, _mm256_madd_epi16(x, w[1])),
            ]
        }
    }
}
