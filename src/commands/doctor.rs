//! `clipclass doctor`: this installation → whether it is sound and fast, and what helps where it is not.

use super::Exit;
use crate::doctor::{self, Installation};
use crate::report;
use anyhow::Result;

/// How findings are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoctorFormat {
    /// For reading, and for reports of what went wrong.
    Text,
    /// One JSON object.
    Json,
}

/// What `clipclass doctor` was asked for.
pub struct Doctor {
    pub installation: Installation,
    pub format: DoctorFormat,
}

impl Doctor {
    pub(super) fn run(self) -> Result<Exit> {
        let found = doctor::examine(&self.installation)?;
        let mut out = report::stdout()?;
        match self.format {
            DoctorFormat::Text => found.write_text(&mut out)?,
            DoctorFormat::Json => found.write_json(&mut out)?,
        }
        Ok(if found.sound { Exit::Success } else { Exit::ProblemsFound })
    }
}
