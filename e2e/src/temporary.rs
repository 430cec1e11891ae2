//! Files that are needed for a while.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A directory that goes with its owner, whatever ends the test.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    /// Makes one for a purpose that nobody else has.
    pub(crate) fn new(purpose: &str) -> Result<Temporary> {
        let path = std::env::temp_dir().join(format!("pagemesh-e2e-{}-{purpose}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Temporary(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of something in it, as an argument for a program.
    pub(crate) fn join(&self, name: &str) -> Result<String> {
        let path = self.0.join(name).into_os_string().into_string();
        path.ok().context("the path of the directory for temporary files is no text")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nobody would hear a complaint.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
