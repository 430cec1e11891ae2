//! Names of regions. Async-signal-safe; nothing allocates.

use core::fmt;

use crate::Error;

/// Longest part of a name: a DNS label.
const LABEL_MAX: usize = 63;
const NAME_MAX: usize = 2 * LABEL_MAX + 1;

/// A region's name as an agent knows it: `NAME` or `NAMESPACE/NAME`, each a DNS label.
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

    /// The name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).expect("labels are ASCII")
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
    fn what_no_region_is_called() {
        let long = "a".repeat(64);
        for bad in ["", "/", "a/", "/a", "a/b/c", "psm_1f2e", "Table", "-a", "a-", "a b", "é", "a\0", &long]
        {
            assert_eq!(RegionName::new(bad.as_bytes()), Err(Error::Name), "{bad:?}");
        }
    }
}
