//! Counts what the protocol does for programs whose pattern of accesses is known.
//!
//! The programs, the kernel and the contents of pages are those of the proofs (`tests/world`): every load is checked
//! against the last store, so that nothing is counted that does not share memory.
#![allow(unreachable_pub, reason = "a part of two programs: the example and a test")]

pub mod mesh;
pub mod pattern;

#[allow(dead_code, reason = "the proofs use more of it")]
#[path = "../../../tests/world/machine.rs"]
pub mod machine;

#[allow(dead_code, reason = "the proofs use more of it")]
#[path = "../../../tests/world/random.rs"]
mod random;

use mesh::{Counts, Mesh};
use pagemesh_protocol::{CHUNK_PAGES, Coherence, PageId, RegionId};
use pattern::Pattern;

/// What cannot be, in words.
type Objection = String;

pub const REGION: RegionId = RegionId(0);

/// Both ways to keep copies, with their names.
pub const COHERENCES: [(Coherence, &str); 2] =
    [(Coherence::WriteInvalidate, "WriteInvalidate"), (Coherence::WriteUpdate, "WriteUpdate")];

pub fn page(index: u64) -> PageId {
    PageId { region: REGION, index }
}

/// A page of those that `home` homes in a region in which every agent homes one chunk.
pub fn homed_at(home: usize, number: u64) -> u64 {
    assert!(number < CHUNK_PAGES, "every agent homes one chunk");
    home as u64 * CHUNK_PAGES + number
}

/// Lets programs run by a pattern on a mesh of which all agents are connected and know no region yet. Counts from when
/// the warm-up is at rest until all is at rest again.
pub fn run(connected: &Mesh, pattern: Pattern, coherence: Coherence) -> Counts {
    let mut mesh = connected.clone();
    mesh.declare(coherence);
    let plan = pattern.plan(mesh.agents());
    for phase in plan.warm_up {
        mesh.run(phase, plan.think_nanos);
    }
    mesh.settle();
    mesh.count_anew();
    for phase in plan.measured {
        mesh.run(phase, plan.think_nanos);
    }
    mesh.settle();
    mesh.counts().clone()
}
