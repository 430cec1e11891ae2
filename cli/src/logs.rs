//! `pagemesh logs`: what the agents say that home a region.

use std::process::ExitCode;

use anyhow::{Result, bail};
use futures::stream::{self, StreamExt};
use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};
use pagemesh_crds::Region;

use crate::kubernetes::{AGENT_LABELS, Access, Cluster, Patience, Snapshot, Trouble, Within, explain};
use crate::output;
use crate::status;

/// Show the logs of the agents that home a region.
///
/// Each line begins with the node that it is from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pagemesh logs table
  pagemesh logs table --node worker-1 -f
  pagemesh logs table -n team-a --since 10m --tail 100")]
pub(crate) struct Args {
    /// A Region.
    #[arg(value_name = "REGION")]
    region: String,
    /// Namespace of the region [default: the context's]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only the agent of this node; it need not be a home.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Go on with what they say from now on.
    #[arg(short, long)]
    follow: bool,
    /// At most so many of the last lines of each agent.
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(i64).range(0..))]
    tail: Option<i64>,
    /// Only what was said in this time, as 30s, 10m or 2h.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    since: Option<i64>,
    #[command(flatten)]
    access: Access,
}

/// Shows them.
pub(crate) fn logs(args: &Args) -> Result<ExitCode> {
    let patience = if args.follow { Patience::Follow } else { Patience::Answer };
    args.access.with_cluster(patience, async |cluster| show(&cluster, args).await)
}

async fn show(cluster: &Cluster, args: &Args) -> Result<ExitCode> {
    let namespace = args.namespace.as_deref().unwrap_or(&cluster.namespace);
    let snapshot = Snapshot::read(cluster, Within::Namespace(namespace)).await?;
    let region = status::find(&snapshot, namespace, &args.region)?;
    let nodes = match &args.node {
        Some(node) => vec![node.clone()],
        None => homes(region),
    };
    if nodes.is_empty() {
        bail!(
            "region {namespace}/{} has no home yet: `kubectl pagemesh status {} -n {namespace}` says why",
            args.region,
            args.region
        );
    }
    let params = ListParams::default().labels(AGENT_LABELS);
    let pods = cluster.list::<Pod>(Within::Namespace(&snapshot.install_namespace), &params).await?;
    let (sources, missing) = sources(&nodes, &pods.items);
    let mut code = ExitCode::SUCCESS;
    for node in &missing {
        eprintln!(
            "pagemesh: no agent's pod is on node {} (`kubectl get pods -o wide -n {}`)",
            node.escape_debug(),
            snapshot.install_namespace
        );
        code = ExitCode::FAILURE;
    }
    let width = sources.iter().map(|source| source.node.len()).max().unwrap_or(0);
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &snapshot.install_namespace);
    let streams = sources.iter().map(|source| lines(cluster, &api, source, args));
    // Without -f one agent after the other, for what is past reads better whole.
    let mut lines = if args.follow {
        stream::select_all(streams).boxed_local()
    } else {
        stream::iter(streams).flatten().boxed_local()
    };
    while let Some((node, line)) = lines.next().await {
        match line {
            Ok(line) => output::print(&format!("{node:width$}  {}\n", printable(&line)))?,
            Err(trouble) => {
                eprintln!("pagemesh: the log of {node} cannot be read (on): {trouble}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// The nodes of a region's homes, each once.
fn homes(region: &Region) -> Vec<String> {
    let placement = region.status.as_ref().and_then(|status| status.placement.as_ref());
    let homes = placement.map_or(&[][..], |placement| &placement.homes);
    let mut nodes: Vec<String> = homes.iter().map(|home| home.agent.clone()).collect();
    nodes.sort();
    nodes.dedup();
    nodes
}

/// A container whose log is to be shown.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    node: String,
    pod: String,
    container: Option<String>,
}

/// The agent's pod on each node, and the nodes without one. Of two pods on a node the younger is the agent's; the other is
/// one that has just ended.
fn sources(nodes: &[String], pods: &[Pod]) -> (Vec<Source>, Vec<String>) {
    let (mut sources, mut missing) = (Vec::new(), Vec::new());
    for node in nodes {
        let here = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(node);
        match pods.iter().filter(here).max_by_key(|pod| pod.metadata.creation_timestamp.clone()) {
            Some(pod) => {
                let containers = pod.spec.as_ref().map_or(&[][..], |spec| &spec.containers);
                let agent =
                    containers.iter().find(|container| container.name == "agent").or(containers.first());
                sources.push(Source {
                    node: node.clone(),
                    pod: pod.name_any(),
                    container: agent.map(|container| container.name.clone()),
                });
            }
            None => missing.push(node.clone()),
        }
    }
    (sources, missing)
}

/// The lines of one log.
fn lines<'a>(
    cluster: &'a Cluster,
    api: &'a Api<Pod>,
    source: &'a Source,
    args: &Args,
) -> stream::LocalBoxStream<'a, (&'a str, Result<String, Trouble>)> {
    let params = LogParams {
        container: source.container.clone(),
        follow: args.follow,
        tail_lines: args.tail,
        since_seconds: args.since,
        ..LogParams::default()
    };
    let opened = async move {
        let log =
            api.log_stream(&source.pod, &params).await.map_err(|error| explain(&error, &cluster.url))?;
        let broken = |error| explain(&kube::Error::ReadEvents(error), &cluster.url);
        Ok(log.lines().map_err(broken))
    };
    let lines = stream::once(opened).try_flatten();
    lines.map(|line| (source.node.as_str(), line)).boxed_local()
}

/// A line as it is, but for what a terminal would obey.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A time as kubectl takes it.
pub(crate) fn seconds(text: &str) -> Result<i64, String> {
    let wrong = || "write it as 30s, 10m or 2h".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let number: i64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, created: &str, containers: &[&str]) -> Pod {
        let containers: Vec<_> = containers.iter().map(|name| json!({"name": name})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "creationTimestamp": created},
            "spec": {"nodeName": node, "containers": containers},
        }))
        .expect("a pod")
    }

    #[test]
    fn the_agent_of_a_node_is_its_youngest_pod() {
        let pods = [
            pod("old", "a", "2026-01-01T00:00:00Z", &["agent"]),
            pod("new", "a", "2026-01-01T00:01:00Z", &["side", "agent"]),
            pod("other", "b", "2026-01-01T00:02:00Z", &["main"]),
        ];
        let (found, missing) = sources(&["a".into(), "b".into(), "c".into()], &pods);
        let source = |node: &str, pod: &str, container: &str| Source {
            node: node.into(),
            pod: pod.into(),
            container: Some(container.into()),
        };
        assert_eq!(found, [source("a", "new", "agent"), source("b", "other", "main")]);
        assert_eq!(missing, ["c"]);
    }

    #[test]
    fn times() {
        assert_eq!(seconds("30s"), Ok(30));
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("2h"), Ok(7200));
        for bad in ["", "s", "0s", "-1s", "5", "1d", "1ä", "9223372036854775807h"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_cannot_command_a_terminal() {
        assert_eq!(printable("a\tb\u{1b}[2Jc\rd"), "a\tb\u{fffd}[2Jc\u{fffd}d");
    }
}
