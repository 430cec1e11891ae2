//! How the library is linked: with nothing. What it needs of a C library it leaves undefined and without a version, so
//! that any loader, glibc's or musl's, finds it in the one that the program has.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Neither the start files of the C library that this machine happens to have, nor any library of the compiler's.
    println!("cargo::rustc-cdylib-link-arg=-nostartfiles");
    println!("cargo::rustc-cdylib-link-arg=-nodefaultlibs");
}
