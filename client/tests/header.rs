//! `include/pagemesh.h` and the C ABI have the same functions, and a C compiler accepts the header.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

const HEADER: &str = include_str!("../include/pagemesh.h");
const ABI: &str = include_str!("../src/c_abi.rs");

/// Names that `text` declares: each `pagemesh_...(` on a line that `is_declaration` accepts.
fn declared(text: &str, is_declaration: fn(&str) -> bool) -> BTreeSet<&str> {
    text.lines()
        .filter(|line| is_declaration(line))
        .filter_map(|line| line[line.find("pagemesh_")?..].split_once('(').map(|(head, _)| head))
        .filter_map(|head| head.rsplit([' ', '*']).next())
        .collect()
}

#[test]
fn the_header_and_the_library_have_the_same_functions() {
    let header = declared(HEADER, |line| line.ends_with(");") && !line.starts_with([' ', '/']));
    let library = declared(ABI, |line| line.starts_with("pub ") && line.contains("extern \"C\""));
    assert_eq!(header, library);
    assert_eq!(header.len(), 9);
}

#[test]
fn a_c_compiler_accepts_the_header_and_its_example() {
    let example: String = HEADER
        .lines()
        .skip_while(|line| !line.contains("#include <pagemesh.h>"))
        .skip(1)
        .map_while(|line| line.strip_prefix(" *"))
        .take_while(|line| line.is_empty() || line.starts_with("     "))
        .collect::<Vec<_>>()
        .join("\n");
    let program = format!(
        "#include <stdatomic.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <pagemesh.h>\n\
         int main(void) {{ {example}\nreturn 0; }}\n"
    );
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
    let mut compiler = Command::new("cc")
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-fsyntax-only",
            include,
            "-x",
            "c",
            "-",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a C compiler is installed as `cc`");
    compiler.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    assert!(compiler.wait().unwrap().success(), "{program}");
}
