//! The floor's other node: serves pages over TCP.

use std::io::{self, Write};
use std::net::TcpStream;

use super::order::{HEADER, Request};
use super::{receive, setup};

/// Longest payload.
pub(super) const PAYLOAD_MAX: usize = 2 << 20;

/// Serves until the other end closes.
pub(crate) fn run(mut connection: TcpStream) -> io::Result<()> {
    let usable = setup::usable()?;
    let mut header = [0; HEADER];
    let mut answer = vec![0xb5; HEADER + PAYLOAD_MAX];
    let mut spins = false;
    loop {
        match receive(&connection, &mut header, spins) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let Request { payload, tag, run } = Request::decode(&header);
        if let Some((cpu, spin)) = run {
            setup::bind(&usable, cpu)?;
            spins = spin;
        }
        let len = (payload as usize).min(PAYLOAD_MAX);
        answer[..HEADER].copy_from_slice(&header);
        answer[HEADER..HEADER + 8].copy_from_slice(&tag.to_le_bytes());
        connection.write_all(&answer[..HEADER + len])?;
    }
}
