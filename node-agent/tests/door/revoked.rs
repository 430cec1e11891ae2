//! Access that is taken away from programs that have it.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;

use crate::node::Mesh;
use crate::program::{PAGES, Program};

const SIGBUS: Option<i32> = Some(Signal::SIGBUS as i32);

/// Pages that a program on the same node counts in all the time, those of one on another node, and those that both do.
const BESIDE: (u64, u64) = (1, 8);
const FAR: (u64, u64) = (6, 12);

#[test]
fn what_is_revoked_is_a_sigbus_and_nobody_else_loses_anything() {
    let mut mesh = Mesh::start();
    let socket = |mesh: &Mesh, node: usize, name: &str| mesh.nodes[node].volume(name, &["team/table"]);
    let mut beside = Program::attached(&socket(&mesh, 1, "beside"));
    let mut far = Program::attached(&socket(&mesh, 0, "far"));
    for (program, (from, to)) in [(&mut beside, BESIDE), (&mut far, FAR)] {
        assert_eq!(program.ask(&format!("run {from} {to}")), "running");
    }
    // What programs have counted that were let finish.
    let mut finished = 0;
    let losers = 20;
    for number in 0..losers {
        mesh.allow("");
        let name = format!("loser-{number}");
        let socket = socket(&mesh, 1, &name);
        let (mut loser, mut idle) = (Program::attached(&socket), Program::attached(&socket));
        assert_eq!((loser.ask("count 2"), idle.ask("count 1")), ("counted".into(), "counted".into()));
        finished += 3;
        // Each page again and again: it may have one more of these than the next when its end comes.
        loser.tell("count 1000000000");
        mesh.allow("access: [{serviceAccount: beside}, {serviceAccount: far}]");
        assert_eq!(loser.end().signal(), SIGBUS);
        let told = mesh.nodes[1].revoked();
        assert_eq!(told.pod.name, format!("{name}-0"));
        assert!(told.note.contains("may not use region team/table any more"), "{}", told.note);
        assert!(idle.ask("map").starts_with("refused 7"), "it maps no more");
        let again = Program::start(&socket).ask("attach table");
        assert!(again.starts_with("refused 7"), "{again}");
        assert_eq!(idle.ends_at("load 3").signal(), SIGBUS);
    }
    let rounds: Vec<u64> = [&mut beside, &mut far].map(|p| p.ask("stop").parse().unwrap()).into();
    let within = |page: u64, (from, to): (u64, u64)| (from..to).contains(&page);
    let mut rest = Vec::new();
    for page in 1..PAGES {
        let counted: u64 = far.ask(&format!("load {page}")).parse().unwrap();
        assert_eq!(beside.ask(&format!("load {page}")), counted.to_string());
        let known =
            finished + rounds[0] * u64::from(within(page, BESIDE)) + rounds[1] * u64::from(within(page, FAR));
        assert!(counted >= known, "page {page} has {counted} of {known}, and more that losers counted");
        rest.push(counted - known);
    }
    // What the losers have counted besides is the same in all pages, but for the rounds in which they ended.
    assert!(rest.is_sorted_by(|one, next| one >= next), "{rest:?}");
    assert!(rest[0] - rest[rest.len() - 1] <= losers, "{rest:?}");
}

#[test]
fn who_may_only_read_any_more_loses_what_it_had_to_write() {
    let mut mesh = Mesh::start();
    let socket = mesh.nodes[0].volume("s", &["team/table"]);
    let reading = mesh.nodes[0].volume("r", &["team/table:ro"]);
    let mut writer = Program::attached(&socket);
    let mut reader = Program::attached(&reading);
    assert_eq!(writer.ask("store 2 9"), "stored");
    assert_eq!(reader.ask("load 2"), "9");
    mesh.allow("access: [{mode: ReadOnly}]");
    let told = mesh.nodes[0].revoked();
    assert_eq!(told.pod.name, "s-0");
    assert!(told.note.contains("may only read region team/table now"), "{}", told.note);
    assert_eq!(reader.ask("load 2"), "9", "who read goes on");
    assert_eq!(writer.ends_at("load 2").signal(), SIGBUS);
    let mut again = Program::start(&socket);
    assert_eq!(again.ask("attach table"), "attached to read");
    assert_eq!(again.ask("load 2"), "9");
    // A reader loses it just so.
    mesh.allow("access: []");
    assert_eq!(again.ends_at("load 2").signal(), SIGBUS);
    assert_eq!(reader.ends_at("load 5").signal(), SIGBUS);
    let mut told = [mesh.nodes[0].revoked().pod.name, mesh.nodes[0].revoked().pod.name];
    told.sort();
    assert_eq!(told, ["r-0", "s-0"]);
}

#[test]
fn what_is_revoked_stays_so_under_the_next_agent() {
    let mut mesh = Mesh::start();
    let socket = mesh.nodes[1].volume("s", &["team/table"]);
    let stays = mesh.nodes[1].volume("stays", &["team/table"]);
    let (mut before, mut meanwhile) = (Program::attached(&socket), Program::attached(&socket));
    let mut other = Program::attached(&stays);
    let (mut new, mut reader) =
        (Program::attached(&socket), Program::attached(&mesh.nodes[1].volume("r", &["team/table:ro"])));
    for program in [&mut before, &mut meanwhile, &mut other, &mut new] {
        assert_eq!(program.ask("count 1"), "counted");
    }
    assert_eq!(reader.ask("load 7"), "4");
    mesh.allow("access: [{serviceAccount: stays}]");
    assert_eq!(mesh.nodes[1].revoked().pod.name, "s-0");
    // It had it, lost it, and may again: the program that lost it does not get it back, whichever agent is there.
    mesh.restart(1, "");
    assert_eq!(before.ends_at("load 7").signal(), SIGBUS);
    assert_eq!(reader.ends_at("load 7").signal(), SIGBUS);
    assert_eq!(other.ask("count 1"), "counted");
    assert_eq!(other.ask("load 7"), "5");
    // What was taken away while there was no agent.
    let mut loser = Program::attached(&socket);
    assert_eq!(loser.ask("count 1"), "counted");
    mesh.restart(1, "access: [{serviceAccount: stays}]");
    assert_eq!(mesh.nodes[1].revoked().pod.name, "s-0");
    assert_eq!(loser.ends_at("load 7").signal(), SIGBUS);
    assert_eq!(meanwhile.ends_at("store 9 1").signal(), SIGBUS);
    assert_eq!(new.ends_at("load 8").signal(), SIGBUS);
    assert_eq!(other.ask("load 7"), "6");
}

#[test]
fn an_agent_that_dies_while_a_page_is_out_of_its_file_loses_nothing() {
    let mut mesh = Mesh::start();
    let [near, far] = [1, 0].map(|node| mesh.nodes[node].volume("s", &["team/table"]));
    let (mut near, mut far) = (Program::attached(&near), Program::attached(&far));
    assert_eq!(near.ask("store 3 77"), "stored");
    let region = mesh.nodes[1].control().attachments()[0].1.id;
    mesh.restart_amid_revocation(1, region, 3);
    assert_eq!(near.ask("load 3"), "77");
    assert_eq!(far.ask("load 3"), "77");
    assert_eq!(far.ask("store 3 78"), "stored");
    assert_eq!(near.ask("load 3"), "78");
}
