//! `pagemesh run`: becomes a program that is attached to a node.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::exit::{CommandError, before_command};
use crate::mesh::{DirArg, Mesh};
use crate::{agent_api, binaries};

/// Run a program attached to a node of the mesh.
///
/// CMD needs no change: its `shm_open("/NAME")` opens the region NAME. It must be linked dynamically.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pagemesh run --node 0 -- python3 worker.py
  pagemesh run --node 2 -- sh -c './writer & ./reader'

Exit codes: CMD's own; 125 if pagemesh fails, 126 if CMD cannot be started, 127 if it is not found")]
pub(crate) struct Args {
    /// Node to attach to, from 0.
    #[arg(long, value_name = "K")]
    node: u16,
    #[command(flatten)]
    dir: DirArg,
    /// Program and its arguments.
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Becomes CMD. Returns only if that fails.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut command = prepare(args).map_err(before_command)?;
    let error = command.exec();
    Err(CommandError::of_exec(&command.get_program().to_string_lossy(), error).into())
}

fn prepare(args: &Args) -> Result<Command> {
    let mesh = Mesh::find(args.dir.resolve()?)?;
    let [program, arguments @ ..] = args.command.as_slice() else {
        bail!("there is no CMD; write it behind `--`");
    };
    let mut command = attached(&mesh, args.node, program)?;
    command.args(arguments);
    Ok(command)
}

/// A program that is attached to a node.
pub(crate) fn attached(mesh: &Mesh, node: u16, program: &OsStr) -> Result<Command> {
    let Some(agent) = agent_api::AgentInfo::read(&mesh.node(node)?)? else {
        bail!("the agent of node {node} is not up yet; try again in a moment");
    };
    let preload = preload_value(&binaries::preload()?, env::var_os("LD_PRELOAD"))?;
    let mut command = Command::new(program);
    command.env("PAGEMESH_SOCKET", agent.socket).env("LD_PRELOAD", preload);
    Ok(command)
}

/// Our library in front of those that are there already: theirs may call ours, ours calls libc.
fn preload_value(ours: &Path, theirs: Option<OsString>) -> Result<OsString> {
    if ours.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b' ' | b':')) {
        bail!("{} has a blank or colon in it, which LD_PRELOAD cannot express; move it", ours.display());
    }
    let mut value = ours.as_os_str().to_owned();
    if let Some(theirs) = theirs.filter(|theirs| !theirs.is_empty()) {
        value.push(":");
        value.push(theirs);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_preload_is_kept() {
        let value = |ours: &str, theirs: Option<&str>| preload_value(Path::new(ours), theirs.map(Into::into));
        assert_eq!(value("/a.so", None).expect("good"), "/a.so");
        assert_eq!(value("/a.so", Some("")).expect("good"), "/a.so");
        assert_eq!(value("/a.so", Some("/b.so /c.so")).expect("good"), "/a.so:/b.so /c.so");
        assert!(value("/a b.so", None).is_err());
        assert!(value("/a:b.so", None).is_err());
    }
}
