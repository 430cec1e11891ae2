//! What the clients of Redis and of memcached have in common: a request in one write, an answer of lines and of bytes.
//!
//! Their crates were tried first. That of memcached asks for the server's version before each request and sends a value in three
//! packets, which would have counted against memcached.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};

/// Bytes that are received at a time, at most: more than an answer of a page.
const BUFFER: usize = 64 << 10;

pub(super) struct Connection {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
    line: String,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> Result<Connection> {
        let writer = TcpStream::connect(address).with_context(|| format!("nobody listens at {address}"))?;
        writer.set_nodelay(true)?;
        let reader = BufReader::with_capacity(BUFFER, writer.try_clone()?);
        Ok(Connection { writer, reader, line: String::new() })
    }

    pub(super) fn ask(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.writer.write_all(request)?)
    }

    /// The next line of the answer, without its end.
    pub(super) fn line(&mut self) -> Result<&str> {
        self.line.clear();
        if self.reader.read_line(&mut self.line)? == 0 {
            bail!("the server has closed the connection");
        }
        self.line.strip_suffix("\r\n").context("the server's line has no end")
    }

    /// The next line, which must be this.
    pub(super) fn line_must_be(&mut self, expected: &str) -> Result<()> {
        let line = self.line()?;
        ensure!(line == expected, "the server says `{}`, not `{expected}`", line.escape_debug());
        Ok(())
    }

    /// The next bytes, and the end of a line after them.
    pub(super) fn bytes(&mut self, to: &mut [u8]) -> Result<()> {
        self.reader.read_exact(to)?;
        let mut end = [0; 2];
        self.reader.read_exact(&mut end)?;
        ensure!(&end == b"\r\n", "the server's value is longer than it says");
        Ok(())
    }
}
