//! `pagemesh inject` as people call it. What becomes of which pod: `cli/src/inject/tests.rs`.

use std::io::Write;
use std::process::{Command, Output, Stdio};

const DEPLOYMENT: &str = "\
# The workers.
apiVersion: v1
kind: ConfigMap
metadata: {name: workers}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: workers}
spec:
  template:
    metadata:
      annotations: {pagemesh.io/attach: table}
    spec:
      containers: [{name: worker, image: worker}]
";

fn inject(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pagemesh"))
        .arg("inject")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // It may end before it has read all of it.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn standard_input_is_printed_attached() {
    let output = inject(&["-f", "-"], DEPLOYMENT);
    let (printed, said) = texts(&output);
    assert!(output.status.success() && said.is_empty(), "{said}");
    assert!(printed.starts_with(DEPLOYMENT.split("---").next().expect("a document")), "{printed}");
    assert!(printed.contains("pagemesh-keeper"), "{printed}");
    let (again, _) = texts(&inject(&["-f", "-"], &printed));
    assert_eq!(again, printed);
}

#[test]
fn files_are_printed_one_after_the_other() {
    let path = std::env::temp_dir().join(format!("pagemesh-inject-{}.yaml", std::process::id()));
    std::fs::write(&path, DEPLOYMENT).expect("a file");
    let name = path.to_str().expect("text");
    let output = inject(&["-f", name, "--filename", "-", "-o", "json", "--keeper-image", "a/b:c"], "kind: A");
    std::fs::remove_file(&path).expect("it is there");
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let kinds: Vec<_> = list["items"].as_array().expect("a list").iter().map(|item| &item["kind"]).collect();
    assert_eq!(kinds, ["ConfigMap", "Deployment", "A"]);
    assert_eq!(list["items"][1]["spec"]["template"]["spec"]["initContainers"][0]["image"], "a/b:c");
}

#[test]
fn an_error_prints_nothing_but_a_sentence() {
    for (arguments, input, saying) in [
        (
            &["-f", "-"][..],
            DEPLOYMENT.replace("attach: table", "attach: a b"),
            "standard input, document 2: Deployment workers: the annotation pagemesh.io/attach has \"a b\", which is not",
        ),
        (&["-f", "-"], "a: [".into(), "standard input, document 1: line 1 of it:"),
        (&["-f", "-"], "\u{0}".into(), "standard input, document 1"),
        (&["-f", "/no/such/file"], String::new(), "/no/such/file cannot be read"),
        (&["-f", "-", "-f", "-"], String::new(), "standard input can be read once"),
    ] {
        let output = inject(arguments, &input);
        let (printed, said) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{saying}: {said}");
        assert_eq!(printed, "", "{saying}");
        assert!(said.contains(saying), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn who_has_annotated_nothing_is_told() {
    let (printed, said) = texts(&inject(&["-f", "-"], "kind: Pod\n"));
    assert_eq!((printed.as_str(), said.lines().count()), ("kind: Pod\n", 1));
    assert!(said.contains("no pod has the annotation pagemesh.io/attach"), "{said}");
}
