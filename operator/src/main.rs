//! `pagemesh-operator`.
fn main() {}
