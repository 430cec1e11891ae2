//! `pagemesh version`.

use std::process::ExitCode;

use anyhow::Result;

use crate::output;

/// Prints our version.
pub(crate) fn version() -> Result<ExitCode> {
    output::print(&format!("pagemesh {}\n", env!("CARGO_PKG_VERSION")))?;
    Ok(ExitCode::SUCCESS)
}
