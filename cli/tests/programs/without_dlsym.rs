//! The same programs where nobody has `dlsym`: before glibc 2.34 it is in a library of its own, which most programs do not load.

use std::ffi::OsString;
use std::fs;

use crate::mesh::{Mesh, NODES, binaries};
use crate::{all_succeed, everywhere, start, words};

/// The environment of a program with the library that looks for a `dlsym` that is nowhere: one of another name.
fn preloading(mesh: &Mesh) -> OsString {
    let mut library = fs::read(binaries().join("libpagemesh_preload.so")).expect("it is built");
    let name = b"\0dlsym\0";
    let places: Vec<usize> = (0..library.len() - name.len())
        .filter(|place| library[*place..].starts_with(name))
        .map(|place| place + 1)
        .collect();
    assert!(!places.is_empty(), "it does not look for dlsym at all: this test is of no use any more");
    places.iter().for_each(|place| library[*place] = b'x');
    let file = mesh.scratch.join("libpagemesh_preload.so");
    fs::write(&file, library).expect("a file");
    let mut variable = OsString::from("LD_PRELOAD=");
    variable.push(file);
    variable
}

fn unmodified(name: &str) {
    let mesh = start(&format!("{name}-without-dlsym"));
    let preloading = preloading(&mesh);
    let program = mesh.compile(&format!("programs/{name}.c"), &[]);
    everywhere(&mesh, |node, region| mesh.run(node, &words([&"env", &preloading, &program, &region])));
    mesh.end();
}

#[test]
fn descriptors() {
    unmodified("descriptors");
}

#[test]
fn execs() {
    unmodified("execs");
}

#[test]
fn forks() {
    unmodified("forks");
}

#[test]
fn paths() {
    unmodified("paths");
}

#[test]
fn local() {
    let mesh = Mesh::start("local-without-dlsym", &[]);
    let preloading = preloading(&mesh);
    let program = mesh.compile("programs/local.c", &[]);
    let command = words([&"env", &preloading, &program, &"uncancelled"]);
    all_succeed((0..NODES).map(|node| mesh.run(node, &command)).collect());
    let without = words([&"env", &"-u", &"PAGEMESH_SOCKET", &preloading, &program, &"uncancelled"]);
    mesh.run(0, &without).succeeds();
    mesh.end();
}
