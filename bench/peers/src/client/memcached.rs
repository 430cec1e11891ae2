//! memcached, in its text protocol: `get` of one key and of many, `set`, `incr`.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use super::connection::Connection;
use super::{PAGE, PAGES, Page, Shared};

pub(super) struct Memcached {
    connection: Connection,
    request: Vec<u8>,
    /// A `get` of all pages.
    all: Vec<u8>,
}

impl Memcached {
    pub(super) fn connect(address: SocketAddr) -> Result<Memcached> {
        let mut connection = Connection::open(address)?;
        // `incr` wants a number to be there. Of two clients that add one, the second is told that there is one.
        connection.ask(b"add counter 0 0 1\r\n0\r\n")?;
        let line = connection.line()?;
        ensure!(matches!(line, "STORED" | "NOT_STORED"), "memcached says `{}` to add", line.escape_debug());
        let keys: String = (0..PAGES).map(|page| format!(" page:{page}")).collect();
        Ok(Memcached { connection, request: Vec::new(), all: format!("get{keys}\r\n").into_bytes() })
    }

    fn page(&mut self, page: usize, to: &mut Page) -> Result<()> {
        self.connection.line_must_be(&format!("VALUE page:{page} 0 {PAGE}"))?;
        self.connection.bytes(&mut to.0)
    }
}

impl Shared for Memcached {
    fn read(&mut self, page: usize, to: &mut Page) -> Result<()> {
        self.connection.ask(format!("get page:{page}\r\n").as_bytes())?;
        self.page(page, to)?;
        self.connection.line_must_be("END")
    }

    fn write(&mut self, page: usize, from: &Page) -> Result<()> {
        self.request.clear();
        self.request.extend_from_slice(format!("set page:{page} 0 0 {PAGE}\r\n").as_bytes());
        self.request.extend_from_slice(&from.0);
        self.request.extend_from_slice(b"\r\n");
        self.connection.ask(&self.request)?;
        self.connection.line_must_be("STORED")
    }

    fn sweep(&mut self, to: &mut [Page]) -> Result<()> {
        self.connection.ask(&self.all)?;
        to.iter_mut().enumerate().try_for_each(|(page, to)| self.page(page, to))?;
        self.connection.line_must_be("END")
    }

    fn add(&mut self) -> Result<()> {
        self.connection.ask(b"incr counter 1\r\n")?;
        let line = self.connection.line()?;
        ensure!(line.starts_with(|c: char| c.is_ascii_digit()), "memcached says `{}`", line.escape_debug());
        Ok(())
    }

    fn value(&mut self) -> Result<u64> {
        self.connection.ask(b"get counter\r\n")?;
        let line = self.connection.line()?;
        ensure!(line.starts_with("VALUE counter 0 "), "memcached says `{}`", line.escape_debug());
        let value = self.connection.line()?.trim_end().parse().context("the counter is no number")?;
        self.connection.line_must_be("END")?;
        Ok(value)
    }
}
