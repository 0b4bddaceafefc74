//! Vectors of numbers on this processor: the few operations that the kernels need, with one file
//! for each instruction set.
//!
//! Every instruction set has a token, a value of no size that is made only where the machine has
//! the instructions. Whoever holds one may use its operations, so arithmetic on vectors is safe
//! code; what reads or writes through pointers is not. A kernel is written once over [`Simd`], and
//! [`dispatch`] runs it with the widest vectors that may be used.

pub mod portable;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod amx;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "x86_64")]
pub mod avx512_bf16;
#[cfg(target_arch = "x86_64")]
pub mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
pub mod avx_vnni;
#[cfg(target_arch = "aarch64")]
pub mod neon;

use super::instructions::FloatSet;
use bytemuck::Pod;
use std::mem::MaybeUninit;

/// The most lanes of a vector of f32.
pub const MAX_LANES: usize = 16;

/// The token of an instruction set with vectors of f32, and what can be done with them.
pub trait Simd: Copy + Send + Sync + 'static {
    /// A vector of [`Self::LANES`] f32.
    type F32: Copy;
    /// Elements of a vector, a power of two of at least four and at most 16.
    const LANES: usize;
    /// Rows of the tile of sums that a product keeps in registers.
    const TILE_ROWS: usize;
    /// Vectors in a row of that tile. With one vector of columns each, and one factor, it must fit
    /// the machine's registers, or the inner loop moves sums instead of multiplying.
    const TILE_VECTORS: usize;
    /// Elements that a product sums with one panel of columns, before it adds the sums to memory.
    const DEPTH: usize;

    /// All lanes equal to `x`.
    fn splat(self, x: f32) -> Self::F32;
    /// The `LANES` elements from `from`, unaligned.
    ///
    /// # Safety
    ///
    /// They can be read.
    unsafe fn load_ptr(self, from: *const f32) -> Self::F32;
    /// The `LANES` integers from `from`, unaligned, as f32.
    ///
    /// # Safety
    ///
    /// They can be read.
    unsafe fn load_i32_ptr(self, from: *const i32) -> Self::F32;
    /// Writes the `LANES` elements to `to`, unaligned.
    ///
    /// # Safety
    ///
    /// They can be written.
    unsafe fn store_ptr(self, to: *mut f32, x: Self::F32);
    /// `x + y`.
    fn add(self, x: Self::F32, y: Self::F32) -> Self::F32;
    /// `x * y + z`, fused where the machine has it.
    fn mul_add(self, x: Self::F32, y: Self::F32, z: Self::F32) -> Self::F32;
    /// `x / y`.
    fn div(self, x: Self::F32, y: Self::F32) -> Self::F32;
    /// The larger of each pair; that of `y` where either is NaN.
    fn max(self, x: Self::F32, y: Self::F32) -> Self::F32;
    /// The smaller of each pair; that of `y` where either is NaN.
    fn min(self, x: Self::F32, y: Self::F32) -> Self::F32;
    /// 2ⁿ for the whole number n that the lowest bits of `x` hold.
    fn power_of_two(self, x: Self::F32) -> Self::F32;
    /// The sums over the lanes of four vectors.
    fn sum4(self, x: [Self::F32; 4]) -> [f32; 4];
    /// Four elements of each of the first `LANES` rows, turned around: `to`, `to + stride`,
    /// … get a vector each with one element of every row.
    ///
    /// # Safety
    ///
    /// Four elements can be read from each of the first `LANES` pointers, and `LANES` written to
    /// each of the four places.
    unsafe fn transpose4(self, rows: &[*const f32; MAX_LANES], to: *mut f32, stride: usize);
    /// Asks for the line of memory at `at`, which may be any address.
    fn prefetch(self, _at: *const f32) {}

    /// The first `LANES` elements.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F32 {
        let from = &from[..Self::LANES];
        // SAFETY: the slice has that many.
        unsafe { self.load_ptr(from.as_ptr()) }
    }

    /// The first `LANES` integers, as f32.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[inline(always)]
    fn load_i32(self, from: &[i32]) -> Self::F32 {
        let from = &from[..Self::LANES];
        // SAFETY: the slice has that many.
        unsafe { self.load_i32_ptr(from.as_ptr()) }
    }

    /// Writes the lanes to the first `LANES` elements.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[inline(always)]
    fn store(self, to: &mut [f32], x: Self::F32) {
        let to = &mut to[..Self::LANES];
        // SAFETY: the slice has that many.
        unsafe { self.store_ptr(to.as_mut_ptr(), x) }
    }

    /// All elements, at most `LANES`, then zeros.
    #[inline(always)]
    fn load_some(self, from: &[f32]) -> Self::F32 {
        if from.len() == Self::LANES {
            return self.load(from);
        }
        let mut lanes = [0.0; MAX_LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// Writes as many lanes as there are elements, at most `LANES`.
    #[inline(always)]
    fn write_some(self, to: &mut [MaybeUninit<f32>], x: Self::F32) {
        if to.len() == Self::LANES {
            // SAFETY: the slice has that many.
            return unsafe { self.store_ptr(to.as_mut_ptr().cast(), x) };
        }
        let mut lanes = [0.0; MAX_LANES];
        self.store(&mut lanes, x);
        to.write_copy_of_slice(&lanes[..to.len()]);
    }

    /// `x * y`; a product that is −0 is 0.
    #[inline(always)]
    fn mul(self, x: Self::F32, y: Self::F32) -> Self::F32 {
        self.mul_add(x, y, self.splat(0.0))
    }

    /// The polynomial in `x` with these coefficients, that of the highest power first.
    #[inline(always)]
    fn polynomial(self, x: Self::F32, coefficients: &[f32]) -> Self::F32 {
        let mut sum = self.splat(coefficients[0]);
        for coefficient in &coefficients[1..] {
            sum = self.mul_add(sum, x, self.splat(*coefficient));
        }
        sum
    }

    /// eˣ, about as exact as f32 is; below −87.3 as there, above 88 as there.
    ///
    /// x = n ln 2 + r with n whole and |r| ≤ ln 2 / 2, where six terms give eʳ.
    #[inline(always)]
    fn exp(self, x: Self::F32) -> Self::F32 {
        /// Added and taken away again it rounds, and leaves a whole number in the lowest bits.
        const ROUND: f32 = 12_582_912.0;
        /// ln 2, to twelve bits and the rest, so that n times the first is exact.
        const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
        /// Of eʳ = 1 + r + r² (…), highest power first (minimax, as in Cephes' `expf`).
        const TERMS: [f32; 6] =
            [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
        let x = self.min(self.splat(88.0), self.max(self.splat(-87.3), x));
        let whole = self.mul_add(x, self.splat(std::f32::consts::LOG2_E), self.splat(ROUND));
        let n = self.add(whole, self.splat(-ROUND));
        let r = self.mul_add(n, self.splat(-LN_2[0]), x);
        let r = self.mul_add(n, self.splat(-LN_2[1]), r);
        let sum = self.polynomial(r, &TERMS);
        let power = self.mul_add(sum, self.mul(r, r), self.add(r, self.splat(1.0)));
        self.mul(power, self.power_of_two(whole))
    }

    /// The largest lane.
    #[inline(always)]
    fn largest(self, x: Self::F32) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; MAX_LANES];
        self.store(&mut lanes, x);
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
    fn sum(self, x: Self::F32) -> f32 {
        let zero = self.splat(0.0);
        self.sum4([x, zero, zero, zero])[0]
    }
}

/// What the factors of products are that [`DotSimd`] sums, and how they lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factors {
    /// 8-bit integers.
    Signed,
    /// 8-bit integers, `x + 128`, so that sums start at −128 times the sum of a column's weights.
    Unsigned,
    /// 8-bit integers, as 16-bit integers.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "AVX2 alone takes them so"))]
    Wide,
    /// bf16.
    Bf16,
}

impl Factors {
    /// Bytes of the factors that a word of weights, four bytes, is multiplied with.
    pub const fn bytes_per_word(self) -> usize {
        match self {
            Self::Signed | Self::Unsigned | Self::Bf16 => 4,
            Self::Wide => 8,
        }
    }
}

/// The token of an instruction set with vectors that sum products of narrow numbers, a word at a time:
/// four 8-bit integers or two bf16 of each column.
pub trait DotSimd: Copy + Send + Sync + 'static {
    /// Vectors of f32, to go on with.
    type Float: Simd;
    /// A sum.
    type Sum: Pod;
    /// A vector of [`Self::LANES`] sums.
    type Sums: Copy;
    /// The factors of one row for a word, ready to be multiplied.
    type X: Copy;
    /// A word of each of [`Self::LANES`] columns.
    type W: Copy;
    /// Sums of a vector.
    const LANES: usize;
    /// Rows of the tile of sums that a product keeps in registers.
    const TILE_ROWS: usize;
    /// Vectors in a row of that tile.
    const TILE_VECTORS: usize;
    /// What the factors are.
    const FACTORS: Factors;

    /// The token of the vectors of f32.
    fn float(self) -> Self::Float;
    /// Sums of zero.
    fn zero(self) -> Self::Sums;
    /// The `LANES` sums from `from`, unaligned.
    ///
    /// # Safety
    ///
    /// They can be read.
    unsafe fn load_sums_ptr(self, from: *const Self::Sum) -> Self::Sums;
    /// Writes the `LANES` sums to `to`, unaligned.
    ///
    /// # Safety
    ///
    /// They can be written.
    unsafe fn store_sums_ptr(self, to: *mut Self::Sum, sums: Self::Sums);
    /// The factors for a word from `from`, unaligned, as [`Self::FACTORS`] says.
    ///
    /// # Safety
    ///
    /// They can be read.
    unsafe fn load_x_ptr(self, from: *const u8) -> Self::X;
    /// The `LANES` words from `from`, unaligned.
    ///
    /// # Safety
    ///
    /// They can be read.
    unsafe fn load_w_ptr(self, from: *const u8) -> Self::W;
    /// The sums with the products of each column's word added: exactly those of integers, which are
    /// −127 … 127 (`x + 128` with [`Factors::Unsigned`]), rounded those of bf16.
    fn add_products(self, sums: Self::Sums, x: Self::X, w: Self::W) -> Self::Sums;
}

/// Work written once for every width of vectors.
pub trait Kernel {
    /// What the work gives.
    type Output;

    /// Does the work with vectors of `S`; implementations are `#[inline(always)]`, so that they
    /// are compiled with the instructions of `S`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Work for the holder of a token of type `T`.
pub trait Work<T> {
    /// What the work gives.
    type Output;

    /// Does the work; implementations are `#[inline(always)]`, so that they are compiled with the
    /// token's instructions.
    fn run(self, token: T) -> Self::Output;
}

/// A kernel as work for one width of vectors.
struct OneWidth<K>(K);

impl<K: Kernel, S: Simd> Work<S> for OneWidth<K> {
    type Output = K::Output;

    #[inline(always)]
    fn run(self, simd: S) -> K::Output {
        self.0.run(simd)
    }
}

/// Runs `kernel` with the widest vectors that may be used.
#[inline]
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    dispatch_on(FloatSet::in_use(), kernel)
}

/// Runs `kernel` with the vectors of `set`.
#[inline]
pub(super) fn dispatch_on<K: Kernel>(set: FloatSet, kernel: K) -> K::Output {
    match set {
        FloatSet::Portable => kernel.run(portable::Portable),
        #[cfg(target_arch = "x86_64")]
        FloatSet::Avx2(token) => token.enable(OneWidth(kernel)),
        #[cfg(target_arch = "x86_64")]
        FloatSet::Avx512(token) => token.enable(OneWidth(kernel)),
        #[cfg(target_arch = "aarch64")]
        FloatSet::Neon(token) => token.enable(OneWidth(kernel)),
    }
}

/// Defines the token of an instruction set: the features that are looked for on the machine are
/// those that code is compiled with, from one list.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! token {
    ($(#[$doc:meta])* $name:ident: $($feature:tt)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(());

        impl $name {
            /// The token, if this machine has the instructions.
            pub fn detect() -> Option<Self> {
                ($($crate::simd::detected!($feature))&&+).then_some(Self(()))
            }

            /// Does `work` compiled with the instructions.
            #[inline]
            pub fn enable<W: $crate::simd::Work<Self>>(self, work: W) -> W::Output {
                #[target_feature($(enable = $feature),+)]
                fn enabled<T, W: $crate::simd::Work<T>>(token: T, work: W) -> W::Output {
                    work.run(token)
                }
                // SAFETY: a token exists only where the same features were detected.
                unsafe { enabled(self, work) }
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use token;

/// Whether this machine has a feature.
#[cfg(target_arch = "x86_64")]
macro_rules! detected {
    ($feature:tt) => {
        is_x86_feature_detected!($feature)
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! detected {
    ($feature:tt) => {
        std::arch::is_aarch64_feature_detected!($feature)
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use detected;

/// Calls intrinsics that work on registers alone, for the holder of their token.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! registers {
    ($($call:tt)*) => {
        // SAFETY: these intrinsics need nothing but their instructions, and the method that calls
        // them has the token that proves those.
        unsafe { $($call)* }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use registers;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instructions::FloatSet;

    struct Exponentials<'a>(&'a mut [f32]);

    impl Kernel for Exponentials<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for x in self.0.chunks_exact_mut(S::LANES) {
                simd.store(x, simd.exp(simd.load(x)));
            }
        }
    }

    #[test]
    fn every_instruction_set_has_exponentials_of_all_digits() {
        let x: Vec<_> = (0..1024).map(|i| i as f32 / 6.0 - 87.0).collect();
        for set in FloatSet::all() {
            let mut y = x.clone();
            dispatch_on(set, Exponentials(&mut y));
            for (x, y) in x.iter().zip(&y) {
                let want = f64::from(x.min(88.0)).exp();
                // Two units in the last place.
                assert!((f64::from(*y) / want - 1.0).abs() < 2.5e-7, "{set:?}: exp {x} is {y}, not {want}");
            }
        }
    }

    struct Reductions;

    impl Kernel for Reductions {
        type Output = (f32, f32, [f32; 4]);

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let lanes: [f32; MAX_LANES] = std::array::from_fn(|i| if i == 1 { 20.0 } else { i as f32 });
            let x = simd.load(&lanes);
            let part = simd.load_some(&lanes[..3]);
            let mut y = [MaybeUninit::new(7.0); MAX_LANES];
            simd.write_some(&mut y[..3], x);
            // SAFETY: all of them are initialised above.
            let y = unsafe { y.assume_init_ref() };
            assert_eq!(y[..5], [0.0, 20.0, 2.0, 7.0, 7.0]);
            (simd.largest(x), simd.sum(part), simd.sum4([1.0, 2.0, 3.0, 4.0].map(|x| simd.splat(x))))
        }
    }

    #[test]
    fn every_instruction_set_reduces_its_lanes() {
        for set in FloatSet::all() {
            let (largest, sum, sums) = dispatch_on(set, Reductions);
            assert_eq!((largest, sum), (20.0, 22.0), "{set:?}");
            assert_eq!(sums.map(|x| x / sums[0]), [1.0, 2.0, 3.0, 4.0], "{set:?}");
        }
    }
}
