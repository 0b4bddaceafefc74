//! [`Model`]: a checkpoint's weights on a device, turning images and prompts into embeddings.

pub mod clip;
pub mod config;
pub mod hub;
pub mod linear;
pub mod tokenizer;
pub mod weights;
