//! Why connections end, and what is said then.

use std::io;

use super::packet::{PacketError, Reason};
use crate::control::Denied;

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The program has closed it or is gone.
    Closed(&'static str),
    /// It was told why.
    Refused(Reason, String),
    /// It was told that its volume has no such region. That concerns nobody else: the preload library asks so for every name that
    /// programs of the pod open in `/dev/shm`.
    Unremarkable(String),
    /// A shard gave the attachment up.
    GivenUp(String),
    /// The socket does not work.
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Io(error)
    }
}

impl From<PacketError> for End {
    fn from(error: PacketError) -> End {
        let reason = match error {
            PacketError::Version(_) => Reason::Version,
            PacketError::Foreign
            | PacketError::Kind(_)
            | PacketError::Length { .. }
            | PacketError::Reserved
            | PacketError::Name => Reason::BadRequest,
        };
        End::Refused(reason, error.to_string())
    }
}

impl From<Denied> for End {
    fn from(denied: Denied) -> End {
        let reason = match denied {
            Denied::Unknown(_) | Denied::LeadsNowhere(_) => Reason::UnknownRegion,
            Denied::NotInVolume(_) | Denied::Context(_) => return End::Unremarkable(denied.to_string()),
            Denied::Forbidden { .. } | Denied::Lost(_) => Reason::Forbidden,
            Denied::NotReady { .. } | Denied::NotKnownYet(_) | Denied::Stopping => Reason::NotReady,
            Denied::Deleting(_) => Reason::Deleting,
            // As for those that are attached when it goes.
            Denied::VolumeGone => return End::GivenUp(denied.to_string()),
        };
        End::Refused(reason, denied.to_string())
    }
}

pub(super) fn bad<T>(text: impl Into<String>) -> Result<T, End> {
    Err(End::Refused(Reason::BadRequest, text.into()))
}

pub(super) fn internal(text: String) -> End {
    End::Refused(Reason::Internal, text)
}
