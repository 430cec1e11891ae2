//! A file with one value: a line with a version and a checksum, then JSON. It is replaced as a whole, by a rename.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How the first line begins: what this is, and the version of what follows.
const BEGIN: &str = "pagemesh-note 1 ";

pub(crate) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_string(value)?;
    let new = path.with_extension("new");
    fs::write(&new, format!("{BEGIN}{:08x}\n{json}\n", crc32fast::hash(json.as_bytes())))?;
    fs::rename(new, path)
}

/// The value in a file. None if it is not what was written, or another version wrote it.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = fs::read(path)?;
    let text = String::from_utf8(text).ok();
    let value = text.as_deref().and_then(|text| {
        let (first, json) = text.split_once('\n')?;
        let checksum = u32::from_str_radix(first.strip_prefix(BEGIN)?, 16).ok()?;
        let json = json.strip_suffix('\n')?;
        (crc32fast::hash(json.as_bytes()) == checksum).then(|| serde_json::from_str(json).ok()).flatten()
    });
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uffd::testing::Directory;

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
