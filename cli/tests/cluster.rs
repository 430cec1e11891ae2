//! What the subcommands for a cluster say when there is none. What they say of one is the end-to-end tests' matter.

mod place;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};

use place::Place;

impl Place {
    /// A kubeconfig for an API server at which nobody listens.
    fn kubeconfig(&self) -> PathBuf {
        let free =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let path = self.0.join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
             contexts: [{{name: here, context: {{cluster: one, user: me}}}}]\n\
             clusters: [{{name: one, cluster: {{server: 'https://{free}'}}}}]\n\
             users: [{{name: me, user: {{token: s3cr3t}}}}]\n"
        );
        fs::write(&path, text).expect("written");
        path
    }
}

fn pagemesh(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagemesh"));
    command.env_remove("KUBECONFIG").env_remove("HTTPS_PROXY").env_remove("https_proxy").args(arguments);
    command
}

/// Fails with one sentence.
fn complaint(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(output.stdout.is_empty(), "nothing is shown");
    assert!(stderr.starts_with("pagemesh: ") && stderr.lines().count() == 1, "{stderr}");
    assert!(!stderr.contains("s3cr3t"), "{stderr}");
    stderr
}

#[test]
fn a_cluster_that_is_not_there() {
    let place = Place::directory("unreachable");
    let kubeconfig = place.kubeconfig();
    let bundle = place.0.join("report.tar.gz");
    let report = ["report", "-o", bundle.to_str().expect("a path")];
    for arguments in
        [&["status"][..], &["status", "table"], &["check", "--cluster"], &["logs", "table"], &report]
    {
        let output = pagemesh(arguments).env("KUBECONFIG", &kubeconfig).output().expect("pagemesh runs");
        let said = complaint(&output);
        assert!(said.contains("cannot be reached") && said.contains("--context"), "{said}");
    }
    assert!(!bundle.exists(), "half a bundle is left");
}

#[test]
fn a_kubeconfig_that_is_not_there() {
    let place = Place::directory("kubeconfig");
    let missing = place.0.join("missing");
    let output = pagemesh(&["status", "--kubeconfig"]).arg(&missing).output().expect("pagemesh runs");
    assert!(complaint(&output).contains("name one with --kubeconfig"));
    let kubeconfig = place.kubeconfig();
    let other = ["status", "--context", "there", "--kubeconfig"];
    let output = pagemesh(&other).arg(&kubeconfig).output().expect("pagemesh runs");
    assert!(complaint(&output).contains("no context `there`"));
}

#[test]
fn a_bundle_takes_no_other_files_place() {
    let place = Place::directory("bundle");
    let kubeconfig = place.kubeconfig();
    let output = pagemesh(&["report", "-o"]).arg(&kubeconfig).arg("--kubeconfig").arg(&kubeconfig).output();
    assert!(complaint(&output.expect("pagemesh runs")).contains("name another file"));
    assert!(kubeconfig.exists());
}

#[test]
fn as_a_plug_in_of_kubectl() {
    let place = Place::directory("plugin");
    let plugin = place.0.join("kubectl-pagemesh");
    symlink(env!("CARGO_BIN_EXE_pagemesh"), &plugin).expect("a link");
    let help = Command::new(&plugin).args(["status", "--help"]).output().expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(
        help.contains("Usage: kubectl pagemesh status") && help.contains("  kubectl pagemesh status -A"),
        "{help}"
    );
    // `check` is of the cluster then.
    let check = Command::new(&plugin).arg("check").env("KUBECONFIG", place.kubeconfig()).output();
    assert!(complaint(&check.expect("it runs")).contains("cannot be reached"));
}

#[test]
fn the_definitions_are_those_of_the_types() {
    let output = pagemesh(&["crd"]).output().expect("pagemesh runs");
    let yaml = String::from_utf8_lossy(&output.stdout).into_owned();
    for kind in ["AgentPool", "Agent", "RegionClass", "Region", "MountTable"] {
        assert!(yaml.contains(&format!("    kind: {kind}\n")), "{kind}");
    }
}
