//! Addresses to listen on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What to try to listen on for an address, in this order: `[::]` takes IPv4 as well and is all IPv4 where the kernel has
/// no IPv6.
#[must_use]
pub fn candidates(address: SocketAddr) -> Vec<SocketAddr> {
    let mut all = vec![address];
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        all.push(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()));
    }
    all
}
