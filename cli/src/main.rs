//! `pagemesh`: a mesh on one machine, programs attached to it, a mesh on Kubernetes, and a look inside both. It is
//! `kubectl-pagemesh` as well.

mod agent_api;
mod bench;
mod binaries;
mod called;
mod check;
mod crd;
mod dev;
mod exit;
mod get;
mod inject;
mod kubernetes;
mod logs;
mod mesh;
mod names;
mod output;
mod probe;
mod report;
mod run;
mod status;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Memory that programs on different nodes share with plain loads and stores.
#[derive(Debug, Parser)]
#[command(name = "pagemesh", version, after_help = EXAMPLES, after_long_help = EXAMPLES_AND_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Args),
    Run(run::Args),
    Get(get::Args),
    Check(check::Args),
    Status(status::Args),
    Logs(logs::Args),
    Ls(names::ListArgs),
    Resolve(names::ResolveArgs),
    Inject(inject::Args),
    Report(report::Args),
    Crd(crd::Args),
    Probe(probe::Args),
    Bench(bench::Args),
    /// A process of a run of `bench`.
    #[command(hide = true)]
    BenchProcess {
        /// What it is.
        role: String,
    },
    /// Print the version of this program.
    Version,
}

const EXAMPLES: &str = "\
Examples:
  pagemesh check
  pagemesh dev --nodes 3 --region table=64Mi
  pagemesh run --node 1 -- python3 worker.py
  pagemesh get regions
  pagemesh status table
  pagemesh check --cluster";

const EXAMPLES_AND_CODES: &str = "\
Examples:
  pagemesh check
  pagemesh dev --nodes 3 --region table=64Mi
  pagemesh run --node 1 -- python3 worker.py
  pagemesh get regions
  pagemesh status table
  pagemesh check --cluster

Exit codes:
  0        it went well
  1        it failed; the reason is on standard error
  2        the command line is wrong
  125      `run`, or `dev` with CMD: pagemesh itself failed
  126      CMD was found but could not be started
  127      CMD was not found
  128+n    CMD ended by signal n
  others   CMD's own";

fn main() -> ExitCode {
    let matches = called::named(Cli::command(), called::as_plugin()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Dev(args) => dev::dev(args),
        Command::Run(args) => run::run(&args),
        Command::Get(args) => get::get(&args),
        Command::Check(args) => check::check(&args),
        Command::Status(args) => status::status(&args),
        Command::Logs(args) => logs::logs(&args),
        Command::Ls(args) => names::list(&args),
        Command::Resolve(args) => names::resolve(&args),
        Command::Inject(args) => inject::inject(&args),
        Command::Report(args) => report::report(&args),
        Command::Crd(args) => crd::crd(&args),
        Command::Probe(args) => probe::probe(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::BenchProcess { role } => pagemesh_bench::play(&role).map(|()| ExitCode::SUCCESS),
        Command::Version => version::version(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pagemesh: {error:#}");
            exit::code_of(&error).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn good_and_bad_command_lines() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        for good in [
            "pagemesh dev",
            "pagemesh dev --nodes 5 --region a=1Mi --region b=2Mi,coherence=WriteUpdate -- demo/run.sh --nodes x",
            "pagemesh run --node 0 -- true",
            "pagemesh run --node 0 --dir /tmp/x true --flag",
            "pagemesh get nodes",
            "pagemesh get stats -o yaml",
            "pagemesh check -o json",
            "pagemesh check --machine -o yaml",
            "pagemesh check --cluster --context a -n b",
            "pagemesh status",
            "pagemesh status -A -o json",
            "pagemesh status table -n b --kubeconfig /k",
            "pagemesh logs table -f --tail 5 --since 10m --node x",
            "pagemesh ls",
            "pagemesh ls -R models/llm -n team-a --table other",
            "pagemesh ls / --dir /tmp/x --node 1",
            "pagemesh resolve --trace a/b -o json",
            "pagemesh resolve /n/a --context c",
            "pagemesh report -o /tmp/x.tar.gz --anonymous",
            "pagemesh crd",
            "pagemesh inject -f pod.yaml",
            "pagemesh inject -f - -f more.yaml -o json --keeper-image a/b:c --install-namespace x",
            "pagemesh probe --region a/b --as writer --token t --timeout 5s --socket /s",
            "pagemesh probe --region b --as 1 --token t --node 0",
            "pagemesh bench",
            "pagemesh bench remote-read lock-2 --rounds 5 --json /tmp/x --dir /tmp/y",
            "pagemesh bench apps",
            "pagemesh bench apps jacobi tsp=12 sort=1000,2 --json /tmp/x --dir /tmp/y",
            "pagemesh version",
        ] {
            assert!(parse(good), "{good}");
        }
        for bad in [
            "pagemesh",
            "pagemesh dev --nodes 0",
            "pagemesh dev --nodes 1025",
            "pagemesh dev --shards 0",
            "pagemesh run -- true",
            "pagemesh run --node 0",
            "pagemesh run --node x -- true",
            "pagemesh get pods",
            "pagemesh get nodes -o xml",
            "pagemesh check --cluster --machine",
            "pagemesh status table -A",
            "pagemesh status -A -n b",
            "pagemesh logs",
            "pagemesh bench nothing",
            "pagemesh bench --rounds 0",
            "pagemesh bench apps nothing",
            "pagemesh bench apps tsp=many",
            "pagemesh bench --rounds 5 apps",
            "pagemesh resolve",
            "pagemesh resolve a b",
            "pagemesh ls a b",
            "pagemesh logs table --tail -1",
            "pagemesh logs table --since soon",
            "pagemesh inject",
            "pagemesh inject -f a -o table",
            "pagemesh inject -f a --keeper-image=",
            "pagemesh probe --region a --token t",
            "pagemesh probe --region a --as 2 --token t",
            "pagemesh probe --region a --as writer --token t --node 0 --socket /s",
        ] {
            assert!(!parse(bad), "{bad}");
        }
    }
}
