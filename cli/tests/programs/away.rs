//! What a program has to do without: its agent, or its region.

use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixListener;
use std::time::Instant;

use serde_json::{Value, json};

use crate::mesh::{Compiler, Mesh, NOTICE_DEADLINE};
use crate::{REGIONS, start, words};

/// One thread waits for an agent, and the others do not wait for it.
#[test]
fn an_agent_that_may_come_back() {
    let mesh = Mesh::start("agent_away", &[]);
    let socket = mesh.scratch.join("agent.sock");
    // Its file stays, and whoever connects is refused.
    drop(UnixListener::bind(&socket).expect("a socket"));
    let mut variable = OsString::from("PAGEMESH_SOCKET=");
    variable.push(&socket);
    for compiler in [Compiler::System, Compiler::Musl] {
        let program = mesh.compile_with(compiler, "programs/agent_away.c", &[]);
        mesh.run(0, &words([&"env", &variable, &program])).succeeds();
    }
    mesh.end();
}

/// Each kind of region is taken away from a program that forks then.
#[test]
fn a_region_that_a_child_cannot_have() {
    for compiler in [Compiler::System, Compiler::Musl] {
        let mesh = start(&format!("region_gone-{compiler:?}"));
        let program = mesh.compile_with(compiler, "programs/region_gone.c", &[]);
        let (kept, _) = REGIONS[0];
        for (region, _) in &REGIONS[1..] {
            let mut running = mesh.run(1, &words([&program, region, &kept]));
            running.says("attached");
            let object = mesh.objects_dir().join(format!("region-{}.yaml", region.replace('/', ".")));
            fs::remove_file(object).expect("it is declared");
            await_gone(&mesh, region);
            running.hears("");
            let said = running.succeeds();
            assert!(said.contains("a forked child goes on without region"), "{said}");
        }
        mesh.end_with_losses();
    }
}

/// Waits until no agent knows the region.
fn await_gone(mesh: &Mesh, region: &str) {
    let (namespace, name) = region.split_once('/').expect("it has a namespace");
    let deadline = Instant::now() + NOTICE_DEADLINE;
    loop {
        let regions = mesh.shell("pagemesh get regions -o json").succeeds();
        let regions: Vec<Value> = serde_json::from_str(&regions).expect("JSON");
        let its = |one: &&Value| one["namespace"] == json!(namespace) && one["name"] == json!(name);
        let Some(left) = regions.iter().find(its) else { return };
        assert!(Instant::now() < deadline, "it is still there: {left}");
    }
}
