//! The same programs with musl for a C library, and musl's loader to load ours: it is the one file that glibc's loads, too.

use crate::mesh::Compiler;
use crate::{local_of, unmodified_of};

fn unmodified(name: &str) {
    unmodified_of(Compiler::Musl, name);
}

#[test]
fn descriptors() {
    unmodified("descriptors");
}

#[test]
fn exclusive() {
    unmodified("exclusive");
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
fn local() {
    local_of(Compiler::Musl);
}

#[test]
fn paths() {
    unmodified("paths");
}

#[test]
fn sizes() {
    unmodified("sizes");
}

#[test]
fn threads() {
    unmodified("threads");
}

#[test]
fn unmaps() {
    unmodified("unmaps");
}
