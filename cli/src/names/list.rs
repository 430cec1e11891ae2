//! `pagemesh ls`: what is in a context of the tree of names.

use std::collections::VecDeque;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use pagemesh_names::{Entry, Listing, Place, What};
use serde::Serialize;

use super::{Asking, Names, shown};
use crate::output::{self, Format, Table};

/// Contexts that -R looks into at most.
const CONTEXTS_MAX: usize = 1000;

/// List the paths of a context and the regions that they stand for.
///
/// PATH is a namespace's context (nothing, or /NAMESPACE), one below it, or `/` for all namespaces. Names that end in `/` are
/// contexts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pagemesh ls
  pagemesh ls -R models
  pagemesh ls / -o json")]
pub(crate) struct Args {
    /// The context.
    #[arg(value_name = "PATH", default_value = "", hide_default_value = true)]
    path: String,
    /// List the contexts in it as well, and those in them.
    #[arg(short = 'R', long)]
    recursive: bool,
    #[command(flatten)]
    asking: Asking,
    /// How to print it.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// A path, and what it stands for.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// Where a context is described, if not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    delegated: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    context: bool,
}

impl Row {
    /// Of an entry of the context `above`, which ends in a slash.
    fn of(above: &str, entry: &Entry) -> Row {
        let path = format!("{above}{}", entry.name);
        let row = Row {
            path,
            region: None,
            read_only: None,
            epoch: None,
            delegated: None,
            reason: None,
            context: false,
        };
        match &entry.what {
            What::Region { region, read_only } => Row {
                region: Some(shown(region)),
                read_only: Some(*read_only),
                epoch: Some(region.epoch),
                ..row
            },
            What::Context => Row { context: true, ..row },
            What::Delegated(place) => Row { context: true, delegated: Some(place.to_string()), ..row },
            What::Dangling(problem) => Row { reason: Some(problem.reason.clone()), ..row },
        }
    }

    fn cells(&self) -> [String; 3] {
        let name = if self.context { format!("{}/", self.path) } else { self.path.clone() };
        let what = self.region.clone().or_else(|| self.delegated.clone()).unwrap_or_default();
        let remark = match (&self.reason, self.read_only) {
            (Some(reason), _) => reason.clone(),
            (None, Some(true)) => "read-only".into(),
            (None, Some(false) | None) => String::new(),
        };
        [name, what, remark]
    }
}

/// All that is found, and sentences about what is not.
#[derive(Debug, Default)]
struct Found {
    rows: Vec<Row>,
    notes: Vec<String>,
    missing: bool,
}

impl Found {
    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Enters what is in a context, and returns the contexts in it.
    fn enter(&mut self, above: &str, listing: Listing) -> Vec<String> {
        listing.notes.into_iter().for_each(|note| self.note(note));
        if listing.cut_off {
            self.note(format!("{above} has more names than are listed"));
            self.missing = true;
        }
        let rows: Vec<Row> = listing.entries.iter().map(|entry| Row::of(above, entry)).collect();
        let contexts = rows.iter().filter(|row| row.context).map(|row| row.path.clone()).collect();
        self.rows.extend(rows);
        contexts
    }
}

async fn find(names: &Names, place: Place, recursive: bool) -> Result<Found> {
    let mut found = Found::default();
    let listing =
        names.list(&place).await?.map_err(|problem| anyhow!("{}", output::escape(&problem.reason)))?;
    // Paths are shown as they were asked for: of the namespace, or from the root.
    let asked = if place.own { place.path.clone() } else { place.absolute() };
    let is_region = matches!(&listing.entries[..], [Entry { name, what: What::Region { .. } }]
        if place.path.rsplit('/').next() == Some(name));
    let above = match asked.rsplit_once('/') {
        Some((above, _)) if is_region => format!("{above}/"),
        None if is_region => String::new(),
        Some(_) | None if asked.is_empty() || asked == "/" => asked,
        Some(_) | None => format!("{asked}/"),
    };
    let mut contexts = VecDeque::from(found.enter(&above, listing));
    let mut looked_into = 0;
    while let Some(path) = contexts.pop_front().filter(|_| recursive) {
        looked_into += 1;
        if looked_into > CONTEXTS_MAX {
            found.note(format!("there are more than {CONTEXTS_MAX} contexts; list one of them by its path"));
            found.missing = true;
            break;
        }
        let inner = Place::parse(&place.namespace, &path)
            .and_then(|inner| inner.with_table(place.table.as_deref().unwrap_or_default()));
        let listing = match inner {
            Ok(inner) => names.list(&inner).await?,
            // Longer than any path may be: others can have such contexts.
            Err(problem) => Err(problem),
        };
        match listing {
            Ok(listing) => contexts.extend(found.enter(&format!("{path}/"), listing)),
            Err(problem) => {
                found.note(format!("a part is missing: {path}: {problem}"));
                found.missing = true;
            }
        }
    }
    found.rows.sort_by(|a, b| (&a.path, a.context).cmp(&(&b.path, b.context)));
    Ok(found)
}

/// Prints it.
pub(crate) fn list(args: &Args) -> Result<ExitCode> {
    let found =
        args.asking.with(&args.path, async |names, place| find(&names, place, args.recursive).await)?;
    let mut table = Table::new(&["PATH", "STANDS FOR", ""]);
    found.rows.iter().for_each(|row| table.row(row.cells()));
    let none = "there is nothing in it: make a Region, or mount one there by a MountTable";
    output::print(&output::render(args.output, &found.rows, &table, none)?)?;
    for note in &found.notes {
        eprintln!("pagemesh: {}", output::escape(note));
    }
    Ok(if found.missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[cfg(test)]
mod tests {
    use pagemesh_names::{Problem, ProblemKind, Region};

    use super::*;

    #[test]
    fn rows() {
        let region = Region { namespace: "n".into(), name: "t".into(), uid: None, epoch: 2 };
        let entry = |what| Entry { name: "x".into(), what };
        let to = Place { server: Some("b:1".into()), ..Place::in_namespace("m", "") };
        for (what, expected) in [
            (What::Region { region: region.clone(), read_only: true }, ["a/x", "n/t", "read-only"]),
            (What::Region { region, read_only: false }, ["a/x", "n/t", ""]),
            (What::Context, ["a/x/", "", ""]),
            (What::Delegated(to), ["a/x/", "/m at b:1", ""]),
            (What::Dangling(Problem::new(ProblemKind::NotFound, "it is gone")), ["a/x", "", "it is gone"]),
        ] {
            assert_eq!(Row::of("a/", &entry(what)).cells(), expected);
        }
    }
}
