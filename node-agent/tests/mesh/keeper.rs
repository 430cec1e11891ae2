//! The keeper of a pod.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::worker::program;
use super::{die_with_us, http, until};

pub struct Keeper {
    pub process: Child,
    address: SocketAddr,
}

impl Keeper {
    /// Starts a keeper for the volume whose socket this is, and waits until it holds for it.
    pub fn start(socket: &Path, dir: &Path) -> Keeper {
        let keeper = Keeper::begin(socket, dir);
        keeper.await_metric("pagemesh_keeper_connected", 1.0);
        keeper
    }

    /// Starts one that may not be let in.
    pub fn begin(socket: &Path, dir: &Path) -> Keeper {
        let log = Keeper::log(dir);
        // Of one that was here before.
        let begun = fs::metadata(&log).map_or(0, |log| log.len() as usize);
        let output = File::options().create(true).append(true).open(&log).expect("a log");
        let mut command = command(socket, "run");
        command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let process = die_with_us(&mut command).spawn().expect("`cargo build --workspace` has built it");
        let address = until("the keeper to listen", || {
            let text = fs::read_to_string(&log).ok()?;
            let address = text.get(begun..)?.lines().find_map(|line| line.split_once("metrics are at "))?.1;
            address.parse().ok()
        });
        Keeper { process, address }
    }

    pub fn log(dir: &Path) -> PathBuf {
        dir.join("keeper.log")
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        http::get(self.address, path).expect("the keeper answers")
    }

    /// A metric, summed over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, body) = self.get("/metrics");
        let values = body.lines().filter_map(|line| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        });
        values.sum()
    }

    pub fn await_metric(&self, name: &str, value: f64) {
        until(&format!("{name} to be {value}"), || (self.metric(name) == value).then_some(()));
    }

    /// Waits until it holds so many attachments.
    pub fn await_held(&self, attachments: usize) {
        self.await_metric("pagemesh_pod_attachments", attachments as f64);
    }

    /// Asks as the kubelet does: whether all is well, and what is said.
    pub fn probe(&self, socket: &Path, what: &str) -> (bool, String) {
        let mut command = command(socket, what);
        if what == "ready" {
            command.args(["--listen", &self.address.to_string()]);
        }
        let Output { status, stderr, .. } = command.output().expect("it is built");
        (status.success(), String::from_utf8(stderr).expect("it speaks in sentences"))
    }

    /// Memory, in KiB, by its name in `/proc/PID/status`.
    pub fn memory_kib(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("the kernel tells")
    }

    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command(socket: &Path, what: &str) -> Command {
    let mut command = Command::new(program("pagemesh-keeper"));
    command.arg(what).env("PAGEMESH_SOCKET", socket);
    command
}
