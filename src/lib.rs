//! Zero-shot image classification with CLIP.
//!
//! ```text
//!                     main.rs ── cli.rs
//!                        │
//! labels.rs ─────────────┼──────────────▶ model/ (text) ──┐
//!                        │                                ▼
//! input/ ──▶ pixels/ ────┴──────────────▶ model/ (vision) ─▶ score.rs ──▶ report/
//!         └────────────── pipeline/ wires the stages, owns threads and batches ────────────┘
//!                         cache/ keeps embeddings between runs
//! ```
//!
//! Data flows to the right. A room uses the words of the rooms to its left and never the reverse;
//! `pipeline` alone joins them.
//!
//! Shapes are written with these letters: `N` images, `P` prompts, `L` labels, `T` tokens (at most
//! the context length, 77), `D` embedding width, `H` = `W` = image size.

#![cfg_attr(not(test), warn(clippy::exit, clippy::print_stdout, clippy::unwrap_used))]

pub mod bug;
pub mod cache;
pub mod cli;
pub mod commands;
pub mod hub;
pub mod input;
pub mod kernels;
pub mod labels;
pub mod messages;
pub mod model;
pub mod pipeline;
pub mod pixels;
pub mod report;
pub mod score;
#[cfg(test)]
mod world;
