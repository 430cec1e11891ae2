//! A region, homed by the second of two nodes.

use std::path::Path;

use anyhow::Result;

use super::{About, Side};
use crate::client::By;
use crate::mesh::REGION;
use crate::process::{self, Process};

pub(super) fn start(mesh: &Path) -> Result<(About, Side)> {
    let client = |node: usize| {
        let socket = mesh.join(format!("node-{node}")).join("agent.sock");
        Process::client(&By::Region { socket, region: REGION.into() })
    };
    let side = Side::of([client(0)?, client(1)?], Vec::new());
    // `pagemesh dev` has put itself first in `PATH`.
    let version = process::output("pagemesh", &["version".as_ref()])?;
    let version = version.lines().next().unwrap_or_default().trim_start_matches("pagemesh ").to_owned();
    let flags = "pagemesh dev --nodes 2; Linearizable, WriteInvalidate, pages of 4 KiB".into();
    Ok((About { name: "pagemesh", version, flags }, side))
}
