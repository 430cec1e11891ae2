//! The program that the agent's tests run on the nodes: `worker WHAT SOCKET REGION ...`. It uses the region through the
//! client library, with plain loads and stores.

mod arena;
mod background;
mod counter;
mod history;
mod litmus;

use std::path::Path;
use std::process::ExitCode;

use pagemesh::Region;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [what, socket, region, rest @ ..] = &args[..] else {
        eprintln!("usage: worker litmus|history|count|sweep|hold|background SOCKET REGION ...");
        return ExitCode::from(2);
    };
    let region = match Region::attach_to(Path::new(socket), region) {
        Ok(region) => region,
        Err(error) => {
            eprintln!("worker: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match what.as_str() {
        "litmus" => litmus::run(&region, rest),
        "history" => history::run(&region, rest),
        "count" => counter::count(&region, rest),
        "sweep" => counter::sweep(&region, rest),
        "background" => background::background(&region, rest),
        "hold" => counter::hold(&region, rest),
        other => Err(format!("no such work: {other}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(objection) => {
            eprintln!("worker {what}: {objection}");
            ExitCode::FAILURE
        }
    }
}

/// The `at`th argument as a number.
fn number<T: std::str::FromStr>(args: &[String], at: usize) -> Result<T, String> {
    args.get(at).and_then(|a| a.parse().ok()).ok_or(format!("argument {at} of {args:?} is not a number"))
}
