//! What accesses cost, in what can be counted on any machine.

use std::sync::atomic::Ordering::SeqCst;

use pagemesh_protocol::Coherence;

use super::mesh::{Agent, Mesh, Shape};
use crate::shard::AttachmentId;
use crate::uffd::testing::Mapping;

const PAGE: u64 = 4096;
const PAGES: u64 = 512;

/// All pages, far from one another.
fn scattered() -> impl Iterator<Item = u64> {
    (0..PAGES).map(|at| at * 211 % PAGES)
}

fn fill(memory: &Mapping, value: u64) {
    (0..PAGES).for_each(|page| memory.word(page * PAGE).store(value + page, SeqCst));
}

fn read(memory: &Mapping, pages: impl Iterator<Item = u64>, value: u64) {
    pages.for_each(|page| assert_eq!(memory.word(page * PAGE).load(SeqCst), value + page, "page {page}"));
}

fn messages(agent: &Agent, kind: &str) -> u64 {
    agent.metric(&format!("pagemesh_messages_total{{direction=\"sent\",type=\"{kind}\"}}"))
}

fn mesh(ahead_bytes: u64) -> Mesh {
    Mesh::start(
        2,
        Shape { pages: PAGES, coherence: Coherence::WriteInvalidate, ahead_bytes, ..Shape::default() },
    )
}

#[test]
fn a_fault_allocates_nothing_and_costs_a_message_each_way() {
    let mesh = mesh(1 << 20);
    let [reader, writer] = [0, 1].map(|at| mesh.agents[at].attach(AttachmentId(at as u64)));
    let allocations = || [0, 1].map(|at: usize| mesh.agents[at].report(0).allocations);
    let mut last = Vec::new();
    for round in 1..6 {
        fill(&writer, round << 32);
        let before = (messages(&mesh.agents[0], "get"), messages(&mesh.agents[1], "data"));
        let (earlier, idle) = (allocations(), allocations());
        read(&reader, scattered(), round << 32);
        let after = allocations();
        // To be asked for the number allocates, too.
        last = (0..2).map(|at| (after[at] - idle[at]) - (idle[at] - earlier[at])).collect();
        // Half of the pages are homed by the reader's own node, which asks their owner itself.
        let gets = messages(&mesh.agents[0], "get") - before.0;
        let data = messages(&mesh.agents[1], "data") - before.1;
        assert_eq!((gets, data), (PAGES / 2, PAGES));
    }
    assert_eq!(last, [0, 0], "allocations of the two shards, once their tables have grown");
}

#[test]
fn a_stream_costs_few_faults_and_no_more_messages_than_pages() {
    let mesh = mesh(256 << 10);
    let (reader, counts) = mesh.agents[0].attach_counted(AttachmentId(0));
    let writer = mesh.agents[1].attach(AttachmentId(1));
    let used = || mesh.agents[0].metric("pagemesh_ahead_pages_total{outcome=\"used\"}");
    let streams: [&dyn Fn() -> Box<dyn Iterator<Item = u64>>; 3] =
        [&|| Box::new(0..PAGES), &|| Box::new((0..PAGES).rev()), &|| {
            Box::new((0..4).flat_map(|first| (first..PAGES).step_by(4)))
        }];
    for (round, stream) in (1..).zip(streams) {
        fill(&writer, round << 32);
        let before = (counts[0].read().faults, messages(&mesh.agents[1], "data"), used());
        read(&reader, stream(), round << 32);
        let ahead = used() - before.2;
        let faults = counts[0].read().faults - before.0;
        assert!(faults < PAGES / 4, "stream {round}: {faults} faults for {PAGES} pages");
        assert_eq!(messages(&mesh.agents[1], "data") - before.1, PAGES, "stream {round}");
        assert!(ahead > PAGES / 2, "stream {round}: {ahead} pages were asked for ahead");
    }
}

#[test]
fn pages_that_are_written_in_a_row_are_asked_for_to_be_written() {
    let mesh = mesh(256 << 10);
    let (first, counts) = mesh.agents[0].attach_counted(AttachmentId(0));
    let second = mesh.agents[1].attach(AttachmentId(1));
    for round in 1..6 {
        fill(&second, round << 32);
        let before = counts[0].read().faults;
        fill(&first, (round << 32) + 1);
        let faults = counts[0].read().faults - before;
        assert!(faults < PAGES / 4, "round {round}: {faults} faults for {PAGES} pages");
        read(&second, 0..PAGES, (round << 32) + 1);
    }
}
