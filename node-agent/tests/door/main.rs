//! Pods at the door: whose socket it is, what they may do, and what is taken from them again. Agents in this process, on the
//! real kernel, and programs that are processes of their own. Needs /dev/userfaultfd, a tmpfs at /dev/shm, and the right to
//! mount.

#[path = "../agent/client.rs"]
#[expect(dead_code, reason = "the tests of the agent's binary use all of it")]
mod client;
mod library;
mod names;
mod node;
mod program;
mod read_only;
mod revoked;
