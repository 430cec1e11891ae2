//! Unmodified programs in pods, under the preload library, that may only read or not even that: with glibc and with musl.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::node::Mesh;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../client/tests/programs");
/// The slowest program needs some seconds. On a machine that is busy it gets this many.
const SECONDS_MAX: &str = "120";

/// Compiles a program, for the C library that the compiler is for.
fn compile(compiler: &str, name: &str, dir: &Path) -> PathBuf {
    let program = dir.join(format!("{name}-{compiler}"));
    let mut command = Command::new(compiler);
    command.args(["-std=gnu11", "-pthread", "-o"]).arg(&program).arg(format!("{SOURCES}/{name}.c"));
    let made = command.status().unwrap_or_else(|error| {
        panic!("{compiler} cannot be run ({error}): it is in the package gcc or musl-tools")
    });
    assert!(made.success(), "{compiler} does not compile {name}.c");
    program
}

/// Has a command run with the library, at an agent's socket.
fn preloaded(mut command: Command, socket: &Path) -> Command {
    let beside = Path::new(env!("CARGO_BIN_EXE_pagemesh-agent")).parent().expect("a file is in a directory");
    let library = beside.join("libpagemesh_preload.so");
    assert!(library.is_file(), "{}: `cargo build --workspace` makes it", library.display());
    command.env("PAGEMESH_SOCKET", socket).env("LD_PRELOAD", library);
    command
}

/// Runs a program to its end, which must come in time and be a good one. Returns what it said.
fn run(program: &Path, arguments: &[&str], socket: &Path) -> String {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", SECONDS_MAX]).arg(program).args(arguments);
    let output = preloaded(command, socket).output().expect("timeout is in coreutils");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}; it said:\n{said}", output.status);
    said
}

/// A program that runs until it is no longer needed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn only_reads(compiler: &str) {
    let mesh = Mesh::start();
    mesh.allow("access: [{serviceAccount: writer}, {serviceAccount: reader, mode: ReadOnly}]");
    let [home, other] = &mesh.nodes[..] else { panic!("a mesh has two nodes") };
    let writer = home.volume("writer", &["team/table"]);
    let reader = other.volume("reader", &["team/table"]);
    let asks_less = other.volume("writer", &["team/table:ro"]);
    let stranger = other.volume("stranger", &["team/table"]);
    let dir = writer.parent().expect("a file is in a directory");

    let mut counts = Command::new(compile(compiler, "counts", dir));
    counts.arg("table").stdout(Stdio::piped());
    let mut counts = Running(preloaded(counts, &writer).spawn().expect("it was just compiled"));
    let mut line = String::new();
    let says = counts.0.stdout.take().expect("it is piped");
    BufReader::new(says).read_line(&mut line).expect("a pipe can be read");
    assert_eq!(line, "counting\n");

    let read_only = compile(compiler, "read_only", dir);
    for (socket, name) in [(&reader, "table"), (&asks_less, "team/table")] {
        let said = run(&read_only, &[name], socket);
        let why = format!("cannot write to region {name}: this program may only read the region");
        assert!(said.contains(&why), "`{why}` is not in:\n{said}");
    }
    let said = run(&read_only, &["table", "forbidden"], &stranger);
    let why = "cannot open region table: the agent refuses: service account team/stranger may not attach";
    assert!(said.contains(why), "`{why}` is not in:\n{said}");
}

#[test]
fn a_program_with_glibc_only_reads() {
    only_reads("cc");
}

#[test]
fn a_program_with_musl_only_reads() {
    only_reads("musl-gcc");
}
