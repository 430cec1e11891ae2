//! `NO_PROXY`, as Go programs such as kubectl read it: hosts, domains, addresses and networks that need no proxy.

use std::env;
use std::net::IpAddr;

/// What the environment says.
pub(super) fn of_environment() -> String {
    env::var("NO_PROXY").or_else(|_| env::var("no_proxy")).unwrap_or_default()
}

/// Whether `host` is reached without a proxy. This machine always is.
pub(super) fn covers(no_proxy: &str, host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    no_proxy.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| match address {
        _ if entry.is_empty() => false,
        _ if entry == "*" => true,
        Some(address) => entry.parse() == Ok(address) || in_network(&entry, address).unwrap_or(false),
        None => {
            let domain = entry.trim_start_matches('*').trim_start_matches('.');
            host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        }
    })
}

/// Whether an address is in a network such as `10.0.0.0/8`; `None` if that is no network.
fn in_network(network: &str, address: IpAddr) -> Option<bool> {
    let (base, bits) = network.split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    let (base, address, width) = match (base.parse().ok()?, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            (u128::from(u32::from(base)), u128::from(u32::from(address)), 32)
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => (u128::from(base), u128::from(address), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return Some(false),
    };
    let ignored = u32::checked_sub(width, bits)?;
    // Shifting by the whole width, as `/0` of IPv6 asks for, leaves nothing to compare.
    Some((base ^ address).checked_shr(ignored).unwrap_or(0) == 0)
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn who_needs_no_proxy() {
        for (no_proxy, host) in [
            ("", "127.0.0.1"),
            ("", "localhost"),
            ("", "[::1]"),
            ("*", "example.org"),
            ("a.org, example.org", "example.org"),
            (".example.org", "api.example.org"),
            ("*.example.org", "api.Example.org"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3"),
            ("fd00::/8", "[fd12::1]"),
            ("::/0", "fd12::1"),
        ] {
            assert!(covers(no_proxy, host), "{no_proxy} covers {host}");
        }
        for (no_proxy, host) in [
            ("", "example.org"),
            (",,", "10.0.0.1"),
            ("example.org", "notexample.org"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/99", "10.0.0.1"),
            ("10.0.0.0/8", "fd00::1"),
            ("1.2.3", "10.1.2.3"),
        ] {
            assert!(!covers(no_proxy, host), "{no_proxy} does not cover {host}");
        }
    }
}
