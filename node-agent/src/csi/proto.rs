//! What the kubelet and the driver say to each other: made of `proto/` by the build.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::wildcard_enum_match_arm,
    reason = "made by a program"
)]

/// The Container Storage Interface, of which the Identity and Node services are used.
pub mod csi {
    tonic::include_proto!("csi.v1");
}

/// By which the kubelet gets to know drivers.
pub mod pluginregistration {
    tonic::include_proto!("pluginregistration");
}
