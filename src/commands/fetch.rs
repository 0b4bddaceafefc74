//! `clipclass fetch`: a model's name → its files in the hub cache, and the folders they are in.

use super::Exit;
use crate::hub::{self, HubOptions};
use crate::messages::Messages;
use crate::report;
use anyhow::Result;
use std::io::Write;

/// What `clipclass fetch` was asked for.
pub struct Fetch {
    /// A repository or a folder.
    pub model: String,
    pub hub: HubOptions,
    /// Whether warnings and progress are left out.
    pub quiet: bool,
}

impl Fetch {
    pub(super) fn run(self) -> Result<Exit> {
        let files = hub::locate(&self.model, &self.hub, &Messages::new(self.quiet))?;
        for folder in files.folders() {
            writeln!(report::stdout()?, "{}", folder.display())?;
        }
        Ok(Exit::Success)
    }
}
