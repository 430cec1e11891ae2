//! Pods that ask for regions by an annotation, under the `restricted` standard.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::pods::On;
use crate::scene::Scene;
use crate::wait::{EVENTUALLY, Seen, until};

/// Reads a region by its path, word by word, and says so every second.
const WATCH: &str = r#"
import mmap, sys, time
with open("/dev/shm/" + sys.argv[1], "rb", buffering=0) as file:
    memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
while True:
    sum(memory[::4096])
    print("read", flush=True)
    time.sleep(1)
"#;

/// Reads all of a region that is far larger than what the pod may use.
const READ_ALL: &str = r#"
import mmap, sys
with open("/pagemesh/" + sys.argv[1], "rb", buffering=0) as file:
    memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
print(len(memory), sum(memory[offset] for offset in range(0, len(memory), 4096)))
"#;

/// Writes a byte to each page.
const WRITE_ALL: &str = r#"
import mmap, sys
with open("/pagemesh/" + sys.argv[1], "r+b", buffering=0) as file:
    memory = mmap.mmap(file.fileno(), 0)
for offset in range(0, len(memory), 4096):
    memory[offset] = 1
print(len(memory))
"#;

/// Tries to write to a region of which it asked to read only.
const TRY_TO_WRITE: &str = r#"
import mmap, os, sys
path = "/pagemesh/" + sys.argv[1]
try:
    os.open(path, os.O_RDWR)
    sys.exit("opened to write")
except PermissionError:
    pass
file = os.open(path, os.O_RDONLY)
try:
    mmap.mmap(file, 0)
    sys.exit("mapped to write")
except PermissionError:
    pass
print(mmap.mmap(file, 0, prot=mmap.PROT_READ)[0])
"#;

pub(super) async fn a_pod_waits_for_its_region_and_starts_by_itself(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.annotated("early", On(first), "late", &["python3", "-c", WRITE_ALL, "late"]).await?;
    // It says why it waits.
    let about = "--field-selector=involvedObject.name=early";
    let events = ["get", "events", "-n", &scene.namespace, about, "-o", "jsonpath={.items[*].message}"];
    until("an Event that says why the pod waits", EVENTUALLY, async || {
        let said = scene.cluster.kubectl(&events).await?;
        Ok(Seen::when(said.contains(&format!("{}/late is not declared", scene.namespace)), || said))
    })
    .await?;
    let status = scene.pods().get("early").await?.status.unwrap_or_default();
    ensure!(status.phase.as_deref() == Some("Pending"), "it did not wait: {status:?}");

    scene.region("late", "size: 1Mi").await?;
    let written = scene.finished("early").await?;
    ensure!(written.trim() == "1048576", "{written}");
    // The sidecar ends with the pod, and what was written is there.
    let read =
        scene.annotated_run("reader", On(second), "late", &["python3", "-c", READ_ALL, "late"]).await?;
    ensure!(read.trim() == "1048576 256", "{read}");
    Ok(())
}

pub(super) async fn who_asks_to_read_only_cannot_write(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.region("table", "size: 1Mi").await?;
    scene.annotated_run("writer", On(first), "table", &["python3", "-c", WRITE_ALL, "table"]).await?;
    let tried = ["python3", "-c", TRY_TO_WRITE, "table"];
    let read = scene.annotated_run("reader", On(second), "table:ro", &tried).await?;
    // The library says on its standard error why it refused.
    ensure!(read.lines().last() == Some("1"), "{read}");
    Ok(())
}

/// The pages that a pod reads are the agent's memory, not the pod's.
pub(super) async fn a_pod_with_little_memory_reads_a_large_region(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.region("large", "size: 256Mi").await?;
    scene.annotated_run("writer", On(first), "large", &["python3", "-c", WRITE_ALL, "large"]).await?;
    let command = ["python3", "-c", READ_ALL, "large"];
    let mut pod = scene.pod("reader", On(second), &command);
    pod["metadata"]["annotations"] = json!({"pagemesh.io/attach": "large"});
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}});
    scene.cluster.create(&scene.pods(), pod).await?;
    let read = scene.finished("reader").await?;
    ensure!(read.trim() == "268435456 65536", "{read}");
    Ok(())
}

/// The same C programs, with musl's loader and with glibc's.
pub(super) async fn programs_of_musl_and_of_glibc_share_a_region(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.region("table", "size: 1Mi").await?;
    for (name, node, libc, how, seed) in [
        ("musl-writes", first, "musl", "write", "7"),
        ("glibc-reads", second, "glibc", "read", "7"),
        ("glibc-writes", second, "glibc", "write", "8"),
        ("musl-reads", first, "musl", "read", "8"),
    ] {
        let program = format!("/programs/{libc}/pattern");
        scene.annotated_run(name, On(node), "table", &[&program, "table", how, seed]).await?;
    }
    for (name, node, libc) in [("musl-forks", first, "musl"), ("glibc-forks", second, "glibc")] {
        let region = format!("fork-{libc}");
        scene.region(&region, "size: 1Mi").await?;
        scene.annotated_run(name, On(node), &region, &[&format!("/programs/{libc}/forks"), &region]).await?;
    }
    Ok(())
}

pub(super) async fn access_that_is_taken_away_ends_at_the_next_access(scene: &Scene) -> Result<()> {
    let [first, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    let everybody = "size: 1Mi, access: [{mode: ReadWrite}]";
    scene.region("table", everybody).await?;
    scene.ready("table").await?;
    scene.annotated("reader", On(first), "table", &["python3", "-c", WATCH, "table"]).await?;
    until("the pod to read", EVENTUALLY, async || {
        let said = scene.log("reader").await.unwrap_or_default();
        Ok(Seen::when(said.contains("read"), || said))
    })
    .await?;

    scene.region("table", "size: 1Mi, access: [{serviceAccount: somebody-else}]").await?;
    let ended = scene.finished("reader").await;
    ensure!(ended.is_err(), "it went on");
    let status = scene.pods().get("reader").await?.status.unwrap_or_default();
    let statuses = status.container_statuses.unwrap_or_default();
    let ended = statuses.first().and_then(|status| status.state.as_ref()?.terminated.clone());
    let code = ended.context("it has not ended")?.exit_code;
    ensure!(code == 128 + 7, "it ended with {code}, not by SIGBUS");
    let about = "--field-selector=involvedObject.name=reader,reason=AccessRevoked";
    let events = ["get", "events", "-n", &scene.namespace, about, "-o", "jsonpath={.items[*].message}"];
    until("an Event that says why", EVENTUALLY, async || {
        let said = scene.cluster.kubectl(&events).await?;
        Ok(Seen::when(said.contains(&format!("{}/table", scene.namespace)), || said))
    })
    .await
}

impl Scene {
    /// Starts a pod that asks for regions by its annotation.
    async fn annotated(&self, name: &str, on: On<'_>, regions: &str, command: &[&str]) -> Result<()> {
        self.start_annotated(name, on, json!({"pagemesh.io/attach": regions}), command).await
    }

    /// Runs one to its end, and returns what it printed.
    async fn annotated_run(&self, name: &str, on: On<'_>, regions: &str, command: &[&str]) -> Result<String> {
        self.annotated(name, on, regions, command).await?;
        self.finished(name).await
    }
}
