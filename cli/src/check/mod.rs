//! `pagemesh check`: can this machine run an agent, or is pagemesh well on a cluster?

mod definitions;
mod evaluate;
mod facts;
mod finding;
mod machine;
mod rights;

use std::process::ExitCode;

use anyhow::Result;

use crate::called;
use crate::kubernetes::{Access, Cluster, Patience, Within};
use crate::output::{self, Format};

pub(crate) use finding::{Finding, passes, table};

/// Look whether this machine can run an agent, or whether pagemesh is well on a cluster.
///
/// One line for each thing that is looked at: ok, warn or fail, with what to do. Fails if a line does; what may not be looked
/// at is such a line. Of a machine, that is all that an agent needs; of a cluster, its version, the definitions of our kinds,
/// the operator, admission, the pools, the agents, permissions and the regions. `pagemesh check` looks at this machine and
/// `kubectl pagemesh check` at the cluster; --machine and --cluster say which, and so does an option that is about a cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pagemesh check
  pagemesh check --machine -o json
  pagemesh check --cluster --context production")]
pub(crate) struct Args {
    /// Look at the cluster.
    #[arg(long, conflicts_with = "machine")]
    cluster: bool,
    /// Look at this machine.
    #[arg(long)]
    machine: bool,
    /// Regions of this namespace only [default: all]
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "machine")]
    namespace: Option<String>,
    /// How to print it.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
    #[command(flatten)]
    access: Access,
}

/// Looks.
pub(crate) fn check(args: &Args) -> Result<ExitCode> {
    let asks_cluster =
        args.cluster || args.namespace.is_some() || args.access.is_given() || called::as_plugin();
    if args.machine || !asks_cluster {
        return machine::check(args.output);
    }
    let findings = args
        .access
        .with_cluster(Patience::Answer, async |cluster| of(&cluster, args.namespace.as_deref()).await)?;
    output::print(&match args.output {
        Format::Table => table(&findings),
        Format::Json => output::json(&findings)?,
        Format::Yaml => output::yaml(&findings)?,
    })?;
    Ok(if passes(&findings) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What there is to say of a cluster.
pub(crate) async fn of(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Finding>> {
    let within = namespace.map_or(Within::Cluster, Within::Namespace);
    Ok(evaluate::evaluate(&facts::gather(cluster, within).await?))
}
