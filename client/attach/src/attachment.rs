//! One process attached to one region: the handshake, and the userfaultfds and the connection that last as long as the
//! attachment. Async-signal-safe; nothing allocates.

use crate::socket::{DESCRIPTORS_MAX, Packet, Socket, SocketPath};
use crate::sys::{self, Descriptor, Errno};
use crate::wire::{Hello, PACKET_MAX, Reply, Request, Welcome, WireError};
use crate::{Error, RegionName};

/// `USERFAULTFD_IOC_NEW`: `_IO(0xAA, 0)`.
const USERFAULTFD_IOC_NEW: usize = 0xaa00;

/// For how long an agent that is gone may have a successor, and how often that is looked for.
const SUCCESSOR_WAIT_MAX: u64 = 30_000_000_000;
const SUCCESSOR_WAIT_STEP: u64 = 5_000_000;

/// Region pages are this big at least and at most.
const PAGE_SIZES: core::ops::RangeInclusive<u64> = 4096..=2 << 20;

/// An attachment. While anything is mapped through it, it must not be dropped: its userfaultfds are what makes a program
/// wait, rather than read zeros, once the agent is gone.
#[derive(Debug)]
pub struct Attachment {
    path: SocketPath,
    socket: Socket,
    file: Descriptor,
    userfaultfds: [Option<Descriptor>; DESCRIPTORS_MAX],
    welcome: Welcome,
}

impl Attachment {
    /// Attaches this process to a region. A successor of an agent that has died is awaited for a while.
    ///
    /// # Errors
    ///
    /// Nobody listens, the agent refuses, or this process has no descriptor left.
    pub fn open(path: &SocketPath, name: &RegionName) -> Result<Attachment, Error> {
        awaiting_successor(|| Attachment::open_at_once(path, Hello::to(name)))
    }

    /// The same, where nobody is awaited.
    ///
    /// # Errors
    ///
    /// Nobody listens, the agent refuses, or this process has no descriptor left.
    pub fn open_at_once(path: &SocketPath, hello: Hello<'_>) -> Result<Attachment, Error> {
        let socket = Socket::connect(path)?;
        let mut packet = ask(&socket, Request::Hello(hello), &[])?;
        let welcome = match decode(&packet)? {
            Reply::Welcome(welcome) => checked(welcome)?,
            Reply::Refuse(refusal) => return Err(Error::Refused(refusal)),
            Reply::Ok => return Err(Error::Strange(WireError::Unexpected)),
        };
        let [file, device, ..] = packet.descriptors() else { unreachable!("a packet has room for more") };
        let (Some(file), Some(device)) = (file.take(), device.take()) else {
            return Err(Error::Strange(WireError::Unexpected));
        };
        let (userfaultfds, numbers) = make_userfaultfds(&device, welcome.userfaultfds as usize)?;
        let bound = ask(&socket, Request::Bind, &numbers[..welcome.userfaultfds as usize])?;
        expect_ok(&bound)?;
        Ok(Attachment { path: *path, socket, file: file.moved_high(), userfaultfds, welcome })
    }

    /// What the agent said about the region.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Whether the program may only read: the region file is then to be mapped private, and never for writing.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.welcome.read_only
    }

    /// Bytes of a page of the region.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.welcome.page_size as usize
    }

    /// Bytes of the region's data by now: it may have grown since this process was attached. The region file tells, which
    /// is a header page and then the data.
    #[must_use]
    pub fn size(&self) -> u64 {
        let Welcome { size, page_size, .. } = self.welcome;
        let len = sys::file_len(self.file.raw()).unwrap_or(0);
        size.max(len.saturating_sub(page_size) / page_size * page_size)
    }

    /// The region file.
    #[must_use]
    pub fn file(&self) -> &Descriptor {
        &self.file
    }

    /// Tells the agent of a new mapping. Nobody may touch it before this returns.
    ///
    /// # Errors
    ///
    /// The agent refuses it or is gone.
    pub fn map(&self, address: usize, length: usize, offset: u64) -> Result<(), Error> {
        self.request(Request::Map { address: address as u64, length: length as u64, offset })
    }

    /// Tells the agent to forget a span, which the caller is about to unmap.
    ///
    /// # Errors
    ///
    /// The agent refuses it or is gone.
    pub fn unmap(&self, address: usize, length: usize) -> Result<(), Error> {
        self.request(Request::Unmap { address: address as u64, length: length as u64 })
    }

    /// Says something, to the agent's successor if need be: both are told as often as you like.
    fn request(&self, request: Request<'_>) -> Result<(), Error> {
        match ask(&self.socket, request, &[]) {
            // One that has just taken over may be gone before it answers, too.
            Err(Error::Gone(_)) => expect_ok(&awaiting_successor(|| {
                self.try_resume()?;
                ask(&self.socket, request, &[])
            })?),
            answer => expect_ok(&answer?),
        }
    }

    fn try_resume(&self) -> Result<(), Error> {
        let socket = Socket::connect(&self.path)?;
        let mut numbers = [-1; DESCRIPTORS_MAX];
        for (number, userfaultfd) in numbers.iter_mut().zip(self.userfaultfds.iter().flatten()) {
            *number = userfaultfd.raw();
        }
        let count = self.welcome.userfaultfds as usize;
        let request = Request::Resume { attachment: self.welcome.attachment };
        expect_ok(&ask(&socket, request, &numbers[..count])?)?;
        // Under the number of the one before.
        sys::replace(socket.descriptor().raw(), self.socket.descriptor().raw()).map_err(Error::Descriptors)
    }

    /// Every descriptor that the attachment lives on.
    pub fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        [self.socket.descriptor(), &self.file].into_iter().chain(self.userfaultfds.iter().flatten())
    }

    /// The same, for a caller that must move one to another number.
    pub fn descriptors_mut(&mut self) -> impl Iterator<Item = &mut Descriptor> {
        [self.socket.descriptor_mut(), &mut self.file]
            .into_iter()
            .chain(self.userfaultfds.iter_mut().flatten())
    }

    /// Goes over to the agent's successor, if the agent does not hold its end of the connection any more. Nobody is awaited.
    ///
    /// # Errors
    ///
    /// Nobody is there, or whoever is there refuses: the attachment is lost.
    pub fn go_on(&self) -> Result<(), Error> {
        if sys::connected(self.socket.descriptor().raw()) { Ok(()) } else { self.try_resume() }
    }
}

/// Tries again and again as long as an agent has died, rather than ended in good order, and may have a successor.
///
/// # Errors
///
/// Those of the last attempt.
pub fn awaiting_successor<T>(mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut waited = 0;
    loop {
        match attempt() {
            // Its socket is there, and nobody listens; or somebody did until a moment ago.
            Err(Error::Unreachable(Errno(libc::ECONNREFUSED)) | Error::Gone(_))
                if waited < SUCCESSOR_WAIT_MAX =>
            {
                sys::sleep(SUCCESSOR_WAIT_STEP);
                waited += SUCCESSOR_WAIT_STEP;
            }
            result => return result,
        }
    }
}

/// Says `request` and awaits the answer: the protocol has exactly one to each.
///
/// # Errors
///
/// The agent has gone without a word.
pub fn ask(socket: &Socket, request: Request<'_>, descriptors: &[i32]) -> Result<Packet, Error> {
    let mut packet = [0; PACKET_MAX];
    let length = request.encode(&mut packet);
    let answer = socket.send(&packet[..length], descriptors).and_then(|()| socket.receive());
    match answer {
        // An agent that has no room says so and closes, whether or not it was asked: what it said is there still.
        Err(gone @ Error::Gone(_)) => socket.receive().map_err(|_| gone),
        answer => answer,
    }
}

fn decode(packet: &Packet) -> Result<Reply, Error> {
    Reply::decode(packet.bytes()).map_err(Error::Strange)
}

/// Whether an answer is `Ok`.
///
/// # Errors
///
/// The agent refuses, or says what it does not say here.
pub fn expect_ok(packet: &Packet) -> Result<(), Error> {
    match decode(packet)? {
        Reply::Ok => Ok(()),
        Reply::Refuse(refusal) => Err(Error::Refused(refusal)),
        Reply::Welcome(_) => Err(Error::Strange(WireError::Unexpected)),
    }
}

/// Later arithmetic relies on these bounds.
fn checked(welcome: Welcome) -> Result<Welcome, Error> {
    let Welcome { size, page_size, userfaultfds, attachment: _, read_only: _ } = welcome;
    let sound = page_size.is_power_of_two()
        && PAGE_SIZES.contains(&page_size)
        && size > 0
        && size.is_multiple_of(page_size)
        && size <= (isize::MAX as u64) / 2
        && (1..=DESCRIPTORS_MAX as u32).contains(&userfaultfds);
    if sound { Ok(welcome) } else { Err(Error::Strange(WireError::Region)) }
}

type Userfaultfds = ([Option<Descriptor>; DESCRIPTORS_MAX], [i32; DESCRIPTORS_MAX]);

/// Makes our userfaultfds from the agent's `/dev/userfaultfd`, which needs no privilege. The agent sets them up.
fn make_userfaultfds(device: &Descriptor, count: usize) -> Result<Userfaultfds, Error> {
    let mut descriptors = [const { None }; DESCRIPTORS_MAX];
    let mut numbers = [-1; DESCRIPTORS_MAX];
    for (descriptor, number) in descriptors.iter_mut().zip(&mut numbers).take(count) {
        let flags = (libc::O_CLOEXEC | libc::O_NONBLOCK) as usize;
        let fd = sys::ioctl(device.raw(), USERFAULTFD_IOC_NEW, flags).map_err(Error::Userfaultfd)?;
        let made = Descriptor::adopt(fd as i32).moved_high();
        *number = made.raw();
        *descriptor = Some(made);
    }
    Ok((descriptors, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_region_is_refused() {
        let sound =
            Welcome { size: 1 << 20, page_size: 4096, userfaultfds: 2, attachment: 1, read_only: false };
        assert_eq!(checked(sound), Ok(sound));
        for strange in [
            Welcome { size: 0, ..sound },
            Welcome { size: 4095, ..sound },
            Welcome { size: u64::MAX - 4095, ..sound },
            Welcome { page_size: 0, ..sound },
            Welcome { page_size: 2048, ..sound },
            Welcome { page_size: 12288, ..sound },
            Welcome { page_size: 4 << 20, size: 4 << 20, ..sound },
            Welcome { userfaultfds: 0, ..sound },
            Welcome { userfaultfds: 65, ..sound },
        ] {
            assert_eq!(checked(strange), Err(Error::Strange(WireError::Region)), "{strange:?}");
        }
    }
}
