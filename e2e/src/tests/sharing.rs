//! Regions in use.

use anyhow::{Result, bail, ensure};
use pagemesh_crds::Coherence;

use crate::pods::On;
use crate::scene::Scene;
use crate::wait::{EVENTUALLY, Seen, until};

/// Writes words and a checksum of them into a region.
const WRITE: &str = "
import sys, hashlib
from multiprocessing.shared_memory import SharedMemory
m = SharedMemory(sys.argv[1])
data = hashlib.shake_128(sys.argv[2].encode()).digest(len(m.buf))
m.buf[:] = data
print(len(m.buf), hashlib.sha256(data).hexdigest())
";

/// Prints the checksum of a region's contents.
pub(crate) const READ: &str = "
import sys, hashlib
from multiprocessing.shared_memory import SharedMemory
m = SharedMemory(sys.argv[1])
print(len(m.buf), hashlib.sha256(bytes(m.buf)).hexdigest())
";

impl Scene {
    /// Fills a region with contents that follow from `seed`, from a node. Returns its length and checksum.
    pub(crate) async fn fill(&self, pod: &str, node: &str, region: &str, seed: &str) -> Result<String> {
        let path = format!("{}/{region}", self.namespace);
        self.run(pod, On(node), region, &["python3", "-c", WRITE, &path, seed]).await
    }

    /// The length and checksum of a region's contents as a node sees them.
    pub(crate) async fn checksum(&self, pod: &str, node: &str, region: &str) -> Result<String> {
        let path = format!("{}/{region}", self.namespace);
        self.run(pod, On(node), region, &["python3", "-c", READ, &path]).await
    }
}

pub(super) async fn unmodified_programs_on_two_nodes_share_a_region(scene: &Scene) -> Result<()> {
    scene.region("table", "size: 1Mi, homes: 2").await?;
    let region = scene.ready("table").await?;
    let status = region.status.unwrap_or_default();
    let homes: Vec<_> =
        status.placement.iter().flat_map(|p| &p.homes).map(|home| home.agent.as_str()).collect();
    ensure!(homes.len() == 2 && homes[0] != homes[1], "homes are {homes:?}");

    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    let written = scene.fill("writer", first, "table", "one").await?;
    let read = scene.checksum("reader", second, "table").await?;
    ensure!(written == read && read.starts_with("1048576 "), "wrote {written}, read {read}");
    // And back: what one node has read, another writes.
    let written = scene.fill("writer-back", second, "table", "two").await?;
    let read = scene.checksum("reader-back", first, "table").await?;
    ensure!(written == read, "wrote {written}, read {read}");
    Ok(())
}

pub(super) async fn a_region_grows(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.region("table", "size: 512Ki, homes: 2").await?;
    scene.ready("table").await?;
    let load = scene.start_load(On(first), "table", 0, 1).await?;
    load.goes_on(20).await?;

    scene.region("table", "size: 2Mi, homes: 2").await?;
    let regions = scene.regions();
    until("the larger size to be in force", EVENTUALLY, async || {
        let status = regions.get("table").await?.status.unwrap_or_default();
        let size = status.placement.as_ref().and_then(|p| p.size.clone());
        Ok(Seen::when(size.as_ref().is_some_and(|size| size.bytes() == Ok(2 << 20)), || format!("{size:?}")))
    })
    .await?;
    scene.ready("table").await?;
    // Programs that have the old size mapped go on; those that come see the new one, zeros where nobody wrote.
    load.goes_on(20).await?;
    let tail = "
import sys
from multiprocessing.shared_memory import SharedMemory
m = SharedMemory(sys.argv[1])
assert not any(m.buf[1 << 20:]), 'not zero'
m.buf[-1] = 77
print(len(m.buf))
";
    let name = format!("{}/table", scene.namespace);
    let length = scene.run("tail", On(second), "table", &["python3", "-c", tail, &name]).await?;
    ensure!(length.trim() == "2097152", "the new size is {length}");
    let last = "
import sys
from multiprocessing.shared_memory import SharedMemory
m = SharedMemory(sys.argv[1])
print(m.buf[-1])
";
    let last = scene.run("last", On(first), "table", &["python3", "-c", last, &name]).await?;
    ensure!(last.trim() == "77", "the last byte is {last}");

    let shrunk = scene.region("table", "size: 1Mi, homes: 2").await;
    let Err(refusal) = shrunk else { bail!("a region has shrunk") };
    let refusal = format!("{refusal:#}");
    ensure!(refusal.contains("size"), "{refusal}");
    load.good().await
}

pub(super) async fn coherence_is_switched_under_load(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.region("table", "size: 1Mi, homes: 2").await?;
    scene.ready("table").await?;
    let loads = scene.start_loads([first, second], "table").await?;
    for (coherence, wanted) in [
        ("WriteUpdate", Coherence::WriteUpdate),
        ("WriteInvalidate", Coherence::WriteInvalidate),
        ("WriteUpdate", Coherence::WriteUpdate),
    ] {
        loads.go_on(50).await?;
        scene.region("table", &format!("size: 1Mi, homes: 2, coherence: {coherence}")).await?;
        let region = scene.ready("table").await?;
        let placement = region.status.and_then(|status| status.placement);
        ensure!(placement.as_ref().and_then(|p| p.coherence) == Some(wanted), "in force: {placement:?}");
    }
    loads.go_on(50).await?;
    loads.good().await?;
    Ok(())
}
