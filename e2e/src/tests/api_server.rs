//! Kubernetes is never on the fault path.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use crate::scene::Scene;

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(60);

pub(super) async fn stopped_for_a_minute_under_load(scene: &Scene) -> Result<()> {
    let [first, second, ..] = scene.cluster.workers.as_slice() else { unreachable!("two were counted") };
    scene.region("table", "size: 1Mi, homes: 2").await?;
    scene.ready("table").await?;
    let loads = scene.start_loads([first, second], "table").await?;
    // Nothing of the control plane runs: no API server, no etcd, no controllers. That it is away for this long is what is
    // tested, so this waits for a time and not for a condition.
    scene.cluster.run("docker", &["pause", &scene.cluster.control_plane]).await?;
    let from = now();
    tokio::time::sleep(AWAY).await;
    let to = now();
    scene.cluster.run("docker", &["unpause", &scene.cluster.control_plane]).await?;

    loads.go_on(50).await?;
    for load in &loads.0 {
        let history = load.history().await?;
        let during: Vec<_> = history.iter().filter(|p| p.at > from && p.at < to).collect();
        let (Some(start), Some(end)) = (during.first(), during.last()) else {
            anyhow::bail!("{} said nothing while the API server was away", load.name);
        };
        ensure!(
            end.at - start.at > AWAY.as_secs_f64() * 0.8,
            "{} stopped at {}: {during:?}",
            load.name,
            end.at
        );
        // On one node it may be that no page was asked of the other; both nodes wrote pages that the other reads.
        let (reads, writes) = (end.reads - start.reads, end.writes - start.writes);
        ensure!(reads > 500 && writes > 500, "{} did {reads} reads and {writes} writes", load.name);
    }
    loads.good().await?;
    // And the control plane finds its way back.
    scene.region("after", "size: 256Ki").await?;
    scene.ready("after").await.map(drop)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
