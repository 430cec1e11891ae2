//! The examples of the README, word for word.

use std::fs;

use crate::mesh::{Mesh, NODES, binaries};

const README: &str = include_str!("../../../README.md");

/// The example in `language` that has `mark` in it.
fn example(language: &str, mark: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let mut found = README
        .split(&fence)
        .skip(1)
        .map(|rest| rest.split_once("```").expect("an example ends").0)
        .filter(|text| text.contains(mark));
    let text =
        found.next().unwrap_or_else(|| panic!("the README has an example in {language} with `{mark}`"));
    assert!(found.next().is_none(), "the README has one example in {language} with `{mark}`");
    text
}

/// The line of a shell example that has `mark` in it.
fn line(mark: &str) -> &'static str {
    example("sh", mark).lines().find(|line| line.contains(mark)).expect("a line of it has the mark")
}

/// Starts a mesh with the arguments of the README.
fn start(test: &str) -> Mesh {
    let words: Vec<&str> = line("pagemesh dev").split_whitespace().collect();
    Mesh::start_as(test, &words[2..])
}

#[test]
fn python() {
    let mesh = start("readme-python");
    for (name, mark) in [("writer.py", "# writer.py\n"), ("reader.py", "# reader.py,")] {
        fs::write(mesh.scratch.join(name), example("python", mark)).expect("a file");
    }
    // The writer goes on after the README's program, in order to show what that sees.
    let see = mesh.scratch.join("see.py");
    fs::write(&see, "exec(open('writer.py').read())\nprint('saw', squares[0])\n").expect("a file");
    let mut writer = mesh.shell(&line("writer.py").replace("writer.py", "see.py"));
    writer.says("press Enter");
    assert_eq!(mesh.shell(line("reader.py")).succeeds(), "328350\n");
    writer.hears("");
    let said = writer.succeeds();
    assert!(said.contains("saw 42\n"), "{said}");
    mesh.end();
}

#[test]
fn c() {
    let mesh = start("readme-c");
    fs::write(mesh.scratch.join("count.c"), example("c", "shm_open")).expect("a file");
    let said = mesh.shell(example("sh", "cc -o count")).succeeds();
    let mut counts: Vec<u64> = said.lines().map(|line| line.parse().expect("only numbers")).collect();
    counts.sort_unstable();
    assert_eq!((counts.len(), counts.last()), (NODES, Some(&30_000)), "{said}");
    mesh.end();
}

#[test]
fn rust() {
    let mesh = start("readme-rust");
    fs::write(mesh.scratch.join("words.rs"), example("rust", "Region::attach")).expect("a file");
    let library = binaries().join("libpagemesh.rlib");
    let dependencies = binaries().join("deps");
    // A program that aborts may use a library that does not; the other way round it may not.
    mesh.shell(&format!(
        "${{RUSTC:-rustc}} --edition 2024 -C panic=abort --extern 'pagemesh={}' -L 'dependency={}' words.rs",
        library.display(),
        dependencies.display()
    ))
    .succeeds();
    for node in 0..NODES {
        let count = format!("{}\n", node + 1);
        assert_eq!(mesh.run_linked(node, &["./words"]).succeeds(), count);
    }
    mesh.end();
}
