//! The agent as a name server, over the network and at its socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use pagemesh_names::Remote;
use pagemesh_names::proto::directory_client::DirectoryClient;
use pagemesh_names::proto::{self, Query, listing, problem::Kind, resolution};
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::transport::Channel;

use crate::client::Client as Program;
use crate::process::{Agent, NODE_0, Scratch, region};

fn table(namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: pagemesh.io/v1alpha1\nkind: MountTable\nmetadata: {{name: main, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

fn in_namespace(name: &str, namespace: &str) -> String {
    region(name, "size: 64Ki")
        .replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, namespace: {namespace}}}"))
}

/// An agent with region `default/table` and the MountTables that `tables` gives by their namespaces.
fn agent(test: &str, tables: &[(&str, &str)]) -> Agent {
    let scratch = Scratch::new(test);
    scratch.object("node-0.yaml", NODE_0);
    scratch.object("table.yaml", &region("table", "size: 64Ki"));
    for (namespace, spec) in tables {
        scratch.object(&format!("table-{namespace}.yaml"), &table(namespace, spec));
    }
    Agent::start_in(scratch, &[])
}

fn address(agent: &Agent) -> String {
    agent.info()["names"].as_str().unwrap().to_owned()
}

type Client = DirectoryClient<Channel>;

async fn connect(address: &str) -> Client {
    Remote::connect(address).await.unwrap_or_else(|problem| panic!("{problem}"))
}

fn ask(path: &str, follow: bool) -> Query {
    Query { namespace: "default".into(), path: path.into(), follow, ..Query::default() }
}

/// What a path stands for, in a word or two, and the generation of the answer.
fn said(resolution: proto::Resolution) -> (String, u64) {
    use resolution::End;
    let said = match resolution.end.unwrap() {
        End::Region(region) => {
            let read_only = if region.read_only { " ro" } else { "" };
            format!("{}/{} {}{read_only}", region.namespace, region.name, region.epoch)
        }
        End::Context(_) => "context".into(),
        End::Elsewhere(place) => format!("-> /{}/{} at {}", place.namespace, place.path, place.server),
        End::Problem(problem) => format!("{:?}", problem.kind()),
    };
    (said, resolution.version.unwrap().generation)
}

/// Waits until a path stands for this as far as the agent itself knows: what its log tells is about to come into force.
async fn await_name(agent: &Agent, path: &str, expected: &str) {
    let mut watch = connect(&address(agent)).await.watch(ask(path, false)).await.unwrap().into_inner();
    while said(watch.message().await.unwrap().unwrap()).0 != expected {}
}

async fn resolve(client: &mut Client, path: &str) -> String {
    said(client.resolve(ask(path, true)).await.unwrap().into_inner()).0
}

#[test]
fn names_are_answered_over_the_network_and_at_the_socket() {
    let agent = agent(
        "names-answered",
        &[(
            "default",
            "{default: true, mounts: [{path: a/b, region: table, readOnly: true}], contexts: [{path: other, namespace: other}]}",
        )],
    );
    agent.scratch.object("more.yaml", &in_namespace("more", "other"));
    let socket = agent.run_dir().join("names.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    Runtime::new().unwrap().block_on(async {
        await_name(&agent, "/other/more", "other/more 1").await;
        for address in [address(&agent), format!("unix:{}", socket.display())] {
            let mut client = connect(&address).await;
            for (path, expected) in [
                ("a/b", "default/table 1 ro"),
                ("table", "default/table 1"),
                ("/default/a/b", "default/table 1 ro"),
                ("other/more", "other/more 1"),
                ("a", "context"),
                ("/", "context"),
                ("missing", "NotFound"),
                ("a/b/c", "NotFound"),
                ("../etc/passwd", "BadPath"),
                ("a\0b", "BadPath"),
            ] {
                assert_eq!(resolve(&mut client, path).await, expected, "{path} at {address}");
            }
            let listing = client.list(ask("/default", true)).await.unwrap().into_inner();
            let Some(listing::End::Entries(entries)) = listing.end else { panic!("{listing:?}") };
            let names: Vec<&str> = entries.entries.iter().map(|entry| entry.name.as_str()).collect();
            assert_eq!(names, ["a", "other", "table"]);
            // Longer than any question.
            let status = client.resolve(ask(&"a/".repeat(100_000), true)).await.unwrap_err();
            assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
            // And one that is only longer than any path.
            assert_eq!(resolve(&mut client, &"a/".repeat(300)).await, "BadPath");
        }
    });
}

#[test]
fn who_watches_is_told_of_each_change() {
    let agent = agent("names-watched", &[]);
    Runtime::new().unwrap().block_on(async {
        let mut client = connect(&address(&agent)).await;
        let mut watch = client.watch(ask("now", false)).await.unwrap().into_inner();
        let (first, before) = said(watch.message().await.unwrap().unwrap());
        assert_eq!(first, "NotFound");
        agent
            .scratch
            .object("main.yaml", &table("default", "{default: true, mounts: [{path: now, region: table}]}"));
        let (second, after) = said(watch.message().await.unwrap().unwrap());
        assert_eq!(second, "default/table 1");
        assert!(after > before, "{after} after {before}");
        // What does not concern the path is no news.
        agent.scratch.object("more.yaml", &in_namespace("more", "default"));
        agent.await_log("Region default/more declared");
        agent
            .scratch
            .object("main.yaml", &table("default", "{default: true, mounts: [{path: now, region: more}]}"));
        assert_eq!(said(watch.message().await.unwrap().unwrap()).0, "default/more 1");
        agent.scratch.object("main.yaml", "apiVersion: pagemesh.io/v1alpha1\nkind: MountTable\n");
        agent.await_log("refused what is declared there");
        assert_eq!(resolve(&mut client, "now").await, "default/more 1", "what was last good stays in force");
        fs::remove_file(agent.scratch.0.join("objects/main.yaml")).unwrap();
        assert_eq!(said(watch.message().await.unwrap().unwrap()).0, "NotFound");
    });
}

#[test]
fn servers_are_followed_and_a_circle_of_them_is_noticed() {
    let far = agent(
        "names-far",
        &[("x", "{default: true, mounts: [{path: p/q, region: table, namespace: default}]}")],
    );
    let (far_at, nobody) = (address(&far), "127.0.0.1:1");
    let near = agent(
        "names-near",
        &[(
            "default",
            &format!(
                "{{default: true, contexts: [{{path: far, delegate: {{context: x, to: '{far_at}'}}}}, \
                 {{path: away, delegate: {{context: x, to: '{nobody}'}}}}]}}"
            ),
        )],
    );
    // A circle of both.
    let back = format!(
        "{{default: true, contexts: [{{path: far, delegate: {{context: default, to: '{}'}}}}]}}",
        address(&near)
    );
    far.scratch.object("table-y.yaml", &table("y", &back));
    let to_y =
        format!("{{default: true, contexts: [{{path: far, delegate: {{context: y, to: '{far_at}'}}}}]}}");
    Runtime::new().unwrap().block_on(async {
        let mut client = connect(&address(&near)).await;
        let resolution = client.resolve(ask("far/p/q", true)).await.unwrap().into_inner();
        let hops: Vec<_> = resolution.trace.iter().map(|hop| hop.to.clone().unwrap().server).collect();
        assert_eq!(hops, std::slice::from_ref(&far_at));
        assert_eq!(said(resolution).0, "default/table 1");
        // Who does not want it followed is told where.
        let unfollowed = client.resolve(ask("far/p/q", false)).await.unwrap().into_inner();
        assert_eq!(said(unfollowed).0, format!("-> /x/p/q at {far_at}"));
        let listing = client.list(ask("far/p", true)).await.unwrap().into_inner();
        let Some(listing::End::Entries(entries)) = listing.end else { panic!("{listing:?}") };
        assert_eq!(entries.entries.len(), 1, "{entries:?}");
        assert_eq!(resolve(&mut client, "away/p").await, "Unreachable");
        near.scratch.object("table-default.yaml", &table("default", &to_y));
        await_name(&near, "far", &format!("-> /y/ at {far_at}")).await;
        await_name(&far, "/y", "context").await;
        let circle =
            client.resolve(ask(&format!("{}r", "far/".repeat(12)), true)).await.unwrap().into_inner();
        let Some(resolution::End::Problem(problem)) = circle.end else { panic!("{circle:?}") };
        assert_eq!(problem.kind(), Kind::Loop, "{problem:?}");
        assert!(problem.reason.contains("lead in a circle"), "{problem:?}");
    });
}

/// One that takes connections and says nothing.
#[test]
fn a_server_that_is_silent_costs_a_bounded_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = format!(
        "{{default: true, contexts: [{{path: s, delegate: {{context: x, to: '{}'}}}}]}}",
        silent.local_addr().unwrap()
    );
    let agent = agent("names-silent", &[("default", &spec)]);
    Runtime::new().unwrap().block_on(async {
        let mut client = connect(&address(&agent)).await;
        let answer = tokio::time::timeout(Duration::from_secs(30), resolve(&mut client, "s/x"));
        assert_eq!(answer.await.expect("an answer in time"), "Unreachable");
        assert_eq!(resolve(&mut client, "table").await, "default/table 1");
    });
}

#[test]
fn what_a_server_has_said_holds_for_programs_while_it_is_away() {
    let spec = "{default: true, mounts: [{path: p/q, region: table, namespace: default}]}";
    let mut far = agent("names-hinted", &[("x", spec)]);
    let context = format!(
        "{{default: true, contexts: [{{path: far, delegate: {{context: x, to: '{}'}}}}]}}",
        address(&far)
    );
    let near = agent("names-hints", &[("default", &context)]);
    let ask = |path: &str| hello(&Program::connect(&near.socket()), path);
    assert_eq!(ask("far/p/q"), Ok(64 << 10));
    assert!(far.stop().success());
    assert_eq!(ask("far/p/q"), Ok(64 << 10));
    near.await_log("a program that opens /default/far/p/q gets what was said before");
    assert!(ask("far/p").unwrap_err().1.contains("does not answer"), "nobody has asked for it before");
    // A hint that turns out wrong is dropped.
    let declared = near.scratch.0.join("objects/table.yaml");
    let text = fs::read_to_string(&declared).unwrap();
    fs::remove_file(&declared).unwrap();
    await_answer(&near, |program| {
        hello(program, "far/p/q").err().filter(|(_, text)| text.contains("not one of this mesh"))
    });
    near.scratch.object("table.yaml", &text);
    await_answer(&near, |program| hello(program, "table").ok());
    assert!(ask("far/p/q").unwrap_err().1.contains("does not answer"), "the hint is kept");
}

#[test]
fn an_agent_that_ends_takes_its_socket_along() {
    let mut agent = agent("names-end", &[]);
    let socket = agent.run_dir().join("names.sock");
    assert!(socket.exists());
    assert!(agent.stop().success());
    assert!(!socket.exists());
}

/// Asks to be attached until the answer is this one: what the agent reads comes into force a moment later.
fn await_answer<T>(agent: &Agent, mut ask: impl FnMut(&Program) -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let program = Program::connect(&agent.socket());
        if let Some(answer) = ask(&program) {
            return answer;
        }
        assert!(Instant::now() < deadline, "the answer does not come");
        std::thread::yield_now();
    }
}

/// The size of the region that a program is welcomed to, or why it is refused.
fn hello(program: &Program, path: &str) -> Result<u64, (u32, String)> {
    program.send(&crate::client::hello(path), &[]);
    let (packet, _) = program.receive().expect("an answer");
    let number = |at: usize| u64::from_le_bytes(packet[at..at + 8].try_into().unwrap());
    if packet[6] == 2 {
        return Ok(number(8));
    }
    let (reason, len) = (number(8) as u32, (number(8) >> 32) as usize);
    Err((reason, String::from_utf8_lossy(&packet[16..16 + len]).into_owned()))
}

#[test]
fn a_mount_that_changes_moves_later_opens_only() {
    let agent =
        agent("names-moved", &[("default", "{default: true, mounts: [{path: data/now, region: table}]}")]);
    let before = Program::connect(&agent.socket());
    assert_eq!(before.hello("data/now").size, 64 << 10);
    agent.scratch.object("more.yaml", &region("more", "size: 128Ki"));
    let mounts = |now: &str| {
        format!(
            "{{default: true, mounts: [{{path: data/now, region: more{now}}}, {{path: data/gone, region: gone}}]}}"
        )
    };
    agent.scratch.object("table-default.yaml", &table("default", &mounts("")));
    await_answer(&agent, |program| hello(program, "data/now").ok().filter(|size| *size == 128 << 10));
    let attachments = agent.status()["attachments"].clone();
    assert!(attachments.to_string().contains("default/table"), "{attachments}");
    for (path, why) in [
        ("data/gone", "which is not declared"),
        ("data", "is a context"),
        ("data/now/x", "nothing is below a region"),
    ] {
        let (reason, text) = hello(&Program::connect(&agent.socket()), path).unwrap_err();
        assert_eq!(reason, 1, "{text}");
        assert!(text.contains(why), "{path}: {text}");
    }
    // One that a program of an early version cannot map as it must be.
    agent.scratch.object("table-default.yaml", &table("default", &mounts(", readOnly: true")));
    let (reason, text) = await_answer(&agent, |program| hello(program, "data/now").err());
    assert_eq!(reason, 7, "{text}");
    drop(before);
}
