//! Agents that leave and come back, and regions that are deleted and made again.

mod mesh;

use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use mesh::objects::Placed;
use mesh::{Mesh, RegionSpec, Wires, http, until};
use pagemesh::Region;

const TABLE: RegionSpec = RegionSpec { name: "table", size: "1Mi", coherence: "WriteInvalidate" };
const PAGES: usize = 256;
const PER_PAGE: usize = 512;

fn attach(mesh: &Mesh, node: usize) -> Region {
    // An agent hears of what is declared some time after the others.
    let attach = || Region::attach_to(Path::new(&mesh.socket(node)), "table").ok();
    until(&format!("the region to be ready at node {node}"), attach)
}

fn write(mesh: &Mesh, node: usize, value: u64) {
    let region = attach(mesh, node);
    (0..PAGES).for_each(|page| region.words()[page * PER_PAGE].store(value + page as u64, SeqCst));
}

fn check(mesh: &Mesh, node: usize, value: u64) {
    let region = attach(mesh, node);
    for page in 0..PAGES {
        let word = region.words()[page * PER_PAGE].load(SeqCst);
        assert_eq!(word, value + page as u64, "page {page} at node {node}");
    }
}

fn has_file(mesh: &Mesh, node: usize) -> bool {
    mesh.agents[node].dir.join("memory/region-default.table").exists()
}

/// Every page was last written on the node that goes, and is the home's when it has gone. The next life of that node's
/// agent is another agent to its peers, and they let it in, since nothing refers to the one before.
#[test]
fn an_agent_that_has_left_everything_comes_back_in_another_life() {
    let mut mesh = Mesh::start(3, &[], Wires::Direct, 2);
    let placed = Placed::first(&TABLE, &[0, 1]);
    mesh.declare(&[&placed]);
    mesh.await_settled(&[0, 1], &placed);
    write(&mesh, 0, 0);
    for life in 1..=3 {
        check(&mesh, 2, 1000 * (life - 1));
        write(&mesh, 2, 1000 * life);
        mesh.agents[2].stop();
        // Nobody waits for what it had.
        check(&mesh, 0, 1000 * life);
        mesh.restart(2);
        mesh.declare(&[&placed]);
        mesh.await_ready();
    }
    check(&mesh, 2, 3000);
}

/// A home gives its part of the directory away, goes, comes back as nobody's home, and is made one again.
#[test]
fn a_home_that_has_handed_over_comes_back() {
    let mut mesh = Mesh::start(3, &[TABLE], Wires::Direct, 2);
    let first = Placed::first(&TABLE, &[0, 1, 2]);
    write(&mesh, 2, 500);
    let without = first.moved(&[0, 1, 0]);
    mesh.declare(&[&without]);
    mesh.await_settled(&[0, 1, 2], &without);
    mesh.declare(&[&without.done()]);
    let told = |previous: serde_json::Value| (previous == serde_json::json!([])).then_some(());
    until("the agent to hear that all has moved", || told(mesh.region(2, "table")?["previous"].clone()));
    mesh.agents[2].stop();
    check(&mesh, 1, 500);
    mesh.restart(2);
    mesh.declare(&[&without.done()]);
    mesh.await_ready();
    write(&mesh, 2, 600);
    let again = without.moved(&[2, 1, 0]);
    mesh.declare(&[&again]);
    mesh.await_settled(&[0, 1, 2], &again);
    for node in 0..3 {
        check(&mesh, node, 600);
        write(&mesh, node, 600);
    }
}

/// One of the same name is another region: it begins with zeros.
#[test]
fn a_region_is_deleted_and_made_again() {
    let mesh = Mesh::start(3, &[], Wires::Direct, 2);
    let region = |uid| Placed { uid: Some(uid), ..Placed::first(&TABLE, &[0, 1, 2]) };
    for (turn, uid) in ["first", "second", "third"].into_iter().enumerate() {
        mesh.declare(&[&region(uid)]);
        mesh.await_settled(&[0, 1, 2], &region(uid));
        let attached: Vec<Region> = (0..3).map(|node| attach(&mesh, node)).collect();
        for page in 0..PAGES {
            assert_eq!(
                attached[page % 3].words()[page * PER_PAGE].load(SeqCst),
                0,
                "turn {turn}, page {page}"
            );
        }
        let value = 100 * (turn as u64 + 1);
        write(&mesh, turn, value);
        check(&mesh, (turn + 1) % 3, value);
        // With three programs still attached; their attachments end.
        mesh.declare(&[]);
        for node in 0..3 {
            until("the region to be gone", || {
                let memory = mesh.agents[node].dir.join("memory");
                let files = std::fs::read_dir(memory).expect("the memory directory").flatten();
                let regions = files.filter(|file| file.file_name().to_string_lossy().starts_with("region-"));
                (regions.count() == 0 && mesh.metric(node, "pagemesh_attachments") == 0.0).then_some(())
            });
            let refused = Region::attach_to(Path::new(&mesh.socket(node)), "table").unwrap_err();
            assert!(refused.to_string().contains("is not declared"), "{refused}");
        }
    }
}

/// An agent whose machine went down has lost what it had. Its next life is kept out as long as a directory refers to the one
/// before, and let in when the region is deleted.
#[test]
fn an_agent_that_has_lost_its_memory_is_let_in_when_nothing_refers_to_it() {
    let mut mesh = Mesh::start(3, &[], Wires::Direct, 1);
    let placed = Placed { uid: Some("u"), ..Placed::first(&TABLE, &[0, 1]) };
    mesh.declare(&[&placed]);
    mesh.await_settled(&[0, 1], &placed);
    let reader = attach(&mesh, 2);
    // Of both homes' pages.
    (0..PAGES).for_each(|page| assert_eq!(reader.words()[page * PER_PAGE].load(SeqCst), 0));
    mesh.agents[2].kill();
    std::fs::remove_dir_all(mesh.agents[2].dir.join("memory")).expect("its memory can be taken away");
    mesh.restart(2);
    mesh.declare(&[&placed]);
    let log = mesh.agents[2].dir.join("log");
    until("the agent to be kept out", || {
        let log = std::fs::read_to_string(&log).ok()?;
        log.contains("something here still refers to what it had").then_some(())
    });
    for node in [0, 1] {
        let (code, why) = http::get(mesh.agents[node].http, "/readyz").expect("the agent answers");
        assert_eq!((code, why.as_str()), (503, "agent node-2 is not connected\n"), "node {node}");
    }
    mesh.declare(&[]);
    mesh.await_ready();
    drop(reader);
}

/// A region that nobody uses on a node takes no memory there after a while, and can be used again at any time.
#[test]
fn a_region_that_nobody_uses_is_left() {
    let mesh = Mesh::start(3, &[], Wires::Direct, 2);
    let placed = Placed::first(&TABLE, &[0, 1]);
    mesh.declare(&[&placed]);
    mesh.await_settled(&[0, 1], &placed);
    write(&mesh, 2, 70);
    assert!(has_file(&mesh, 2));
    until("the region to be closed", || (!has_file(&mesh, 2)).then_some(()));
    assert!(has_file(&mesh, 0) && has_file(&mesh, 1), "homes keep it");
    assert_eq!(mesh.metric(2, "pagemesh_pages"), 0.0);
    check(&mesh, 0, 70);
    check(&mesh, 2, 70);
}
