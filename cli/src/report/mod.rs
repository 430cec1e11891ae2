//! `pagemesh report`: what somebody needs who is to find out what is wrong.

mod anonymous;
mod bundle;
mod collect;
mod redact;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use k8s_openapi::jiff::Timestamp;

use crate::kubernetes::{Access, Patience};
use crate::output;
use bundle::Bundle;

/// Write a bundle about pagemesh on a cluster for a bug report.
///
/// It has the objects of pagemesh's kinds, what pagemesh consists of on the cluster, events, the last logs of the operator and
/// the agents, versions, and what `check` and `status` say. It has no Secrets, no values of environment variables, no
/// annotations of others, and nothing that looks like a token or a password. Look through it before you hand it on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pagemesh report
  pagemesh report -o /tmp/report.tar.gz --anonymous")]
pub(crate) struct Args {
    /// File to write; it must not be there yet [default: pagemesh-report-TIME.tar.gz]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Put names and numbers in place of what objects, nodes and namespaces are called, and of IP addresses.
    #[arg(long)]
    anonymous: bool,
    /// At most so many of the last lines of each log.
    #[arg(long, value_name = "LINES", default_value_t = 2000, value_parser = clap::value_parser!(i64).range(0..=100_000))]
    tail: i64,
    #[command(flatten)]
    access: Access,
}

/// Writes it.
pub(crate) fn report(args: &Args) -> Result<ExitCode> {
    let now = Timestamp::now();
    let name = format!("pagemesh-report-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    // Before all the questions, for it is what fails most often.
    let file = create(&path)?;
    let written = args
        .access
        .with_cluster(Patience::Answer, async |cluster| collect::collect(&cluster, args.tail).await)
        .and_then(|bundle| finish(bundle, args.anonymous, &name, file));
    let listing = written.inspect_err(|_| {
        // Half a bundle helps nobody.
        let _ = std::fs::remove_file(&path);
    })?;
    output::print(&format!(
        "{listing}\nwritten to {}; look through it before you hand it on\n",
        path.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The file, for its owner alone: what is in it is not for everybody on the machine.
fn create(path: &Path) -> Result<std::fs::File> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.with_context(|| format!("{} cannot be made; name another file with --output", path.display()))
}

fn finish(mut bundle: Bundle, anonymous: bool, name: &str, file: std::fs::File) -> Result<String> {
    if anonymous {
        bundle.make_anonymous();
    }
    bundle.write(name, file).context("the bundle cannot be written; is there room on the disk?")?;
    Ok(bundle.listing())
}
