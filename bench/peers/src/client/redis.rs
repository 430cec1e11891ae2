//! Redis, in its protocol RESP2: `GET`, `SET`, `MGET`, `INCR`.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use super::connection::Connection;
use super::{PAGE, PAGES, Page, Shared};

const COUNTER: &[u8] = b"counter";

pub(super) struct Redis {
    connection: Connection,
    request: Vec<u8>,
    keys: Vec<Vec<u8>>,
}

impl Redis {
    pub(super) fn connect(address: SocketAddr) -> Result<Redis> {
        let keys = (0..PAGES).map(|page| format!("page:{page}").into_bytes()).collect();
        Ok(Redis { connection: Connection::open(address)?, request: Vec::new(), keys })
    }

    fn ask<'a>(&mut self, words: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<()> {
        encode(&mut self.request, words);
        self.connection.ask(&self.request)
    }

    /// A value of a page's size.
    fn page(&mut self, to: &mut Page) -> Result<()> {
        self.connection.line_must_be("$4096")?;
        self.connection.bytes(&mut to.0)
    }
}

/// An array of strings.
fn encode<'a>(to: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    to.clear();
    to.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        to.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        to.extend_from_slice(word);
        to.extend_from_slice(b"\r\n");
    }
}

impl Shared for Redis {
    fn read(&mut self, page: usize, to: &mut Page) -> Result<()> {
        encode(&mut self.request, [b"GET".as_slice(), &self.keys[page]].into_iter());
        self.connection.ask(&self.request)?;
        self.page(to)
    }

    fn write(&mut self, page: usize, from: &Page) -> Result<()> {
        encode(&mut self.request, [b"SET".as_slice(), &self.keys[page], &from.0].into_iter());
        self.connection.ask(&self.request)?;
        self.connection.line_must_be("+OK")
    }

    fn sweep(&mut self, to: &mut [Page]) -> Result<()> {
        let words: Vec<&[u8]> =
            std::iter::once(b"MGET".as_slice()).chain(self.keys.iter().map(Vec::as_slice)).collect();
        encode(&mut self.request, words.into_iter());
        self.connection.ask(&self.request)?;
        self.connection.line_must_be(&format!("*{PAGES}"))?;
        to.iter_mut().try_for_each(|to| self.page(to))
    }

    fn add(&mut self) -> Result<()> {
        self.ask([b"INCR".as_slice(), COUNTER].into_iter())?;
        let line = self.connection.line()?;
        ensure!(line.starts_with(':'), "Redis says `{}` to INCR", line.escape_debug());
        Ok(())
    }

    fn value(&mut self) -> Result<u64> {
        self.ask([b"GET".as_slice(), COUNTER].into_iter())?;
        let line = self.connection.line()?;
        if line == "$-1" {
            return Ok(0);
        }
        ensure!(line.starts_with('$'), "Redis says `{}` to GET", line.escape_debug());
        self.connection.line()?.parse().context("the counter is no number")
    }
}

const _: () = assert!(PAGE == 4096, "`$4096` above is a page's size");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_the_protocol_says() {
        let mut request = vec![1, 2, 3];
        encode(&mut request, [b"SET".as_slice(), b"page:7", b""].into_iter());
        assert_eq!(request, b"*3\r\n$3\r\nSET\r\n$6\r\npage:7\r\n$0\r\n\r\n");
    }
}
