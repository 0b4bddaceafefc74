//! The network's arithmetic on a CPU: plain slices in and out, no tensors.

mod activation;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod attention;
mod int8;
mod matmul;
mod norm;
mod simd;

pub use activation::Activation;
pub use attention::{Heads, attention};
pub use int8::{Int8Matrix, matmul_int8};
pub use matmul::{Target, Weight, matmul};
pub use norm::layer_norm;
pub use simd::Isa;

/// What the last digits of the kernels' results depend on: the same text, the same digits.
pub fn arithmetic() -> String {
    let float = match Isa::of_this_machine() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => "avx512",
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => "avx2",
        Isa::Portable => "portable",
    };
    format!("{} {float}", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use crate::world::Random;

    /// Values between −1 and 1, the same for the same seed.
    pub fn random(count: usize, seed: u32) -> Vec<f32> {
        let mut random = Random(seed);
        std::iter::repeat_with(|| random.value()).take(count).collect()
    }
}
