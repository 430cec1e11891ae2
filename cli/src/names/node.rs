//! An agent of this machine, asked at its own socket or at the one by which programs attach.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use pagemesh::Directory;
use pagemesh_names::proto::Query;
use pagemesh_names::proto::directory_client::DirectoryClient;
use pagemesh_names::wire::{self, LISTING_BYTES_MAX};
use pagemesh_names::{Listing, Place, Problem, Remote};
use tonic::Status;
use tonic::transport::Channel;

use super::Resolved;

/// The agent's socket in its node's directory.
const SOCKET: &str = "names.sock";

/// A connection to it.
pub(super) struct Node {
    client: DirectoryClient<Channel>,
    /// By which it was got, and as long as which it lives.
    _directory: Option<Directory>,
}

impl Node {
    pub(super) async fn connect(dir: &Path) -> Result<Node> {
        let address = format!("unix:{}", dir.join(SOCKET).display());
        let client = Remote::connect(&address).await?;
        Ok(Node { client, _directory: None })
    }

    /// By the socket of a pod's volume, or that of an agent.
    pub(super) async fn connect_by(socket: &Path) -> Result<Node> {
        let directory = Directory::connect(socket)
            .with_context(|| format!("cannot ask at the socket {}", socket.display()))?;
        let stream = directory.stream().context("a socket cannot be duplicated; raise `ulimit -n`")?;
        let channel = Remote::over(stream).await?;
        let client = DirectoryClient::new(channel).max_decoding_message_size(LISTING_BYTES_MAX);
        Ok(Node { client, _directory: Some(directory) })
    }

    pub(super) async fn resolve(&self, query: Query) -> Result<Resolved> {
        let answer = self.client.clone().resolve(query).await.map_err(refused)?.into_inner();
        let by = answer.version.as_ref().map(|version| (version.server.clone(), version.generation));
        let trace = wire::referrals(answer.trace.clone()).map_err(nonsense)?;
        let end = wire::answer(answer).map_err(nonsense)?.end;
        Ok(Resolved { trace, end, by })
    }

    pub(super) async fn list(&self, query: Query) -> Result<Result<Listing, Problem>> {
        let answer = self.client.clone().list(query).await.map_err(refused)?.into_inner();
        wire::list_answer(answer).map_err(nonsense)
    }
}

/// The same of a pod, whose namespace and table the agent knows.
pub(super) fn query_of_pod(place: &Place) -> Query {
    let query = query(place);
    Query { namespace: String::new(), ..query }
}

/// What is asked about a place.
pub(super) fn query(place: &Place) -> Query {
    let table = place.table.clone().unwrap_or_default();
    let (namespace, path) = if place.own {
        (place.namespace.clone(), place.path.clone())
    } else {
        (String::new(), place.absolute())
    };
    Query { namespace, table, path, follow: true }
}

fn refused(status: Status) -> anyhow::Error {
    anyhow!("the agent does not say: {}", status.message())
}

fn nonsense(nonsense: wire::Nonsense) -> anyhow::Error {
    anyhow!("the agent gives an answer that makes no sense ({nonsense}); is it of another version?")
}
