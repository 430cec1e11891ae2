//! The name server of this node's agent, by the socket that programs attach by.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use pagemesh_attach::attachment::{ask, expect_ok};
use pagemesh_attach::socket::{Socket, SocketPath};
use pagemesh_attach::wire::{Request, WireError};

use crate::Error;

/// A connection on which the agent speaks gRPC, service `pagemesh.v1.Directory`. In a pod it answers as this pod may see names. It
/// ends when this is dropped, and with the agent: connect again.
#[derive(Debug)]
pub struct Directory {
    stream: UnixStream,
    /// As long as this is open the agent answers.
    _socket: Socket,
}

impl Directory {
    /// Connects by the socket of a pod's volume, or that of an agent.
    ///
    /// # Errors
    /// No agent answers, or it is older than this library and does not answer for names here.
    pub fn connect(socket: &Path) -> Result<Directory, Error> {
        let socket = Socket::connect(&SocketPath::new(socket.as_os_str().as_bytes())?)?;
        let mut packet = ask(&socket, Request::Names, &[])?;
        expect_ok(&packet)?;
        let stream = packet.descriptors().first_mut().and_then(Option::take);
        let stream = stream.ok_or(Error::Strange(WireError::Unexpected))?;
        let raw = stream.raw();
        std::mem::forget(stream);
        // SAFETY: the kernel has made it for us, and nobody else will close it.
        let stream = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Directory { stream: stream.into(), _socket: socket })
    }

    /// The connection itself, for a gRPC client: a duplicate.
    ///
    /// # Errors
    /// This process has no descriptors left.
    pub fn stream(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }
}
