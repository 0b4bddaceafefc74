//! The network's arithmetic on a CPU: plain slices in and out, no tensors. A package of its own.
//!
//! [`instructions`] says which instructions are used. Results go to memory that need not be
//! initialised: a kernel takes `&mut [MaybeUninit<f32>]` and gives it back as `&mut [f32]`, and
//! [`collect`] makes a vector of that.
//!
//! This is the one room with SIMD, and so with `unsafe`: in `simd/`, where instructions are
//! called, in the two `tile`s, whose inner loops read through pointers, in `output`, which divides
//! a matrix among tasks, and where a kernel says that it has written all of its output.

#![allow(unsafe_code, reason = "SIMD; every block says why it holds")]

mod activation;
mod attention;
mod bf16;
mod check;
mod instructions;
mod int8;
mod matmul;
mod norm;
mod output;
mod panels;
mod simd;
mod softmax;
mod tile;

pub use activation::Activation;
pub use attention::{Heads, attention};
pub use bf16::Bf16Matrix;
pub use check::{KernelCheck, check};
pub use instructions::{
    Instructions, LIMIT_VARIABLE, arithmetic, instructions, machine_instructions, require_bf16,
};
pub use int8::Int8Matrix;
pub use matmul::{Weight, matmul, matmul_add};
pub use norm::layer_norm;
pub use output::collect;
pub use panels::{matmul_panels, matmul_panels_add};
pub use simd::{Kernel, Simd, dispatch};
pub use softmax::softmax;

#[cfg(test)]
#[path = "../random.rs"]
mod random;
