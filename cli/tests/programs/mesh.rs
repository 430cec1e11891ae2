//! A mesh of three nodes that one test has for itself, and how programs get to run in it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::Program;

/// How many nodes a mesh has.
pub(crate) const NODES: usize = 3;
/// How much of an agent's log is shown when a test fails.
const LOG_TAIL_LINES: usize = 20;
/// An agent notices at once that a program has ended. On a machine that is busy it gets this long.
pub(crate) const NOTICE_DEADLINE: Duration = Duration::from_secs(30);

/// Who compiles a program, and so which C library it runs with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compiler {
    /// That of this machine.
    System,
    /// musl's.
    Musl,
}

impl Compiler {
    fn command(self) -> OsString {
        match self {
            Compiler::System => std::env::var_os("CC").unwrap_or_else(|| "cc".into()),
            Compiler::Musl => {
                let found = Command::new("musl-gcc").arg("--version").stdout(Stdio::null()).status();
                assert!(found.is_ok(), "musl-gcc is not installed: it is in the package musl-tools");
                "musl-gcc".into()
            }
        }
    }
}

/// A mesh that is up. Dropping it ends it; if a test has failed, its agents' last words are printed first.
pub(crate) struct Mesh {
    /// Where the test may keep files.
    pub(crate) scratch: PathBuf,
    /// `pagemesh dev`, whose command lives until nobody can write to it any more: until this process ends, however it does.
    dev: Child,
}

impl Mesh {
    /// Starts a mesh with these regions, as `--region` names them, for the test of that name.
    pub(crate) fn start(test: &str, regions: &[&str]) -> Mesh {
        let regions = regions.iter().flat_map(|region| ["--region", region]);
        Mesh::start_as(test, &["--nodes", "3"].into_iter().chain(regions).collect::<Vec<_>>())
    }

    /// Starts one with these regions and those objects.
    pub(crate) fn start_with(test: &str, regions: &[&str], objects: &str) -> Mesh {
        let file = format!("pagemesh-programs-{}-{test}.yaml", std::process::id());
        let file = std::env::temp_dir().join(file);
        fs::write(&file, objects).expect("the directory for temporary files is writable");
        let regions = regions.iter().flat_map(|region| ["--region", region]);
        let arguments = ["--nodes", "3", "--file", file.to_str().expect("UTF-8")];
        let mesh = Mesh::start_as(test, &arguments.into_iter().chain(regions).collect::<Vec<_>>());
        fs::remove_file(&file).expect("it is there");
        mesh
    }

    /// Starts `pagemesh dev` with these arguments.
    pub(crate) fn start_as(test: &str, arguments: &[&str]) -> Mesh {
        let name = format!("pagemesh-programs-{}-{test}", std::process::id());
        let scratch = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir(&scratch).expect("the directory for temporary files is writable");
        let mut dev = Command::new(env!("CARGO_BIN_EXE_pagemesh"))
            .args(["dev", "--dir"])
            .arg(scratch.join("mesh"))
            .args(arguments)
            .args(["--", "sh", "-c", "echo up; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("pagemesh runs");
        let mut line = String::new();
        let stdout = dev.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        let mesh = Mesh { scratch, dev };
        assert_eq!(line, "up\n", "the mesh did not come up");
        mesh
    }

    /// Runs an unmodified program on a node.
    pub(crate) fn run(&self, node: usize, command: &[impl AsRef<OsStr>]) -> Program {
        let mut run = self.command("pagemesh");
        run.args(["run", "--node", &node.to_string(), "--"]).args(command);
        Program::start(described(node, command), run)
    }

    /// Runs a program on a node that attaches by itself.
    pub(crate) fn run_linked(&self, node: usize, command: &[impl AsRef<OsStr>]) -> Program {
        let mut run = self.command(&command[0]);
        run.args(&command[1..]).env("PAGEMESH_SOCKET", self.node_dir(node).join("agent.sock"));
        Program::start(described(node, command), run)
    }

    /// Runs a shell script as a user of this mesh would, in the directory for files.
    pub(crate) fn shell(&self, script: &str) -> Program {
        let mut run = self.command("sh");
        run.args(["-c", script]);
        Program::start(format!("`{script}`"), run)
    }

    /// A command that has `pagemesh` in its PATH and finds this mesh.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let ours = binaries().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths([ours].into_iter().chain(std::env::split_paths(&path)));
        let mut command = Command::new(program);
        command
            .current_dir(&self.scratch)
            .env("PATH", path.expect("the target directory has no colon in it"))
            .env("PAGEMESH_DIR", self.scratch.join("mesh"));
        command
    }

    /// Compiles a C program of the folder `client/tests`.
    pub(crate) fn compile(&self, source: &str, linked: &[&OsStr]) -> PathBuf {
        self.compile_with(Compiler::System, source, linked)
    }

    /// Compiles it with this compiler.
    pub(crate) fn compile_with(&self, compiler: Compiler, source: &str, linked: &[&OsStr]) -> PathBuf {
        let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client");
        let source = client.join("tests").join(source);
        let program = self.scratch.join(source.file_stem().expect("a file's name"));
        let mut compiler = self.command(compiler.command());
        compiler.args(["-std=gnu11", "-pthread", "-I"]).arg(client.join("include"));
        compiler.arg("-o").arg(&program).arg(&source).args(linked);
        Program::start(format!("compiling {}", source.display()), compiler).succeeds();
        program
    }

    /// What the agent of a node says of itself.
    pub(crate) fn agent(&self, node: usize) -> Value {
        let file = self.node_dir(node).join("agent.json");
        serde_json::from_slice(&fs::read(file).expect("an agent that is up")).expect("JSON")
    }

    /// Where its regions are declared.
    pub(crate) fn objects_dir(&self) -> PathBuf {
        self.scratch.join("mesh/objects")
    }

    /// Ends the mesh. Every region must have been used, no attachment may outlive its program, and nothing the mesh.
    pub(crate) fn end(self) {
        let regions = self.shell("pagemesh get regions -o json").succeeds();
        let regions: Vec<Value> = serde_json::from_str(&regions).expect("JSON");
        for region in regions {
            let nodes = region["nodes"].as_array().expect("a list");
            assert!(
                nodes.iter().any(|node| node["pages"] != json!({"shared": 0, "exclusive": 0})),
                "unused: {region}"
            );
        }
        let deadline = Instant::now() + NOTICE_DEADLINE;
        loop {
            let attachments = self.shell("pagemesh get attachments -o json").succeeds();
            if attachments == "[]\n" {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "programs have ended, but not their attachments: {attachments}"
            );
        }
        self.end_with_losses();
    }

    /// Ends a mesh that a test has taken agents from.
    pub(crate) fn end_with_losses(mut self) {
        drop(self.dev.stdin.take());
        let status = self.dev.wait().expect("it is our child");
        assert!(status.success(), "pagemesh dev: {status}");
        assert!(!self.scratch.join("mesh").exists(), "the mesh has left files");
    }

    fn node_dir(&self, node: usize) -> PathBuf {
        self.scratch.join(format!("mesh/node-{node}"))
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if thread::panicking() {
            for node in 0..NODES {
                let log = fs::read_to_string(self.node_dir(node).join("log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
                eprintln!("The agent of node {node} said last:\n  {}", last.join("\n  "));
            }
        }
        drop(self.dev.stdin.take());
        let _ = self.dev.wait();
        if thread::panicking() {
            let mut said = String::new();
            let _ = self.dev.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
            eprintln!("pagemesh dev said:\n{said}");
        }
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Where the programs and libraries of this build are.
pub(crate) fn binaries() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pagemesh")).parent().expect("a file is in a directory")
}

fn described(node: usize, command: &[impl AsRef<OsStr>]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    format!("`{}` on node {node}", words.join(" "))
}
