//! How an agent starts and ends.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::client::Client;
use crate::process::{Agent, NODE_0, Scratch, names, region};

#[test]
fn an_agent_says_where_it_is_and_leaves_nothing_behind() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut agent = Agent::start("ends");
        assert_eq!(agent.info()["pid"], agent.pid());
        assert_eq!(agent.info()["name"], "node-0");
        assert_eq!(agent.info()["id"], 0);
        assert_eq!(agent.info()["socket"], agent.socket().to_str().unwrap());
        // The door for a successor opens last.
        while !agent.run_dir().join("successor.sock").exists() {
            std::thread::yield_now();
        }
        assert_eq!(names(&agent.run_dir()), ["agent.json", "agent.sock", "names.sock", "successor.sock"]);
        assert_eq!(
            names(&agent.memory_dir()),
            ["region-default.table", "region-default.table.asides", "state"]
        );
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(agent.socket()), 0o600);
        assert_eq!(mode(agent.memory_dir().join("region-default.table")), 0o600);
        let len = std::fs::metadata(agent.memory_dir().join("region-default.table")).unwrap().len();
        assert_eq!(len, (1 << 20) + 4096);

        let client = Client::connect(&agent.socket());
        let _attached = client.attach();
        agent.signal(signal);
        assert!(agent.stop().success());
        assert_eq!(names(&agent.run_dir()), Vec::<String>::new());
        assert_eq!(names(&agent.memory_dir()), Vec::<String>::new());
        client.assert_closed();
    }
}

#[test]
fn pages_for_those_who_look_after_it() {
    let agent = Agent::start("pages");
    assert_eq!(agent.get("/healthz"), (200, "ok\n".into()));
    assert_eq!(agent.get("/readyz"), (200, "ok\n".into()));
    let (code, metrics) = agent.get("/metrics");
    assert_eq!(code, 200);
    assert!(metrics.contains("\npagemesh_attachments 0\n"), "{metrics}");
    assert_eq!(agent.get("/").0, 404);
    let status = agent.status();
    assert_eq!(status["name"], "node-0");
    let expected = serde_json::json!({
        "namespace": "default", "name": "table", "size": 1 << 20, "pageSize": 4096,
        "consistency": "Linearizable", "coherence": "WriteInvalidate", "epoch": 1, "homes": ["node-0"],
        "previous": [], "actsOn": 1, "settled": true, "ready": true, "reason": null, "pages": {"shared": 0, "exclusive": 0}, "attachments": 0,
    });
    assert_eq!(status["regions"][0], expected);

    let other = NODE_0.replace("node-0", "node-1").replace("id: 0", "id: 1");
    agent.scratch.object("node-1.yaml", &other);
    agent.await_log("Agent node-1 declared");
    let reason = loop {
        let (code, body) = agent.get("/readyz");
        if code == 503 {
            break body;
        }
    };
    assert_eq!(reason, "agent node-1 has no status.address yet\n");
    assert_eq!(agent.status()["peers"][0]["connected"], false);
}

#[test]
fn two_agents_do_not_share_directories() {
    let agent = Agent::start("shared");
    let output = agent.scratch.command(&[]).output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("belongs to an agent that is running"), "{text}");
    // The one that runs is not disturbed.
    Client::connect(&agent.socket()).attach();
}

#[test]
fn an_agent_that_was_killed_is_replaced() {
    let mut agent = Agent::start("killed");
    agent.signal(Signal::SIGKILL);
    assert!(!agent.stop().success());
    assert_eq!(names(&agent.run_dir()), ["agent.json", "agent.sock", "names.sock", "successor.sock"]);
    // What is of no region that it had open goes.
    std::fs::write(agent.memory_dir().join("region-default.old"), "x").unwrap();
    let scratch = std::mem::replace(&mut agent.scratch, Scratch::new("killed-unused"));
    let mut next = Agent::start_in(scratch, &[]);
    assert_eq!(names(&next.memory_dir()), ["region-default.table", "region-default.table.asides", "state"]);
    next.signal(Signal::SIGTERM);
    assert!(next.stop().success());
    assert_eq!(names(&next.run_dir()), Vec::<String>::new());
    assert_eq!(names(&next.memory_dir()), Vec::<String>::new());
}

#[test]
fn a_mistake_in_the_flags_is_one_sentence_that_says_what_to_do() {
    let scratch = Scratch::new("mistakes");
    scratch.object("table.yaml", &region("table", "size: 4Ki"));
    let long = "x".repeat(120);
    let long_dir = scratch.0.join(&long);
    for (flags, part) in [
        (["--dir", long_dir.to_str().unwrap()], "choose a shorter --dir"),
        (["--http", "192.0.2.1:1"], "choose another --http"),
        (["--listen", "192.0.2.1:1"], "--listen"),
        (["--dir", "/nonexistent/run"], "/nonexistent/run"),
    ] {
        let output = scratch.command(&flags).output().unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn preflight_passes_where_these_tests_run() {
    let agent = env!("CARGO_BIN_EXE_pagemesh-agent");
    let output = Command::new(agent).args(["preflight", "-o", "json"]).output().unwrap();
    assert!(output.status.success());
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(findings.as_array().unwrap().iter().all(|finding| finding["level"] != "fail"));
    let output = Command::new(agent).args(["preflight", "--memory-dir", "/proc"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("fail  --memory-dir"));
}
