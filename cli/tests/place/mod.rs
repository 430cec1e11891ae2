//! A place that no other test uses. Each file of tests adds what it does there.
#![allow(dead_code, reason = "each of them uses its own part of this module")]

use std::fs;
use std::path::PathBuf;

/// A path that is gone when this is dropped.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    /// Nothing is there.
    pub(crate) fn new(test: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("pagemesh-test-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Place(dir)
    }

    /// An empty directory is there.
    pub(crate) fn directory(test: &str) -> Place {
        let place = Place::new(test);
        fs::create_dir(&place.0).expect("a directory");
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
