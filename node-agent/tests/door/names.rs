//! What a pod's socket lets in, and what its people are told of the rest.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use pagemesh_names::Remote;
use pagemesh_names::proto::directory_client::DirectoryClient;
use pagemesh_names::proto::{Query, Resolution, entry, listing, resolution};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::client::{Client, packet};
use crate::node::{ATTACHMENTS_MAX, Mesh, TABLES, knock};
use crate::program::Program;

/// The packet that asks whether a volume's regions can be attached.
const ASK: u16 = 13;
/// The packet that asks for a connection to the name server, and its answer.
const NAMES: u16 = 16;
const OK: u16 = 7;

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
        ("writer", "team/table", "far/x", "refused 2 name server 127.0.0.1:1 does not answer"),
        ("writer", "team/table", "/team/data/now", "refused 1 this pod's volume does not name region /team"),
    ] {
        let socket = node.volume(service_account, &[regions]);
        let said = Program::start(&socket).ask(&format!("attach {name}"));
        assert!(said.starts_with(answer), "{service_account} {name}: {said}");
    }
}

#[test]
fn a_pod_may_have_a_table_of_its_own() {
    let mesh = Mesh::start();
    let node = &mesh.nodes[1];
    let socket = node.volume_of_table("batch");
    assert_eq!(trouble(&socket), "", "it may start");
    for (name, answer) in [
        ("input", "attached"),
        ("data/now", "attached to read"),
        // Of the default table.
        ("data/fixed", "refused 1 this pod's volume does not name region data/fixed"),
        ("table", "refused 1 this pod's volume does not name region table"),
    ] {
        let said = Program::start(&socket).ask(&format!("attach {name}"));
        assert!(said.starts_with(answer), "{name}: {said}");
    }
    let missing = "there is no MountTable later in namespace team: add it, or name another";
    let socket = node.volume_of_table("later");
    assert_eq!(trouble(&socket), missing);
    assert_eq!(Program::start(&socket).ask("attach input"), format!("refused 1 {missing}"));
    mesh.declare("", &TABLES.replace("{name: batch,", "{name: later,"));
    assert_eq!(trouble(&socket), "");
    assert_eq!(Program::start(&socket).ask("attach input"), "attached");
}

#[test]
fn what_a_program_has_its_children_get_wherever_the_path_leads_now() {
    let mut mesh = Mesh::start();
    let volume = |mesh: &Mesh, id: &str| mesh.nodes[1].volume_called(id, "writer", &["other/weights"]);
    let (socket, other) = (volume(&mesh, "has"), volume(&mesh, "has-not"));
    let mut parent = Program::start(&socket);
    assert_eq!(parent.ask("attach data/now"), "attached");
    mesh.declare("", "");
    let ask = |socket: &Path, name: &str| Program::start(socket).ask(&format!("attach {name}"));
    assert!(
        ask(&socket, "data/now").starts_with("refused 1 this pod's volume"),
        "for later opens it is gone"
    );
    assert!(
        ask(&socket, "team/table").starts_with("refused 1 this pod's volume"),
        "who opens it by its name"
    );
    assert_eq!(ask(&socket, "team/table inherited"), "attached");
    assert_eq!(ask(&socket, "team/table inherited reads"), "attached to read");
    let reads = volume(&mesh, "reads");
    mesh.declare("", TABLES);
    assert_eq!(ask(&reads, "data/fixed"), "attached to read");
    assert_eq!(
        ask(&reads, "team/table inherited"),
        "attached to read",
        "no more than the program before had"
    );
    assert_eq!(ask(&reads, "data/now"), "attached");
    assert_eq!(ask(&reads, "team/table inherited"), "attached");
    for not_had in ["team/table inherited", "team/gone inherited", "table inherited"] {
        let answer = ask(&other, not_had);
        assert!(answer.starts_with("refused 1 this pod's volume"), "{not_had}: {answer}");
    }
    // What a table says of the region's own name does not matter either.
    mesh.declare("", &TABLES.replace("path: data/now, region: table}", "path: team/table, region: gone}"));
    assert_eq!(ask(&socket, "team/table inherited"), "attached");
    mesh.restart(1, "");
    mesh.declare("", "");
    assert_eq!(ask(&socket, "team/table inherited"), "attached", "an agent that was started again knows");
    assert_eq!(parent.ask("store 1 5"), "stored");
}

/// Why a volume's pod should not start yet, as its keeper is told.
fn trouble(socket: &Path) -> String {
    let client = Client::connect(socket);
    client.send(&packet(ASK, &[]), &[]);
    let (state, _) = client.receive().expect("it is answered");
    let length = usize::from(u16::from_le_bytes([state[12], state[13]]));
    String::from_utf8(state[16..16 + length].to_vec()).unwrap()
}

/// A connection to the name server by a pod's socket. It lives as long as the other one.
async fn directory(socket: &Path) -> (DirectoryClient<Channel>, Client) {
    let client = Client::connect(socket);
    client.send(&packet(NAMES, &[]), &[]);
    let (answer, mut descriptors) = client.receive().expect("it is answered");
    assert_eq!((&answer[..], descriptors.len()), (&packet(OK, &[])[..], 1));
    let stream = UnixStream::from(descriptors.remove(0));
    (DirectoryClient::new(Remote::over(stream).await.unwrap()), client)
}

fn ask(path: &str) -> Query {
    Query { path: path.into(), follow: true, ..Query::default() }
}

/// What a path stands for, in a word or a sentence.
fn said(resolution: Resolution) -> String {
    match resolution.end.unwrap() {
        resolution::End::Region(region) => {
            let read_only = if region.read_only { " ro" } else { "" };
            format!("{}/{} {}{read_only}", region.namespace, region.name, region.epoch)
        }
        resolution::End::Context(_) => "context".into(),
        resolution::End::Elsewhere(place) => format!("elsewhere: {place:?}"),
        resolution::End::Problem(problem) => problem.reason,
    }
}

#[test]
fn a_pod_asks_for_names_by_its_socket_and_is_shown_its_own() {
    let mut mesh = Mesh::start();
    mesh.allow("access: [{serviceAccount: writer}, {serviceAccount: reader, mode: ReadOnly}]");
    let forbidden =
        "service account team/stranger may not attach to region team/table: allow it in spec.access";
    let elsewhere = "a pod is not shown /other: it sees its own namespace, and the contexts in it";
    let only_own = "this pod looks up names in its own namespace, team, and table";
    let volume = |service_account: &str| mesh.nodes[1].volume(service_account, &["team/table"]);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let in_namespace = |namespace: &str, path| Query { namespace: namespace.into(), ..ask(path) };
        let not_named = "this pod's volume does not name region";
        for (socket, questions) in [
            (
                volume("writer"),
                &[
                    (ask("data/now"), "team/table 1"),
                    (ask("data/fixed"), "team/table 1 ro"),
                    (ask("data"), "context"),
                    (ask("/team/data"), "context"),
                    (in_namespace("team", "table"), "team/table 1"),
                    (ask("none"), not_named),
                    (ask("other/none"), not_named),
                    (ask("/other"), elsewhere),
                    (ask("/"), "a pod is not shown /: it sees its own namespace"),
                    (in_namespace("other", "x"), only_own),
                    (Query { table: "batch".into(), ..ask("input") }, only_own),
                ][..],
            ),
            (volume("reader"), &[(ask("data/now"), "team/table 1 ro")]),
            (volume("stranger"), &[(ask("data/now"), forbidden), (ask("table"), forbidden)]),
            (
                mesh.nodes[1].volume_of_table("batch"),
                &[
                    (ask("input"), "team/table 1"),
                    (ask("/team/input"), "team/table 1"),
                    (ask("data/fixed"), not_named),
                    (ask("table"), not_named),
                ],
            ),
            (
                mesh.nodes[1].volume_called("less", "writer", &["team/table:ro", "other/weights"]),
                &[
                    (ask("table"), "team/table 1 ro"),
                    (ask("data/now"), "team/table 1 ro"),
                    (ask("weights"), "region other/weights is not declared"),
                ],
            ),
        ] {
            let (mut names, _client) = directory(&socket).await;
            for (query, expected) in questions {
                let answer = said(names.resolve(query.clone()).await.unwrap().into_inner());
                assert!(answer.starts_with(expected), "{query:?} at {}: {answer}", socket.display());
            }
        }
        let (mut names, client) = directory(&volume("stranger")).await;
        let listing = names.list(ask("")).await.unwrap().into_inner();
        let Some(listing::End::Entries(entries)) = listing.end else { panic!("{listing:?}") };
        let shown: Vec<_> = entries.entries.iter().map(|entry| (entry.name.as_str(), &entry.what)).collect();
        let [("data", _), ("far", _), ("table", Some(entry::What::Dangling(problem)))] = &shown[..] else {
            panic!("{shown:?}")
        };
        assert!(problem.reason.starts_with(forbidden), "{problem:?}");
        // Who is let in by a change is told of it.
        let mut watch = names.watch(ask("table")).await.unwrap().into_inner();
        assert!(said(watch.message().await.unwrap().unwrap()).starts_with(forbidden));
        mesh.allow("access: [{serviceAccount: stranger}]");
        assert_eq!(said(watch.message().await.unwrap().unwrap()), "team/table 1");
        drop(client);
        assert!(watch.message().await.is_err(), "the first connection has ended");
    });
    let socket = volume("stranger");
    let (mut names, _client) = runtime.block_on(directory(&socket));
    let mut resolve = || runtime.block_on(names.resolve(ask("table")));
    assert_eq!(said(resolve().unwrap().into_inner()), "team/table 1");
    mesh.restart(1, "");
    assert!(resolve().is_err(), "the agent has ended");
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
