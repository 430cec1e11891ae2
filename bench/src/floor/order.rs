//! What the floor's program and its server are told.

use std::io::{self, Read, Write};

use super::setup::Cpu;

/// Bytes of an order to the program.
const ORDER: usize = 2;
/// Any processor, in one byte.
const ANY: u8 = u8::MAX;

/// An order to the program. It answers each: with nanoseconds of every access, or with one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Load each page, and check what it holds.
    Read,
    /// Store to each page.
    Write,
    /// Load pages by so many threads at a time, each its part of [`STORM_PAGES`](crate::STORM_PAGES). Answers with one word: the
    /// nanoseconds of all of it.
    Storm(u8),
    /// Run there from now on.
    Bind(Cpu),
}

impl Order {
    pub(super) fn send(self, mut to: impl Write) -> io::Result<()> {
        let bytes: [u8; ORDER] = match self {
            Order::Read => [1, 0],
            Order::Write => [2, 0],
            Order::Storm(threads) => [4, threads],
            Order::Bind(cpu) => [3, cpu_to_byte(cpu)],
        };
        to.write_all(&bytes)
    }

    /// `None` when the connection has ended.
    pub(super) fn receive(mut from: impl Read) -> io::Result<Option<Order>> {
        let mut bytes = [0; ORDER];
        match from.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        match bytes {
            [1, _] => Ok(Some(Order::Read)),
            [2, _] => Ok(Some(Order::Write)),
            [4, threads] => Ok(Some(Order::Storm(threads))),
            [3, cpu] => Ok(Some(Order::Bind(byte_to_cpu(cpu)))),
            _ => Err(io::Error::other("the harness orders what there is not")),
        }
    }
}

/// What stands in front of a request's answer, too: bytes of the answer's payload, what its first word is to be, and whether and how
/// the server is to run otherwise from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) payload: u32,
    pub(super) tag: u64,
    /// Where to run, and whether to spin.
    pub(super) run: Option<(Cpu, bool)>,
}

/// Bytes of a request.
pub(crate) const HEADER: usize = 64;

impl Request {
    pub(super) fn encode(self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&self.payload.to_le_bytes());
        header[8..16].copy_from_slice(&self.tag.to_le_bytes());
        if let Some((cpu, spins)) = self.run {
            header[16..19].copy_from_slice(&[1, cpu_to_byte(cpu), u8::from(spins)]);
        }
        header
    }

    pub(super) fn decode(header: &[u8; HEADER]) -> Request {
        Request {
            payload: u32::from_le_bytes(std::array::from_fn(|at| header[at])),
            tag: u64::from_le_bytes(std::array::from_fn(|at| header[8 + at])),
            run: (header[16] == 1).then(|| (byte_to_cpu(header[17]), header[18] == 1)),
        }
    }
}

fn cpu_to_byte(cpu: Cpu) -> u8 {
    match cpu {
        Cpu::Any => ANY,
        Cpu::Nth(n) => n,
    }
}

fn byte_to_cpu(byte: u8) -> Cpu {
    if byte == ANY { Cpu::Any } else { Cpu::Nth(byte) }
}
