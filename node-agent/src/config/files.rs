//! The texts in the objects directory.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use pagemesh_crds::SOURCE_BYTES_MAX;

/// A file's text, or why it could not be read.
pub type Text = Result<String, String>;

/// What is in the directory, by file name.
pub type Files = BTreeMap<String, Text>;

/// Most files that are read. A mesh has some dozens of objects.
const FILES_MAX: usize = 4096;

/// Reads every `*.yaml` and `*.yml` in `dir` that is not hidden. Editors and ConfigMaps keep their own hidden files.
///
/// # Errors
///
/// When the directory itself cannot be read or holds too many files. What is wrong with one file is in its [`Text`].
pub fn read(dir: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || !(name.ends_with(".yaml") || name.ends_with(".yml")) {
            continue;
        }
        if files.len() == FILES_MAX {
            let reason = format!("more than {FILES_MAX} files: put several objects into one file");
            return Err(io::Error::other(reason));
        }
        match read_text(&entry.path()) {
            // It was removed after it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => files.insert(name, Err(format!("cannot be read: {error}"))),
            Ok(text) => files.insert(name, Ok(text)),
        };
    }
    Ok(files)
}

fn read_text(path: &Path) -> io::Result<String> {
    // O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed tells the parser that it is too long.
    file.take(SOURCE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}
