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

/// The value in a file. None if it is not what was written, or [another version](is_foreign) wrote it.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = fs::read(path)?;
    let whole = std::str::from_utf8(&text).ok().and_then(whole);
    let known = whole.filter(|(version, _)| *version == VERSION);
    Ok(known.and_then(|(_, json)| serde_json::from_str(json).ok()))
}

/// Whether a file that [`read`] cannot make anything of is what another version wrote, rather than damaged.
pub(crate) fn is_foreign(path: &Path) -> bool {
    let text = fs::read(path).unwrap_or_default();
    std::str::from_utf8(&text).ok().and_then(whole).is_some()
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
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), None);
        assert!(is_foreign(&path));
        // As when a field was added that must be there.
        write(&path, &"text").unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), None);
        assert!(is_foreign(&path));
        fs::write(&path, format!("{BEGIN}{next} {:08x}\n[1]\n", checksum(VERSION, "[1]"))).unwrap();
        assert!(!is_foreign(&path));
    }

    #[test]
    fn what_is_not_what_was_written_is_nothing() {
        let directory = Directory::new();
        let path = directory.0.join("note");
        write(&path, &vec![1, 22, 333]).unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), Some(vec![1, 22, 333]));
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(read::<Vec<u32>>(&path).unwrap(), None, "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(read::<Vec<u32>>(&path).unwrap(), None, "{at} bytes");
        }
    }
}
