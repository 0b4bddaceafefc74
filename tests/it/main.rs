//! Everything that drives the real program or compares the library with its originals, in one
//! binary.

mod cache;
mod cli;
mod hub;
mod input;
mod int8;
mod labels;
mod oracle;
mod parity;
mod pixels;
#[cfg(unix)]
mod streams;
mod weights;
mod world;
