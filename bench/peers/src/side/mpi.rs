//! MPI's one-sided operations over TCP: the second of two ranks holds a window, the first gets and puts.

use std::fs;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::unistd::Uid;

use super::{About, Side};
use crate::order::Line;
use crate::process::{self, Process};

/// The program of a rank.
const SOURCE: &str = include_str!("mpi.c");

/// TCP alone, on loopback: between nodes there is no shared memory. Over TCP, Open MPI 4.1 does not start with `osc rdma`, which leaves
/// `pt2pt`. By default each of two ranks is bound to a processor, and waits by looking again and again.
const FLAGS: &str = "-np 2 --oversubscribe --mca pml ob1 --mca btl tcp,self --mca osc pt2pt --mca btl_tcp_if_include lo \
                     --mca oob_tcp_if_include lo --mca plm isolated";

pub(super) fn start(place: &Path) -> Result<(About, Side)> {
    let run = process::find("mpirun")?;
    let compiler = process::find("mpicc")?;
    let version = process::output(&run, &["--version".as_ref()])?;
    let source = place.join("mpi.c");
    fs::write(&source, SOURCE).with_context(|| format!("{} cannot be written", source.display()))?;
    let program = place.join("mpi");
    let flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"].map(AsRef::as_ref);
    let args: Vec<_> = flags.into_iter().chain([program.as_os_str(), source.as_os_str()]).collect();
    process::output(&compiler, &args)?;

    let socket = place.join("mpi.sock");
    let listener = UnixListener::bind(&socket).context("cannot listen for the ranks")?;
    listener.set_nonblocking(true)?;
    let mut words = vec![run.into_os_string()];
    words.extend(FLAGS.split_ascii_whitespace().map(Into::into));
    if Uid::effective().is_root() {
        words.push("--allow-run-as-root".into());
    }
    words.extend([program.into_os_string(), socket.into_os_string()]);
    let log = place.join("mpi.log");
    let mut server = Process::server(&words, place, &log)?;
    let mut ranks = [None, None];
    for _ in 0..2 {
        let (stream, _) = server.wait_until(|| listener.accept().ok(), &log)?;
        let (rank, line) = greet(stream)?;
        ensure!(ranks[rank].replace(line).is_none(), "both ranks are {rank}");
    }
    let clients = ranks.map(|rank| rank.expect("two ranks, and not the same"));
    let side = Side { clients, needs_both: true, counts: true, _running: vec![Box::new(server)] };
    let version = version.lines().next().unwrap_or_default().replace("mpirun (Open MPI) ", "Open MPI ");
    let flags = format!(
        "mpirun {FLAGS}; MPI_Win_lock_all, then MPI_Get, MPI_Put, MPI_Fetch_and_op, each with MPI_Win_flush"
    );
    Ok((About { name: "MPI", version, flags }, side))
}

/// A rank says which it is, in a byte.
fn greet(mut stream: UnixStream) -> Result<(usize, Line)> {
    stream.set_nonblocking(false)?;
    let mut rank = [0];
    stream.read_exact(&mut rank).context("a rank has ended")?;
    ensure!(rank[0] < 2, "there is no rank {}", rank[0]);
    Ok((rank[0].into(), Line::new(stream)?))
}
