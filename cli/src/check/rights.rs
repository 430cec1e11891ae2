//! Who may do what: what people who use pagemesh need, and what agents need and must not have.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use crate::kubernetes::{Cluster, Trouble, explain};

/// Whose right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever runs `check`.
    You,
    /// The service account of a pool's agents.
    AgentsOf(String),
}

/// Where a right holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// In all namespaces, or the kind has none.
    Everywhere,
    /// In the namespace that pagemesh is installed in.
    Install,
}

/// A right, and whether there should be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    place: Where,
    /// Whether it is needed; if not, it must not be there.
    pub(super) needed: bool,
    /// What for.
    pub(super) purpose: &'static str,
}

/// A right and what the API server says of it.
#[derive(Clone, Debug)]
pub(super) struct Reviewed {
    pub(super) who: Who,
    pub(super) right: Right,
    pub(super) allowed: Result<bool, Trouble>,
}

const OURS: &str = "pagemesh.io";
const LEASES: &str = "coordination.k8s.io";

const fn needed(
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    place: Where,
    purpose: &'static str,
) -> Right {
    Right { verb, group, resource, subresource: "", place, needed: true, purpose }
}

const fn on(subresource: &'static str, right: Right) -> Right {
    Right { subresource, ..right }
}

const fn harmful(right: Right) -> Right {
    Right { needed: false, ..right }
}

/// What it takes to use all of `pagemesh`.
const YOURS: [Right; 8] = [
    needed("list", OURS, "regions", Where::Everywhere, "see regions"),
    needed("create", OURS, "regions", Where::Everywhere, "create regions"),
    needed("list", OURS, "mounttables", Where::Everywhere, "see what paths stand for"),
    needed("list", OURS, "agents", Where::Everywhere, "see which homes have confirmed"),
    needed("list", OURS, "agentpools", Where::Everywhere, "see pools"),
    needed("list", LEASES, "leases", Where::Install, "see who is alive"),
    needed("list", "", "pods", Where::Install, "find the pods of agents"),
    on("log", needed("get", "", "pods", Where::Install, "read logs")),
];

/// What an agent does, and what nobody who has taken one over should be able to.
const AGENTS: [Right; 17] = [
    needed("list", OURS, "regions", Where::Everywhere, "know the regions"),
    needed("watch", OURS, "regions", Where::Everywhere, "follow the regions"),
    needed("list", OURS, "agents", Where::Everywhere, "know their peers"),
    needed("watch", OURS, "agents", Where::Everywhere, "follow their peers"),
    needed("list", OURS, "mounttables", Where::Everywhere, "know what paths stand for"),
    needed("watch", OURS, "mounttables", Where::Everywhere, "follow what paths stand for"),
    // To apply an object that is not there yet takes the right to create it, too.
    needed("create", OURS, "agents", Where::Everywhere, "announce themselves"),
    needed("patch", OURS, "agents", Where::Everywhere, "announce themselves"),
    on("status", needed("patch", OURS, "agents", Where::Everywhere, "report")),
    needed("create", LEASES, "leases", Where::Install, "say that they live"),
    needed("patch", LEASES, "leases", Where::Install, "say that they live"),
    harmful(on("status", needed("patch", OURS, "regions", Where::Everywhere, "move regions"))),
    harmful(needed("patch", OURS, "agentpools", Where::Everywhere, "change pools")),
    harmful(needed("get", "", "secrets", Where::Install, "read Secrets")),
    harmful(needed("create", "", "pods", Where::Install, "start pods")),
    harmful(needed("patch", "", "nodes", Where::Everywhere, "change nodes")),
    harmful(needed("create", "", "events", Where::Install, "write Events")),
];

impl Right {
    /// As `kubectl auth can-i` takes it.
    pub(super) fn question(&self, install_namespace: &str) -> String {
        let resource = match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        };
        let subresource = match self.subresource {
            "" => String::new(),
            subresource => format!(" --subresource={subresource}"),
        };
        match self.place {
            Where::Everywhere => format!("{} {resource}{subresource} -A", self.verb),
            Where::Install => format!("{} {resource}{subresource} -n {install_namespace}", self.verb),
        }
    }

    fn attributes(&self, install_namespace: &str) -> ResourceAttributes {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ResourceAttributes {
            group: given(self.group),
            namespace: (self.place == Where::Install).then(|| install_namespace.to_owned()),
            resource: given(self.resource),
            subresource: given(self.subresource),
            verb: given(self.verb),
            ..ResourceAttributes::default()
        }
    }
}

/// Name of the service account of a pool's agents, as rights are given to it.
pub(super) fn agents_user(install_namespace: &str, pool: &str) -> String {
    format!("system:serviceaccount:{install_namespace}:pagemesh-agent-{pool}")
}

/// All that is asked about.
pub(super) fn all_of(pools: &[String]) -> Vec<(Who, Right)> {
    let mut rights: Vec<(Who, Right)> = YOURS.map(|right| (Who::You, right)).to_vec();
    for pool in pools {
        rights.extend(AGENTS.map(|right| (Who::AgentsOf(pool.clone()), right)));
    }
    rights
}

/// Asks the API server about all of them.
pub(super) async fn review(cluster: &Cluster, install_namespace: &str, pools: &[String]) -> Vec<Reviewed> {
    let questions = all_of(pools);
    let answers = questions.into_iter().map(|(who, right)| async move {
        let attributes = right.attributes(install_namespace);
        let allowed = match &who {
            Who::You => may_you(cluster, attributes).await,
            Who::AgentsOf(pool) => may_agents(cluster, attributes, install_namespace, pool).await,
        };
        Reviewed { who, right, allowed: allowed.map_err(|error| explain(&error, &cluster.url)) }
    });
    futures::future::join_all(answers).await
}

async fn may_you(cluster: &Cluster, attributes: ResourceAttributes) -> kube::Result<bool> {
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..Default::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

async fn may_agents(
    cluster: &Cluster,
    attributes: ResourceAttributes,
    namespace: &str,
    pool: &str,
) -> kube::Result<bool> {
    let groups =
        ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
    let spec = SubjectAccessReviewSpec {
        groups: Some(groups.map(str::to_owned).to_vec()),
        resource_attributes: Some(attributes),
        user: Some(agents_user(namespace, pool)),
        ..Default::default()
    };
    let review = SubjectAccessReview { spec, ..Default::default() };
    let api: Api<SubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
