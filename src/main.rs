//! Arguments → exit code.

use clipclass::messages::Messages;
use clipclass::{bug, cli, commands};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bug::silence_panics();
    match bug::caught(|| cli::parse().and_then(commands::run)) {
        Ok(result) => commands::conclude(result, &Messages::new(false)),
        Err(bug) => commands::conclude(Err(bug.into()), &Messages::new(false)),
    }
}
