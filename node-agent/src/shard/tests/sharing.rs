//! Programs on several nodes see one memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use pagemesh_protocol::Coherence;

use super::mesh::{Mesh, Shape};
use crate::shard::{AttachmentId, Command, Counted, Counts};
use crate::uffd::testing::Mapping;

const BOTH: [Coherence; 2] = [Coherence::WriteInvalidate, Coherence::WriteUpdate];

fn attach_all(mesh: &Mesh) -> Vec<Arc<Mapping>> {
    mesh.agents.iter().map(|agent| agent.attach(AttachmentId(1))).collect()
}

/// Every program adds so much to one word; returns what is there in the end.
fn add_together(memories: &[Arc<Mapping>], times: u64, offset: u64) -> u64 {
    std::thread::scope(|scope| {
        for memory in memories {
            scope.spawn(move || {
                for _ in 0..times {
                    memory.word(offset).fetch_add(1, SeqCst);
                }
            });
        }
    });
    memories[0].word(offset).load(SeqCst)
}

#[test]
fn what_one_node_stores_the_others_load() {
    for coherence in BOTH {
        let mesh = Mesh::start(3, Shape { coherence, ..Shape::default() });
        let memories = attach_all(&mesh);
        for round in 1..=30 {
            let writer = round as usize % 3;
            memories[writer].word(8).store(round, SeqCst);
            for memory in &memories {
                assert_eq!(memory.word(8).load(SeqCst), round, "{coherence:?}");
            }
        }
        assert_eq!(memories[2].word(4096).load(SeqCst), 0, "nobody wrote it");
    }
}

#[test]
fn no_addition_is_lost() {
    for coherence in BOTH {
        let mesh = Mesh::start(3, Shape { coherence, ..Shape::default() });
        let memories: Vec<_> = mesh
            .agents
            .iter()
            .flat_map(|agent| [agent.attach(AttachmentId(1)), agent.attach(AttachmentId(2))])
            .collect();
        assert_eq!(add_together(&memories, 200, 0), 6 * 200, "{coherence:?}");
    }
}

#[test]
fn no_addition_is_lost_when_connections_break() {
    for coherence in BOTH {
        let mesh = Mesh::start(3, Shape { coherence, ..Shape::default() });
        let memories = attach_all(&mesh);
        std::thread::scope(|scope| {
            let adding = scope.spawn(|| add_together(&memories, 300, 0));
            let mut cuts = 0;
            while !adding.is_finished() {
                // The next cut comes when the connections have been of use since the last one.
                let before = mesh.agents[2].metric("pagemesh_pages_given_up_total");
                while mesh.agents[2].metric("pagemesh_pages_given_up_total") < before + 5
                    && !adding.is_finished()
                {
                    std::thread::yield_now();
                }
                mesh.cut(2, cuts % 2);
                cuts += 1;
            }
            assert_eq!(adding.join().unwrap(), 900, "{coherence:?}, {cuts} cuts");
        });
    }
}

/// Its process lives on, its connection to the agent does not: it must not go on writing what nobody else sees.
#[test]
fn a_program_that_has_detached_writes_nothing_that_others_miss() {
    let mesh = Mesh::start(2, Shape::default());
    let memories = attach_all(&mesh);
    memories[0].word(0).store(1, SeqCst);
    mesh.agents[0].shards[0].send(Command::Detach { attachment: AttachmentId(1) });
    // What it has it may use, for nobody else has it.
    memories[0].word(0).store(2, SeqCst);
    assert_eq!(memories[1].word(0).load(SeqCst), 2);
    let stored = Arc::new(AtomicBool::new(false));
    let storing = {
        let (memory, stored) = (memories[0].clone(), stored.clone());
        std::thread::spawn(move || {
            memory.word(0).store(3, SeqCst);
            stored.store(true, SeqCst);
        })
    };
    // The other node writes the page and gives it to a program that has not detached.
    let third = mesh.agents[0].attach(AttachmentId(2));
    for value in 10..200 {
        memories[1].word(0).store(value, SeqCst);
        assert_eq!(third.word(0).load(SeqCst), value);
        assert!(!stored.load(SeqCst), "the detached program wrote on");
    }
    // With the agents the userfaultfd goes, and the thread with it.
    drop(mesh);
    storing.join().unwrap();
}

/// A program may split a page of ours into several mappings of the kernel's.
#[test]
fn a_page_of_which_a_part_is_locked() {
    let mesh = Mesh::start(2, Shape { page_size: 65_536, ..Shape::default() });
    let memories = attach_all(&mesh);
    memories.iter().for_each(|memory| memory.lock(65_536 + 4096, 8192));
    for round in 1..20 {
        let (writer, reader) = (&memories[round % 2], &memories[(round + 1) % 2]);
        for offset in [65_536, 65_536 + 4096, 2 * 65_536 - 8] {
            writer.word(offset).store(round as u64, SeqCst);
            assert_eq!(reader.word(offset).load(SeqCst), round as u64, "at {offset}");
        }
    }
}

#[test]
fn large_pages_and_several_shards() {
    let page_size = 2 << 20;
    // Three stripes, so that both shards serve some.
    let shape = Shape { page_size, pages: 96, shards: 2, ..Shape::default() };
    let mesh = Mesh::start(2, shape);
    let memories = attach_all(&mesh);
    let page = u64::from(page_size);
    for (index, value) in [(0, 10), (31, 11), (32, 12), (64, 13), (95, 14)] {
        memories[0].word(index * page).store(value, SeqCst);
        memories[0].word((index + 1) * page - 8).store(value + 100, SeqCst);
        assert_eq!(memories[1].word(index * page).load(SeqCst), value);
        assert_eq!(memories[1].word((index + 1) * page - 8).load(SeqCst), value + 100);
        assert_eq!(add_together(&memories, 10, index * page), value + 20);
    }
    for shard in 0..2 {
        let report = mesh.agents[0].report(shard);
        assert_eq!(report.peers.len(), 1);
        assert!(report.regions[0].shared + report.regions[0].exclusive > 0, "shard {shard} serves nothing");
    }
}

#[test]
fn faults_are_counted_by_who_served_them() {
    let mesh = Mesh::start(2, Shape::default());
    let memories = attach_all(&mesh);
    // All four pages are in one chunk, which has one home.
    memories[0].word(0).store(1, SeqCst);
    memories[1].word(4096).store(1, SeqCst);
    let count = |agent: usize, served: &str| {
        mesh.agents[agent].metric(&format!(r#"pagemesh_faults_total{{kind="write",served="{served}"}}"#))
    };
    let (local, home) = (count(0, "local") + count(1, "local"), count(0, "home") + count(1, "home"));
    assert_eq!((local, home), (1, 1));
}

#[test]
fn each_attachment_has_its_own_counts() {
    let mesh = Mesh::start(2, Shape { pages: 4, ..Shape::default() });
    let agent = &mesh.agents[0];
    let (busy, busy_counts) = agent.attach_counted(AttachmentId(1));
    let (idle, idle_counts) = agent.attach_counted(AttachmentId(2));
    busy.word(0).load(SeqCst);
    busy.word(0).store(1, SeqCst);
    busy.word(4096).store(1, SeqCst);
    let read = |counts: &[Arc<Counts>]| {
        agent.report(0);
        counts.iter().map(|counts| counts.read()).sum::<Counted>()
    };
    let counted = read(&busy_counts);
    // The second store was to a page that could be read.
    assert_eq!((counted.faults, counted.bytes), (3, 2 * 4096));
    assert!(counted.wait_nanos > 0);
    assert_eq!(read(&idle_counts), Counted::default());
    idle.word(0).load(SeqCst);
    assert_eq!(read(&idle_counts).faults, 1);
}
