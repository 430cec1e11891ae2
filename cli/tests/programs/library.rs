//! What the preload library asks of the program that it is loaded into, and what it puts in front of its C library: read from
//! the file itself, with binutils, which every C compiler comes with.

use std::collections::BTreeSet;
use std::process::Command;

use crate::mesh::binaries;

/// What it uses of the program's C library. All of it is in glibc and in musl, in every version, and never changed.
const USED: [&str; 11] = [
    "__errno_location",
    "abort",
    "bcmp",
    "dlsym",
    "getenv",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "strlen",
    "syscall",
];

/// What it puts in front of the program's C library. Anything else would take something from the program that is not meant.
const INTERPOSED: &str = "
    __fxstat __fxstat64 __fxstatat __fxstatat64 __lxstat __lxstat64 __open64_2 __open_2 __openat64_2
    __openat_2 __xstat __xstat64 access close close_range closefrom creat creat64 dup dup2 dup3 eaccess
    euidaccess faccessat fallocate fallocate64 fchmod fchown fcntl fcntl64 fstat fstat64 fstatat fstatat64
    ftruncate ftruncate64 lseek lseek64 lstat lstat64 madvise mmap mmap64 mprotect mremap munmap open
    open64 openat openat64 posix_fallocate posix_fallocate64 remove shm_open shm_unlink stat stat64 statx
    unlink unlinkat
";

fn readelf(arguments: &[&str]) -> String {
    let library = binaries().join("libpagemesh_preload.so");
    let output = Command::new("readelf").arg("--wide").args(arguments).arg(&library).output();
    let output = output.expect("readelf is installed: it is in the package binutils");
    assert!(output.status.success(), "readelf {arguments:?} {}", library.display());
    String::from_utf8(output.stdout).expect("names are ASCII")
}

/// Names in its dynamic symbol table: those that it needs, and those that it has.
fn symbols() -> (BTreeSet<String>, BTreeSet<String>) {
    let table = readelf(&["--dyn-syms"]);
    // Number, value, size, type, binding, visibility, section, name.
    let symbols = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let numbered = fields.first()?.strip_suffix(':')?.parse::<u32>().is_ok();
        (numbered && fields.len() == 8).then(|| (fields[6] == "UND", fields[7].to_owned()))
    });
    let (needed, had): (Vec<_>, Vec<_>) = symbols.partition(|(undefined, _)| *undefined);
    let names = |symbols: Vec<(bool, String)>| symbols.into_iter().map(|(_, name)| name).collect();
    (names(needed), names(had))
}

#[test]
fn it_needs_no_other_library() {
    let dynamic = readelf(&["--dynamic"]);
    assert!(!dynamic.contains("(NEEDED)"), "another library is loaded with it:\n{dynamic}");
    assert!(dynamic.contains("(INIT_ARRAY)"), "it does not start by itself:\n{dynamic}");
    assert!(
        !readelf(&["--segments"]).contains(" TLS "),
        "it has memory for each thread, which loaders give differently"
    );
}

#[test]
fn it_names_no_version() {
    let versions = readelf(&["--version-info"]);
    assert!(versions.contains("No version information"), "some loaders know no such version:\n{versions}");
}

#[test]
fn it_uses_what_every_c_library_has() {
    let (used, _) = symbols();
    let others: Vec<_> = used.iter().filter(|name| !USED.contains(&name.as_str())).collect();
    assert!(others.is_empty(), "not in every C library: {others:?}");
}

#[test]
fn it_exports_what_it_interposes() {
    let (_, exported) = symbols();
    let interposed: BTreeSet<String> = INTERPOSED.split_whitespace().map(str::to_owned).collect();
    assert_eq!(exported, interposed);
}
