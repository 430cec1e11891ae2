//! `pagemesh dev` and what works in it, with real agents: as a user sees it.
//!
//! Needs `pagemesh-agent` and the preload library beside `pagemesh`: `cargo build --workspace` makes them.

mod place;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use place::Place;

impl Place {
    fn pagemesh(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pagemesh"));
        command.env_remove("PAGEMESH_DIR").arg(subcommand).arg("--dir").arg(&self.0);
        command
    }

    fn dev(&self, arguments: &[&str]) -> Output {
        self.pagemesh("dev").args(arguments).output().expect("pagemesh runs")
    }

    /// Runs a shell script in a mesh of two nodes with a region.
    fn script(&self, script: &str) -> Output {
        self.dev(&["--nodes", "2", "--region", "t=1Mi", "--", "sh", "-c", script])
    }

    /// A mesh without CMD, once it says how it is to be stopped.
    fn serve(&self) -> Child {
        let mut dev = self
            .pagemesh("dev")
            .args(["--nodes", "2"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("pagemesh runs");
        let stdout = BufReader::new(dev.stdout.take().expect("piped"));
        let up = stdout.lines().map_while(Result::ok).any(|line| line.starts_with("stop "));
        assert!(up, "{:?}", dev.wait_with_output());
        dev
    }

    fn assert_gone(&self, memory: &str) {
        assert!(!self.0.exists(), "{} is still there", self.0.display());
        assert!(memory.starts_with("/dev/shm/pagemesh-"), "{memory}");
        assert!(!Path::new(memory).exists(), "{memory} is still there");
    }

    fn memory(&self) -> String {
        memory(&fs::read_to_string(self.0.join("mesh.json")).expect("a mesh"))
    }
}

fn memory(mesh_json: &str) -> String {
    let rest = mesh_json.split("\"memory\":\"").nth(1).expect("mesh.json tells the memory");
    rest.split('"').next().expect("a string").to_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn kill(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
}

#[test]
fn a_command_runs_in_the_mesh_and_nothing_stays() {
    let place = Place::new("command");
    let output = place.script("cat $PAGEMESH_DIR/mesh.json && pagemesh get nodes && exit 7");
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    let nodes = stdout(&output);
    assert_eq!(nodes.matches("Ready    1/1").count(), 2, "{nodes}");
    place.assert_gone(&memory(&nodes));
}

#[test]
fn how_a_command_fails_is_passed_on() {
    let place = Place::new("status");
    assert_eq!(place.script("kill -9 $$").status.code(), Some(137));
    // A real-time signal.
    assert_eq!(place.script("kill -34 $$").status.code(), Some(162));
    let not_found = place.dev(&["--nodes", "1", "--", "/no/such/program"]);
    assert_eq!(not_found.status.code(), Some(127));
    assert!(
        stderr(&not_found).contains("`/no/such/program` is not a program in PATH"),
        "{}",
        stderr(&not_found)
    );
    let not_started = place.dev(&["--nodes", "1", "--", "/dev/null"]);
    assert_eq!(not_started.status.code(), Some(126));
    let wrong = place.dev(&["--region", "t=5000", "--", "true"]);
    assert_eq!(wrong.status.code(), Some(125));
    assert!(!place.0.exists());
}

#[test]
fn regions_come_from_flags_and_files() {
    let place = Place::new("regions");
    let file = std::env::temp_dir().join(format!("pagemesh-test-{}-regions.yaml", std::process::id()));
    let text = "apiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {name: b, namespace: n}\n\
                spec: {size: 128Ki, pageSize: 64Ki}\nstatus: {placement: {epoch: 4, homes: [{agent: node-1}]}}\n";
    fs::write(&file, text).expect("a file");
    let file_name = file.to_str().expect("UTF-8");
    let arguments = ["--nodes", "2", "--region", "a=1Mi,coherence=WriteUpdate", "--file", file_name, "--"];
    let output = place.dev(&[&arguments[..], &["pagemesh", "get", "regions"]].concat());
    fs::remove_file(&file).expect("the file is there");
    let table = stdout(&output);
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let a = [
        "default",
        "a",
        "1Mi",
        "4Ki",
        "Linearizable",
        "WriteUpdate",
        "1",
        "node-0,node-1",
        "2/2",
        "0",
        "0",
        "0",
    ];
    let b =
        ["n", "b", "128Ki", "64Ki", "Linearizable", "WriteInvalidate", "4", "node-1", "2/2", "0", "0", "0"];
    assert_eq!(rows, [a, b], "{table}{}", stderr(&output));
}

#[test]
fn what_get_prints_can_be_read_by_programs() {
    let place = Place::new("json");
    let check = "import json, sys; print(len(json.load(sys.stdin)))";
    let output = place.script(&format!(
        "for what in nodes regions attachments; do pagemesh get $what -o json | python3 -c '{check}'; done; \
         pagemesh get stats -o json | python3 -c '{check}'; pagemesh get regions -o yaml | head -1"
    ));
    assert_eq!(stdout(&output), "2\n1\n0\n2\n- namespace: default\n", "{}", stderr(&output));
}

#[test]
fn a_program_is_attached_by_run() {
    let place = Place::new("run");
    let output = place.script(
        "LD_PRELOAD= pagemesh run --node 1 -- sh -c 'echo $PAGEMESH_SOCKET $LD_PRELOAD; exit 9'; echo $?; \
         pagemesh run --node 2 -- true; echo $?; pagemesh run --node 0 -- /no/such/program; echo $?",
    );
    let lines: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
    assert_eq!(lines[1..], ["9", "125", "127"], "{}", stderr(&output));
    let socket = place.0.join("node-1/agent.sock");
    assert!(lines[0].starts_with(socket.to_str().expect("UTF-8")), "{}", lines[0]);
    assert!(lines[0].ends_with("/libpagemesh_preload.so"), "{}", lines[0]);
    assert!(stderr(&output).contains("has no node 2, nodes 0 to 1"), "{}", stderr(&output));
}

#[test]
fn a_probe_verifies_that_two_nodes_share_a_region() {
    let place = Place::new("probe");
    let output = place.script(
        "pagemesh probe --region t --as writer --token x --node 0 > $PAGEMESH_DIR/node-0/writer & writer=$!
         pagemesh probe --region default/t --as reader --token x --node 1 && wait $writer && cat $PAGEMESH_DIR/node-0/writer",
    );
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        stdout(&output).matches("verified 254 pages in each direction").count(),
        2,
        "{}",
        stdout(&output)
    );
    // Whoever waits in vain is told for what.
    for (side, told) in [("writer", "no reader with this token"), ("reader", "no writer with this token")] {
        let probe = format!("pagemesh probe --region t --as {side} --token x --node 0 --timeout 1s");
        let output = place.script(&probe);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    }
    let unknown = place.script("pagemesh probe --region u --as reader --token x --node 0 --timeout 1s");
    assert!(stderr(&unknown).contains("it could not attach: the agent refuses"), "{}", stderr(&unknown));
}

#[test]
fn without_a_mesh_everybody_says_how_to_start_one() {
    let place = Place::new("none");
    for (subcommand, arguments, code) in
        [("run", &["--node", "0", "true"][..], 125), ("get", &["nodes"][..], 1)]
    {
        let output = place.pagemesh(subcommand).args(arguments).output().expect("pagemesh runs");
        assert_eq!(output.status.code(), Some(code));
        assert!(stderr(&output).contains("start one with `pagemesh dev`"), "{}", stderr(&output));
    }
}

#[test]
fn interrupting_it_leaves_nothing() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let place = Place::new(&format!("stop{signal}"));
        let dev = place.serve();
        let memory = place.memory();
        kill(&dev, signal);
        let output = dev.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        place.assert_gone(&memory);
    }
}

#[test]
fn a_signal_ends_the_command_as_well() {
    let place = Place::new("signal");
    let mut dev = place
        .pagemesh("dev")
        .args(["--nodes", "1", "--", "sh", "-c", "cat $PAGEMESH_DIR/mesh.json; echo; exec sleep 1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("pagemesh runs");
    let mut line = String::new();
    BufReader::new(dev.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    kill(&dev, "-TERM");
    assert_eq!(dev.wait().expect("it ends").code(), Some(143));
    place.assert_gone(&memory(&line));
}

/// As `nohup` does, or a parent that wants no news of its children.
#[test]
fn signals_that_our_parent_ignores_still_work() {
    let place = Place::new("ignored");
    let output = Command::new("sh")
        .args(["-c", "trap '' INT TERM HUP CHLD; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_pagemesh")])
        .args(["dev", "--nodes", "1", "--dir"])
        .arg(&place.0)
        .args(["--", "sh", "-c", "kill -TERM $$"])
        .output()
        .expect("sh runs");
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
}

#[test]
fn what_a_command_leaves_running_ends_as_well() {
    let place = Place::new("orphans");
    let output =
        place.script("sleep 1000 & echo $!; (trap '' TERM; exec sleep 1000) & echo $!; (sleep 1000 &)");
    let pids = stdout(&output);
    assert_eq!((output.status.code(), pids.lines().count()), (Some(0), 2), "{}", stderr(&output));
    for pid in pids.lines() {
        assert!(!Path::new("/proc").join(pid).exists(), "process {pid} still runs");
    }
}

#[test]
fn a_second_mesh_in_one_directory_is_refused() {
    let place = Place::new("second");
    let output = place
        .script("pagemesh dev -- true; echo $?; pagemesh dev; echo $?; pagemesh get nodes | grep -c Ready");
    assert_eq!(stdout(&output), "125\n1\n2\n", "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("already (pid ").count(), 2, "{}", stderr(&output));
}

#[test]
fn a_directory_with_other_files_is_refused() {
    let place = Place::new("foreign");
    fs::create_dir(&place.0).expect("a directory");
    fs::write(place.0.join("thesis.txt"), "x").expect("a file");
    let output = place.dev(&["--nodes", "1", "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("is not empty and not of a mesh"), "{}", stderr(&output));
    assert!(place.0.join("thesis.txt").exists());
}

#[test]
fn what_a_killed_mesh_left_is_cleared() {
    let place = Place::new("stale");
    let dev = place.serve();
    kill(&dev, "-KILL");
    assert_eq!(dev.wait_with_output().expect("it ends").status.code(), None);
    let dead = place.pagemesh("get").arg("nodes").output().expect("pagemesh runs");
    assert!(stderr(&dead).contains("is dead; start it anew"), "{}", stderr(&dead));
    let memory = place.memory();
    let again = place.script("pagemesh get nodes | grep -c Ready");
    assert_eq!(stdout(&again), "2\n", "{}", stderr(&again));
    place.assert_gone(&memory);
}

#[test]
fn an_agent_that_is_killed_is_started_again() {
    let place = Place::new("loss");
    // The number stays taken until `pagemesh dev` has taken note of the end.
    let output = place.script(
        "pid() { grep -o '\"pid\": *[0-9]*' $PAGEMESH_DIR/node-1/agent.json 2> /dev/null | grep -o '[0-9]*'; }; \
         was=$(pid); kill -9 $was; while kill -0 $was 2> /dev/null; do :; done; \
         until now=$(pid) && [ $now != $was ]; do :; done; \
         until ! pagemesh get nodes | grep -q -e Silent -e Alone; do :; done; pagemesh get regions > /dev/null; echo $?",
    );
    assert_eq!(stdout(&output), "0\n", "{}", stderr(&output));
    let said = "the agent of node 1 ended (signal 9) and is started again";
    assert!(stderr(&output).contains(said), "{}", stderr(&output));
    assert!(!place.0.exists());
}

#[test]
fn an_agent_that_cannot_start_is_quoted() {
    let place = Place::new("broken");
    // Under another path `pagemesh` finds another agent beside itself: one that knows none of its flags. Links, since a
    // file that this process has just written could not be executed while a test beside this one forks.
    let bin = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken-agent");
    let _ = fs::remove_dir_all(&bin);
    fs::create_dir_all(&bin).expect("a directory");
    fs::hard_link(env!("CARGO_BIN_EXE_pagemesh"), bin.join("pagemesh")).expect("a link");
    std::os::unix::fs::symlink("/bin/ls", bin.join("pagemesh-agent")).expect("a link");
    let output =
        Command::new(bin.join("pagemesh")).args(["dev", "--dir"]).arg(&place.0).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("ended at its start (exit code 2)") && said.contains("option '--name'"), "{said}");
    assert!(!place.0.exists());
}
