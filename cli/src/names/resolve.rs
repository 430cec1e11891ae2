//! `pagemesh resolve`: what a path stands for.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use pagemesh_names::{End, Referral};
use serde::Serialize;

use super::{Asking, Resolved, shown};
use crate::output::{self, Format};

/// Show which region a path stands for.
///
/// PATH is what a program opens below /pagemesh: the path of a mount in the namespace's default MountTable, or else the NAME of a
/// region of the namespace, or NAMESPACE/NAME. With a `/` in front it is /NAMESPACE/PATH, the same for everybody. Fails, and
/// says why, if the path leads nowhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pagemesh resolve models/weights
  pagemesh resolve --trace /team-a/shared/table
  pagemesh resolve models/weights -n team-a -o json")]
pub(crate) struct Args {
    /// The path.
    #[arg(value_name = "PATH")]
    path: String,
    /// Show each referral from one context to another as well.
    #[arg(long)]
    trace: bool,
    #[command(flatten)]
    asking: Asking,
    /// How to print it.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// What is printed for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    path: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trace: Vec<Hop>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The agent that says so, and the generation of its names.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Hop {
    from: String,
    to: String,
}

impl View {
    fn of(path: &str, asked: &str, resolved: &Resolved) -> View {
        let hop = |Referral { from, to }: &Referral| Hop { from: from.to_string(), to: to.to_string() };
        let (agent, generation) = resolved.by.clone().unzip();
        let mut view = View {
            path: path.to_owned(),
            trace: resolved.trace.iter().map(hop).collect(),
            region: None,
            uid: None,
            epoch: None,
            read_only: None,
            context: None,
            reason: None,
            agent,
            generation,
        };
        match &resolved.end {
            Ok(End::Region { region, read_only }) => {
                view.region = Some(shown(region));
                view.uid = region.uid.clone();
                (view.epoch, view.read_only) = (Some(region.epoch), Some(*read_only));
            }
            Ok(End::Context) => {
                view.context = Some(view.trace.last().map_or_else(|| asked.to_owned(), |hop| hop.to.clone()));
            }
            Ok(End::Elsewhere(place)) => view.reason = Some(format!("it is described by {place}")),
            Err(problem) => view.reason = Some(problem.reason.clone()),
        }
        view
    }

    fn text(&self, trace: bool) -> String {
        let mut text = String::new();
        for Hop { from, to } in self.trace.iter().filter(|_| trace) {
            text.push_str(&format!("{from} -> {to}\n"));
        }
        if let Some(region) = &self.region {
            let read_only = if self.read_only == Some(true) { "   read-only" } else { "" };
            let epoch = self.epoch.filter(|_| trace).map(|epoch| format!("   epoch {epoch}"));
            text.push_str(&format!("{region}{read_only}{}\n", epoch.unwrap_or_default()));
        }
        if let Some(context) = &self.context {
            text.push_str(&format!(
                "{context} is a context: `pagemesh ls {}` shows what is in it\n",
                self.path
            ));
        }
        text
    }
}

/// Prints it.
pub(crate) fn resolve(args: &Args) -> Result<ExitCode> {
    let view = args.asking.with(&args.path, async |names, place| {
        let resolved = names.resolve(&place).await?;
        Ok(View::of(&args.path, &names.shown(&place), &resolved))
    })?;
    output::print(&match args.output {
        Format::Table => view.text(args.trace),
        Format::Json => output::json(&view)?,
        Format::Yaml => output::yaml(&view)?,
    })?;
    match view.reason {
        Some(reason) => Err(anyhow!("{}", output::escape(&reason))),
        None => Ok(ExitCode::SUCCESS),
    }
}
