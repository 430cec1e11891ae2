//! What the bare kernel and network cost: three processes, of which the first touches memory, the second (this one) answers its
//! faults, and the third serves pages over TCP. Nothing else is done: no directory, no table, no checks. So nothing that shares
//! memory by page faults over this network can be faster, unless it fetches ahead.

pub(crate) mod app;
mod order;
pub(crate) mod server;
pub(crate) mod setup;
pub(crate) mod table;
mod uffd;

use std::io::{self, IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recv, recvmsg};

use crate::clock::now_nanos;
use crate::process::{Child, Role};
use crate::{PAGES, STORM_PAGES};
use app::PAGE;
use order::{HEADER, Order, Request};
use server::PAYLOAD_MAX;
use setup::Setup;
use uffd::Uffd;

/// The three processes.
#[derive(Debug)]
pub(crate) struct Floor {
    app: UnixStream,
    memory: OwnedFd,
    uffd: Uffd,
    base: u64,
    /// Of its memory. Single faults are on the first [`PAGES`] of them.
    pages: usize,
    server: TcpStream,
    buffer: Vec<u8>,
    /// Processors.
    usable: Vec<usize>,
    spins: bool,
    _children: [Child; 2],
}

impl Floor {
    /// Starts them, with memory for streams of so many pages.
    pub(crate) fn start(pages: usize) -> Result<Floor> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let (server_child, _server_control) = Child::start(Role::FloorServer { address })?;
        let (server, _) = listener.accept()?;
        server.set_nodelay(true)?;
        let (app_child, app) = Child::start(Role::FloorApp { pages })?;
        let (base, descriptors) = receive_descriptors(&app)?;
        let [memory, uffd] = <[OwnedFd; 2]>::try_from(descriptors)
            .map_err(|_| io::Error::other("two descriptors are awaited"))?;
        Ok(Floor {
            app,
            memory,
            uffd: Uffd::from(uffd),
            base,
            pages,
            server,
            buffer: vec![0; HEADER + PAYLOAD_MAX],
            usable: setup::usable()?,
            spins: false,
            _children: [app_child, server_child],
        })
    }

    /// Has the three run in another way.
    pub(crate) fn enter(&mut self, setup: Setup) -> Result<()> {
        if let Some(first) = setup.from() {
            self.enter(first)?;
            // Once through all of them, so that each has been where it is to come from.
            self.remote_reads()?;
        }
        setup::bind(&self.usable, setup.agent).context("this process cannot be bound to a processor")?;
        Order::Bind(setup.app).send(&self.app)?;
        self.app.read_exact(&mut [0]).context("the floor's program has ended")?;
        let run = Some((setup.server, setup.spins));
        self.server.write_all(&Request { payload: 0, tag: 0, run }.encode())?;
        self.server.read_exact(&mut self.buffer[..HEADER]).context("the floor's server has ended")?;
        self.spins = setup.spins;
        Ok(self.uffd.set_nonblocking(setup.spins)?)
    }

    /// Nanoseconds of each load of a page that is on the other side.
    pub(crate) fn remote_reads(&mut self) -> Result<Vec<u64>> {
        self.empty()?;
        self.faults(Order::Read, |floor, page, _| {
            floor.fetch(PAGE, page as u64)?;
            floor.install(page)
        })
    }

    /// Nanoseconds of each store to a page that is here write-protected, after the other side was asked. After
    /// [`Floor::remote_reads`].
    pub(crate) fn remote_upgrades(&mut self) -> Result<Vec<u64>> {
        self.faults(Order::Write, |floor, page, protected| {
            if !protected {
                return Err(io::Error::other("a page is not write-protected"));
            }
            floor.fetch(0, page as u64)?;
            floor.uffd.unprotect(floor.address(page), PAGE as u64)
        })
    }

    /// Nanoseconds of each load of a page that only has to be installed.
    pub(crate) fn local_faults(&mut self) -> Result<Vec<u64>> {
        self.empty()?;
        self.faults(Order::Read, |floor, page, _| floor.install_from_here(page))
    }

    /// Nanoseconds for [`STORM_PAGES`] loads of pages that only have to be installed, by so many threads.
    pub(crate) fn storm(&mut self, threads: u8) -> Result<u64> {
        self.empty()?;
        Order::Storm(threads).send(&self.app)?;
        self.serve(STORM_PAGES, |floor, page, _| floor.install_from_here(page))?;
        let mut nanos = [0; 8];
        self.app.read_exact(&mut nanos).context("the floor's program has ended")?;
        Ok(u64::from_le_bytes(nanos))
    }

    /// Nanoseconds of each request with an answer of so many bytes.
    pub(crate) fn round_trips(&mut self, payload: usize, count: usize) -> Result<Vec<u64>> {
        let mut nanos = Vec::with_capacity(count);
        for number in 0..count {
            let start = now_nanos();
            self.fetch(payload, number as u64)?;
            nanos.push(now_nanos() - start);
        }
        Ok(nanos)
    }

    /// Nanoseconds for all pages to come as a stream of runs, two of them asked for at a time, and to be installed run by run.
    pub(crate) fn stream(&mut self, run: usize) -> Result<u64> {
        self.empty()?;
        let bytes = run * PAGE;
        let runs = self.pages / run;
        let start = now_nanos();
        let request = Request { payload: bytes as u32, tag: 0, run: None }.encode();
        self.server.write_all(&request)?;
        for number in 0..runs {
            if number + 1 < runs {
                self.server.write_all(&request)?;
            }
            receive(&self.server, &mut self.buffer[..HEADER + bytes], self.spins)?;
            self.uffd.copy_protected(self.address(number * run), &self.buffer[HEADER..HEADER + bytes])?;
        }
        Ok(now_nanos() - start)
    }

    fn fetch(&mut self, payload: usize, tag: u64) -> io::Result<()> {
        self.server.write_all(&Request { payload: payload as u32, tag, run: None }.encode())?;
        receive(&self.server, &mut self.buffer[..HEADER + payload], self.spins)
    }

    /// Installs a page with what the buffer holds.
    fn install(&self, page: usize) -> io::Result<()> {
        self.uffd.copy_protected(self.address(page), &self.buffer[HEADER..HEADER + PAGE])
    }

    /// Installs a page that nobody has to be asked for.
    fn install_from_here(&mut self, page: usize) -> io::Result<()> {
        self.buffer[HEADER..HEADER + 8].copy_from_slice(&(page as u64).to_le_bytes());
        self.install(page)
    }

    fn address(&self, page: usize) -> u64 {
        self.base + (page * PAGE) as u64
    }

    /// Takes every page from the program.
    fn empty(&self) -> io::Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&self.memory, flags, 0, (self.pages * PAGE) as i64)?;
        Ok(())
    }

    /// Has the program touch every page, and answers its faults.
    fn faults(
        &mut self,
        order: Order,
        answer: impl Fn(&mut Floor, usize, bool) -> io::Result<()>,
    ) -> Result<Vec<u64>> {
        order.send(&self.app)?;
        self.serve(PAGES, answer)?;
        let mut bytes = vec![0; 8 * PAGES];
        self.app.read_exact(&mut bytes).context("the floor's program has ended")?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// Answers so many faults.
    fn serve(
        &mut self,
        faults: usize,
        answer: impl Fn(&mut Floor, usize, bool) -> io::Result<()>,
    ) -> Result<()> {
        for _ in 0..faults {
            let fault = loop {
                if let Some(fault) = self.uffd.next()? {
                    break fault;
                }
            };
            let page = (fault.address - self.base) as usize / PAGE;
            answer(self, page, fault.protected)?;
        }
        Ok(())
    }
}

/// Fills `to`. A receiver that spins looks and yields, so that it can share a processor.
fn receive(mut from: &TcpStream, mut to: &mut [u8], spins: bool) -> io::Result<()> {
    if !spins {
        return from.read_exact(to);
    }
    while !to.is_empty() {
        match recv(from.as_raw_fd(), to, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(received) => to = &mut to[received..],
            Err(Errno::EAGAIN) => std::thread::yield_now(),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// A word, and descriptors.
fn receive_descriptors(socket: &UnixStream) -> Result<(u64, Vec<OwnedFd>)> {
    let mut word = [0; 8];
    let mut parts = [IoSliceMut::new(&mut word)];
    let mut space = nix::cmsg_space!([i32; 4]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(passed) = part {
            // SAFETY: the kernel has just made them for us.
            descriptors.extend(passed.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
        }
    }
    if message.bytes != 8 {
        bail!("the floor's program has ended; see what it said above");
    }
    Ok((u64::from_le_bytes(word), descriptors))
}
