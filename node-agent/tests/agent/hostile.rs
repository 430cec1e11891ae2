//! Programs that do not keep to the rules: each is refused with a reason, costs nobody else anything, and leaves no
//! descriptor behind in the agent.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::pipe2;

use crate::client::{
    BAD_REQUEST, Client, Mapping, PAGE, SHARDS, TOO_MANY, VERSION, bind, borrow, hello, map, packet, uffds,
    unmap,
};
use crate::helper;
use crate::process::Agent;

/// Runs `attack` some times against an agent, and checks that a well-behaved program is served all along and that the
/// agent has as many descriptors open as before.
fn survives(test: &str, attack: impl Fn(&Agent)) {
    let agent = Agent::start(test);
    let victim = Client::connect(&agent.socket());
    let (welcome, _uffds) = victim.attach();
    let mapping = Mapping::new(&welcome.file, 16 * PAGE, PAGE);
    victim.ask(&map(mapping.base, mapping.len, PAGE), &[]).unwrap();
    mapping.store(0, 1);
    let before = agent.descriptors();
    for round in 1..=3 {
        attack(&agent);
        mapping.store(round * PAGE, mapping.load((round - 1) * PAGE) + 1);
        assert_eq!(mapping.load(round * PAGE), round + 1);
    }
    // Every attack waits until the agent has noticed the end of its connections.
    assert_eq!(agent.status()["attachments"].as_array().unwrap().len(), 1);
    assert_eq!(agent.descriptors(), before);
}

/// A pipe that tells when the agent has closed what it was sent.
struct Canary {
    reader: OwnedFd,
    writer: Option<OwnedFd>,
}

impl Canary {
    fn new() -> Canary {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        Canary { reader, writer: Some(writer) }
    }

    fn writer(&self) -> std::os::fd::BorrowedFd<'_> {
        self.writer.as_ref().unwrap().as_fd()
    }

    /// Waits until nobody has the writing end any more. Never ends if the agent keeps it.
    fn assert_closed_by_agent(mut self) {
        self.writer = None;
        assert_eq!(std::fs::File::from(self.reader).read(&mut [0]).unwrap(), 0);
    }
}

fn refused(client: &Client, packet: &[u8], part: &str) {
    let (reason, text) = client.ask(packet, &[]).unwrap_err();
    assert_eq!(reason, BAD_REQUEST, "{text}");
    assert!(text.contains(part), "{text}");
    client.assert_closed();
}

#[test]
fn packets_of_wrong_length_or_kind() {
    survives("length", |agent| {
        for len in [1, 7, 8, 15, 16, 271, 273, 1000, 60_000] {
            let mut packet = hello("table");
            packet.resize(len, 0);
            let client = Client::connect(&agent.socket());
            refused(&client, &packet, if len < 8 { "not a packet" } else { "272 bytes" });
        }
        for kind in [0, 2, 3, 7, 10, u16::MAX] {
            let client = Client::connect(&agent.socket());
            refused(&client, &packet(kind, &[]), "not one that a program sends");
        }
        let mut other = hello("table");
        other[4] = 9;
        let client = Client::connect(&agent.socket());
        let (reason, text) = client.ask(&other, &[]).unwrap_err();
        assert_eq!((reason, text.contains("version 9")), (VERSION, true), "{text}");
        client.assert_closed();
        // Also when attached.
        let client = Client::connect(&agent.socket());
        let attached = client.attach();
        refused(&client, &packet(5, &[PAGE, PAGE]), "32 bytes");
        drop(attached);
    });
}

#[test]
fn packets_in_the_wrong_order() {
    survives("order", |agent| {
        for packet in [bind(), map(PAGE, PAGE, 0), unmap(PAGE, PAGE)] {
            refused(&Client::connect(&agent.socket()), &packet, "Hello");
        }
        for packet in [hello("table"), map(PAGE, PAGE, 0), unmap(PAGE, PAGE)] {
            let client = Client::connect(&agent.socket());
            let _welcome = client.hello("table");
            let (reason, _) = client.ask(&packet, &[]).unwrap_err();
            assert_eq!(reason, BAD_REQUEST);
            client.assert_closed();
        }
        let client = Client::connect(&agent.socket());
        let _attached = client.attach();
        refused(&client, &hello("table"), "attached already");
    });
}

#[test]
fn descriptors_that_are_no_fresh_userfaultfds() {
    survives("kind", |agent| {
        // Not a userfaultfd at all.
        let client = Client::connect(&agent.socket());
        let welcome = client.hello("table");
        let good = uffds(&welcome, 1);
        let canary = Canary::new();
        let (reason, text) = client.ask(&bind(), &[good[0].as_fd(), canary.writer()]).unwrap_err();
        assert_eq!((reason, text.contains("not a userfaultfd")), (BAD_REQUEST, true), "{text}");
        client.assert_closed();
        canary.assert_closed_by_agent();

        // The same one twice, and one that is in use by another attachment.
        let client = Client::connect(&agent.socket());
        let welcome = client.hello("table");
        let one = uffds(&welcome, 1);
        let (_, text) = client.ask(&bind(), &[one[0].as_fd(), one[0].as_fd()]).unwrap_err();
        assert!(text.contains("in use already"), "{text}");
        client.assert_closed();
        let client = Client::connect(&agent.socket());
        let welcome = client.hello("table");
        let other = uffds(&welcome, 1);
        client.ask(&bind(), &[other[0].as_fd(), one[0].as_fd()]).unwrap_err();
        client.assert_closed();

        // The descriptors that the agent itself passed.
        let client = Client::connect(&agent.socket());
        let welcome = client.hello("table");
        client.ask(&bind(), &[welcome.device.as_fd(), welcome.file.as_fd()]).unwrap_err();
        client.assert_closed();
    });
}

#[test]
fn too_many_descriptors_or_too_few() {
    survives("number", |agent| {
        for count in [0, 1, SHARDS + 1, SHARDS + 2, 253] {
            let client = Client::connect(&agent.socket());
            let _welcome = client.hello("table");
            let canary = Canary::new();
            let (reason, text) = client.ask(&bind(), &vec![canary.writer(); count]).unwrap_err();
            assert_eq!(reason, BAD_REQUEST);
            assert!(text.contains(&format!("must carry {SHARDS} descriptors and carries {count}")), "{text}");
            client.assert_closed();
            canary.assert_closed_by_agent();
        }
    });
}

#[test]
fn descriptors_where_none_belong() {
    survives("stray", |agent| {
        let canary = Canary::new();
        let client = Client::connect(&agent.socket());
        client.ask(&hello("table"), &[canary.writer()]).unwrap_err();
        client.assert_closed();
        canary.assert_closed_by_agent();

        // With a packet that is bad anyway, and with one that never gets read.
        let canary = Canary::new();
        let client = Client::connect(&agent.socket());
        client.ask(b"x", &vec![canary.writer(); 253]).unwrap_err();
        client.assert_closed();
        canary.assert_closed_by_agent();
        let canary = Canary::new();
        let client = Client::connect(&agent.socket());
        client.send(b"x", &[]);
        client.send(b"x", &[canary.writer()]);
        drop(client);
        canary.assert_closed_by_agent();

        let client = Client::connect(&agent.socket());
        let _attached = client.attach();
        let canary = Canary::new();
        client.ask(&map(PAGE, PAGE, 0), &[canary.writer()]).unwrap_err();
        client.assert_closed();
        canary.assert_closed_by_agent();
    });
}

#[test]
fn descriptors_for_which_the_agent_has_no_room() {
    survives("room", |agent| {
        let client = Client::connect(&agent.socket());
        let _attached = client.attach();
        let canary = Canary::new();
        let limit = agent.limit_descriptors(10);
        // Some arrive, and the kernel drops the others.
        let (reason, text) = client.ask(&unmap(PAGE, PAGE), &vec![canary.writer(); 253]).unwrap_err();
        assert_eq!((reason, text.contains("RLIMIT_NOFILE")), (TOO_MANY, true), "{text}");
        client.assert_closed();
        canary.assert_closed_by_agent();
        agent.set_descriptor_limit(limit);
    });
}

#[test]
fn connections_that_are_closed_at_any_step() {
    survives("early", |agent| {
        drop(Client::connect(&agent.socket()));
        agent.await_log("the program closed it");

        let client = Client::connect(&agent.socket());
        client.send(&hello("table"), &[]);
        drop(client);
        // Whether the Welcome still got out is a matter of luck; that the connection ends is not.
        agent.await_log("a connection");

        let client = Client::connect(&agent.socket());
        let welcome = client.hello("table");
        drop(client);
        agent.await_log("the program closed it");

        let client = Client::connect(&agent.socket());
        let other = client.hello("table");
        let uffds = uffds(&other, SHARDS);
        client.send(&bind(), &borrow(&uffds));
        drop(client);
        agent.await_log("a connection");

        let client = Client::connect(&agent.socket());
        let (other, uffds) = client.attach();
        let mapping = Mapping::new(&other.file, PAGE, 0);
        client.send(&map(mapping.base, PAGE, 0), &[]);
        drop(client);
        agent.await_log("a connection");
        drop((welcome, uffds));
    });
}

#[test]
fn a_program_that_maps_what_it_did_not_map() {
    survives("foreign", |agent| {
        // The kernel lets any shared memory be watched, but no page of the region can be put there.
        let output = helper::run(helper::Deed::TouchForeignMemory, &agent.socket());
        assert_eq!(output.status.signal(), Some(Signal::SIGBUS as i32), "{output:?}");
        agent.await_log("a connection ended");
    });
}

#[test]
fn flags_that_a_program_sets_do_not_reach_the_agent() {
    survives("flags", |agent| {
        let client = Client::connect(&agent.socket());
        let (welcome, _uffds) = client.attach();
        fcntl(&welcome.file, FcntlArg::F_SETFL(OFlag::O_APPEND)).unwrap();
        drop(client);
        agent.await_log("a connection ended");
    });
}
