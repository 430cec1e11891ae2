//! An operator that ends at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use pagemesh_crds::Agent;

use crate::install;
use crate::scene::{SYSTEM, Scene};
use crate::wait::{EVENTUALLY, SOON, Seen, until};

/// How often the operator is killed.
const KILLS: usize = 20;
/// How long after a write it is killed, at most: longer than it takes to react to one.
const MOMENT_MS_MAX: u64 = 300;

/// The operator that leads.
struct Leader {
    pod: String,
    node: String,
    /// Its container, as the pod's status names it.
    container: String,
    /// Its process, as its node numbers it.
    pid: String,
}

impl Scene {
    fn operators(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), SYSTEM)
    }

    async fn lease(&self) -> Result<LeaseSpec> {
        let leases = Api::<Lease>::namespaced(self.cluster.client.clone(), SYSTEM);
        leases.get("pagemesh-operator").await?.spec.context("the Lease says nothing")
    }

    /// Waits until the Lease is held by an operator that stays, and was renewed since its container began.
    async fn leader(&self) -> Result<Leader> {
        let (pod, node, container) = until("an operator to lead", EVENTUALLY, async || {
            let lease = self.lease().await?;
            let seen = format!("{lease:?}");
            let holder = lease.holder_identity.unwrap_or_default();
            let pod = self.operators().get_opt(&holder).await?;
            let pod = pod.filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let Some((pod, container)) = pod.and_then(|pod| Some((pod.clone(), container(&pod)?.clone())))
            else {
                return Ok(Seen::NotYet(format!("{seen}, and no such pod stays")));
            };
            let began = container.state.and_then(|state| state.running?.started_at);
            let leads = began.zip(lease.renew_time).is_some_and(|(began, renewed)| renewed.0 > began.0);
            let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
            let container = container.container_id.unwrap_or_default();
            Ok(if leads { Seen::Yes((holder, node, container)) } else { Seen::NotYet(seen) })
        })
        .await?;
        let tasks = self.cluster.on_node(&node, &["ctr", "--namespace=k8s.io", "tasks", "list"]).await?;
        let id = container.rsplit('/').next().unwrap_or_default();
        let mut lines = tasks.lines().map(str::split_whitespace);
        let pid = lines.find_map(|mut words| (words.next() == Some(id)).then(|| words.next())?);
        let pid = pid.with_context(|| format!("{node} runs no {container}: {tasks}"))?.to_owned();
        Ok(Leader { pod, node, container, pid })
    }

    /// Sends a signal to an operator. Nobody but the kernel of its node knows.
    async fn signal(&self, leader: &Leader, signal: &str) -> Result<()> {
        self.cluster.on_node(&leader.node, &["kill", "-s", signal, &leader.pid]).await.map(drop)
    }

    /// Waits until Kubernetes knows how a leader's process has ended.
    async fn end(&self, leader: &Leader) -> Result<ContainerStateTerminated> {
        until("the operator's end to be known", SOON, async || {
            let pod = self.operators().get(&leader.pod).await?;
            let status = container(&pod).cloned().context("the pod has no container")?;
            let seen = format!("{status:?}");
            let states = [status.state, status.last_state].into_iter().flatten();
            let end = states
                .filter_map(|state| state.terminated)
                .find(|end| end.container_id.as_ref() == Some(&leader.container));
            Ok(end.map_or(Seen::NotYet(seen), Seen::Yes))
        })
        .await
    }
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

/// Numbers that look random and follow from a seed: SplitMix64 of Steele, Lea and Flood.
struct Chance(u64);

impl Chance {
    /// Seeded by `SEED`, or by chance.
    fn new() -> Result<Chance> {
        Ok(Chance(match std::env::var("SEED") {
            Ok(seed) => seed.parse().with_context(|| format!("SEED={seed} is not a number"))?,
            Err(_) => RandomState::new().build_hasher().finish(),
        }))
    }

    /// A number from 0 to `bound` - 1.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

pub(super) async fn killed_twenty_times_while_regions_come_and_go(scene: &Scene) -> Result<()> {
    let mut chance = Chance::new()?;
    let seed = chance.0;
    killed_over_and_over(scene, &mut chance).await.with_context(|| format!("SEED={seed}"))
}

async fn killed_over_and_over(scene: &Scene, chance: &mut Chance) -> Result<()> {
    let regions = scene.regions();
    let mut killed = BTreeSet::new();
    for round in 0..KILLS {
        let leader = scene.leader().await?;
        // Three regions come, one goes, and the operator is killed before or after any of these.
        let moment = chance.below(5);
        for step in 0..5 {
            if step == moment {
                // Nothing is waited for: it is killed wherever it is by then.
                tokio::time::sleep(Duration::from_millis(chance.below(MOMENT_MS_MAX))).await;
                scene.signal(&leader, "KILL").await?;
            }
            if step < 3 {
                let spec = format!("size: 256Ki, homes: {}", 1 + step % 2);
                scene.region(&format!("r-{round}-{step}"), &spec).await?;
            } else if step == 3 && round > 0 {
                regions.delete(&format!("r-{}-2", round - 1), &DeleteParams::default()).await?;
            }
        }
        let end = scene.end(&leader).await?;
        ensure!(
            end.exit_code == 128 + 9 && end.reason.as_deref() != Some("OOMKilled"),
            "it ended by {end:?}"
        );
        killed.insert(leader.container);
        // Its container begins anew and leads again. A second time it would have to wait, longer each time, so its pod makes
        // room for another one.
        let again = scene.leader().await?;
        scene.operators().delete(&again.pod, &DeleteParams::default()).await?;
    }
    ensure!(killed.len() == KILLS, "{} were killed: {killed:?}", killed.len());
    // All that should be there is, and Ready; all that should be gone is gone.
    let last = format!("r-{}-2", KILLS - 1);
    let expected: BTreeSet<String> = (0..KILLS)
        .flat_map(|round| (0..3).map(move |part| format!("r-{round}-{part}")))
        .filter(|name| !name.ends_with("-2") || *name == last)
        .collect();
    until("all regions to be as declared", EVENTUALLY, async || {
        let all = regions.list(&ListParams::default()).await?;
        let there: BTreeSet<String> = all.iter().filter_map(|region| region.metadata.name.clone()).collect();
        let ready = |region: &&pagemesh_crds::Region| {
            let conditions = region.status.iter().flat_map(|status| &status.conditions);
            conditions.clone().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        let ready = all.iter().filter(ready).count();
        Ok(Seen::when(there == expected && ready == expected.len(), || {
            format!("{} regions, {ready} ready, wanted {}", there.len(), expected.len())
        }))
    })
    .await?;
    nothing_is_orphaned_or_double(scene).await
}

/// Every agent has a number of its own, and holds only regions that exist.
async fn nothing_is_orphaned_or_double(scene: &Scene) -> Result<()> {
    let agents = Api::<Agent>::all(scene.cluster.client.clone());
    let all_regions = Api::<pagemesh_crds::Region>::all(scene.cluster.client.clone());
    until("agents to hold only what exists", EVENTUALLY, async || {
        let uids: BTreeSet<String> = all_regions
            .list(&ListParams::default())
            .await?
            .into_iter()
            .filter_map(|r| r.metadata.uid)
            .collect();
        let mut ids = BTreeMap::new();
        for agent in agents.list(&ListParams::default()).await? {
            let name = agent.metadata.name.unwrap_or_default();
            let id = agent.spec.id.context("an agent without an id")?;
            ensure!(ids.insert(id, name.clone()).is_none(), "two agents have id {id}");
            let held = agent.status.unwrap_or_default().regions;
            if let Some(orphan) = held.iter().find(|held| !uids.contains(&held.uid)) {
                return Ok(Seen::NotYet(format!("{name} still holds {}/{}", orphan.namespace, orphan.name)));
            }
        }
        Ok(Seen::Yes(()))
    })
    .await
}

pub(super) async fn another_leader_takes_over(scene: &Scene) -> Result<()> {
    let chart = scene.cluster.root.join("charts/pagemesh");
    let result = async {
        let values = ["--values", "charts/pagemesh/values-ha.yaml"];
        install::install(&scene.cluster, &chart, &values).await?;
        hand_overs(scene).await
    }
    .await;
    install::install(&scene.cluster, &chart, &[]).await?;
    result
}

async fn hand_overs(scene: &Scene) -> Result<()> {
    let operators = scene.operators();
    let ran_out = hand_over(scene, async |leader| {
        Ok(operators.delete(&leader.pod, &DeleteParams::default()).await.map(drop)?)
    })
    .await?;
    ensure!(!ran_out, "a leader that ended in good order did not give its Lease up");
    let ran_out = hand_over(scene, async |leader| {
        // Halted, it hears of nothing until SIGKILL takes it away with its pod. The pod goes so that it is not started again,
        // under the name that the Lease has.
        scene.signal(leader, "STOP").await?;
        Ok(operators.delete(&leader.pod, &DeleteParams::default().grace_period(0)).await.map(drop)?)
    })
    .await?;
    ensure!(ran_out, "another operator led before the Lease ran out");
    scene.region("table", "size: 256Ki").await?;
    scene.ready("table").await.map(drop)
}

/// Ends the leader, and waits for another one. Returns whether that one waited until the Lease had run out.
async fn hand_over(scene: &Scene, end: impl AsyncFnOnce(&Leader) -> Result<()>) -> Result<bool> {
    // The other one stands by.
    let rollout = ["rollout", "status", "deployment/pagemesh-operator", "-n", SYSTEM, "--timeout=240s"];
    scene.cluster.kubectl(&rollout).await?;
    let leader = scene.leader().await?;
    let before = scene.lease().await?;
    end(&leader).await?;
    let next = scene.leader().await?;
    ensure!(next.pod != leader.pod, "{} leads again", next.pod);
    let after = scene.lease().await?;
    let (renewed, acquired) = before.renew_time.zip(after.acquire_time).context("a Lease without times")?;
    let waited_seconds = acquired.0.duration_since(renewed.0).as_secs();
    Ok(waited_seconds >= before.lease_duration_seconds.context("a Lease without a duration")?.into())
}
