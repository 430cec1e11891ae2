//! The CSI driver as the kubelet meets it: real gRPC over its socket, real mounts in a mount namespace of the test's own.

mod node;
mod registration;
mod sanity;
mod sockets;
mod volumes;
