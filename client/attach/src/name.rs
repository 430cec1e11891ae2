//! Names of regions. Async-signal-safe; nothing allocates.

use core::fmt;

use crate::Error;

/// Longest part of a name: a DNS label.
const LABEL_MAX: usize = 63;
/// Longest path that a MountTable binds.
const NAME_MAX: usize = 255;

/// What a program calls a region: its name, `NAME` or `NAMESPACE/NAME`, each a DNS label; or a path that a MountTable binds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RegionName {
    bytes: [u8; NAME_MAX],
    len: u8,
}

impl RegionName {
    /// Checks and copies a name.
    ///
    /// # Errors
    ///
    /// [`Error::Name`]: no region can have this name.
    pub fn new(name: &[u8]) -> Result<RegionName, Error> {
        let mut labels = name.split(|byte| *byte == b'/');
        let fits = labels.next().is_some_and(is_label)
            && labels.next().is_none_or(is_label)
            && labels.next().is_none();
        if !fits {
            return Err(Error::Name);
        }
        let mut bytes = [0; NAME_MAX];
        bytes[..name.len()].copy_from_slice(name);
        Ok(RegionName { bytes, len: name.len() as u8 })
    }

    /// Checks and copies a path that a MountTable may bind, or a name: names joined by `/`, none of them hidden.
    ///
    /// # Errors
    ///
    /// [`Error::Name`]: no region can be found there.
    pub fn of_path(path: &[u8]) -> Result<RegionName, Error> {
        if path.len() > NAME_MAX || !path.split(|byte| *byte == b'/').all(is_part) {
            return Err(Error::Name);
        }
        let mut bytes = [0; NAME_MAX];
        bytes[..path.len()].copy_from_slice(path);
        Ok(RegionName { bytes, len: path.len() as u8 })
    }

    /// The name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).expect("all that is let in is ASCII")
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

fn is_label(label: &[u8]) -> bool {
    let inside = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let end = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
    label.len() <= LABEL_MAX && label.iter().all(inside) && end(label.first()) && end(label.last())
}

fn is_part(part: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(*byte, b'_' | b'-' | b'.');
    part.len() <= LABEL_MAX
        && part.iter().all(allowed)
        && part.first().is_some_and(|first| !matches!(*first, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_regions() {
        let long = format!("{}/{}", "a".repeat(63), "b".repeat(63));
        for good in ["t", "table", "a-b", "team/table", "0", &long] {
            assert_eq!(RegionName::new(good.as_bytes()).map(|n| n.as_str().to_owned()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn paths() {
        let long = "a/".repeat(127) + "a";
        for good in ["t", "team/table", "models/llm/Weights_v1.2", "_", &long] {
            let path = RegionName::of_path(good.as_bytes());
            assert_eq!(path.map(|name| name.as_str().to_owned()), Ok(good.to_owned()));
        }
        let (long, part) = ("a/".repeat(127) + "ab", "a".repeat(64));
        for bad in ["", "/", "/a", "a/", "a//b", ".", "../a", "a/.b", "-a", "a b", "é", "a\0", &long, &part]
        {
            assert_eq!(RegionName::of_path(bad.as_bytes()), Err(Error::Name), "{bad:?}");
        }
    }

    #[test]
    fn what_no_region_is_called() {
        let long = "a".repeat(64);
        for bad in ["", "/", "a/", "/a", "a/b/c", "psm_1f2e", "Table", "-a", "a-", "a b", "é", "a\0", &long]
        {
            assert_eq!(RegionName::new(bad.as_bytes()), Err(Error::Name), "{bad:?}");
        }
    }
}
