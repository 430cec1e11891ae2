//! What a program does that shares pages and a counter with another one, by whatever means.

mod connection;
mod file;
mod memcached;
mod ours;
mod redis;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::order::{Order, PAGE, PAGES};

/// By which means.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum By {
    /// A region of ours, through the agent that listens at a socket.
    Region { socket: PathBuf, region: String },
    /// Keys of a Redis.
    Redis { address: SocketAddr },
    /// Keys of a memcached.
    Memcached { address: SocketAddr },
    /// A file that others open as well.
    File { path: PathBuf },
}

/// A page in this process' own memory, as `O_DIRECT` wants it.
#[derive(Clone)]
#[repr(align(4096))]
struct Page([u8; PAGE]);

impl Page {
    /// As it is to be written.
    fn of(word: u64) -> Page {
        let mut page = Page([0xb5; PAGE]);
        page.0[..8].copy_from_slice(&word.to_le_bytes());
        page.0[PAGE - 8..].copy_from_slice(&word.to_le_bytes());
        page
    }

    fn must_be(&self, word: u64) -> Result<()> {
        let at = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| self.0[at + byte]));
        ensure!(at(0) == word && at(PAGE - 8) == word, "{} and {} are read, not {word}", at(0), at(PAGE - 8));
        Ok(())
    }
}

/// Pages and a counter that programs share.
trait Shared {
    fn read(&mut self, page: usize, to: &mut Page) -> Result<()>;
    fn write(&mut self, page: usize, from: &Page) -> Result<()>;
    /// Reads all [`PAGES`], in whatever way is fastest.
    fn sweep(&mut self, to: &mut [Page]) -> Result<()>;
    /// Adds one to the counter, atomically.
    fn add(&mut self) -> Result<()>;
    fn value(&mut self) -> Result<u64>;
}

/// Serves the harness at standard input until it has gone.
pub(crate) fn run(by: By) -> Result<()> {
    let harness = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut shared: Box<dyn Shared> = match by {
        By::Region { socket, region } => Box::new(ours::Ours::attach(&socket, &region)?),
        By::Redis { address } => Box::new(redis::Redis::connect(address)?),
        By::Memcached { address } => Box::new(memcached::Memcached::connect(address)?),
        By::File { path } => Box::new(file::OnFile::open(&path)?),
    };
    let mut writer = harness.try_clone()?;
    for line in BufReader::new(harness).lines() {
        let answer = match follow(shared.as_mut(), &line?.parse()?) {
            Ok(numbers) => numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => format!("error {error:#}"),
        };
        writer.write_all(format!("{answer}\n").as_bytes())?;
    }
    Ok(())
}

fn follow(shared: &mut dyn Shared, order: &Order) -> Result<Vec<u64>> {
    match order {
        Order::Read { tag, pages } => {
            let mut to = Page::of(0);
            let mut read = |page: &usize| {
                let (start, ()) = (Instant::now(), shared.read(*page, &mut to)?);
                let nanos = nanos_since(start);
                to.must_be(tag + *page as u64)?;
                Ok(nanos)
            };
            pages.iter().map(&mut read).collect()
        }
        Order::Write { tag, pages } => {
            let mut write = |page: &usize| {
                let from = Page::of(tag + *page as u64);
                let start = Instant::now();
                shared.write(*page, &from)?;
                Ok(nanos_since(start))
            };
            pages.iter().map(&mut write).collect()
        }
        Order::Sweep { tag } => {
            let mut to = vec![Page::of(0); PAGES];
            let start = Instant::now();
            shared.sweep(&mut to)?;
            let nanos = nanos_since(start);
            to.iter().zip(*tag..).try_for_each(|(page, word)| page.must_be(word))?;
            Ok(vec![nanos])
        }
        Order::Add { nanos } => {
            let (start, mut times) = (Instant::now(), 0);
            loop {
                shared.add()?;
                times += 1;
                let passed = nanos_since(start);
                if passed >= *nanos {
                    return Ok(vec![passed, times]);
                }
            }
        }
        Order::Turns { parity, times } => {
            let turn = |_| {
                let start = Instant::now();
                while shared.value()? % 2 != *parity {
                    // Whoever answers may need this processor.
                    std::thread::yield_now();
                }
                shared.add()?;
                Ok(nanos_since(start))
            };
            (0..*times).map(turn).collect()
        }
        Order::Value => Ok(vec![shared.value()?]),
        Order::Serve => Ok(Vec::new()),
    }
}

fn nanos_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
