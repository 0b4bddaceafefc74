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

#[cfg(test)]
mod tests {
    use crate::world::Random;

    /// Values between −1 and 1, the same for the same seed.
    pub fn random(count: usize, seed: u32) -> Vec<f32> {
        let mut random = Random(seed);
        std::iter::repeat_with(|| random.value()).take(count).collect()
    }
}
