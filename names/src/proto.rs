//! `pagemesh.v1.Directory` as Rust: made of `proto/` by the build.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::wildcard_enum_match_arm,
    reason = "made by a program"
)]

tonic::include_proto!("pagemesh.v1");
