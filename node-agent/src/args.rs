//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use pagemesh_agent::attach::ATTACHMENTS_MAX;
use tracing::level_filters::LevelFilter;

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
    /// Name of this agent, as in its Agent object.
    #[arg(long)]
    pub(crate) name: String,
    /// Number of this agent, as in its Agent object.
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=1023))]
    pub(crate) id: u16,
    /// Directory of Region and Agent objects (*.yaml, *.yml); changes are followed.
    #[arg(long, value_name = "DIR")]
    pub(crate) objects: PathBuf,
    /// Runtime directory of this agent alone: agent.sock, and agent.json once it is up.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Directory of this agent alone, in a tmpfs, for the memory of regions.
    #[arg(long, value_name = "DIR")]
    pub(crate) memory_dir: PathBuf,
    /// Where peers reach this agent.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Where to answer HTTP: /metrics, /healthz, /readyz, /status. It has no access control: keep it on loopback.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) http: SocketAddr,
    /// Threads that serve faults; all agents of a mesh need the same number [default: cores, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) shards: Option<u16>,
    /// Time for which an agent keeps a page that it has just got, in microseconds.
    #[arg(long, value_name = "MICROS", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) turn: Option<u32>,
    /// Processes that may be attached at a time.
    #[arg(long, value_name = "N", default_value_t = ATTACHMENTS_MAX,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    pub(crate) attachments: usize,
    /// Permissions of the attach socket, octal. Whoever may connect may use every region.
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = mode)]
    pub(crate) socket_mode: u32,
    /// What to log: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: LevelFilter,
    /// How to log.
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Human,
    Json,
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

    #[test]
    fn numbers_are_bounded() {
        for good in [["--shards", "64"], ["--socket-mode", "660"], ["--turn", "0"], ["--log", "trace"]] {
            assert!(parse(&good).is_ok(), "{good:?}");
        }
        for bad in [
            ["--shards", "0"],
            ["--shards", "65"],
            ["--socket-mode", "0888"],
            ["--socket-mode", "1777"],
            ["--turn", "1000001"],
            ["--attachments", "0"],
            ["--id", "1024"],
            ["--log", "loud"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
