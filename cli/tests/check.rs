//! `pagemesh check` of this machine.
//!
//! Needs `pagemesh-agent` beside `pagemesh`: `cargo build --workspace` makes it.

use std::process::Command;

use serde::Deserialize;

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Finding {
    level: String,
    check: String,
}

/// What it prints, and its exit status.
fn check(format: &str) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_pagemesh"))
        .args(["check", "--machine", "-o", format])
        .output()
        .expect("pagemesh runs");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

#[test]
fn every_format_says_the_same() {
    let (json, code) = check("json");
    let findings: Vec<Finding> = serde_json::from_str(&json).expect("JSON");
    assert!(findings.iter().any(|finding| finding.check == "/dev/userfaultfd"), "{findings:?}");
    assert_eq!(code == Some(0), findings.iter().all(|finding| finding.level != "fail"), "{findings:?}");

    let (yaml, code_of_yaml) = check("yaml");
    assert!(yaml.starts_with("- level: "), "{yaml}");
    let of_yaml: Vec<Finding> = serde_yaml::from_str(&yaml).expect("YAML");
    assert_eq!((of_yaml, code_of_yaml), (findings, code));

    let (table, code_of_table) = check("table");
    assert_eq!((table.lines().count(), code_of_table), (json.matches("\"level\"").count(), code), "{table}");
}
