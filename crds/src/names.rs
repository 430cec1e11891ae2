//! The shapes of names.

use crate::{ADDRESS_BYTES_MAX, PATH_BYTES_MAX, rules};

/// Longest name of an AgentPool: a DNS label without `pagemesh-agent-`.
const POOL_NAME_BYTES_MAX: usize = 48;
/// Longest DNS label.
const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS subdomain.
const SUBDOMAIN_BYTES_MAX: usize = 253;

/// Checks that `name` is a DNS label (RFC 1123), as names of Regions and namespaces are.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub fn check_label(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty; give it a name".into());
    }
    if name.len() > LABEL_BYTES_MAX {
        return Err(format!("has {} characters; at most {LABEL_BYTES_MAX} are allowed", name.len()));
    }
    if !is_label(name) {
        return Err(format!(
            "`{}` is not a DNS label; use lower-case letters, digits and `-`, with a letter or digit at both ends",
            name.escape_debug()
        ));
    }
    Ok(())
}

/// Checks that `name` can be an AgentPool's: `pagemesh-agent-` and the name are a DNS label.
pub(crate) fn check_pool_name(name: &str) -> Result<(), String> {
    if name.len() > POOL_NAME_BYTES_MAX {
        return Err(format!(
            "has {} characters; at most {POOL_NAME_BYTES_MAX} are allowed in an AgentPool's name",
            name.len()
        ));
    }
    check_label(name)
}

/// Checks that `path` is names joined by `/`, none of them hidden, `.` or `..`.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub fn check_path(path: &str) -> Result<(), String> {
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("has {} characters; at most {PATH_BYTES_MAX} are allowed", path.len()));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_name = |name: &str| {
        (1..=LABEL_BYTES_MAX).contains(&name.len())
            && name.bytes().all(allowed)
            && !name.starts_with(['-', '.'])
    };
    if !path.split('/').all(is_name) {
        return Err(format!(
            "`{}` is not a path; write names joined by `/`, such as models/weights, each of at most {LABEL_BYTES_MAX} \
             letters, digits, `_`, `-` and `.`, with a letter, digit or `_` first",
            path.escape_debug()
        ));
    }
    Ok(())
}

/// Checks that `address` is a DNS name, an IPv4 address or an IPv6 address in brackets, and a port.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub fn check_address(address: &str) -> Result<(), String> {
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(format!("has {} characters; at most {ADDRESS_BYTES_MAX} are allowed", address.len()));
    }
    let is_good = |(host, port): (&str, &str)| {
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match in_brackets {
            Some(ip) => {
                (2..=45).contains(&ip.len())
                    && ip.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
            }
            None => host.split('.').all(|label| label.len() <= LABEL_BYTES_MAX && is_label(label)),
        };
        let is_port =
            port.starts_with(|first: char| matches!(first, '1'..='9')) && port.parse::<u16>().is_ok();
        is_host && is_port
    };
    if !address.rsplit_once(':').is_some_and(is_good) {
        return Err(format!("`{}` {}", address.escape_debug(), rules::ADDRESS_MESSAGE));
    }
    Ok(())
}

/// Checks that `name` is a DNS subdomain (labels joined by dots), as names of nodes and so of agents are.
pub(crate) fn check_subdomain(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty; give it a name".into());
    }
    if name.len() > SUBDOMAIN_BYTES_MAX {
        return Err(format!("has {} characters; at most {SUBDOMAIN_BYTES_MAX} are allowed", name.len()));
    }
    if !name.split('.').all(|label| label.len() <= LABEL_BYTES_MAX && is_label(label)) {
        return Err(format!(
            "`{}` is not a DNS name; use lower-case letters, digits, `-` and `.`, with a letter or digit at both ends \
             of each part",
            name.escape_debug()
        ));
    }
    Ok(())
}

fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let long_ok = "a".repeat(63);
        for good in ["a", "0", "table", "node-0", "a--b", &long_ok] {
            assert_eq!(check_label(good), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "a/b", "../x", "ä", "a b", "a\n", &long] {
            assert!(check_label(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn pool_names() {
        assert_eq!(check_pool_name(&"a".repeat(48)), Ok(()));
        for bad in ["", "a.b", &"a".repeat(49)] {
            assert!(check_pool_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses() {
        for good in ["a:1", "names.example.com:7410", "10.0.0.1:65535", "[fd00::1]:7410", "[::]:1"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        let long = format!("{}:1", "a.".repeat(140));
        for bad in [
            "",
            ":",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:01",
            "a:+1",
            "a:65536",
            "a:x",
            "A:1",
            "a b:1",
            "fd00::1:1",
            "[]:1",
            "[g::]:1",
            "http://a:1",
            "a/b:1",
            "a@b:1",
            "unix:/a:1",
            "a..b:1",
            "a:1\n",
            &long,
        ] {
            assert!(check_address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths() {
        let part = "a".repeat(63);
        let long_ok = [part.as_str(); 3].join("/");
        for good in ["a", "models/weights", "A_b-c.d/0", "_", "a..b", &long_ok] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        let (part_long, long) = ("a".repeat(64), [part.as_str(); 5].join("/"));
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", ".a", "-a", "a b", "ä", "a\n", &part_long,
            &long,
        ] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn subdomains() {
        for good in ["a", "node-0", "ip-10-0-0-1.eu-west-1.compute.internal", "1.2"] {
            assert_eq!(check_subdomain(good), Ok(()), "{good}");
        }
        let label_long = format!("{}.a", "a".repeat(64));
        let long = vec!["a"; 127].join(".") + "aa";
        for bad in ["", ".", "a.", ".a", "a..b", "A.b", "a/b", "..", &label_long, &long] {
            assert!(check_subdomain(bad).is_err(), "{bad:?}");
        }
    }
}
