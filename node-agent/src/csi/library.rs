//! The preload library as volumes have it: one file on the node, to which each volume's directory has a hard link.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::hash;

/// Its name in a volume.
pub(super) const NAME: &str = "libpagemesh_preload.so";
/// What it is called until it takes the name of another.
const NEW: &str = ".libpagemesh_preload.so.new";
/// Larger than it will ever be.
const BYTES_MAX: u64 = 64 << 20;

/// The file on the node.
#[derive(Debug)]
pub(super) struct Library {
    path: PathBuf,
}

impl Library {
    /// Copies the library `source` into `dir`, under a name that follows from what it is, and removes other ones: who has them
    /// mapped keeps them.
    pub(super) fn place(source: &Path, dir: &Path) -> io::Result<Library> {
        if fs::metadata(source)?.len() > BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {BYTES_MAX} bytes")));
        }
        let library = fs::read(source)?;
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{}.so", hash(&library)));
        if fs::read(&path).ok().as_ref() != Some(&library) {
            let new = dir.join(NEW);
            fs::write(&new, &library)?;
            // To be mapped, not to be run.
            fs::set_permissions(&new, fs::Permissions::from_mode(0o444))?;
            fs::rename(&new, &path)?;
        }
        for entry in fs::read_dir(dir)? {
            let other = entry?.path();
            if other != path {
                fs::remove_file(other)?;
            }
        }
        Ok(Library { path })
    }

    /// Sees that a volume's directory has this library. Programs find this one or the one before, at any time.
    pub(super) fn link(&self, volume_dir: &Path) -> io::Result<()> {
        let place = volume_dir.join(NAME);
        let identity = |path: &Path| fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()));
        if identity(&place).ok() == Some(identity(&self.path)?) {
            return Ok(());
        }
        let new = volume_dir.join(NEW);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fs::hard_link(&self.path, &new)?;
        fs::rename(&new, &place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uffd::testing::Directory;

    #[test]
    fn one_file_serves_all_volumes_and_a_newer_one_takes_its_place() {
        let directory = Directory::new();
        let [source, dir, volume] = ["source", "library", "volume"].map(|name| directory.0.join(name));
        fs::create_dir(&volume).unwrap();
        fs::write(&source, "one").unwrap();
        let library = Library::place(&source, &dir).unwrap();
        let again = Library::place(&source, &dir).unwrap();
        assert_eq!(library.path, again.path);
        library.link(&volume).unwrap();
        again.link(&volume).unwrap();
        let linked = fs::metadata(volume.join(NAME)).unwrap();
        assert_eq!((linked.nlink(), linked.mode() & 0o7777), (2, 0o444));

        // Cut short by whoever, it is written anew.
        let before = fs::read(volume.join(NAME)).unwrap();
        fs::set_permissions(&library.path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&library.path, "o").unwrap();
        Library::place(&source, &dir).unwrap().link(&volume).unwrap();
        assert_eq!(fs::read(volume.join(NAME)).unwrap(), before);

        fs::write(&source, "two").unwrap();
        Library::place(&source, &dir).unwrap().link(&volume).unwrap();
        assert_eq!(fs::read_to_string(volume.join(NAME)).unwrap(), "two");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "the one before is gone");
        assert_eq!(fs::read_dir(&volume).unwrap().count(), 1);
    }
}
