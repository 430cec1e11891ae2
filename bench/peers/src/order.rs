//! What the harness tells a client to do, and what that answers: lines of words, so that a program in C reads them as well.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};

/// Bytes that are read or written at a time.
pub(crate) const PAGE: usize = 4096;
/// Pages that there are; a counter comes after them.
pub(crate) const PAGES: usize = 256;

/// What a client is told to do. Page `p` holds `tag + p` in its first and last eight bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Read these pages, one after the other, and see that they are what they must be. Answers nanoseconds of each.
    Read { tag: u64, pages: Vec<usize> },
    /// Write these pages. Answers nanoseconds of each.
    Write { tag: u64, pages: Vec<usize> },
    /// Read all pages in whatever way is fastest. Answers nanoseconds of all of it.
    Sweep { tag: u64 },
    /// Add one to the counter, again and again, for so many nanoseconds. Answers how long it took, and how often.
    Add { nanos: u64 },
    /// Wait for the counter to have the parity, and add one, so often. Answers nanoseconds of each.
    Turns { parity: u64, times: u64 },
    /// Answers the counter's value.
    Value,
    /// Be there for a client that reads or writes what this one holds, until it has done so. Answers nothing.
    Serve,
}

impl fmt::Display for Order {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = |to: &mut fmt::Formatter<'_>, word: &str, tag: u64, pages: &[usize]| {
            write!(to, "{word} {tag}")?;
            pages.iter().try_for_each(|page| write!(to, " {page}"))
        };
        match self {
            Order::Read { tag, pages } => numbers(to, "read", *tag, pages),
            Order::Write { tag, pages } => numbers(to, "write", *tag, pages),
            Order::Sweep { tag } => write!(to, "sweep {tag}"),
            Order::Add { nanos } => write!(to, "add {nanos}"),
            Order::Turns { parity, times } => write!(to, "turns {parity} {times}"),
            Order::Value => to.write_str("value"),
            Order::Serve => to.write_str("serve"),
        }
    }
}

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Order> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let numbers = rest.split_ascii_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let pages = |pages: &[u64]| -> Result<Vec<usize>> {
            let page = |page: &u64| usize::try_from(*page).ok().filter(|page| *page < PAGES);
            pages.iter().map(|number| page(number).with_context(|| format!("no page {number}"))).collect()
        };
        match (word, numbers.as_slice()) {
            ("read", [tag, rest @ ..]) => Ok(Order::Read { tag: *tag, pages: pages(rest)? }),
            ("write", [tag, rest @ ..]) => Ok(Order::Write { tag: *tag, pages: pages(rest)? }),
            ("sweep", [tag]) => Ok(Order::Sweep { tag: *tag }),
            ("add", [nanos]) => Ok(Order::Add { nanos: *nanos }),
            ("turns", [parity, times]) => Ok(Order::Turns { parity: *parity, times: *times }),
            ("value", []) => Ok(Order::Value),
            ("serve", []) => Ok(Order::Serve),
            _ => Err(anyhow!("the harness orders what there is not: {}", line.escape_debug())),
        }
    }
}

/// The harness' end of a connection to a client.
#[derive(Debug)]
pub(crate) struct Line {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Line {
    pub(crate) fn new(stream: UnixStream) -> Result<Line> {
        Ok(Line { reader: BufReader::new(stream.try_clone()?), writer: stream })
    }

    /// Has the client do something, and does not wait for it.
    pub(crate) fn tell(&mut self, order: &Order) -> Result<()> {
        self.writer.write_all(format!("{order}\n").as_bytes()).context("a client has ended")
    }

    /// What it answers.
    pub(crate) fn answer(&mut self) -> Result<Vec<u64>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("a client has ended; see what it said above");
        }
        if let Some(said) = line.strip_prefix("error ") {
            bail!("{}", said.trim_end());
        }
        line.split_ascii_whitespace().map(|word| word.parse().map_err(anyhow::Error::from)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_were_written() {
        let pages = vec![3, 0, 255];
        for order in [
            Order::Read { tag: 1 << 40, pages: pages.clone() },
            Order::Write { tag: 0, pages },
            Order::Sweep { tag: 7 },
            Order::Add { nanos: 20_000_000 },
            Order::Turns { parity: 1, times: 64 },
            Order::Value,
            Order::Serve,
        ] {
            assert_eq!(order.to_string().parse::<Order>().expect("good"), order);
        }
        for bad in ["", "read", "read x", "read 1 256", "read 1 -1", "sweep 1 2", "turns 1", "value 1", "end"]
        {
            assert!(bad.parse::<Order>().is_err(), "{bad:?}");
        }
    }
}
