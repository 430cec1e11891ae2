//! Programs that must be processes of their own: this test program, started once more.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::ftruncate;

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
        fcntl(&client.0, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let question = unmap(PAGE, PAGE);
        while send(client.0.as_raw_fd(), &question, MsgFlags::MSG_DONTWAIT).is_ok() {}
        let script = "sleep 600 >/dev/null 2>&1 & echo child $!";
        assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
    } else {
        let memory = memfd_create("own", MFdFlags::MFD_CLOEXEC).unwrap();
        ftruncate(&memory, 4 * PAGE.cast_signed()).unwrap();
        let own = Mapping::new(&memory, 4 * PAGE, 0);
        client.ask(&map(own.base, own.len, 0), &[]).unwrap();
        println!("read {}", own.load(0));
    }
    drop(attached);
}
