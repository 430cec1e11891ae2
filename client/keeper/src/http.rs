//! As much of an HTTP server as three pages take. Nobody waits for a client, and no more than a few are served at a time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

/// Clients that are served at a time. More wait in the kernel.
const CLIENTS_MAX: usize = 8;

/// Longest request: what is asked is in its first line.
const REQUEST_MAX: usize = 8192;

/// How long new clients are left alone when there is no descriptor for them.
const REST: Duration = Duration::from_millis(100);

/// For how long a client may be here.
const CLIENT_TIME: Duration = Duration::from_secs(5);

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: &'static str,
    pub(crate) body: String,
}

#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    clients: Vec<Client>,
    /// Until when nobody new is looked at.
    rests: Option<Instant>,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    sent: usize,
    leaves: Instant,
}

impl Server {
    /// Listens; where the kernel has no IPv6, `[::]` is all of IPv4.
    pub(crate) fn listen(address: SocketAddr) -> io::Result<Server> {
        let mut addresses = vec![address];
        if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            addresses.push((Ipv4Addr::UNSPECIFIED, address.port()).into());
        }
        let listener = TcpListener::bind(&*addresses)?;
        listener.set_nonblocking(true)?;
        Ok(Server { listener, clients: Vec::new(), rests: None })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What to wait for.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = PollFd<'_>> {
        let room = self.clients.len() < CLIENTS_MAX && self.rests.is_none();
        let listener = room.then(|| PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
        listener.into_iter().chain(self.clients.iter().map(|client| {
            let flags = if client.answer.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            PollFd::new(client.stream.as_fd(), flags)
        }))
    }

    /// Until when to wait at most.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.clients.iter().map(|client| client.leaves).chain(self.rests).min()
    }

    /// Goes on with everyone who is here, as far as that goes without waiting.
    pub(crate) fn serve(&mut self, now: Instant, page: impl Fn(&str) -> Page) {
        self.rests = self.rests.filter(|until| now < *until);
        while self.clients.len() < CLIENTS_MAX && self.rests.is_none() {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Who went away before it was accepted is its own business. Who comes when there is no descriptor left waits, and
                // to try again at once would only burn the processor.
                Err(_) => {
                    self.rests = Some(now + REST);
                    break;
                }
            };
            if stream.set_nonblocking(true).is_ok() {
                let (request, answer) = (Vec::new(), Vec::new());
                self.clients.push(Client { stream, request, answer, sent: 0, leaves: now + CLIENT_TIME });
            }
        }
        self.clients.retain_mut(|client| now < client.leaves && client.go_on(&page).is_ok_and(|done| !done));
    }
}

impl Client {
    /// Returns whether all is done.
    fn go_on(&mut self, page: &impl Fn(&str) -> Page) -> io::Result<bool> {
        let mut buffer = [0; 1024];
        while self.answer.is_empty() {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(len) => self.request.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            self.answer = answer(&self.request, page).unwrap_or_default();
        }
        while self.sent < self.answer.len() {
            match self.stream.write(&self.answer[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// The answer to a request, once it is whole.
fn answer(request: &[u8], page: impl Fn(&str) -> Page) -> Option<Vec<u8>> {
    let whole = request.windows(4).any(|end| end == b"\r\n\r\n");
    if !whole && request.len() <= REQUEST_MAX {
        return None;
    }
    let line = request.split(|byte| *byte == b'\r').next().and_then(|line| str::from_utf8(line).ok());
    let mut words = line.unwrap_or_default().split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let Page { status, body } = match (method, target, version) {
        _ if !whole => Page { status: "431 Request Header Fields Too Large", body: String::new() },
        (Some("GET" | "HEAD"), Some(target), Some("HTTP/1.0" | "HTTP/1.1")) => {
            page(target.split('?').next().unwrap_or_default())
        }
        (_, _, Some("HTTP/1.0" | "HTTP/1.1")) => {
            Page { status: "405 Method Not Allowed", body: "only GET\n".into() }
        }
        _ => Page { status: "400 Bad Request", body: String::new() },
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    if method != Some("HEAD") {
        answer.push_str(&body);
    }
    Some(answer.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(request: &[u8]) -> Option<String> {
        let page = |path: &str| Page { status: "200 OK", body: format!("<{path}>") };
        answer(request, page).map(|answer| String::from_utf8(answer).unwrap())
    }

    #[test]
    fn requests_are_answered_once_they_are_whole() {
        let request = b"GET /metrics?a=b HTTP/1.1\r\nHost: pod\r\n\r\n";
        for len in 0..request.len() {
            assert_eq!(asked(&request[..len]), None);
        }
        let answer = asked(request).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n</metrics>"),
            "{answer}"
        );
        assert!(answer.contains("Content-Length: 10\r\n"), "{answer}");
        let head = asked(b"HEAD / HTTP/1.1\r\n\r\n").unwrap();
        assert!(head.contains("Content-Length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (request, status) in [
            (&b"POST / HTTP/1.1\r\n\r\n"[..], "405"),
            (b"\r\n\r\n", "400"),
            (b"GET /\r\n\r\n", "400"),
            (b"GET / HTTP/2\r\n\r\n", "400"),
            (b"\xff\xfe / HTTP/1.1\r\n\r\n", "400"),
            (&[b'a'; REQUEST_MAX + 1], "431"),
        ] {
            let answer = asked(request).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    }

    #[test]
    fn clients_that_say_nothing_make_room() {
        let mut server = Server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.address().unwrap();
        let page = |_: &str| Page { status: "200 OK", body: "x".repeat(1 << 20) };
        let now = Instant::now();
        let silent: Vec<TcpStream> = (0..CLIENTS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        server.serve(now, page);
        assert_eq!((server.clients.len(), server.wanted().count()), (CLIENTS_MAX, CLIENTS_MAX));
        let mut asking = TcpStream::connect(address).unwrap();
        asking.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        server.serve(now + CLIENT_TIME, page);
        let reader = std::thread::spawn(move || {
            let mut answer = Vec::new();
            asking.read_to_end(&mut answer).map(|_| answer.len())
        });
        while !reader.is_finished() {
            server.serve(now + CLIENT_TIME, page);
        }
        assert!(reader.join().unwrap().unwrap() > 1 << 20);
        drop(silent);
    }
}
