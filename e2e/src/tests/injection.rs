//! Pods that ask for regions by an annotation: what the admission policies make of them is what `pagemesh inject` makes of them.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::install;
use crate::scene::{SYSTEM, Scene};
use crate::wait::{SOON, Seen, until};

/// Where no policy of ours is in force.
const LEFT_ALONE: &str = "kube-system";

/// A pod of the table that the command line's own tests have, too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    namespace: Option<String>,
    pod: Value,
    becomes: Option<String>,
    refused: Option<String>,
}

/// What somebody made of a pod, or the sentence with which it was refused.
type Verdict = std::result::Result<Value, String>;

/// Creates each pod of the table, for the API server to say what it would be. Then does the same with what `pagemesh inject` has
/// made of it, where no policy adds what it may lack.
pub(super) async fn the_admission_policy_and_inject_do_the_same(scene: &Scene) -> Result<()> {
    let table = std::fs::read_to_string(scene.cluster.root.join("cli/tests/injection.yaml"))?;
    let cases: Vec<Case> = serde_yaml::from_str(&table)?;
    ensure!(cases.len() > 40, "there are only {} cases", cases.len());
    // Most pods of the table say nothing of what the standard asks for.
    enforce(scene, "privileged").await?;
    policies_are_in_force(scene).await?;
    let mut wrong = Vec::new();
    for case in &cases {
        if let Err(error) = judge(scene, case).await {
            wrong.push(format!("{}: {error:#}", case.name));
        }
    }
    ensure!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    what_is_added_is_restricted(scene, &cases).await
}

/// A pod that the Pod Security Standard `restricted` lets in is let in when it is attached.
async fn what_is_added_is_restricted(scene: &Scene, cases: &[Case]) -> Result<()> {
    let case = cases.iter().find(|case| case.name == "under the restricted standard");
    let mut pod = case.context("the table has no such pod")?.pod.clone();
    pod["metadata"]["name"] = json!("t");
    enforce(scene, "restricted").await?;
    let spec = create(scene, &scene.namespace, &pod).await?.map_err(|said| anyhow!(said))?;
    ensure!(spec["initContainers"].is_array(), "it was not attached: {spec}");
    // The standard is in force: as it is told of other pods.
    pod["spec"]["hostNetwork"] = json!(true);
    let verdict = create(scene, &scene.namespace, &pod).await?;
    ensure!(verdict.is_err(), "a pod on the node's network is let in");
    Ok(())
}

/// Has the test's namespace enforce a Pod Security Standard.
async fn enforce(scene: &Scene, standard: &str) -> Result<()> {
    let label = format!("pod-security.kubernetes.io/enforce={standard}");
    let set = ["label", "namespace", &scene.namespace, &label, "--overwrite"];
    scene.cluster.kubectl(&set).await.map(drop)
}

/// The API server takes a moment to know of a policy that was just installed.
async fn policies_are_in_force(scene: &Scene) -> Result<()> {
    let pod = |regions: &str| {
        json!({"metadata": {"name": "t", "annotations": {"pagemesh.io/attach": regions}},
               "spec": {"containers": [{"name": "a", "image": "a"}]}})
    };
    until("the admission policies to be in force", SOON, async || {
        let good = create(scene, &scene.namespace, &pod("table")).await?;
        let bad = create(scene, &scene.namespace, &pod("/")).await?;
        let attached = good.as_ref().is_ok_and(|spec| spec["initContainers"].is_array());
        Ok(Seen::when(attached && bad.is_err(), || format!("{good:?} and {bad:?}")))
    })
    .await
}

async fn judge(scene: &Scene, case: &Case) -> Result<()> {
    // The table says `mine` for the namespace that a pod is made in.
    let namespace = match case.namespace.as_deref() {
        Some("mine") | None => scene.namespace.as_str(),
        Some(other) => other,
    };
    let text = case.pod.to_string().replace("mine/", &format!("{namespace}/"));
    let mut pod: Value = serde_json::from_str(&text)?;
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("t");
    pod["metadata"]["namespace"] = json!(namespace);
    let by_policy = create(scene, namespace, &pod).await?;
    let by_inject = inject(scene, &pod).await?;
    match (&case.becomes, &case.refused, by_policy, by_inject) {
        (Some(becomes), None, Ok(by_policy), Ok(by_inject)) => {
            let by_inject = there(create(scene, LEFT_ALONE, &moved(by_inject)).await?)?;
            ensure!(by_policy == by_inject, "the policy makes {by_policy}\npagemesh inject {by_inject}");
            let before = there(create(scene, LEFT_ALONE, &moved(pod)).await?)?;
            let changed = by_policy != before;
            ensure!(changed == (becomes == "attached"), "it becomes {by_policy}, from {before}");
        }
        (None, Some(refused), Err(by_policy), Err(by_inject)) => {
            // The sentence is the same; what each says around it is its own.
            for said in [&by_policy, &by_inject] {
                ensure!(said.contains(refused.trim()), "{said}");
            }
            let sentence = by_policy.rsplit_once("denied request: ").map(|(_, sentence)| sentence);
            let sentence = sentence.context("the refusal is not a policy's")?.trim_end();
            // Of letters that a terminal must not see, the API server repeats more.
            let same = by_inject.trim_end().ends_with(sentence) || !sentence.is_ascii();
            ensure!(same, "{by_policy}, but {by_inject}");
        }
        (_, _, by_policy, by_inject) => bail!("the policy: {by_policy:?}\npagemesh inject: {by_inject:?}"),
    }
    Ok(())
}

fn there(verdict: Verdict) -> Result<Value> {
    verdict.map_err(|said| anyhow!("refused in {LEFT_ALONE}: {said}"))
}

/// The pod in the namespace that is left alone.
fn moved(mut pod: Value) -> Value {
    pod["metadata"]["namespace"] = json!(LEFT_ALONE);
    pod
}

/// The spec that a pod would have if it were created.
async fn create(scene: &Scene, namespace: &str, pod: &Value) -> Result<Verdict> {
    let api = Api::<Pod>::namespaced(scene.cluster.client.clone(), namespace);
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&parameters, &serde_json::from_value(pod.clone())?).await {
        Ok(pod) => Ok(Ok(without_chance(serde_json::to_value(pod.spec)?))),
        // 422: what a policy refuses; 403: what the standard for pods refuses.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => Ok(Err(status.message)),
        Err(error) => bail!("the API server gives no verdict: {error}"),
    }
}

/// A pod's spec with the volume of its token under a name that is always the same.
fn without_chance(spec: Value) -> Value {
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let names: BTreeSet<_> = volumes.filter_map(|volume| volume["name"].as_str()).collect();
    let text = spec.to_string();
    let text = names
        .iter()
        .filter(|name| name.starts_with("kube-api-access-"))
        .fold(text, |text, name| text.replace(name, "kube-api-access"));
    serde_json::from_str(&text).unwrap_or(spec)
}

/// What `pagemesh inject` prints for a pod.
async fn inject(scene: &Scene, pod: &Value) -> Result<Verdict> {
    let mut child = Command::new(install::plugin()?)
        .args(["inject", "--filename", "-", "--install-namespace", SYSTEM])
        .current_dir(&scene.cluster.root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("it has no stdin")?;
    stdin.write_all(pod.to_string().as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    match output.status.success() {
        true => Ok(Ok(serde_yaml::from_str(&String::from_utf8(output.stdout)?)?)),
        false => Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}
