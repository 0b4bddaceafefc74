//! Everything that drives the real program or compares the library with its originals, in one
//! binary.

mod cache;
mod cli;
mod containers;
mod eval;
mod families;
mod formula;
mod golden;
mod html;
mod hub;
mod input;
mod int8;
mod labels;
mod models;
mod oracle;
mod parity;
mod pinned;
mod pixels;
mod records;
mod runs;
mod server;
#[cfg(unix)]
mod streams;
mod tokens;
mod verdicts;
mod web;
mod weights;
mod world;
