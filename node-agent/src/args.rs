//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use pagemesh_agent::attach::ATTACHMENTS_MAX;
use pagemesh_agent::kubernetes::AgentIdentity;
use pagemesh_crds::{AGENT_POOL_DEFAULT, Quantity};
use tracing::level_filters::LevelFilter;

/// Where the agent's image has the preload library.
const LIBRARY: &str = "/usr/local/lib/pagemesh/libpagemesh_preload.so";

/// The least that a node can lend.
const MEMORY_MIN: u64 = 1 << 20;
/// What `--fault-ahead` may ask for.
const FAULT_AHEAD_MAX: u64 = 4 << 20;

/// The pagemesh agent of a node: it shares the memory of regions with its peers.
#[derive(Debug, clap::Parser)]
#[command(name = "pagemesh-agent", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Subcommand>,
    #[command(flatten)]
    pub(crate) run: Option<RunArgs>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Look whether an agent can run on this machine; exit status 1 if it cannot.
    Preflight(PreflightArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct PreflightArgs {
    /// How to print the report.
    #[arg(short, long, value_enum, default_value_t = PreflightFormat::Table)]
    pub(crate) output: PreflightFormat,
    /// Directory in which the agent would keep region files.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm/pagemesh")]
    pub(crate) memory_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum PreflightFormat {
    Table,
    Json,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Name of this agent, as in its Agent object. On Kubernetes that of its node.
    #[arg(long)]
    pub(crate) name: String,
    /// Without Kubernetes: number of this agent, as in its Agent object.
    #[arg(long, required_unless_present = "kubernetes", value_parser = clap::value_parser!(u16).range(0..=1023))]
    id: Option<u16>,
    /// Without Kubernetes: directory of Region, Agent and MountTable objects (*.yaml, *.yml); changes are followed.
    #[arg(long, value_name = "DIR", required_unless_present = "kubernetes")]
    objects: Option<PathBuf>,
    /// Follow the objects of the API server, and tell it of this agent: the one that the pod's service account or KUBECONFIG
    /// leads to. The operator gives out the agent's number.
    #[arg(
        long,
        conflicts_with_all = ["id", "objects"],
        requires_all = ["namespace", "pod_name", "advertise"]
    )]
    kubernetes: bool,
    /// On Kubernetes: namespace of this agent's pod, where its Lease is.
    #[arg(long, requires = "kubernetes", value_parser = nonempty)]
    namespace: Option<String>,
    /// On Kubernetes: name of this agent's pod.
    #[arg(long, requires = "kubernetes", value_parser = nonempty)]
    pod_name: Option<String>,
    /// On Kubernetes: the AgentPool that this agent belongs to.
    #[arg(long, requires = "kubernetes", default_value = AGENT_POOL_DEFAULT, value_parser = nonempty)]
    pool: String,
    /// On Kubernetes: where peers reach this agent, as it is told to them: an IP address, or one with a port (then IPv6 in
    /// brackets) where that is not the port of --listen.
    #[arg(long, value_name = "ADDR", requires = "kubernetes", value_parser = reachable)]
    advertise: Option<Advertise>,
    /// Root directory of this node's kubelet, by which pods get volumes of the CSI driver csi.pagemesh.io. Without it there are
    /// none.
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    pub(crate) kubelet_dir: Option<PathBuf>,
    /// The preload library that pods get with their volumes.
    #[arg(long, value_name = "PATH", default_value = LIBRARY)]
    pub(crate) library: PathBuf,
    /// Runtime directory of this agent alone: agent.sock and names.sock, and agent.json once it is up.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Directory of this agent alone, in a tmpfs, for the memory of regions.
    #[arg(long, value_name = "DIR")]
    pub(crate) memory_dir: PathBuf,
    /// Memory that this node lends, such as 4Gi: a tmpfs of that size and a little more is mounted on --memory-dir, or the
    /// one that is mounted there gets that size. Without it, --memory-dir is taken as it is.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(crate) memory: Option<u64>,
    /// Where peers reach this agent.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Where to answer HTTP: /metrics, /healthz, /readyz, /status. It has no access control: keep it on loopback.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) http: SocketAddr,
    /// Where to answer what paths stand for, by gRPC: pagemesh.v1.Directory. It has no access control: whoever reaches it learns the
    /// names of all regions.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) names: SocketAddr,
    /// Threads that serve faults; all agents of a mesh need the same number [default: cores, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) shards: Option<u16>,
    /// Time for which an agent keeps a page that it has just got, in microseconds.
    #[arg(long, value_name = "MICROS", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) turn: Option<u32>,
    /// What is asked for ahead of each stream of faults of a program at most, such as 1Mi; 0 for nothing.
    #[arg(long, value_name = "SIZE", default_value = "512Ki", value_parser = fault_ahead)]
    pub(crate) fault_ahead: u64,
    /// Processes that may be attached at a time.
    #[arg(long, value_name = "N", default_value_t = ATTACHMENTS_MAX,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    pub(crate) attachments: usize,
    /// Permissions of the node's own attach socket, octal. Whoever may connect may use every region.
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = mode)]
    pub(crate) socket_mode: u32,
    /// Time that it may take at its end to hand its pages over and to leave its regions, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub(crate) hand_over: u32,
    /// Take over from the agent that runs in --dir, if one does: it ends, and neither programs nor peers notice more than a pause.
    /// On Kubernetes this is always so.
    #[arg(long, conflicts_with = "kubernetes")]
    pub(crate) take_over: bool,
    /// What to log: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: LevelFilter,
    /// How to log.
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
}

/// Where objects come from.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// A directory.
    Files {
        /// Number of this agent.
        id: u16,
        /// The directory.
        objects: &'a Path,
    },
    /// The API server.
    Kubernetes {
        /// Who this agent is there.
        identity: AgentIdentity,
        /// Where peers reach it.
        advertise: SocketAddr,
    },
}

impl RunArgs {
    /// Where objects come from.
    pub(crate) fn source(&self) -> Source<'_> {
        let RunArgs { id, objects, namespace, pod_name, pool, advertise, .. } = self;
        match (id, objects, namespace, pod_name, advertise) {
            (Some(id), Some(objects), ..) => Source::Files { id: *id, objects },
            (_, _, Some(namespace), Some(pod_name), Some(advertise)) => {
                let (name, namespace) = (self.name.clone(), namespace.clone());
                let (pod_name, pool) = (pod_name.clone(), pool.clone());
                let identity = AgentIdentity { name, namespace, pod_name, pool };
                let port = advertise.port.unwrap_or(self.listen.port());
                Source::Kubernetes { identity, advertise: SocketAddr::new(advertise.ip, port) }
            }
            (Some(_) | None, Some(_) | None, Some(_) | None, Some(_) | None, Some(_) | None) => {
                unreachable!("clap asks for all of the one or all of the other")
            }
        }
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Human,
    Json,
}

fn memory(text: &str) -> Result<u64, String> {
    let bytes = Quantity::from(text).bytes().map_err(|error| error.to_string())?;
    if bytes < MEMORY_MIN {
        return Err("write at least 1Mi: regions live in it".into());
    }
    Ok(bytes)
}

fn fault_ahead(text: &str) -> Result<u64, String> {
    let bytes = Quantity::from(text).bytes().map_err(|error| error.to_string())?;
    if bytes > FAULT_AHEAD_MAX {
        return Err("write at most 4Mi: what is asked for ahead keeps others waiting".into());
    }
    Ok(bytes)
}

/// The kubelet names paths below it, and they are compared.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if path.is_absolute() && !path.components().any(|part| part == Component::ParentDir) {
        return Ok(path.components().collect());
    }
    Err("write an absolute path without `..`, such as /var/lib/kubelet".into())
}

fn nonempty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("is empty".into()) } else { Ok(text.into()) }
}

/// Where peers reach an agent; without a port, it is that of `--listen`.
#[derive(Clone, Copy, Debug)]
struct Advertise {
    ip: IpAddr,
    port: Option<u16>,
}

fn reachable(text: &str) -> Result<Advertise, String> {
    let wanted = "write an IP address that peers can reach, such as 10.0.0.1 or fd00::1, or one with a port, such as \
                  10.0.0.1:7400 or [fd00::1]:7400";
    // Kubernetes gives a pod its IPv6 address without brackets, so an address alone must do.
    let address = match text.parse() {
        Ok(ip) => Advertise { ip, port: None },
        Err(_) => {
            let address: SocketAddr = text.parse().map_err(|_| wanted.to_owned())?;
            Advertise { ip: address.ip(), port: Some(address.port()) }
        }
    };
    if address.ip.is_unspecified() || address.port == Some(0) {
        return Err(wanted.into());
    }
    Ok(address)
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        Ok(_) | Err(_) => Err("write permissions as an octal number, such as 0660".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    const RUN: [&str; 11] =
        ["pagemesh-agent", "--name", "a", "--id", "0", "--objects", "o", "--dir", "d", "--memory-dir", "m"];

    fn parse(more: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(RUN.iter().chain(more))
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_and_the_subcommand_exclude_each_other() {
        assert!(parse(&[]).unwrap().run.is_some());
        assert!(Args::try_parse_from(["pagemesh-agent", "preflight", "-o", "json"]).unwrap().run.is_none());
        assert!(parse(&["preflight"]).is_err());
        assert!(Args::try_parse_from(["pagemesh-agent"]).is_err());
        assert!(Args::try_parse_from(["pagemesh-agent", "--name", "a"]).is_err());
    }

    const ON_KUBERNETES: &str = "pagemesh-agent --kubernetes --name n --namespace s --pod-name p --pool fast --dir d \
         --memory-dir m --memory 1Gi --hand-over 300";

    #[test]
    fn objects_come_from_files_or_from_kubernetes() {
        let parse = |text: &str| Args::try_parse_from(text.split_whitespace());
        let files = parse(&RUN.join(" ")).unwrap().run.unwrap();
        assert!(matches!(files.source(), Source::Files { id: 0, objects } if objects == Path::new("o")));
        let run = parse(&format!("{ON_KUBERNETES} --advertise [fd00::1]:7400")).unwrap().run.unwrap();
        let Source::Kubernetes { identity, advertise } = run.source() else { panic!("{run:?}") };
        assert_eq!((identity.name.as_str(), identity.pool.as_str()), ("n", "fast"));
        assert_eq!((advertise.port(), run.memory, run.hand_over), (7400, Some(1 << 30), 300));
        assert_eq!((run.kubelet_dir, run.library), (None, LIBRARY.into()));
        let text = format!("{ON_KUBERNETES} --advertise ::1 --kubelet-dir /var/lib//kubelet/");
        let run = parse(&text).unwrap().run.unwrap();
        assert_eq!(run.kubelet_dir, Some("/var/lib/kubelet".into()));
        for (alone, ip) in [("fd00::1", "fd00::1"), ("10.0.0.1", "10.0.0.1")] {
            let text = format!("{ON_KUBERNETES} --listen [::]:7401 --advertise {alone}");
            let run = parse(&text).unwrap().run.unwrap();
            let Source::Kubernetes { advertise, .. } = run.source() else { panic!("{run:?}") };
            assert_eq!(advertise, SocketAddr::new(ip.parse().unwrap(), 7401));
        }
        for bad in [
            ON_KUBERNETES.to_owned(),
            format!("{ON_KUBERNETES} --advertise 10.0.0.1:7400 --id 1"),
            format!("{ON_KUBERNETES} --advertise 10.0.0.1:7400 --objects o"),
            format!("{ON_KUBERNETES} --advertise 0.0.0.0:7400"),
            format!("{ON_KUBERNETES} --advertise 10.0.0.1:0"),
            format!("{ON_KUBERNETES} --advertise ::"),
            format!("{ON_KUBERNETES} --advertise node-a"),
            format!("{} --advertise 10.0.0.1:7400", RUN.join(" ")),
            format!("{} --namespace s", RUN.join(" ")),
            format!("{ON_KUBERNETES} --advertise ::1 --kubelet-dir kubelet"),
            format!("{ON_KUBERNETES} --advertise ::1 --kubelet-dir /var/lib/../kubelet"),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_bounded() {
        for good in [
            ["--shards", "64"],
            ["--socket-mode", "660"],
            ["--turn", "0"],
            ["--fault-ahead", "0"],
            ["--fault-ahead", "1Mi"],
            ["--log", "trace"],
        ] {
            assert!(parse(&good).is_ok(), "{good:?}");
        }
        for bad in [
            ["--shards", "0"],
            ["--shards", "65"],
            ["--socket-mode", "0888"],
            ["--socket-mode", "1777"],
            ["--turn", "1000001"],
            ["--fault-ahead", "5Mi"],
            ["--fault-ahead", "-1"],
            ["--attachments", "0"],
            ["--id", "1024"],
            ["--memory", "1000Ki"],
            ["--memory", "much"],
            ["--hand-over", "86401"],
            ["--log", "loud"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
