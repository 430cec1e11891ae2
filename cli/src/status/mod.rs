//! `pagemesh status`: how the mesh on a cluster is, and what to do where it is not well.

mod advice;
mod overview;
mod region;

use std::process::ExitCode;

use anyhow::{Result, bail};
use pagemesh_crds::Region;

use crate::kubernetes::{Access, Cluster, Patience, Snapshot, Trouble, Within};
use crate::output::{self, Format};

pub(crate) use advice::region_advice;
pub(crate) use overview::overview;

/// Show how the mesh on a cluster is, or one of its regions.
///
/// Without REGION: the operator, the pools, the agents and the regions of a namespace, and below them what is not well with
/// what to do. With REGION: its size, class, pool and homes, whether each home has confirmed the placement, who has it
/// attached where, and its conditions. Fails if the region is not Ready, and without REGION if something is not well.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pagemesh status
  pagemesh status -A
  pagemesh status table -n team-a -o yaml")]
pub(crate) struct Args {
    /// A Region.
    #[arg(value_name = "REGION", conflicts_with = "all_namespaces")]
    region: Option<String>,
    /// Namespace of regions [default: the context's]
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// Regions of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// How to print it.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
    #[command(flatten)]
    access: Access,
}

/// Prints it.
pub(crate) fn status(args: &Args) -> Result<ExitCode> {
    let (text, ready) = args.access.with_cluster(Patience::Answer, async |cluster| {
        let namespace = args.namespace.as_deref().unwrap_or(&cluster.namespace);
        match &args.region {
            Some(name) => one(&cluster, namespace, name, args.output).await,
            None if args.all_namespaces => all(&cluster, Within::Cluster, args.output).await,
            None => all(&cluster, Within::Namespace(namespace), args.output).await,
        }
    })?;
    output::print(&text)?;
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn all(cluster: &Cluster, within: Within<'_>, format: Format) -> Result<(String, bool)> {
    let snapshot = Snapshot::read(cluster, within).await?;
    // Whoever may not see regions sees nothing here; that the cluster lacks the kind is for him to know, too.
    if let Err(trouble) = &snapshot.regions {
        bail!("{trouble}");
    }
    let overview = overview(&snapshot);
    let text = match format {
        Format::Table => overview.render(matches!(within, Within::Cluster)),
        Format::Json => output::json(&overview)?,
        Format::Yaml => output::yaml(&overview)?,
    };
    Ok((text, overview.problems.is_empty()))
}

async fn one(cluster: &Cluster, namespace: &str, name: &str, format: Format) -> Result<(String, bool)> {
    let snapshot = Snapshot::read(cluster, Within::Namespace(namespace)).await?;
    let region = find(&snapshot, namespace, name)?;
    let view = region::view(&snapshot, region);
    let text = match format {
        Format::Table => view.render(),
        Format::Json => output::json(&view)?,
        Format::Yaml => output::yaml(&view)?,
    };
    Ok((text, view.ready))
}

/// The region of a name, out of those of its namespace.
pub(crate) fn find<'a>(snapshot: &'a Snapshot, namespace: &str, name: &str) -> Result<&'a Region, Trouble> {
    let regions = snapshot.regions.as_ref().map_err(Clone::clone)?;
    let found = regions.items.iter().find(|region| region.metadata.name.as_deref() == Some(name));
    found.ok_or_else(|| {
        let shown = format!("Region {namespace}/{name} ");
        let unreadable = regions.unreadable.iter().find(|sentence| sentence.starts_with(&shown));
        Trouble::NotFound(unreadable.cloned().unwrap_or_else(|| {
            format!(
                "there is no Region `{}` in namespace `{}`: `kubectl get regions -A` lists all that there are",
                name.escape_debug(),
                namespace.escape_debug()
            )
        }))
    })
}

#[cfg(test)]
mod tests;
