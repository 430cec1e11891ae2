//! What the kubelet asks: may the pod's containers start, and is the pod ready?

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pagemesh_attach::Error;
use pagemesh_attach::socket::{Socket, SocketPath};
use pagemesh_attach::wire::WireError;
use pagemesh_attach::wire::keeper::{ASK, Told};

/// How long an answer may take. The kubelet gives a probe a second, and when that is over it tells nobody why.
const ANSWER_MS: u16 = 700;

/// Whether every region of the pod can be attached now.
pub(crate) fn startup(path: &SocketPath) -> Result<(), String> {
    ask(path)?.map_or(Ok(()), Err)
}

/// The same. While no agent answers, the keeper knows better: since when that is so.
pub(crate) fn ready(path: &SocketPath, listen: SocketAddr) -> Result<(), String> {
    match ask(path) {
        Ok(trouble) => trouble.map_or(Ok(()), Err),
        Err(error) => ask_keeper(listen).unwrap_or(Err(error)),
    }
}

/// Asks the agent: nothing, or why not. An error if it does not answer.
fn ask(path: &SocketPath) -> Result<Option<String>, String> {
    let text = |error: Error| error.to_string();
    let socket = Socket::connect(path).map_err(text)?;
    socket.send(&ASK, &[]).map_err(text)?;
    // SAFETY: the descriptor is open as long as the socket, which outlives this.
    let descriptor = unsafe { BorrowedFd::borrow_raw(socket.descriptor().raw()) };
    match poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], PollTimeout::from(ANSWER_MS)) {
        Ok(0) => return Err("the agent of this node does not answer: see its log".into()),
        Ok(_) => {}
        Err(errno) => return Err(format!("cannot wait for the agent: {errno}")),
    }
    let packet = socket.receive().map_err(text)?;
    match Told::decode(packet.bytes()) {
        Ok(Told::State { trouble }) => Ok(trouble.map(|trouble| trouble.text().to_owned())),
        Ok(Told::Refuse(refusal)) => Ok(Some(text(Error::Refused(refusal)))),
        Ok(Told::Life { .. } | Told::Kept { .. } | Told::Released { .. } | Told::Counts { .. }) => {
            Err(text(Error::Strange(WireError::Unexpected)))
        }
        Err(strange) => Err(text(Error::Strange(strange))),
    }
}

/// Asks this pod's keeper. None if it does not answer.
fn ask_keeper(mut address: SocketAddr) -> Option<Result<(), String>> {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    let mut addresses = vec![address];
    if address.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST) {
        addresses.push((Ipv4Addr::LOCALHOST, address.port()).into());
    }
    let patience = Duration::from_millis(ANSWER_MS.into());
    let ask = |address: &SocketAddr| {
        let mut stream = TcpStream::connect_timeout(address, patience).ok()?;
        stream.set_read_timeout(Some(patience)).ok()?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let ready = head.split(' ').nth(1) == Some("200");
        Some(if ready { Ok(()) } else { Err(body.trim_end().to_owned()) })
    };
    addresses.iter().find_map(ask)
}
