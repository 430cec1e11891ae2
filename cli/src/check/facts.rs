//! What `check` looks at: all of its I/O.

use anyhow::Result;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::rights::{self, Reviewed};
use crate::kubernetes::{Cluster, Look, Snapshot, Trouble, Version, Within, explain};

/// What was found.
pub(super) struct Facts {
    /// Version of the API server: as it says it, and what that means.
    pub(super) version: Result<(String, Option<Version>), Trouble>,
    /// Each of our kinds, by the name of its definition; `None` if the cluster does not have it.
    pub(super) definitions: Vec<(String, Result<Option<CustomResourceDefinition>, Trouble>)>,
    /// All policies of the cluster.
    pub(super) policies: Look<ValidatingAdmissionPolicy>,
    /// What puts them into force.
    pub(super) bindings: Look<ValidatingAdmissionPolicyBinding>,
    /// Who may do what.
    pub(super) rights: Vec<Reviewed>,
    /// All else.
    pub(super) snapshot: Snapshot,
}

/// Looks. Fails only if there is no cluster.
pub(super) async fn gather(cluster: &Cluster, regions: Within<'_>) -> Result<Facts> {
    let snapshot = Snapshot::read(cluster, regions).await?;
    let pools = snapshot.pools.as_ref().map_or(&[][..], |pools| &pools.items);
    let pools: Vec<String> = pools.iter().map(ResourceExt::name_any).collect();
    let all = ListParams::default();
    let (version, definitions, policies, bindings, rights) = tokio::join!(
        version(cluster),
        definitions(cluster),
        cluster.list(Within::Cluster, &all),
        cluster.list(Within::Cluster, &all),
        rights::review(cluster, &snapshot.install_namespace, &pools),
    );
    Ok(Facts { version, definitions, policies, bindings, rights, snapshot })
}

async fn version(cluster: &Cluster) -> Result<(String, Option<Version>), Trouble> {
    let info = cluster.client.apiserver_version().await.map_err(|error| explain(&error, &cluster.url))?;
    // Some providers write a minor version as `30+`.
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok();
    let numbers = number(&info.major).zip(number(&info.minor));
    Ok((info.git_version, numbers.map(|(major, minor)| Version(major, minor))))
}

async fn definitions(cluster: &Cluster) -> Vec<(String, Result<Option<CustomResourceDefinition>, Trouble>)> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let names = pagemesh_crds::definitions().into_iter().map(|definition| definition.name_any());
    let found = names.map(|name| async {
        let found = api.get_opt(&name).await.map_err(|error| explain(&error, &cluster.url));
        (name, found)
    });
    futures::future::join_all(found).await
}
