//! A Redis over TCP.

use std::path::Path;

use anyhow::Result;

use super::{About, Side};
use crate::client::By;
use crate::process::{self, Process};

/// No saving, for which it would fork, and no threads that only write to sockets: its configuration file advises these from four
/// processors on. Our client sets `TCP_NODELAY`.
const FLAGS: &str = "--bind 127.0.0.1 --save '' --appendonly no --io-threads 1 --daemonize no";

pub(super) fn start(place: &Path) -> Result<(About, Side)> {
    let program = process::find("redis-server")?;
    let version = process::output(&program, &["--version".as_ref()])?;
    let address = process::free_address()?;
    let log = place.join("redis.log");
    let flags = FLAGS.split(' ').map(|word| if word == "''" { "" } else { word });
    let port = address.port().to_string();
    let mut words = vec![program.into_os_string()];
    words.extend(flags.chain(["--port", &port]).map(Into::into));
    let mut server = Process::server(&words, place, &log)?;
    server.wait_for_port(address, &log)?;
    let client = || Process::client(&By::Redis { address });
    let side = Side::of([client()?, client()?], vec![Box::new(server)]);
    let number = version.split_ascii_whitespace().find_map(|word| word.strip_prefix("v="));
    let version = number.unwrap_or(&version).to_owned();
    Ok((
        About { name: "Redis", version, flags: format!("redis-server {FLAGS}; TCP, GET SET MGET INCR") },
        side,
    ))
}
