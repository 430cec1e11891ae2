//! The rules of the objects, as the API server applies them.

#[path = "../../../crds/tests/table/mod.rs"]
#[expect(unreachable_pub, reason = "it is a file of another crate's tests")]
mod table;

use anyhow::{Result, bail, ensure};
use kube::api::{DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use kube::core::Request;
use kube::{Api, Resource, discovery};
use serde_json::Value;

use crate::scene::Scene;
use crate::wait::{SOON, Seen, until};

use table::{Case, Refusal};

/// What the API server said to an object.
type Verdict = std::result::Result<(), String>;

/// Every object of the tables of crds/tests gets the verdict that the tables give, here from a real API server and there from
/// the same rules without one.
pub(super) async fn the_api_server_and_we_agree_on_every_rule(scene: &Scene) -> Result<()> {
    let mut cases = Case::read_all(&scene.cluster.root.join("crds/tests/objects"));
    // An Agent that is there without a number gets one from the operator before it can be given one here.
    cases.retain(|case| {
        case.kind != "Agent" || case.old.as_ref().is_none_or(|old| !old["spec"]["id"].is_null())
    });
    ensure!(cases.len() > 50, "there are only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let verdict = judge(scene, case).await?;
        let as_expected = match (&case.refused, &verdict) {
            (None, Ok(())) => true,
            (Some(refusal), Err(said)) => says(said, refusal),
            (None, Err(_)) | (Some(_), Ok(())) => false,
        };
        if !as_expected {
            wrong.push(format!(
                "{} {}: expected {:?}, the API server says {verdict:?}",
                case.kind, case.name, case.refused
            ));
        }
    }
    ensure!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

/// Whether a refusal is the one that is expected: of this field, or of what it is missing from, and in our words.
fn says(said: &str, refusal: &Refusal) -> bool {
    let field = refusal.field.as_deref().unwrap_or_default();
    let (inside, last) = field.rsplit_once('.').unwrap_or(("", field));
    let named = said.contains(field) || (said.contains(inside) && said.contains(last));
    named && refusal.saying.as_ref().is_none_or(|saying| said.contains(saying))
}

/// Sends a case's object, and keeps nothing of it.
async fn judge(scene: &Scene, case: &Case) -> Result<Verdict> {
    let kind = GroupVersionKind::gvk("pagemesh.io", "v1alpha1", &case.kind);
    let (resource, capabilities) = discovery::pinned_kind(&scene.cluster.client, &kind).await?;
    let namespaced = capabilities.scope == discovery::Scope::Namespaced;
    let path = DynamicObject::url_path(&resource, namespaced.then_some(scene.namespace.as_str()));
    let request = Request::new(path);
    let Some(old) = &case.old else {
        return send(scene, request.create(&params(true), serde_json::to_vec(&case.object)?)?).await;
    };
    let (old, mut new) = (apart(scene, old, namespaced), apart(scene, &case.object, namespaced));
    let made = send(scene, request.create(&params(false), serde_json::to_vec(&old)?)?).await?;
    ensure!(made.is_ok(), "the old object of {} {} is refused: {made:?}", case.kind, case.name);
    let name = old["metadata"]["name"].as_str().unwrap_or_default();
    let api: Api<DynamicObject> = if namespaced {
        Api::namespaced_with(scene.cluster.client.clone(), &scene.namespace, &resource)
    } else {
        Api::all_with(scene.cluster.client.clone(), &resource)
    };
    // The operator may have written to it in between: then the answer is a conflict, and no verdict.
    let said = until("a verdict", SOON, async || {
        let there = api.get(name).await?;
        new["metadata"]["resourceVersion"] = there.metadata.resource_version.into();
        let body = serde_json::to_vec(&new)?;
        let request = match new.get("status") {
            Some(_) => request.replace_subresource("status", name, &params(true), body)?,
            None => request.replace(name, &params(true), body)?,
        };
        send(scene, request).await.map(Seen::Yes)
    })
    .await;
    api.delete(name, &DeleteParams::default()).await?;
    until("the old object to go", SOON, async || {
        Ok(Seen::when(api.get_opt(name).await?.is_none(), || "it is there".into()))
    })
    .await?;
    said
}

fn params(dry_run: bool) -> PostParams {
    PostParams { dry_run, ..PostParams::default() }
}

/// Sends a request that refuses fields which the schema does not know.
async fn send(scene: &Scene, mut request: http::Request<Vec<u8>>) -> Result<Verdict> {
    let separator = if request.uri().query().is_some() { '&' } else { '?' };
    *request.uri_mut() = format!("{}{separator}fieldValidation=Strict", request.uri()).parse()?;
    match scene.cluster.client.request::<DynamicObject>(request).await {
        Ok(_) => Ok(Ok(())),
        // 400: fields that the schema does not know; 422: values that it or a rule refuses.
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Ok(Err(status.message)),
        Err(error) => bail!("the API server gives no verdict: {error}"),
    }
}

/// The object under a name, and an Agent with a number, that nobody else uses, if it is one of the whole cluster.
fn apart(scene: &Scene, object: &Value, namespaced: bool) -> Value {
    let mut object = object.clone();
    if !namespaced {
        object["metadata"]["name"] = Value::from(scene.namespace.as_str());
    }
    if let Some(id) = object["spec"]["id"].as_u64().filter(|id| *id < 100) {
        object["spec"]["id"] = Value::from(id + 900);
    }
    object
}
