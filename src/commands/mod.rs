//! One file a verb: what was asked for → an exit code.

mod cache;
mod classify;
mod doctor;
mod eval;
mod exit;
mod fetch;
mod models;
mod rules;
mod setup;

pub use classify::{Classify, OutputChoice};
pub use doctor::{Doctor, DoctorFormat};
pub use eval::Eval;
pub use exit::{Exit, WrongUsage, conclude};
pub use fetch::Fetch;
pub use models::{Models, ModelsFormat};
pub use rules::Rules;
pub use setup::Setup;

use crate::report;
use anyhow::Result;
use std::io::Write;
use std::path::PathBuf;

/// What the user asked for.
pub enum Command {
    /// Classify images.
    Classify(Box<Classify>),
    /// Tell how right the labels are.
    Eval(Box<Eval>),
    /// Bring a model into the hub cache.
    Fetch(Fetch),
    /// List models worth knowing.
    Models(Models),
    /// Look whether this installation is sound.
    Doctor(Doctor),
    /// Say what the embedding cache in a folder holds.
    CacheInfo(PathBuf),
    /// Empty the embedding cache in a folder.
    CacheClear(PathBuf),
    /// Print a text that the command line is described by: a completion script or the manual page.
    Print(Vec<u8>),
}

/// Does what was asked for.
///
/// *Errors* when it cannot be done at all; a single image that fails is no error.
pub fn run(command: Command) -> Result<Exit> {
    match command {
        Command::Classify(classify) => classify.run(),
        Command::Eval(eval) => eval.run(),
        Command::Fetch(fetch) => fetch.run(),
        Command::Models(models) => models.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::CacheInfo(folder) => cache::info(&folder),
        Command::CacheClear(folder) => cache::clear(&folder),
        Command::Print(text) => {
            report::stdout()?.write_all(&text)?;
            Ok(Exit::Success)
        }
    }
}
