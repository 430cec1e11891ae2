//! Which exit code says what: see `pagemesh --help`.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use nix::sys::signal::Signal;
use thiserror::Error;

/// It failed.
const FAILED: u8 = 1;
/// pagemesh failed before it could start the user's command.
const BEFORE_COMMAND: u8 = 125;
/// The user's command was found but could not be started.
const NOT_STARTED: u8 = 126;
/// The user's command was not found.
const NOT_FOUND: u8 = 127;
/// To which the number of a signal is added.
const BY_SIGNAL: i32 = 128;

/// Why a user's command did not run. The codes are those of `env` and `docker run`.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    /// Our fault, or the mesh's.
    #[error("{0:#}")]
    Before(anyhow::Error),
    /// No such program.
    #[error("`{0}` is not a program in PATH; check its spelling or give its path")]
    NotFound(String),
    /// It is there but did not start.
    #[error("`{command}` could not be started: {source}")]
    NotStarted {
        /// What was to run.
        command: String,
        /// Why it did not.
        source: io::Error,
    },
}

impl CommandError {
    /// Sorts a failure to execute `command`.
    pub(crate) fn of_exec(command: &str, source: io::Error) -> CommandError {
        if source.kind() == io::ErrorKind::NotFound {
            CommandError::NotFound(command.into())
        } else {
            CommandError::NotStarted { command: command.into(), source }
        }
    }

    fn code(&self) -> u8 {
        match self {
            CommandError::Before(_) => BEFORE_COMMAND,
            CommandError::NotFound(_) => NOT_FOUND,
            CommandError::NotStarted { .. } => NOT_STARTED,
        }
    }
}

/// Turns a failure before the user's command into one with its code.
pub(crate) fn before_command(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<CommandError>() {
        Ok(error) => error.into(),
        Err(error) => CommandError::Before(error).into(),
    }
}

/// The code for an error.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<CommandError>().map_or(FAILED, CommandError::code)
}

/// The code for how a child ended, as a shell has it.
pub(crate) fn code_of_status(status: ExitStatus) -> ExitCode {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => BY_SIGNAL + signal,
        (None, None) => i32::from(FAILED),
    };
    u8::try_from(code).unwrap_or(FAILED).into()
}

/// The code for a command that we end because we got `signal`.
pub(crate) fn code_of_signal(signal: Signal) -> ExitCode {
    u8::try_from(BY_SIGNAL + signal as i32).unwrap_or(FAILED).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let not_found = CommandError::of_exec("x", io::ErrorKind::NotFound.into());
        let denied = CommandError::of_exec("x", io::ErrorKind::PermissionDenied.into());
        assert_eq!(code_of(&not_found.into()), 127);
        assert_eq!(code_of(&denied.into()), 126);
        assert_eq!(code_of(&anyhow::anyhow!("x")), 1);
        assert_eq!(code_of(&before_command(anyhow::anyhow!("x"))), 125);
        let kept = before_command(CommandError::NotFound("x".into()).into());
        assert_eq!(code_of(&kept), 127);
    }
}
