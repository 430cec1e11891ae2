//! Programs that keep to the rules.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{
    BAD_REQUEST, Client, Mapping, NOT_READY, PAGE, SHARDS, TOO_MANY, UNKNOWN_REGION, map, unmap,
};
use crate::helper;
use crate::process::{Agent, NODE_0, Scratch, region};

#[test]
fn a_program_maps_reads_writes_and_unmaps() {
    let agent = Agent::start("program");
    let client = Client::connect(&agent.socket());
    let (welcome, _uffds) = client.attach();
    assert_eq!((welcome.size, welcome.page_size), (1 << 20, PAGE));
    assert_eq!(welcome.userfaultfds as usize, SHARDS);

    // The header page and the data behind it.
    let mapping = Mapping::new(&welcome.file, PAGE + welcome.size, 0);
    client.ask(&map(mapping.base, mapping.len, 0), &[]).unwrap();
    for at in (0..mapping.len).step_by(PAGE as usize) {
        assert_eq!(mapping.load(at), 0);
        mapping.store(at, at + 1);
    }
    let status = agent.status();
    assert_eq!(status["regions"][0]["pages"]["exclusive"], 257);
    let attachment = &status["attachments"][0];
    assert_eq!(attachment["region"], "default/table");
    assert_eq!(attachment["pid"], std::process::id());
    assert_eq!(attachment["mappedBytes"], mapping.len);

    client.ask(&unmap(mapping.base, mapping.len), &[]).unwrap();
    drop(mapping);
    assert_eq!(agent.status()["attachments"][0]["mappedBytes"], 0);

    // What was written is there for the next program.
    let next = Client::connect(&agent.socket());
    let (welcome, _uffds) = next.attach();
    let mapping = Mapping::new(&welcome.file, PAGE, PAGE);
    next.ask(&map(mapping.base, mapping.len, PAGE), &[]).unwrap();
    assert_eq!(mapping.load(0), PAGE + 1);
    assert_eq!(agent.status()["attachments"].as_array().unwrap().len(), 2);
    assert!(agent.get("/metrics").1.contains("\npagemesh_attachments 2\n"));
}

#[test]
fn a_refused_map_or_unmap_leaves_the_attachment_as_it_was() {
    let agent = Agent::start("refused");
    let client = Client::connect(&agent.socket());
    let (welcome, _uffds) = client.attach();
    let mapping = Mapping::new(&welcome.file, 4 * PAGE, 0);
    let Mapping { base, len } = mapping;
    let end = PAGE + welcome.size;
    for (packet, part) in [
        (map(base, 0, 0), "length is 0"),
        (map(base + 1, PAGE, 0), "multiple of 4096"),
        (map(base, PAGE + 1, 0), "page size"),
        (map(base, PAGE, 1), "page size"),
        (map(base, 2 * PAGE, end - PAGE), "beyond the region file"),
        (map(u64::MAX - PAGE + 1, PAGE, 0), "address space"),
        (map(base, PAGE, u64::MAX - PAGE + 1), "beyond the region file"),
        // Nothing is mapped there.
        (map(PAGE, PAGE, 0), "cannot be watched"),
        (unmap(base + 1, PAGE), "multiple of 4096"),
        (unmap(base, 0), "length is 0"),
    ] {
        let (reason, text) = client.ask(&packet, &[]).unwrap_err();
        assert_eq!(reason, BAD_REQUEST);
        assert!(text.contains(part), "{text}");
    }
    client.ask(&map(base, len, 0), &[]).unwrap();
    let (_, text) = client.ask(&map(base + PAGE, PAGE, 0), &[]).unwrap_err();
    assert!(text.contains("overlaps"), "{text}");
    // Where nothing is mapped there is nothing to unmap.
    client.ask(&unmap(base + len, PAGE), &[]).unwrap();
    mapping.store(2 * PAGE, 7);
    assert_eq!(mapping.load(2 * PAGE), 7);
}

#[test]
fn a_region_is_found_by_its_name_and_only_when_it_is_ready() {
    let scratch = Scratch::new("names");
    scratch.object(
        "a.yaml",
        &region("far", "size: 4Ki").replace("{agent: node-0}", "{agent: node-0}, {agent: node-1}"),
    );
    scratch.object(
        "b.yaml",
        &region("table", "size: 4Ki").replace("name: table", "name: table, namespace: team"),
    );
    scratch.object("node-0.yaml", NODE_0);
    let agent = Agent::start_in(scratch, &[]);
    let refusal = |name: &str| {
        let client = Client::connect(&agent.socket());
        let refusal = client.ask(&crate::client::hello(name), &[]).unwrap_err();
        client.assert_closed();
        refusal
    };
    for name in ["table", "default/table", "team/table/x", "/", "team/"] {
        let (reason, text) = refusal(name);
        assert_eq!(reason, UNKNOWN_REGION, "{name}");
        assert!(text.contains("is not declared"), "{text}");
    }
    let (reason, text) = refusal("far");
    assert_eq!((reason, text.contains("node-1 is not declared")), (NOT_READY, true), "{text}");
    assert_eq!(Client::connect(&agent.socket()).hello("team/table").size, 4096);
}

#[test]
fn regions_come_and_go_while_the_agent_runs() {
    let agent = Agent::start("live");
    agent.scratch.object("late.yaml", &region("late", "size: 8Ki"));
    agent.await_log("Region default/late declared");
    let attached = loop {
        // It is announced before it is in force.
        let client = Client::connect(&agent.socket());
        client.send(&crate::client::hello("late"), &[]);
        if client.receive().unwrap().0[6] == 2 {
            break client;
        }
    };
    agent.scratch.object("late.yaml", &region("late", "size: 16Ki"));
    let refusal = agent.await_log("refused what is declared there");
    assert_eq!((&refusal["source"], &refusal["field"]), (&"late.yaml".into(), &"spec.size".into()));
    assert_eq!(Client::connect(&agent.socket()).hello("late").size, 8192);

    std::fs::remove_file(agent.scratch.0.join("objects/late.yaml")).unwrap();
    agent.await_log("Region default/late removed");
    loop {
        let client = Client::connect(&agent.socket());
        client.send(&crate::client::hello("late"), &[]);
        if client.receive().unwrap().0[6] == 3 {
            break;
        }
    }
    // Who is attached stays so.
    let regions = agent.status()["attachments"].clone();
    assert!(regions.as_array().unwrap().iter().any(|attachment| attachment["region"] == "default/late"));
    drop(attached);
}

#[test]
fn a_place_that_is_given_up_can_be_taken_again() {
    let scratch = Scratch::new("places");
    scratch.object("node-0.yaml", NODE_0);
    scratch.object("table.yaml", &region("table", "size: 1Mi"));
    let agent = Agent::start_in(scratch, &["--attachments", "2"]);
    let first = Client::connect(&agent.socket());
    let _first = first.attach();
    // Who has not said anything yet takes a place as well.
    let second = Client::connect(&agent.socket());
    let third = Client::connect(&agent.socket());
    let (reason, text) = third.answer().unwrap_err();
    assert_eq!((reason, text.contains("2 attachments")), (TOO_MANY, true), "{text}");
    third.assert_closed();

    second.send(b"x", &[]);
    assert_eq!(second.answer().unwrap_err().0, BAD_REQUEST);
    second.assert_closed();
    Client::connect(&agent.socket()).attach();
}

#[test]
fn an_attachment_ends_with_its_process_even_if_a_child_holds_the_socket() {
    let agent = Agent::start("pidfd");
    let before = agent.descriptors();
    let output = helper::run(helper::Deed::LeaveSocketToChild, &agent.socket());
    let output = String::from_utf8(output.stdout).unwrap();
    let child = output.lines().find_map(|line| line.split_once("child ")?.1.trim().parse().ok()).unwrap();
    agent.await_log("the process ended");
    kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
    assert_eq!(agent.descriptors(), before);
    assert_eq!(agent.status()["attachments"].as_array().unwrap().len(), 0);
}
