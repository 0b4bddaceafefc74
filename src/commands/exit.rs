//! How a command ended → the process's exit code.

use crate::bug::Bug;
use crate::messages::Messages;
use crate::pipeline::Interrupted;
use crate::report::ClosedPipe;
use anyhow::Result;
use std::io;
use std::process::ExitCode;

/// How a command ended that could be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All of it was done.
    Success,
    /// Some image failed; all others were classified.
    ImagesFailed,
    /// The installation has problems.
    ProblemsFound,
}

/// Arguments that mean nothing, and what is said of them, in colours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(pub String);

/// Wrong usage, or the run could not go on.
const RUN_FAILED: u8 = 2;

/// Tells what failed, and gives the exit code; does not return where a signal ended the run, as a
/// shell's loop is to end with it.
pub fn conclude(result: Result<Exit>, messages: &Messages) -> ExitCode {
    let error = match result {
        Ok(Exit::Success) => return ExitCode::SUCCESS,
        Ok(Exit::ImagesFailed | Exit::ProblemsFound) => return ExitCode::from(1),
        Err(error) => error,
    };
    if is_closed_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        return interrupted.die();
    }
    if let Some(WrongUsage(refusal)) = error.downcast_ref() {
        messages.usage(refusal);
    } else if error.is::<Bug>() {
        messages
            .error(format_args!("clipclass itself is at fault, please report it with what you did: {error}"));
    } else {
        messages.error(format_args!("{error:#}"));
    }
    RUN_FAILED.into()
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error.is::<ClosedPipe>() || error.downcast_ref().is_some_and(io)
}
