//! What a pod's socket lets in, and what its people are told of the rest.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::client::{Client, packet};
use crate::node::{ATTACHMENTS_MAX, Mesh, knock};
use crate::program::Program;

#[test]
fn what_is_refused_is_said_to_the_program_and_to_the_pods_people() {
    let mut mesh = Mesh::start();
    mesh.allow("access: [{serviceAccount: writer}, {serviceAccount: reader, mode: ReadOnly}]");
    let node = &mut mesh.nodes[1];
    let regions = ["team/table", "other/weights"];
    // Every name that a program opens in /dev/shm is asked for, and most mean nothing: no Event comes before those below.
    let ordinary = Program::start(&node.volume("writer", &regions)).ask("attach default/table");
    assert!(
        ordinary.starts_with("refused 1 this pod's volume does not name region default/table"),
        "{ordinary}"
    );
    for (service_account, name, refused, event) in [
        ("stranger", "table", "refused 7 service account team/stranger may not attach", "AttachForbidden"),
        ("writer", "weights", "refused 1 region other/weights is not declared", "RegionUnknown"),
        (
            "reader",
            "table old",
            "refused 7 region team/table is to be read only by this pod",
            "AttachForbidden",
        ),
    ] {
        let socket = node.volume(service_account, &regions);
        let answer = Program::start(&socket).ask(&format!("attach {name}"));
        assert!(answer.starts_with(refused), "{answer}");
        let told = node.event();
        assert_eq!(told.reason, event);
        assert_eq!(told.pod.name, format!("{service_account}-0"));
        assert!(answer.ends_with(&told.note), "{answer} and {}", told.note);
    }
    for (service_account, name, answer) in [
        ("writer", "table", "attached"),
        ("writer", "team/table", "attached"),
        ("reader", "table", "attached to read"),
    ] {
        let socket = node.volume(service_account, &regions);
        let mut program = Program::start(&socket);
        assert_eq!(program.ask(&format!("attach {name}")), answer);
        let (_, attached) = node.control().attachments().pop().unwrap();
        assert_eq!(attached.by_volume.unwrap().pod.service_account, service_account);
        assert_eq!(attached.pod, Some(format!("uid-of-{service_account}")));
    }
    let socket = node.volume("writer", &["team/table:ro"]);
    assert_eq!(
        Program::start(&socket).ask("attach table"),
        "attached to read",
        "it asks for less than it may"
    );
}

#[test]
fn paths_that_a_mount_table_binds_lead_to_its_regions() {
    let mut mesh = Mesh::start();
    mesh.allow("access: [{serviceAccount: writer}, {serviceAccount: reader, mode: ReadOnly}]");
    let node = &mut mesh.nodes[1];
    for (service_account, regions, name, answer) in [
        ("writer", "other/weights", "data/now", "attached"),
        ("writer", "other/weights", "data/fixed", "attached to read"),
        ("writer", "team/table:ro", "data/now", "attached to read"),
        ("reader", "other/weights", "data/now", "attached to read"),
        ("stranger", "team/table", "data/now", "refused 7 service account team/stranger may not attach"),
        (
            "writer",
            "team/table",
            "data/gone",
            "refused 1 data/gone is mounted on region team/gone, which is not",
        ),
        ("writer", "team/table", "data/none", "refused 1 this pod's volume does not name region data/none"),
        ("writer", "team/table", "data", "refused 1 `data` is a context, and no region"),
        ("writer", "team/table", "far/x", "refused 1 name server 127.0.0.1:1 does not answer"),
        ("writer", "team/table", "/team/data/now", "refused 1 this pod's volume does not name region /team"),
    ] {
        let socket = node.volume(service_account, &[regions]);
        let said = Program::start(&socket).ask(&format!("attach {name}"));
        assert!(said.starts_with(answer), "{service_account} {name}: {said}");
    }
}

#[test]
fn a_volume_that_is_gone_takes_its_programs_connections() {
    let mesh = Mesh::start();
    let node = &mesh.nodes[0];
    let (gone, stays) = (node.volume("gone", &["team/table"]), node.volume("stays", &["team/table"]));
    let (mut of_gone, mut of_stays) = (Program::attached(&gone), Program::attached(&stays));
    assert_eq!(of_gone.ask("store 1 5"), "stored");
    node.remove_volume("gone");
    assert_eq!(of_gone.ask("closed"), "closed");
    let deadline = Instant::now() + Duration::from_secs(20);
    while knock(&gone) != Err(Errno::ECONNREFUSED) {
        assert!(Instant::now() < deadline, "the socket is still served");
        std::thread::yield_now();
    }
    // What it has it keeps, and what it may write is taken from it as ever.
    assert_eq!(of_stays.ask("load 1"), "5");
    assert_eq!(Program::attached(&stays).ask("load 1"), "5");
    let mut other = Program::attached(&mesh.nodes[1].volume("other", &["team/table"]));
    assert_eq!(other.ask("store 1 6"), "stored");
    assert_eq!(of_stays.ask("load 1"), "6");
}

#[test]
fn a_pod_has_its_share_of_attachments_however_many_volumes_it_has() {
    const ASK: u16 = 13;
    const TOO_MANY: u32 = 4;
    let mesh = Mesh::start();
    let node = &mesh.nodes[0];
    let volume = |id, service_account| node.volume_called(id, service_account, &["team/table"]);
    let sockets = ["one", "two"].map(|id| volume(id, "pod"));
    // Who has not said yet what it wants takes a place as well.
    let served = |socket: &Path| {
        let client = Client::connect(socket);
        client.send(&packet(ASK, &[]), &[]);
        client.receive().expect("it is answered");
        client
    };
    let share = ATTACHMENTS_MAX / 4;
    let _clients: Vec<_> = (0..share).map(|at| served(&sockets[at % 2])).collect();
    for socket in sockets.into_iter().chain([volume("three", "pod")]) {
        let (reason, text) = Client::connect(&socket).answer().unwrap_err();
        assert_eq!(reason, TOO_MANY);
        assert!(text.starts_with(&format!("this pod has {share} attachments already")), "{text}");
    }
    served(&volume("other", "other"));
}
