//! Programs that may only read a region, with glibc and with musl.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mesh::{Compiler, binaries, compile};
use crate::program::Program;

/// A directory in a tmpfs, as an agent's is.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read_only(compiler: Compiler) {
    let name = format!("pagemesh-read-only-{}-{compiler:?}", std::process::id());
    let directory = Directory(Path::new("/dev/shm").join(name));
    fs::create_dir(&directory.0).expect("/dev/shm is writable");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/tests/programs");
    let mut agent = Command::new("python3");
    agent.arg(sources.join("grants_reading.py")).arg(&directory.0);
    let mut agent = Program::start("what grants reading".into(), agent);
    agent.says("granting");

    let program = compile(compiler, "programs/read_only.c", &directory.0, &[]);
    let preload: OsString = binaries().join("libpagemesh_preload.so").into();
    let mut reader = Command::new(program);
    reader.args(["table", "forbidden"]).env("LD_PRELOAD", preload);
    reader.env("PAGEMESH_SOCKET", directory.0.join("agent.sock"));
    let said = Program::start(format!("read_only of {compiler:?}"), reader).succeeds();
    for sentence in [
        "cannot write to region table: this program may only read the region",
        "cannot unlink region table",
        "cannot open region forbidden: the agent refuses: forbidden is not for you",
    ] {
        assert!(said.contains(sentence), "`{sentence}` is not in:\n{said}");
    }
    agent.killed();
}

#[test]
fn read_only_with_glibc() {
    read_only(Compiler::System);
}

#[test]
fn read_only_with_musl() {
    read_only(Compiler::Musl);
}
