//! Mount tables: what paths stand for, to people and to pods.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::cluster::said;
use crate::install;
use crate::pods::On;
use crate::scene::Scene;
use crate::wait::{EVENTUALLY, SOON, Seen, until};

/// Writes into one path and reads it back by the other.
const SAME: &str = "
with open('/pagemesh/data/now', 'r+b') as file, mmap.mmap(file.fileno(), 4096) as memory:
    memory[:5] = b'hello'
with open('/pagemesh/table', 'rb') as file, mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ) as memory:
    print(bytes(memory[:5]).decode())
try:
    open('/pagemesh/data/fixed', 'r+b')
except OSError as error:
    print(errno.errorcode[error.errno])
try:
    open('/pagemesh/data/gone', 'rb')
except OSError as error:
    print(errno.errorcode[error.errno])
";

pub(super) async fn a_mount_table_leads_to_regions_of_two_namespaces(scene: &Scene) -> Result<()> {
    let other = format!("{}-other", scene.namespace);
    scene.cluster.kubectl(&["delete", "namespace", "--ignore-not-found", &other]).await?;
    scene.cluster.kubectl(&["create", "namespace", &other]).await?;
    let result = in_two_namespaces(scene, &other).await;
    scene.cluster.kubectl(&["delete", "namespace", "--ignore-not-found", &other]).await?;
    result
}

async fn in_two_namespaces(scene: &Scene, other: &str) -> Result<()> {
    let own = scene.namespace.as_str();
    scene.region("table", "size: 64Ki, homes: 1").await?;
    scene.region("more", "size: 64Ki, homes: 1").await?;
    let head = "apiVersion: pagemesh.io/v1alpha1\nkind: MountTable\nmetadata: {name: main}\n";
    let of_other = format!(
        "{head}spec: {{default: true, mounts: [{{path: a/b, region: deep}}], contexts: [{{path: back, namespace: {own}}}]}}\n\
         ---\napiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {{name: deep}}\nspec: {{size: 64Ki, homes: 1}}\n"
    );
    scene.cluster.apply(other, &of_other).await?;
    let table = |now: &str| {
        format!(
            "{head}spec:\n  default: true\n  mounts:\n  - {{path: data/now, region: {now}}}\n  \
             - {{path: data/fixed, region: table, readOnly: true}}\n  - {{path: data/gone, region: gone}}\n  \
             contexts: [{{path: theirs, namespace: {other}}}]\n"
        )
    };
    scene.apply(&table("table")).await?;
    for region in ["table", "more"] {
        scene.ready(region).await?;
    }

    let deep = format!("{other}/deep");
    let (table_of, more_of) = (format!("{own}/table"), format!("{own}/more"));
    for (path, region) in
        [("data/now", &table_of), ("theirs/a/b", &deep), (&*deep, &deep), ("table", &table_of)]
    {
        let text = resolve(scene, &["--trace", "-o", "json", path]).await?;
        let value: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        ensure!(value["region"] == **region, "{path}: {text}");
    }
    let text = resolve(scene, &["--trace", "theirs/a/b"]).await?;
    ensure!(text.starts_with(&format!("/{own}/theirs/a/b -> /{other}/a/b\n{deep}")), "{text}");
    let circle = plugin(scene, &["resolve", "theirs/back/table", "-n", own]).await?;
    ensure!(!circle.0 && circle.1.contains("lead in a circle"), "{circle:?}");
    let (good, text) = plugin(scene, &["ls", "-R", "-n", own]).await?;
    // Its context leads back here, which is told.
    ensure!(!good && text.contains("theirs/a/b") && text.contains("lead in a circle"), "{text}");
    ensure!(text.contains("which is not declared"), "the mount of nothing is not told of: {text}");

    // What programs find there. The volume names one region; the table leads to it by other paths.
    let [node, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    let program = format!("import errno, mmap\n{SAME}");
    let log = scene.run("reader", On(node), "table", &["python3", "-c", &program]).await?;
    ensure!(log.contains("hello\nEACCES\nENOENT"), "{log}");

    // A change moves later opens.
    scene.apply(&table("more")).await?;
    let moved = resolve(scene, &["data/now"]).await?;
    ensure!(moved.trim() == more_of, "{moved}");
    let look = "import mmap\nwith open('/pagemesh/data/now', 'rb') as file, \
                mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ) as memory:\n    print('byte', memory[0])\n";
    let mut attempt = 0;
    until("a program to find the other region", EVENTUALLY, async || {
        attempt += 1;
        let log = scene.run(&format!("later-{attempt}"), On(node), "table", &["python3", "-c", look]).await?;
        Ok(Seen::when(log.contains("byte 0\n"), || log))
    })
    .await
}

/// What is found in the table, and that nothing else is.
const OWN: &str = "
import mmap
with open('/pagemesh/input', 'r+b') as file, mmap.mmap(file.fileno(), 4096) as memory:
    memory[:5] = b'hello'
try:
    open('/pagemesh/table', 'rb')
except FileNotFoundError:
    print('the region itself is not there')
";

pub(super) async fn a_pod_with_its_own_table_waits_for_it_and_sees_no_other(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.region("table", "size: 64Ki, homes: 1").await?;
    scene.region("secret", "size: 64Ki, homes: 1, access: [{serviceAccount: somebody-else}]").await?;
    for region in ["table", "secret"] {
        scene.ready(region).await?;
    }
    let asks = || json!({"pagemesh.io/mount-table": "batch"});
    scene.start_annotated("writer", On(first), asks(), &["python3", "-c", OWN]).await?;
    let about = "--field-selector=involvedObject.name=writer";
    let events = ["get", "events", "-n", &scene.namespace, about, "-o", "jsonpath={.items[*].message}"];
    until("an Event that says why the pod waits", EVENTUALLY, async || {
        let said = scene.cluster.kubectl(&events).await?;
        Ok(Seen::when(said.contains("there is no MountTable batch"), || said))
    })
    .await?;
    scene
        .apply(
            "apiVersion: pagemesh.io/v1alpha1\nkind: MountTable\nmetadata: {name: batch}\nspec:\n  mounts:\n  \
             - {path: input, region: table}\n  - {path: theirs, region: secret}\n",
        )
        .await?;
    let log = scene.finished("writer").await?;
    ensure!(log.contains("the region itself is not there\n"), "{log}");

    // Our own command line in a pod asks the agent by the pod's socket.
    let mut pod = scene.pod("looks", On(second), &["/usr/local/bin/pagemesh", "ls", "-o", "json"]);
    pod["metadata"]["annotations"] = asks();
    pod["spec"]["containers"][0]["image"] = json!(format!("pagemesh/cli:{}", env!("CARGO_PKG_VERSION")));
    scene.cluster.create(&scene.pods(), pod).await?;
    let log = scene.finished("looks").await?;
    let rows: Value = serde_json::from_str(&log).with_context(|| log.clone())?;
    let rows = rows.as_array().context("it is no list")?;
    let row = |path: &str| rows.iter().find(|row| row["path"] == path).cloned().unwrap_or_default();
    ensure!(row("input")["region"] == format!("{}/table", scene.namespace), "{log}");
    let reason = row("theirs")["reason"].to_string();
    ensure!(reason.contains("may not attach to region"), "{log}");
    Ok(())
}

/// `kubectl pagemesh`, as the plugin that it is.
async fn plugin(scene: &Scene, arguments: &[&str]) -> Result<(bool, String)> {
    let output = scene.cluster.attempt(install::plugin()?, arguments).await?;
    Ok((output.status.success(), said(&output)))
}

async fn resolve(scene: &Scene, arguments: &[&str]) -> Result<String> {
    let arguments = [&["resolve", "-n", &scene.namespace], arguments].concat();
    until("the path to be resolved", SOON, async || {
        let (good, text) = plugin(scene, &arguments).await?;
        Ok(if good { Seen::Yes(text) } else { Seen::NotYet(text) })
    })
    .await
}
