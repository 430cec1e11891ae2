//! A file with one value: a line with a version and a checksum, then JSON. It is replaced as a whole, by a rename.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of what notes say. A successor that does not know it must not throw them away.
pub const VERSION: u32 = 1;

/// How the first line begins: what this is; then come the version and the checksum of what follows.
const BEGIN: &str = "pagemesh-note ";

pub(crate) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_string(value)?;
    let new = path.with_extension("new");
    fs::write(&new, format!("{BEGIN}{VERSION} {:08x}\n{json}\n", checksum(VERSION, &json)))?;
    fs::rename(new, path)
}

/// What a file turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<T> {
    /// What was written.
    Value(T),
    /// What another version wrote: not damaged, and not for this one to throw away.
    Foreign,
    /// Not what was written.
    Damaged,
}

/// Reads a file that [`write`] made.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Found<T>> {
    let text = fs::read(path)?;
    let Some((version, json)) = std::str::from_utf8(&text).ok().and_then(whole) else {
        return Ok(Found::Damaged);
    };
    let value = (version == VERSION).then(|| serde_json::from_str(json).ok()).flatten();
    Ok(value.map_or(Found::Foreign, Found::Value))
}

/// The version and the JSON of what is just what somebody wrote.
fn whole(text: &str) -> Option<(u32, &str)> {
    let (first, json) = text.split_once('\n')?;
    let (version, sum) = first.strip_prefix(BEGIN)?.split_once(' ')?;
    let (version, json) = (version.parse().ok()?, json.strip_suffix('\n')?);
    (u32::from_str_radix(sum, 16) == Ok(checksum(version, json))).then_some((version, json))
}

fn checksum(version: u32, json: &str) -> u32 {
    crc32fast::hash(format!("{version} {json}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uffd::testing::Directory;

    #[test]
    fn what_another_version_wrote_is_not_damaged() {
        let directory = Directory::new();
        let path = directory.0.join("note");
        let next = VERSION + 1;
        fs::write(&path, format!("{BEGIN}{next} {:08x}\n[1]\n", checksum(next, "[1]"))).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), Found::Foreign);
        // As when a field was added that must be there.
        write(&path, &"text").unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), Found::Foreign);
        fs::write(&path, format!("{BEGIN}{next} {:08x}\n[1]\n", checksum(VERSION, "[1]"))).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), Found::Damaged);
    }

    #[test]
    fn what_is_not_what_was_written_is_nothing() {
        let directory = Directory::new();
        let path = directory.0.join("note");
        write(&path, &vec![1, 22, 333]).unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), Found::Value(vec![1, 22, 333]));
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(read::<Vec<u32>>(&path).unwrap(), Found::Damaged, "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(read::<Vec<u32>>(&path).unwrap(), Found::Damaged, "{at} bytes");
        }
    }
}
