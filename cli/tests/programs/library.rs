//! What the preload library asks of the program that it is loaded into, and what it puts in front of its C library: read from
//! the file itself, with binutils, which every C compiler comes with.

use std::collections::BTreeSet;
use std::process::Command;

use crate::mesh::binaries;

/// What it uses of the program's C library. All of it is in `libc.so.6` of glibc and in musl, in every version, and never
/// changed.
const USED: [&str; 10] = [
    "__errno_location",
    "abort",
    "bcmp",
    "getenv",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "strlen",
    "syscall",
];

/// What it can do without: glibc alone has the first, only musl lets libraries find the last, and before 2.34 glibc has `dlsym`
/// in a library that not every program loads. A program does not start that lacks what is not weak.
const WEAK: [&str; 3] = ["__register_atfork", "dlsym", "pthread_atfork"];

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

/// Names in its dynamic symbol table.
struct Symbols {
    needed: BTreeSet<String>,
    weak: BTreeSet<String>,
    exported: BTreeSet<String>,
}

fn symbols() -> Symbols {
    let (mut needed, mut weak, mut exported) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for line in readelf(&["--dyn-syms"]).lines() {
        // Number, value, size, type, binding, visibility, section, name.
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [number, _, _, _, binding, _, section, name] = fields[..] else { continue };
        let Some(Ok(_)) = number.strip_suffix(':').map(str::parse::<u32>) else { continue };
        match (section, binding) {
            ("UND", "WEAK") => &mut weak,
            ("UND", _) => &mut needed,
            _ => &mut exported,
        }
        .insert(name.to_owned());
    }
    Symbols { needed, weak, exported }
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
    let Symbols { needed, weak, .. } = symbols();
    let others: Vec<_> = needed.iter().filter(|name| !USED.contains(&name.as_str())).collect();
    assert!(others.is_empty(), "not in every C library: {others:?}");
    assert_eq!(weak, WEAK.map(str::to_owned).into());
}

#[test]
fn it_exports_what_it_interposes() {
    let interposed: BTreeSet<String> = INTERPOSED.split_whitespace().map(str::to_owned).collect();
    assert_eq!(symbols().exported, interposed);
}
