//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use crate::uninstall::UninstallArgs;

/// The pagemesh operator: it runs the agents of AgentPools, and decides which of them home each Region.
#[derive(Debug, clap::Parser)]
#[command(name = "pagemesh-operator", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Subcommand>,
    #[command(flatten)]
    pub(crate) run: Option<RunArgs>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    /// End the operator and all agents, and release all Regions, before their installation is removed.
    Uninstall(UninstallArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Namespace that the operator lives in, and in which it runs agents.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) namespace: String,
    /// Name of this operator, that no other which runs has: its pod's.
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: String,
    /// Image of the agents of AgentPools that name none.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) agent_image: String,
    /// YAML file of an AgentPool that is applied whenever this operator begins to lead.
    #[arg(long, value_name = "FILE")]
    pub(crate) default_pool: Option<PathBuf>,
    /// PriorityClass of agents; empty for none.
    #[arg(long, value_name = "NAME", default_value = "pagemesh-agent")]
    pub(crate) agent_priority_class: String,
    /// Secret with which agents' images are pulled; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) agent_image_pull_secret: Vec<String>,
    /// Environment variable for agents, such as OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) agent_env: Vec<(String, String)>,
    /// Root directory of the kubelets, by which agents give pods volumes of the CSI driver csi.pagemesh.io; empty for none.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet", value_parser = kubelet_dir)]
    pub(crate) kubelet_dir: String,
    /// Whether to act only while no other operator does; needed as soon as there may be two.
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true",
        action = clap::ArgAction::Set)]
    pub(crate) leader_elect: bool,
    /// Where to answer HTTP: /metrics, /healthz, /readyz.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
    /// What to log: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: LevelFilter,
    /// How to log; agents log the same way.
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Human,
    Json,
}

/// Agents compare paths with it, so it is written in one way only.
fn kubelet_dir(text: &str) -> Result<String, String> {
    let names = text.strip_prefix('/').map(|names| names.split('/'));
    let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(':');
    if text.is_empty() || names.is_some_and(|mut names| names.all(plain)) {
        return Ok(text.to_owned());
    }
    Err("write an absolute path without `.`, `..`, `:` and a `/` at its end, such as /var/lib/kubelet".into())
}

fn variable(text: &str) -> Result<(String, String), String> {
    let good = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match text.split_once('=') {
        Some((name, value)) if good(name) => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("write NAME=VALUE, the name in letters, digits and `_`".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn parse(more: &[&str]) -> Result<RunArgs, clap::Error> {
        let needed = ["pagemesh-operator", "--namespace", "n", "--identity", "i", "--agent-image", "m"];
        Args::try_parse_from(needed.iter().chain(more)).map(|args| args.run.unwrap())
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_and_the_subcommand_exclude_each_other() {
        let uninstall = Args::try_parse_from(["pagemesh-operator", "uninstall", "--namespace", "n"]).unwrap();
        assert!(uninstall.run.is_none() && uninstall.command.is_some());
        assert!(parse(&["uninstall"]).is_err());
        assert!(Args::try_parse_from(["pagemesh-operator", "--namespace", "n"]).is_err());
    }

    #[test]
    fn leader_election_is_on_unless_switched_off() {
        assert!(parse(&[]).unwrap().leader_elect);
        assert!(parse(&["--leader-elect"]).unwrap().leader_elect);
        assert!(!parse(&["--leader-elect=false"]).unwrap().leader_elect);
        assert!(parse(&["--leader-elect=perhaps"]).is_err());
    }

    #[test]
    fn the_kubelets_directory_is_a_path_or_nothing() {
        assert_eq!(parse(&[]).unwrap().kubelet_dir, "/var/lib/kubelet");
        for good in ["", "/var/snap/microk8s/common/var/lib/kubelet"] {
            assert_eq!(parse(&["--kubelet-dir", good]).unwrap().kubelet_dir, good);
        }
        for bad in ["/", "kubelet", "/var/lib/kubelet/", "/var/../kubelet", "/var//kubelet", "/a:b", "/./a"] {
            assert!(parse(&["--kubelet-dir", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_are_names_and_values() {
        let args = parse(&["--agent-env", "A_1=b=c", "--agent-env", "B="]).unwrap();
        let expected = [("A_1", "b=c"), ("B", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(args.agent_env, expected);
        for bad in ["A", "=b", "1A=b", "A-B=c", "Ä=b"] {
            assert!(parse(&["--agent-env", bad]).is_err(), "{bad}");
        }
    }
}
