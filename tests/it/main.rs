//! Everything that drives the real program or compares the library with its originals, in one
//! binary.

// Links, signals and terminals are tested on Unix alone, and so is what only those tests use.
#![cfg_attr(not(unix), allow(dead_code, unused_imports))]

mod bf16;
mod cache;
mod cli;
mod containers;
#[cfg(unix)]
mod docs;
mod doctor;
mod eval;
mod families;
#[cfg(unix)]
mod first_minute;
mod fits;
mod golden;
mod hostile;
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
