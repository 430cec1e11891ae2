//! A memcached over TCP.

use std::path::Path;

use anyhow::Result;
use nix::unistd::Uid;

use super::{About, Side};
use crate::client::By;
use crate::process::{self, Process};

pub(super) fn start(place: &Path) -> Result<(About, Side)> {
    let program = process::find("memcached")?;
    let version = process::output(&program, &["--version".as_ref()])?;
    let address = process::free_address()?;
    let log = place.join("memcached.log");
    // Its manual: four unless told, and more than there are processors are of no use.
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
    let flags = format!("--listen=127.0.0.1 --udp-port=0 --threads={threads} --memory-limit=64");
    let mut words = vec![program.into_os_string()];
    words.extend(flags.split(' ').map(Into::into));
    words.push(format!("--port={}", address.port()).into());
    if Uid::effective().is_root() {
        // It refuses to run as root. A process that changes its user is no longer told of its parent's end; `pagemesh dev`, which
        // ends all that its command leaves, is there for that.
        words.push("--user=nobody".into());
    }
    let mut server = Process::server(&words, place, &log)?;
    server.wait_for_port(address, &log)?;
    let client = || Process::client(&By::Memcached { address });
    let side = Side::of([client()?, client()?], vec![Box::new(server)]);
    let version = version.trim_start_matches("memcached ").to_owned();
    Ok((About { name: "memcached", version, flags: format!("memcached {flags}; TCP, get set incr") }, side))
}
