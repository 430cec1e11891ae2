//! `pagemesh crd`.

use std::process::ExitCode;

use anyhow::Result;

use crate::output;

/// Print the CustomResourceDefinitions of pagemesh's kinds as YAML.
///
/// They are those of this version; the Helm chart installs the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  pagemesh crd | kubectl apply --server-side -f -")]
pub(crate) struct Args {}

/// Prints them.
pub(crate) fn crd(_: &Args) -> Result<ExitCode> {
    output::print(&pagemesh_crds::definitions_yaml())?;
    Ok(ExitCode::SUCCESS)
}
