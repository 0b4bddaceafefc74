//! `clipclass fetch`: a model's name → its files in the hub cache, and the folders they are in.

use super::Exit;
use crate::hub::{self, HubOptions};
use crate::report;
use anyhow::Result;
use std::io::Write;

/// What `clipclass fetch` was asked for.
pub struct Fetch {
    /// A repository or a folder.
    pub model: String,
    pub hub: HubOptions,
}

impl Fetch {
    pub(super) fn run(self) -> Result<Exit> {
        let files = hub::locate(&self.model, &self.hub)?;
        for folder in files.folders() {
            writeln!(report::stdout()?, "{}", folder.display())?;
        }
        Ok(Exit::Success)
    }
}
