//! Programs that must be processes of their own: this test program, started once more.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::net::SendFlags;

use crate::client::{Client, Mapping, PAGE, map, unmap};

const SOCKET: &str = "PAGEMESH_TEST_HELPER_SOCKET";
const DEED: &str = "PAGEMESH_TEST_HELPER_DEED";

/// What a helper does.
#[derive(Clone, Copy)]
pub(crate) enum Deed {
    /// Attaches, asks until nobody takes any more of its questions without ever reading an answer, hands its socket to
    /// a child whose number it prints, and ends.
    LeaveSocketToChild,
    /// Says that memory of its own is the region, and touches it.
    TouchForeignMemory,
}

/// Runs a helper to its end.
pub(crate) fn run(deed: Deed, socket: &Path) -> Output {
    let deed = match deed {
        Deed::LeaveSocketToChild => "leave",
        Deed::TouchForeignMemory => "touch",
    };
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper::not_a_test_but_a_program", "--nocapture"])
        .env(SOCKET, socket)
        .env(DEED, deed)
        .stderr(Stdio::inherit())
        .output()
        .unwrap()
}

#[test]
fn not_a_test_but_a_program() {
    let (Some(socket), Ok(deed)) = (std::env::var_os(SOCKET), std::env::var(DEED)) else { return };
    let client = Client::connect(socket.as_ref());
    let attached = client.attach();
    if deed == "leave" {
        rustix::io::fcntl_setfd(&client.0, rustix::io::FdFlags::empty()).unwrap();
        let question = unmap(PAGE, PAGE);
        while rustix::net::send(&client.0, &question, SendFlags::DONTWAIT).is_ok() {}
        let script = "sleep 600 >/dev/null 2>&1 & echo child $!";
        assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
    } else {
        let memory = rustix::fs::memfd_create("own", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&memory, 4 * PAGE).unwrap();
        let own = Mapping::new(&memory, 4 * PAGE, 0);
        client.ask(&map(own.base, own.len, 0), &[]).unwrap();
        println!("read {}", own.load(0));
    }
    drop(attached);
}
