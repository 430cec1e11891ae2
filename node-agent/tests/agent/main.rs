//! The agent as a process, met at its socket as programs meet it: by the documented bytes, none of its own code.
//! Needs /dev/userfaultfd and a tmpfs at /dev/shm, as the agent does.

mod client;
mod helper;
mod hostile;
mod lifecycle;
mod memory;
mod names;
mod process;
mod programs;
