//! Pages that are asked for ahead are shared like all others.

use std::sync::atomic::Ordering::SeqCst;

use pagemesh_protocol::Coherence;

use super::mesh::{Mesh, Shape};
use crate::shard::AttachmentId;
use crate::uffd::testing::Mapping;

const PAGES: u64 = 256;
const ROUNDS: u64 = 12;

/// Stores the number of the round to every page, in a row.
fn write(memory: &Mapping, round: u64) {
    (0..PAGES).for_each(|page| memory.word(page * 4096).store(round, SeqCst));
}

/// Sweeps backwards over what is being written forwards, until it has been written for the last time.
fn watch(memory: &Mapping) {
    let mut last = vec![0; PAGES as usize];
    while last[0] < ROUNDS || last[PAGES as usize - 1] < ROUNDS {
        let mut behind = 0;
        for page in (0..PAGES).rev() {
            let (seen, last) = (memory.word(page * 4096).load(SeqCst), &mut last[page as usize]);
            assert!(seen >= *last, "page {page} holds {seen} after {last}");
            // Who saw a later page written finds the ones before it written.
            assert!(seen >= behind, "page {page} holds {seen}, and the one behind it held {behind} before");
            (*last, behind) = (seen, seen);
        }
    }
}

fn share(mesh: &Mesh, cut: impl Fn(u64)) {
    let memories: Vec<_> = mesh.agents.iter().map(|agent| agent.attach(AttachmentId(1))).collect();
    std::thread::scope(|scope| {
        for memory in &memories[1..] {
            scope.spawn(move || watch(memory));
        }
        for round in 1..=ROUNDS {
            write(&memories[0], round);
            cut(round);
        }
    });
    assert!(mesh.agents[0].metric("pagemesh_ahead_pages_total{outcome=\"used\"}") > 0);
}

#[test]
fn nobody_sees_a_row_of_stores_out_of_order() {
    for coherence in [Coherence::WriteInvalidate, Coherence::WriteUpdate] {
        for shards in [1, 2] {
            let mesh = Mesh::start(3, Shape { pages: PAGES, coherence, shards, ..Shape::default() });
            share(&mesh, |_| {});
        }
    }
}

#[test]
fn nor_when_connections_break() {
    for coherence in [Coherence::WriteInvalidate, Coherence::WriteUpdate] {
        let mesh = Mesh::start(3, Shape { pages: PAGES, coherence, ..Shape::default() });
        share(&mesh, |round| mesh.cut(2, (round % 2) as u16));
    }
}

/// Its stores end in copies of its own, for which it needs pages as one who loads does: nobody may lose a page by that.
#[test]
fn who_may_only_read_takes_no_page_by_a_row_of_stores() {
    let mesh = Mesh::start(2, Shape { pages: PAGES, ..Shape::default() });
    let writer = mesh.agents[1].attach(AttachmentId(1));
    write(&writer, 1);
    let given_up = || mesh.agents[1].metric("pagemesh_pages_given_up_total");
    let before = given_up();
    write(&mesh.agents[0].attach_read_only(AttachmentId(2)), 2);
    assert!(mesh.agents[0].metric("pagemesh_ahead_pages_total{outcome=\"used\"}") > 0);
    assert_eq!(given_up(), before);
}
