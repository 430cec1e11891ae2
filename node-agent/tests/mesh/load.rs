//! Programs that work on a mesh of three agents while something is done to these, and that must not notice.

use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use pagemesh::Region;

use super::worker::Worker;
use super::{Mesh, RegionSpec, Wires, until};

/// The region that they work on.
pub const COUNTERS: RegionSpec = RegionSpec { name: "counters", size: "4Mi", coherence: "WriteInvalidate" };
/// Words of a page.
pub const PER_PAGE: usize = 512;

pub fn attach(mesh: &Mesh, node: usize) -> Region {
    Region::attach_to(Path::new(&mesh.socket(node)), "counters").expect("the region is ready")
}

/// Six programs count on one word and each on one of its own while `disturb` is done so many times. Returns how far they have
/// counted.
///
/// # Panics
/// When an increment was lost or done twice.
pub fn count_while(coherence: &'static str, times: usize, mut disturb: impl FnMut(&mut Mesh, usize)) -> u64 {
    let own = |worker: usize| (worker + 1) * PER_PAGE;
    let mut mesh = Mesh::start(3, &[RegionSpec { coherence, ..COUNTERS }], Wires::Direct, 2);
    let start = |w: usize| Worker::start(&mesh, w % 3, "count", &["counters", "0", &own(w).to_string(), "0"]);
    let workers: Vec<Worker> = (0..6).map(start).collect();
    let region = attach(&mesh, 0);
    let mut counted = 0;
    for time in 0..times {
        // Somewhere in the work: another place each time.
        until(&format!("the programs to go on after time {time}"), || {
            let now = region.words()[0].load(SeqCst);
            (now > counted + 50 * (1 + time as u64 % 7)).then(|| counted = now)
        });
        disturb(&mut mesh, time);
    }
    (0..6).for_each(|w| region.words()[own(w) + 1].store(1, SeqCst));
    workers.into_iter().for_each(Worker::succeed);
    let counted: u64 = (0..6).map(|w| region.words()[own(w)].load(SeqCst)).sum();
    for node in 0..3 {
        let seen = attach(&mesh, node).words()[0].load(SeqCst);
        assert_eq!(seen, counted, "{coherence}, seen from node {node}");
    }
    counted
}

/// Six programs write to every page of 2 MiB and check what the others write, while `disturb` is done so many times. Returns
/// how often they have gone over all pages.
///
/// # Panics
/// When a page went back, was torn or was zeros.
pub fn sweep_while(times: usize, mut disturb: impl FnMut(&mut Mesh, usize)) -> u64 {
    const PAGES: usize = 512;
    const STOP: usize = PAGES * PER_PAGE;
    let mut mesh = Mesh::start(3, &[COUNTERS], Wires::Direct, 2);
    let args = |slot: usize| ["counters".into(), slot.to_string(), PAGES.to_string(), STOP.to_string()];
    let start = |w: usize| Worker::start(&mesh, w % 3, "sweep", &args(w).each_ref().map(String::as_str));
    let workers: Vec<Worker> = (0..6).map(start).collect();
    let region = attach(&mesh, 0);
    let rounds = |region: &Region| (1..=6).map(|w| region.words()[STOP + w].load(SeqCst)).sum::<u64>();
    let mut seen = 0;
    for time in 0..times {
        until(&format!("the programs to go on after time {time}"), || {
            let now = rounds(&region);
            (now > seen).then(|| seen = now)
        });
        disturb(&mut mesh, time);
    }
    region.words()[STOP].store(1, SeqCst);
    workers.into_iter().for_each(Worker::succeed);
    seen
}
