//! Arguments → exit code.

use anyhow::Result;
use clipclass::cache::{self, DEFAULT_LIMIT_BYTES, Holdings};
use clipclass::cli::{self, Command};
use clipclass::hub;
use clipclass::messages::Messages;
use clipclass::pipeline::{self, INTERRUPTED_EXIT_CODE, Interrupted};
use clipclass::report::ClosedPipe;
use std::io::{self, Write};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Some image failed.
const IMAGES_FAILED: u8 = 1;
/// Wrong usage, or the run could not go on.
const RUN_FAILED: u8 = 2;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => INTERRUPTED_EXIT_CODE.into(),
        Err(error) => {
            Messages::new(false).error(format_args!("{error:#}"));
            ExitCode::from(RUN_FAILED)
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut out = io::stdout();
    match Command::from_args()? {
        Command::Classify { job, quiet } => {
            let summary = pipeline::run(*job, &Messages::new(quiet))?;
            return Ok(if summary.failed > 0 { IMAGES_FAILED.into() } else { ExitCode::SUCCESS });
        }
        Command::Fetch { model, hub, quiet } => {
            let files = hub::locate(&model, &hub, &Messages::new(quiet))?;
            for folder in files.folders() {
                writeln!(out, "{}", folder.display())?;
            }
        }
        Command::CacheInfo(folder) => {
            let Holdings { bytes, images, prompts, models } = cache::holdings(&folder)?;
            writeln!(out, "folder: {}", folder.display())?;
            writeln!(out, "size: {} MiB of at most {} MiB", bytes >> 20, DEFAULT_LIMIT_BYTES >> 20)?;
            writeln!(out, "images: {images}\nprompts: {prompts}\nmodels: {models}")?;
        }
        Command::CacheClear(folder) => {
            let bytes = cache::clear(&folder)?;
            writeln!(out, "removed {} MiB from {}", bytes >> 20, folder.display())?;
        }
        Command::Completions(shell) => cli::write_completions(shell, &mut out)?,
        Command::Manual => cli::write_manual(&mut out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error.is::<ClosedPipe>() || error.downcast_ref().is_some_and(io)
}
