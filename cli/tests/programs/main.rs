//! Unmodified programs under the preload library, linked ones, and the examples of the README: on every node of a real
//! mesh, with small and large pages and under every coherence.
//!
//! Needs `pagemesh-agent` and the libraries beside `pagemesh`: `cargo build --workspace` makes them.

mod away;
mod library;
mod mesh;
mod musl;
mod program;
mod readme;
mod without_dlsym;

use std::array;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use self::mesh::{Compiler, Mesh, NODES, binaries};
use self::program::Program;

/// Each kind of region, by name and as `--region` takes it. In a namespace, since libc knows no such names: a program that
/// missed the region could not succeed with memory of this machine.
const REGIONS: [(&str, &str); 4] = [
    ("test/small", "test/small=2Mi"),
    ("test/small-update", "test/small-update=2Mi,coherence=WriteUpdate"),
    ("test/large", "test/large=2Mi,pageSize=64Ki"),
    ("test/large-update", "test/large-update=2Mi,pageSize=64Ki,coherence=WriteUpdate"),
];

/// How the object of a region begins.
const REGION: &str = "apiVersion: pagemesh.io/v1alpha1\nkind: Region";

fn start(test: &str) -> Mesh {
    Mesh::start(test, &REGIONS.map(|(_, region)| region))
}

/// A command of several words.
fn words<const N: usize>(words: [&dyn AsRef<OsStr>; N]) -> [OsString; N] {
    words.map(|word| word.as_ref().to_owned())
}

fn all_succeed(programs: Vec<Program>) {
    programs.into_iter().for_each(|program| drop(program.succeeds()));
}

/// Runs a program, whose argument is a region, on all nodes at once, each on a region of its own, until each node has
/// had each region.
fn everywhere(mesh: &Mesh, run: impl Fn(usize, &str) -> Program) {
    let disturb = mesh.compile("programs/disturb.c", &[]);
    let rounds = 0..REGIONS.len();
    // Then some of it again, while other nodes take the pages away without end: two rounds have every kind of region.
    let disturbed_rounds = 0..2;
    for (round, disturbed) in rounds.map(|n| (n, false)).chain(disturbed_rounds.map(|n| (n, true))) {
        let runs: [_; NODES] = array::from_fn(|node| (node, REGIONS[(node + round) % REGIONS.len()].0));
        let others = runs.iter().filter(|_| disturbed);
        let mut disturbers: Vec<Program> =
            others.map(|(node, region)| mesh.run((node + 1) % NODES, &words([&disturb, region]))).collect();
        disturbers.iter_mut().for_each(|disturber| disturber.says("disturbing"));
        all_succeed(runs.into_iter().map(|(node, region)| run(node, region)).collect());
        disturbers.into_iter().for_each(Program::killed);
    }
}

/// Does that with a program of the folder `client/tests/programs`.
fn unmodified(name: &str) {
    unmodified_of(Compiler::System, name);
}

/// Does that with one that this compiler has made.
fn unmodified_of(compiler: Compiler, name: &str) {
    let mesh = start(&format!("{name}-{compiler:?}"));
    let program = mesh.compile_with(compiler, &format!("programs/{name}.c"), &[]);
    everywhere(&mesh, |node, region| mesh.run(node, &words([&program, &region])));
    mesh.end();
}

#[test]
fn descriptors() {
    unmodified("descriptors");
}

#[test]
fn execs() {
    unmodified("execs");
}

/// Regions of Kubernetes have a UID, and so files of another name.
#[test]
fn execs_with_a_uid() {
    let uid = "metadata: {name: table, namespace: test, uid: 6f2c0d52-91a4-4d1c-8d7e-0d6a9a4f1c11}";
    let mesh = Mesh::start_with("execs-uid", &[], &format!("{REGION}\n{uid}\nspec: {{size: 2Mi}}\n"));
    let program = mesh.compile("programs/execs.c", &[]);
    for node in 0..NODES {
        mesh.run(node, &words([&program, &"test/table"])).succeeds();
    }
    mesh.end();
}

#[test]
fn forks() {
    unmodified("forks");
}

#[test]
fn paths() {
    unmodified("paths");
}

#[test]
fn sizes() {
    unmodified("sizes");
}

#[test]
fn threads() {
    unmodified("threads");
}

#[test]
fn unmaps() {
    unmodified("unmaps");
}

/// Does that with a Python program.
fn unmodified_python(name: &str) {
    let mesh = start(name);
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/tests/programs");
    let program = programs.join(format!("{name}.py"));
    everywhere(&mesh, |node, region| mesh.run(node, &words([&"python3", &program, &region])));
    mesh.end();
}

#[test]
fn shareable_list() {
    unmodified_python("shareable_list");
}

#[test]
fn files() {
    unmodified_python("files");
}

/// `O_CREAT | O_EXCL` has one winner among the processes of a node, and among those of all nodes.
#[test]
fn exclusive() {
    let mesh = start("exclusive");
    let program = mesh.compile("programs/exclusive.c", &[]);
    everywhere(&mesh, |node, region| mesh.run(node, &words([&program, &region])));
    for (region, _) in REGIONS {
        let command = words([&program, &region, &NODES.to_string()]);
        all_succeed((0..NODES).map(|node| mesh.run(node, &command)).collect());
    }
    mesh.end();
}

/// What each node writes the others read, and the first time in each of the ways in which pages can be touched.
#[test]
fn pattern() {
    let mesh = start("pattern");
    let program = mesh.compile("programs/pattern.c", &[]);
    let mut seed = 0;
    for (region, _) in REGIONS {
        for way in ["read", "locked", "populated"] {
            for writer in 0..NODES {
                seed += 1;
                let command = |what| words([&program, &region, &what, &seed.to_string()]);
                mesh.run(writer, &command("write")).succeeds();
                let others = (0..NODES).filter(|node| *node != writer);
                all_succeed(others.map(|node| mesh.run(node, &command(way))).collect());
                mesh.run(writer, &command(way)).succeeds();
            }
        }
    }
    mesh.end();
}

/// What is not a region goes to libc, with an agent and without.
#[test]
fn local() {
    local_of(Compiler::System);
}

fn local_of(compiler: Compiler) {
    let mesh = Mesh::start(&format!("local-{compiler:?}"), &[]);
    let program = mesh.compile_with(compiler, "programs/local.c", &[]);
    all_succeed((0..NODES).map(|node| mesh.run(node, &[&program])).collect());
    let without = words([&"env", &"-u", &"PAGEMESH_SOCKET", &program]);
    mesh.run(0, &without).succeeds();
    mesh.end();
}

/// Each agent dies in a mesh of its own, under a program that uses one kind of region.
#[test]
fn agent_gone() {
    for (index, (region, declared)) in REGIONS.into_iter().enumerate() {
        let mesh = Mesh::start(&format!("agent_gone-{index}"), &[declared]);
        let program = mesh.compile("programs/agent_gone.c", &[]);
        let node = index % NODES;
        let agent = mesh.agent(node)["pid"].to_string();
        mesh.run(node, &words([&program, &region, &agent])).succeeds();
        mesh.end_with_losses();
    }
}

fn linked(test: &str, libraries: &[&OsStr]) {
    let mesh = start(test);
    let program = mesh.compile("linked/c_abi.c", libraries);
    everywhere(&mesh, |node, region| mesh.run_linked(node, &words([&program, &region])));
    mesh.end();
}

#[test]
fn linked_with_the_shared_library() {
    let mut rpath = OsString::from("-Wl,-rpath,");
    rpath.push(binaries());
    linked("shared", &[binaries().join("libpagemesh.so").as_os_str(), &rpath]);
}

#[test]
fn linked_with_the_static_library() {
    linked("static", &[binaries().join("libpagemesh.a").as_os_str()]);
}
