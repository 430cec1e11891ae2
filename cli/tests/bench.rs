//! `pagemesh bench` on real meshes, as a user sees it. Small problems: what is checked is results, not times.
//!
//! Needs `pagemesh-agent`, `pagemesh-apps` and the preload library beside `pagemesh`: `cargo build --workspace` makes them.

mod place;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use place::Place;
use serde_json::Value;

/// Programs with their sizes and iterations.
const APPS: [(&str, &str, &str); 5] = [
    ("jacobi", "70", "5"),
    ("matrix", "40", "3"),
    ("tsp", "9", "2"),
    ("sort", "20000", "3"),
    ("index", "3000", "2000"),
];

fn bench(arguments: &[String]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagemesh"));
    command.env_remove("PAGEMESH_DIR").arg("bench").args(arguments);
    command.output().expect("pagemesh runs")
}

/// What a program finds that shares nothing.
fn alone(app: &str, size: &str, iterations: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_pagemesh")).with_file_name("pagemesh-apps");
    let output = Command::new(program).args([app, size, iterations, "alone"]).output().expect("it runs");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    said.lines().find_map(|line| line.strip_prefix("result ")).expect("a result").to_owned()
}

#[test]
fn programs_find_the_same_on_one_node_and_on_several() {
    let place = Place::directory("apps");
    let json = place.0.join("result.json");
    let mut arguments = vec!["apps".to_owned()];
    arguments.extend(APPS.map(|(app, size, iterations)| format!("{app}={size},{iterations}")));
    arguments.extend(["--rounds".into(), "2".into(), "--json".into(), json.to_str().expect("UTF-8").into()]);
    let output = bench(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let report: Value = serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    let measured = report["apps"].as_array().expect("a list");
    assert_eq!(measured.len(), APPS.len());
    for ((name, size, iterations), app) in APPS.into_iter().zip(measured) {
        assert_eq!(app["name"], name);
        assert_eq!(app["result"], alone(name, size, iterations), "{app}");
        let runs = app["runs"].as_array().expect("a list");
        let nodes: Vec<_> =
            runs.iter().map(|run| (run["nodes"].as_u64(), run["processes"].as_u64())).collect();
        let expected = [(1, 2), (2, 2), (1, 3), (3, 3)];
        assert_eq!(nodes, expected.map(|(nodes, processes)| (Some(nodes), Some(processes))), "{app}");
        // Without that they would have shared memory of this machine alone.
        let shared = |run: &Value| run["perIteration"]["messages"].as_f64().is_some_and(|count| count > 0.0);
        assert_eq!(runs.iter().map(shared).collect::<Vec<_>>(), [false, true, false, true], "{app}");
    }
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(table.lines().count(), 1 + 4 * APPS.len() + 1, "{table}");
}

#[test]
fn what_a_program_cannot_do_is_said() {
    let output = bench(&["apps".into(), "tsp=99".into()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`tsp=99,10` cannot be done: pagemesh-apps: SIZE must be from 4 to 20"), "{said}");
}
