//! Pages that move to other homes, and regions that grow, while programs use them.

mod mesh;

use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use mesh::objects::Placed;
use mesh::worker::Worker;
use mesh::{Mesh, RegionSpec, Wires, until};
use pagemesh::Region;

const PAGES: usize = 512;
/// Words of a page.
const PER_PAGE: usize = 512;
/// Behind the pages that are swept: the word that stops everybody, and each worker's count of rounds.
const STOP: usize = PAGES * PER_PAGE;
const WORKERS: usize = 6;

/// 2 MiB to sweep, over eight chunks, and some more.
const TABLE: RegionSpec = RegionSpec { name: "table", size: "4Mi", coherence: "WriteInvalidate" };

/// Homes, one placement after the other: one is replaced, all change places, one agent takes all, it gives all away.
const MOVES: [&[usize]; 6] = [&[1, 1, 2], &[2, 0, 1], &[0], &[1, 2], &[2, 1, 0, 0], &[0, 1, 2]];

fn attach(mesh: &Mesh, node: usize, name: &str) -> Region {
    Region::attach_to(Path::new(&mesh.socket(node)), name).expect("the region is ready")
}

fn sweepers(mesh: &Mesh) -> Vec<Worker> {
    let args = |w: usize| ["table".to_owned(), w.to_string(), PAGES.to_string(), STOP.to_string()];
    let start = |w: usize| Worker::start(mesh, w % 3, "sweep", &args(w).each_ref().map(String::as_str));
    (0..WORKERS).map(start).collect()
}

fn rounds(region: &Region) -> [u64; WORKERS] {
    std::array::from_fn(|worker| region.words()[STOP + 1 + worker].load(SeqCst))
}

/// Everybody has done a whole round since `before`.
fn await_progress(region: &Region, before: [u64; WORKERS], meanwhile: &mut impl FnMut()) {
    until("everybody to go on", || {
        meanwhile();
        let now = rounds(region);
        (0..WORKERS).all(|worker| now[worker] > before[worker]).then_some(())
    });
}

/// Has six programs on three nodes sweep the region's pages while they move from home to home. Each checks what it reads;
/// at the end every increment must be there, seen from every node.
fn move_under_load(coherence: &'static str, wires: Wires, mut meanwhile: impl FnMut(&Mesh)) {
    let mesh = Mesh::start(3, &[RegionSpec { coherence, ..TABLE }], wires, 2);
    let region = attach(&mesh, 0, "table");
    let workers = sweepers(&mesh);
    let mut placed = Placed::first(&RegionSpec { coherence, ..TABLE }, &[0, 1, 2]);
    await_progress(&region, [0; WORKERS], &mut || meanwhile(&mesh));
    for (turn, homes) in MOVES.into_iter().enumerate() {
        placed = placed.moved(homes);
        // Now one agent hears of it first, now another, and in between everybody goes on as far as it can.
        for node in 0..3 {
            mesh.declare_to((node + turn) % 3, &[&placed]);
            meanwhile(&mesh);
        }
        until("everything to have moved", || {
            meanwhile(&mesh);
            let settled = |node: usize| {
                mesh.region(node, "table")
                    .is_some_and(|told| told["actsOn"] == placed.epoch && told["settled"] == true)
            };
            (0..3).all(settled).then_some(())
        });
        if turn % 2 == 0 {
            mesh.declare(&[&placed.done()]);
        }
        await_progress(&region, rounds(&region), &mut || meanwhile(&mesh));
    }
    region.words()[STOP].store(1, SeqCst);
    workers.into_iter().for_each(Worker::succeed);
    let done = rounds(&region);
    for node in 0..3 {
        let region = attach(&mesh, node, "table");
        for (worker, rounds) in done.into_iter().enumerate() {
            for page in 0..PAGES {
                let word = region.words()[page * PER_PAGE + worker].load(SeqCst);
                assert_eq!(word, rounds, "page {page}, worker {worker}, seen from node {node}");
            }
        }
        for violation in ["not_home", "not_from_home", "homes_moved", "not_held"] {
            assert_eq!(
                mesh.labelled(node, "pagemesh_violations_total", violation),
                0.0,
                "{violation} at node {node}"
            );
        }
    }
    let all: u64 = done.iter().sum();
    println!("{coherence}: {} increments exact over {} moves", all * PAGES as u64, MOVES.len());
}

#[test]
fn homes_move_while_programs_write_and_read() {
    for coherence in ["WriteInvalidate", "WriteUpdate"] {
        move_under_load(coherence, Wires::Direct, |_| {});
    }
}

#[test]
fn homes_move_while_connections_break() {
    for coherence in ["WriteInvalidate", "WriteUpdate"] {
        let (mut turn, mut cut) = (0, 0);
        move_under_load(coherence, Wires::Cuttable, |mesh| {
            turn += 1;
            cut += if turn % 20 == 0 { mesh.proxies[turn / 20 % mesh.proxies.len()].cut() } else { 0 };
        });
        println!("{coherence}: {cut} connections cut");
        assert!(cut >= 20, "only {cut} connections were cut: nothing was shown");
    }
}

/// Who attaches later sees the new size; who is attached goes on; and no page of before is another one afterwards.
#[test]
fn a_region_grows_under_load() {
    let mesh = Mesh::start(3, &[TABLE], Wires::Direct, 2);
    let before = attach(&mesh, 1, "table");
    let workers = sweepers(&mesh);
    let mut placed = Placed::first(&TABLE, &[0, 1, 2]);
    await_progress(&before, [0; WORKERS], &mut || {});
    for (size, bytes) in [("8Mi", 8 << 20), ("200Mi", 200 << 20)] {
        placed = placed.grown(size);
        mesh.declare(&[&placed]);
        mesh.await_settled(&[0, 1, 2], &placed);
        await_progress(&before, rounds(&before), &mut || {});
        let grown = attach(&mesh, 0, "table");
        assert_eq!((before.len(), grown.len()), (4 << 20, bytes));
        let seen = attach(&mesh, 2, "table");
        // Over stripes and chunks, up to the very end.
        for word in (4 << 17..bytes / 8).step_by(700 * PER_PAGE).chain([bytes / 8 - 1]) {
            let was = grown.words()[word].fetch_add(word as u64, SeqCst);
            assert_eq!(seen.words()[word].load(SeqCst), was + word as u64);
        }
        let len = std::fs::metadata(mesh.agents[1].dir.join("memory/region-default.table")).unwrap().len();
        assert_eq!(len, bytes as u64 + 4096);
    }
    before.words()[STOP].store(1, SeqCst);
    workers.into_iter().for_each(Worker::succeed);
    for (worker, rounds) in rounds(&before).into_iter().enumerate() {
        for page in 0..PAGES {
            assert_eq!(before.words()[page * PER_PAGE + worker].load(SeqCst), rounds);
        }
    }
}

/// A placement that does not say where its pages come from is not acted on.
#[test]
fn a_move_without_its_previous_homes_changes_nothing() {
    let mesh = Mesh::start(3, &[TABLE], Wires::Direct, 1);
    let region = attach(&mesh, 0, "table");
    region.words()[0].store(7, SeqCst);
    let wrong = Placed { epoch: 2, homes: vec![2, 1, 0], ..Placed::first(&TABLE, &[0, 1, 2]) };
    mesh.declare(&[&wrong]);
    let told = |node: usize| mesh.region(node, "table").unwrap();
    until("everybody to have been told", || (0..3).all(|node| told(node)["epoch"] == 2).then_some(()));
    for node in 0..3 {
        assert_eq!(told(node)["actsOn"], 1);
        assert_eq!(attach(&mesh, node, "table").words()[0].load(SeqCst), 7);
    }
}
