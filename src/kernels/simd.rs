//! Vectors of f32 on this processor: the few operations the kernels need, for AVX-512, AVX2 with
//! FMA, and anything else.
//!
//! A kernel is written once over [`Simd`] and [`dispatch`] runs it with the widest vectors the
//! machine has. The portable vectors are plain arrays, which the compiler turns into NEON or SSE.

use std::sync::OnceLock;

/// One width of vectors.
///
/// # Safety
///
/// The methods of an implementation may run only where [`dispatch`] found its instructions.
pub unsafe trait Simd: Copy + Send + Sync + 'static {
    /// A vector of [`Self::LANES`] f32.
    type F32: Copy;
    /// Elements of a vector.
    const LANES: usize;
    /// Rows of the tile that [`matmul`](super::matmul) keeps in registers beside three vectors of columns.
    const TILE_ROWS: usize;

    /// All lanes equal to `x`.
    unsafe fn splat(x: f32) -> Self::F32;
    /// The `LANES` elements from `from`, unaligned.
    unsafe fn load(from: *const f32) -> Self::F32;
    /// The `LANES` integers from `from`, unaligned, as f32.
    unsafe fn load_i32(from: *const i32) -> Self::F32;
    /// Writes the `LANES` elements to `to`, unaligned.
    unsafe fn store(to: *mut f32, x: Self::F32);
    /// `x + y`.
    unsafe fn add(x: Self::F32, y: Self::F32) -> Self::F32;
    /// `x * y + z`, fused where the machine has it.
    unsafe fn mul_add(x: Self::F32, y: Self::F32, z: Self::F32) -> Self::F32;
    /// `x / y`.
    unsafe fn div(x: Self::F32, y: Self::F32) -> Self::F32;
    /// The larger of each pair; that of `y` where either is NaN.
    unsafe fn max(x: Self::F32, y: Self::F32) -> Self::F32;
    /// The smaller of each pair; that of `y` where either is NaN.
    unsafe fn min(x: Self::F32, y: Self::F32) -> Self::F32;
    /// 2ⁿ for the whole number n that the lowest bits of `x` hold.
    unsafe fn power_of_two(x: Self::F32) -> Self::F32;
    /// Four elements from `k` of each of the first `LANES` rows, turned around: `to`, `to + stride`,
    /// … get a vector each with one element of every row.
    unsafe fn transpose4(rows: &[*const f32; 16], k: usize, to: *mut f32, stride: usize);
    /// Asks for the line of memory at `at`, which may be any address.
    fn prefetch(_at: *const f32) {}
    /// The sums over the lanes of four vectors.
    unsafe fn sum4(x: [Self::F32; 4]) -> [f32; 4];

    /// The first `len < LANES` elements from `from`, then zeros.
    #[inline(always)]
    unsafe fn load_part(from: *const f32, len: usize) -> Self::F32 {
        let mut lanes = [0f32; 16];
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), len);
            Self::load(lanes.as_ptr())
        }
    }

    /// Writes the first `len < LANES` elements to `to`.
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, x: Self::F32, len: usize) {
        let mut lanes = [0f32; 16];
        unsafe {
            Self::store(lanes.as_mut_ptr(), x);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, len);
        }
    }

    /// `x * y`; a product that is −0 is 0.
    #[inline(always)]
    unsafe fn mul(x: Self::F32, y: Self::F32) -> Self::F32 {
        unsafe { Self::mul_add(x, y, Self::splat(0.0)) }
    }

    /// The polynomial in `x` with these coefficients, that of the highest power first.
    #[inline(always)]
    unsafe fn polynomial(x: Self::F32, coefficients: &[f32]) -> Self::F32 {
        unsafe {
            let mut sum = Self::splat(coefficients[0]);
            for coefficient in &coefficients[1..] {
                sum = Self::mul_add(sum, x, Self::splat(*coefficient));
            }
            sum
        }
    }

    /// eˣ, about as exact as f32 is; below −87.3 as there, above 88 as there.
    ///
    /// x = n ln 2 + r with n whole and |r| ≤ ln 2 / 2, where six terms give eʳ.
    #[inline(always)]
    unsafe fn exp(x: Self::F32) -> Self::F32 {
        /// Added and taken away again it rounds, and leaves a whole number in the lowest bits.
        const ROUND: f32 = 12_582_912.0;
        /// ln 2, to twelve bits and the rest, so that n times the first is exact.
        const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
        /// Of eʳ = 1 + r + r² (…), highest power first (minimax, as in Cephes' `expf`).
        const TERMS: [f32; 6] =
            [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
        unsafe {
            let x = Self::min(Self::splat(88.0), Self::max(Self::splat(-87.3), x));
            let whole = Self::mul_add(x, Self::splat(std::f32::consts::LOG2_E), Self::splat(ROUND));
            let n = Self::add(whole, Self::splat(-ROUND));
            let r = Self::mul_add(n, Self::splat(-LN_2[0]), x);
            let r = Self::mul_add(n, Self::splat(-LN_2[1]), r);
            let sum = Self::polynomial(r, &TERMS);
            let power = Self::mul_add(sum, Self::mul(r, r), Self::add(r, Self::splat(1.0)));
            Self::mul(power, Self::power_of_two(whole))
        }
    }

    /// The largest lane.
    #[inline(always)]
    unsafe fn largest(x: Self::F32) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 16];
        unsafe { Self::store(lanes.as_mut_ptr(), x) };
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = if lanes[i] > lanes[i + half] { lanes[i] } else { lanes[i + half] };
            }
            half /= 2;
        }
        lanes[0]
    }

    /// The sum over the lanes.
    #[inline(always)]
    unsafe fn sum(x: Self::F32) -> f32 {
        unsafe {
            let zero = Self::splat(0.0);
            Self::sum4([x, zero, zero, zero])[0]
        }
    }
}

/// Work written once for every width of vectors.
pub trait Kernel {
    /// Runs the work with vectors of `S`; implementations are `#[inline(always)]` so that the
    /// instructions of `S` may be used throughout.
    ///
    /// # Safety
    ///
    /// The machine must have the instructions of `S`.
    unsafe fn run<S: Simd>(self);
}

/// Runs `kernel` with the vectors of `isa`.
#[inline]
pub fn dispatch(isa: Isa, kernel: impl Kernel) {
    match isa {
        // SAFETY: an `Isa` that this machine lacks is not made.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::run_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::run_avx2(kernel) },
        Isa::Portable => unsafe { kernel.run::<Portable>() },
    }
}

/// Instruction sets with vectors of their own here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// The best instruction set that this machine has.
    pub fn of_this_machine() -> Self {
        static ISA: OnceLock<Isa> = OnceLock::new();
        *ISA.get_or_init(|| Self::all_of_this_machine()[0])
    }

    /// Those that this machine has, best first.
    pub(super) fn all_of_this_machine() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl") {
                all.push(Self::Avx512);
            }
            if avx2 {
                all.push(Self::Avx2);
            }
        }
        all.push(Self::Portable);
        all
    }
}

/// Eight lanes as an array.
#[derive(Clone, Copy)]
pub struct Portable;

// SAFETY: plain Rust.
unsafe impl Simd for Portable {
    type F32 = [f32; 8];
    const LANES: usize = 8;
    const TILE_ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::F32 {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F32 {
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_i32(from: *const i32) -> Self::F32 {
        unsafe { from.cast::<[i32; 8]>().read_unaligned() }.map(|i| i as f32)
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: Self::F32) {
        unsafe { to.cast::<[f32; 8]>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn add(x: Self::F32, y: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| x[i] + y[i])
    }
    #[inline(always)]
    unsafe fn mul_add(x: Self::F32, y: Self::F32, z: Self::F32) -> Self::F32 {
        // Without the instruction `f32::mul_add` is a slow call.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            std::array::from_fn(|i| x[i].mul_add(y[i], z[i]))
        } else {
            std::array::from_fn(|i| x[i] * y[i] + z[i])
        }
    }
    #[inline(always)]
    unsafe fn div(x: Self::F32, y: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| x[i] / y[i])
    }
    #[inline(always)]
    unsafe fn max(x: Self::F32, y: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| if x[i] > y[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    unsafe fn min(x: Self::F32, y: Self::F32) -> Self::F32 {
        std::array::from_fn(|i| if x[i] < y[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    unsafe fn power_of_two(x: Self::F32) -> Self::F32 {
        x.map(|x| f32::from_bits((x.to_bits() << 23).wrapping_add(1f32.to_bits())))
    }
    #[inline(always)]
    unsafe fn transpose4(rows: &[*const f32; 16], k: usize, to: *mut f32, stride: usize) {
        for i in 0..4 {
            for (n, row) in rows.iter().take(8).enumerate() {
                unsafe { *to.add(i * stride + n) = *row.add(k + i) };
            }
        }
    }
    #[inline(always)]
    unsafe fn sum4(x: [Self::F32; 4]) -> [f32; 4] {
        x.map(|v| ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::{Kernel, Simd};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
    pub(super) unsafe fn run_avx512(kernel: impl Kernel) {
        unsafe { kernel.run::<Avx512>() }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn run_avx2(kernel: impl Kernel) {
        unsafe { kernel.run::<Avx2>() }
    }

    #[derive(Clone, Copy)]
    pub struct Avx512;

    // SAFETY: `run_avx512` enables the instructions.
    unsafe impl Simd for Avx512 {
        type F32 = __m512;
        const LANES: usize = 16;
        const TILE_ROWS: usize = 8;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_i32(from: *const i32) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(_mm512_loadu_si512(from.cast())) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m512) {
            unsafe { _mm512_storeu_ps(to, x) }
        }
        #[inline(always)]
        unsafe fn add(x: __m512, y: __m512) -> __m512 {
            unsafe { _mm512_add_ps(x, y) }
        }
        #[inline(always)]
        unsafe fn mul_add(x: __m512, y: __m512, z: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(x, y, z) }
        }
        #[inline(always)]
        unsafe fn div(x: __m512, y: __m512) -> __m512 {
            unsafe { _mm512_div_ps(x, y) }
        }
        #[inline(always)]
        unsafe fn max(x: __m512, y: __m512) -> __m512 {
            unsafe { _mm512_max_ps(x, y) }
        }
        #[inline(always)]
        unsafe fn min(x: __m512, y: __m512) -> __m512 {
            unsafe { _mm512_min_ps(x, y) }
        }
        #[inline(always)]
        unsafe fn power_of_two(x: __m512) -> __m512 {
            unsafe {
                let n = _mm512_slli_epi32::<23>(_mm512_castps_si512(x));
                _mm512_castsi512_ps(_mm512_add_epi32(n, _mm512_set1_epi32(1f32.to_bits() as i32)))
            }
        }
        #[inline(always)]
        unsafe fn transpose4(rows: &[*const f32; 16], k: usize, to: *mut f32, stride: usize) {
            unsafe {
                // Quarter q of vector i is of row 4q + i, so what is left is to transpose within quarters.
                let gather = |i: usize| {
                    let quarter = |q: usize| _mm_loadu_ps(rows[4 * q + i].add(k));
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
        fn prefetch(at: *const f32) {
            // SAFETY: a prefetch does not fault.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
        }
        #[inline(always)]
        unsafe fn sum4(x: [__m512; 4]) -> [f32; 4] {
            unsafe {
                let halves =
                    x.map(|v| _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)));
                sum4(halves)
            }
        }
    }

    #[derive(Clone, Copy)]
    pub struct Avx2;

    // SAFETY: `run_avx2` enables the instructions.
    unsafe impl Simd for Avx2 {
        type F32 = __m256;
        const LANES: usize = 8;
        const TILE_ROWS: usize = 4;

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_i32(from: *const i32) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(_mm256_loadu_si256(from.cast())) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m256) {
            unsafe { _mm256_storeu_ps(to, x) }
        }
        #[inline(always)]
        unsafe fn add(x: __m256, y: __m256) -> __m256 {
            unsafe { _mm256_add_ps(x, y) }
        }
        #[inline(always)]
        unsafe fn mul_add(x: __m256, y: __m256, z: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(x, y, z) }
        }
        #[inline(always)]
        unsafe fn div(x: __m256, y: __m256) -> __m256 {
            unsafe { _mm256_div_ps(x, y) }
        }
        #[inline(always)]
        unsafe fn max(x: __m256, y: __m256) -> __m256 {
            unsafe { _mm256_max_ps(x, y) }
        }
        #[inline(always)]
        unsafe fn min(x: __m256, y: __m256) -> __m256 {
            unsafe { _mm256_min_ps(x, y) }
        }
        #[inline(always)]
        unsafe fn power_of_two(x: __m256) -> __m256 {
            unsafe {
                let n = _mm256_slli_epi32::<23>(_mm256_castps_si256(x));
                _mm256_castsi256_ps(_mm256_add_epi32(n, _mm256_set1_epi32(1f32.to_bits() as i32)))
            }
        }
        #[inline(always)]
        unsafe fn transpose4(rows: &[*const f32; 16], k: usize, to: *mut f32, stride: usize) {
            unsafe {
                // Half h of vector i is of row 4h + i, so what is left is to transpose within halves.
                let gather = |i: usize| {
                    let half = |h: usize| _mm_loadu_ps(rows[4 * h + i].add(k));
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
        fn prefetch(at: *const f32) {
            // SAFETY: a prefetch does not fault.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
        }
        #[inline(always)]
        unsafe fn sum4(x: [__m256; 4]) -> [f32; 4] {
            unsafe { sum4(x) }
        }
    }

    /// The sums over the lanes of four vectors: a transposing tree of horizontal adds.
    #[inline(always)]
    unsafe fn sum4(x: [__m256; 4]) -> [f32; 4] {
        unsafe {
            let pairs = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
            let sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
            std::mem::transmute::<__m128, [f32; 4]>(sums)
        }
    }
}
