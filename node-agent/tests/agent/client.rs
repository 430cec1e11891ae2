//! A program's side of the attach protocol, byte by byte from docs/src/attach-protocol.md.

use std::io::{IoSlice, IoSliceMut};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect,
    recvmsg, sendmsg, socket,
};

/// Reasons of a refusal.
pub(crate) const UNKNOWN_REGION: u32 = 1;
pub(crate) const NOT_READY: u32 = 2;
pub(crate) const BAD_REQUEST: u32 = 3;
pub(crate) const TOO_MANY: u32 = 4;
pub(crate) const VERSION: u32 = 5;

/// Page size of the region `table`.
pub(crate) const PAGE: u64 = 4096;
/// Shards of the agent under test.
pub(crate) const SHARDS: usize = 2;

/// A packet with some 64-bit fields.
pub(crate) fn packet(kind: u16, fields: &[u64]) -> Vec<u8> {
    let mut packet = b"PMSH\x01\0".to_vec();
    packet.extend(kind.to_le_bytes());
    packet.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
    packet
}

pub(crate) fn hello(name: &str) -> Vec<u8> {
    let mut packet = packet(1, &[(name.len() as u64) << 32]);
    packet.extend(name.as_bytes());
    packet.resize(272, 0);
    packet
}

pub(crate) fn bind() -> Vec<u8> {
    packet(4, &[])
}

pub(crate) fn map(base: u64, len: u64, offset: u64) -> Vec<u8> {
    packet(5, &[base, len, offset])
}

pub(crate) fn unmap(base: u64, len: u64) -> Vec<u8> {
    packet(6, &[base, len])
}

fn u64_at(packet: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(packet[at..at + 8].try_into().unwrap())
}

fn u32_at(packet: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(packet[at..at + 4].try_into().unwrap())
}

/// A connection to the agent.
pub(crate) struct Client(pub(crate) OwnedFd);

/// A `Welcome`.
pub(crate) struct Welcome {
    pub(crate) size: u64,
    pub(crate) page_size: u64,
    pub(crate) userfaultfds: u32,
    pub(crate) file: OwnedFd,
    pub(crate) device: OwnedFd,
}

impl Client {
    pub(crate) fn connect(path: &Path) -> Client {
        let flags = SockFlag::SOCK_CLOEXEC;
        let client = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        connect(client.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        Client(client)
    }

    pub(crate) fn send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[] } else { &rights[..] };
        let parts = [IoSlice::new(packet)];
        let sent = sendmsg::<()>(self.0.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None);
        assert_eq!(sent, Ok(packet.len()));
    }

    /// The next packet, or `None` when the agent has closed the connection.
    pub(crate) fn receive(&self) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
        let mut bytes = vec![0; 4096];
        let mut space = nix::cmsg_space!([RawFd; 253]);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
        let mut descriptors = Vec::new();
        for part in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(passed) = part {
                // SAFETY: the kernel has just made them for us.
                descriptors.extend(passed.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
            }
        }
        let len = message.bytes;
        bytes.truncate(len);
        (!bytes.is_empty()).then_some((bytes, descriptors))
    }

    /// Sends, and returns the answer: nothing for `Ok`, reason and text for a refusal.
    pub(crate) fn ask(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), (u32, String)> {
        self.send(packet, descriptors);
        self.answer()
    }

    pub(crate) fn answer(&self) -> Result<(), (u32, String)> {
        let (packet, descriptors) = self.receive().expect("the agent answers");
        assert!(descriptors.is_empty());
        assert_eq!(packet[..6], *b"PMSH\x01\0");
        match packet[6] {
            7 => {
                assert_eq!(packet.len(), 8);
                Ok(())
            }
            3 => {
                assert_eq!(packet.len(), 272);
                let text = &packet[16..][..u32_at(&packet, 12) as usize];
                Err((u32_at(&packet, 8), String::from_utf8(text.to_vec()).unwrap()))
            }
            kind => panic!("packet of kind {kind}"),
        }
    }

    pub(crate) fn hello(&self, name: &str) -> Welcome {
        self.send(&hello(name), &[]);
        let (packet, mut descriptors) = self.receive().unwrap();
        assert_eq!((packet.len(), packet[6], descriptors.len()), (40, 2, 2), "{packet:?}");
        let device = descriptors.pop().unwrap();
        let file = descriptors.pop().unwrap();
        Welcome {
            size: u64_at(&packet, 8),
            page_size: u64_at(&packet, 16),
            userfaultfds: u32_at(&packet, 24),
            file,
            device,
        }
    }

    /// Attaches to region `table`; the program must keep its userfaultfds.
    pub(crate) fn attach(&self) -> (Welcome, Vec<OwnedFd>) {
        let welcome = self.hello("table");
        let uffds = uffds(&welcome, SHARDS);
        self.ask(&bind(), &borrow(&uffds)).unwrap();
        (welcome, uffds)
    }

    /// The agent has closed the connection without another word.
    pub(crate) fn assert_closed(&self) {
        assert!(self.receive().is_none());
    }
}

pub(crate) fn uffds(welcome: &Welcome, n: usize) -> Vec<OwnedFd> {
    (0..n).map(|_| pagemesh_agent::uffd::create(&welcome.device).unwrap()).collect()
}

pub(crate) fn borrow(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors.iter().map(AsFd::as_fd).collect()
}

/// A mapping of a part of a region file.
pub(crate) struct Mapping {
    pub(crate) base: u64,
    pub(crate) len: u64,
}

impl Mapping {
    pub(crate) fn new(file: &OwnedFd, len: u64, offset: u64) -> Mapping {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let size = NonZeroUsize::new(len as usize).unwrap();
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
        let base = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, file, offset.cast_signed()) };
        Mapping { base: base.unwrap().as_ptr() as u64, len }
    }

    fn word(&self, at: u64) -> &std::sync::atomic::AtomicU64 {
        assert!(at.is_multiple_of(8) && at < self.len);
        // SAFETY: it lies in the mapping, which lives as long as `self`; other processes may change it, atomically.
        unsafe { std::sync::atomic::AtomicU64::from_ptr((self.base + at) as *mut u64) }
    }

    pub(crate) fn load(&self, at: u64) -> u64 {
        self.word(at).load(std::sync::atomic::Ordering::SeqCst)
    }

    pub(crate) fn store(&self, at: u64, value: u64) {
        self.word(at).store(value, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let base = NonNull::new(self.base as *mut _).unwrap();
        // SAFETY: nobody has a reference into it any more.
        unsafe { munmap(base, self.len as usize) }.unwrap();
    }
}
