//! Black-box tests of pagemesh on a real Kubernetes: `make e2e`.
//!
//! One cluster serves all tests. Each test has a namespace of its own and waits for conditions with a deadline. Those that
//! harm only themselves run side by side; those that take something away from everybody (the operator, a node, the API server,
//! pagemesh itself) run alone, in the order in which they are listed.
//!
//! The cluster is the one that `KUBECONFIG` names. Nodes that the tests may drain are its workers. With `E2E_FOREIGN=yes` it is
//! not taken for one of kind on this machine, and what needs that is left out.

mod cluster;
mod collector;
mod install;
mod pods;
mod scene;
mod temporary;
mod tests;
mod wait;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::tests::Test;

/// Tests that run side by side, at most: each has a few pods, and the nodes share one machine.
const SIDE_BY_SIDE: usize = 3;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let all = tests::side_by_side().into_iter().chain(tests::alone());
    let all: Vec<_> = all.map(|test| Trial::test(test.name, || Ok(()))).collect();
    if all.iter().all(|test| arguments.is_filtered_out(test)) {
        let names: Vec<_> = all.iter().map(Trial::name).collect();
        eprintln!("no test is left to run: name a part of one of these\n  {}", names.join("\n  "));
        return ExitCode::FAILURE;
    }
    if arguments.list {
        return libtest_mimic::run(&arguments, all).exit_code();
    }
    match run(&arguments) {
        Ok(good) if good => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let runtime = Arc::new(Runtime::new()?);
    let cluster = runtime.block_on(async {
        let cluster = Cluster::connect().await.context("no cluster; `make e2e-up` makes one")?;
        install::bring_up(&cluster).await.context("pagemesh does not come up")?;
        Ok::<_, anyhow::Error>(Arc::new(cluster))
    })?;
    let together =
        Arguments { test_threads: arguments.test_threads.or(Some(SIDE_BY_SIDE)), ..arguments.clone() };
    let one_by_one = Arguments { test_threads: Some(1), ..arguments.clone() };
    let first = conclude(&runtime, &cluster, &together, tests::side_by_side());
    let second = conclude(&runtime, &cluster, &one_by_one, tests::alone());
    Ok(!first.has_failed() && !second.has_failed())
}

/// Runs tests and prints a line for each.
fn conclude(
    runtime: &Arc<Runtime>,
    cluster: &Arc<Cluster>,
    arguments: &Arguments,
    tests: Vec<Test>,
) -> Conclusion {
    let trial = |test: Test| {
        let (runtime, cluster) = (Arc::clone(runtime), Arc::clone(cluster));
        let left_out = test.of_kind && !cluster.of_kind;
        Trial::test(test.name, move || {
            runtime.block_on(scene::play(&cluster, &test)).map_err(|error| Failed::from(format!("{error:#}")))
        })
        .with_ignored_flag(left_out)
    };
    libtest_mimic::run(arguments, tests.into_iter().map(trial).collect())
}
