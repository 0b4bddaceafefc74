//! The network's arithmetic on a CPU: plain slices in and out, no tensors.

mod activation;
mod attention;
mod matmul;
mod norm;
mod simd;

pub use activation::{Activation, activate};
pub use attention::{Heads, attention};
pub use matmul::{Target, Weight, matmul};
pub use norm::layer_norm;
pub use simd::Isa;
