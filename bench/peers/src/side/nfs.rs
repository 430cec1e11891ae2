//! A file on NFS over loopback, where the kernel has a server and a client.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{About, Side};
use crate::client::By;
use crate::process::{self, Process};

/// Mounts and unmounts.
const SCRIPT: &str = include_str!("../../nfs");

/// `noac`: what another has written is seen. `soft`: a server that has gone is an error, and no program that cannot be ended.
const OPTIONS: &str = "vers=4.2,proto=tcp,noac,rsize=1048576,wsize=1048576,soft,timeo=100";

pub(super) fn start(place: &Path) -> Result<(About, Side)> {
    let mounted = Mounted::make(place).context("cannot be mounted here")?;
    let path = place.join("mount").join("pages");
    let client = || Process::client(&By::File { path: path.clone() });
    let side = Side { counts: false, ..Side::of([client()?, client()?], vec![Box::new(mounted)]) };
    let kernel = process::output("uname", &["-r".as_ref()])?;
    let flags =
        format!("rpc.nfsd 8, exported rw,sync; mounted {OPTIONS}; O_DIRECT, O_SYNC; no atomic addition");
    Ok((About { name: "NFS", version: format!("Linux {kernel}"), flags }, side))
}

/// Unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn make(place: &Path) -> Result<Mounted> {
        script("mount", place)?;
        Ok(Mounted(place.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        tidy(&self.0);
    }
}

/// Unmounts what is mounted in a place, if anything is.
pub(super) fn tidy(place: &Path) {
    let mount = place.join("mount");
    if mount.exists()
        && let Err(error) = script("unmount", place)
    {
        eprintln!("pagemesh-bench-peers: {} is still mounted: {error:#}", mount.display());
    }
}

fn script(what: &str, place: &Path) -> Result<()> {
    let output = Command::new("bash")
        .args(["-c", SCRIPT, "nfs", what])
        .arg(place)
        .arg(OPTIONS)
        .stdin(Stdio::null())
        .output()
        .context("bash cannot be started")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
