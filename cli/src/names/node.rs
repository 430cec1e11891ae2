//! An agent of this machine, asked at its socket.

use std::path::Path;

use anyhow::{Result, anyhow};
use pagemesh_names::proto::Query;
use pagemesh_names::proto::directory_client::DirectoryClient;
use pagemesh_names::{ANSWER_BYTES_MAX, Listing, Place, Problem, Remote, wire};
use tonic::Status;
use tonic::transport::Channel;

use super::Resolved;

/// The agent's socket in its node's directory.
const SOCKET: &str = "names.sock";

/// A connection to it.
pub(super) struct Node(DirectoryClient<Channel>);

impl Node {
    pub(super) async fn connect(dir: &Path) -> Result<Node> {
        let address = format!("unix:{}", dir.join(SOCKET).display());
        let client = Remote::connect(&address).await?;
        Ok(Node(client.max_decoding_message_size(ANSWER_BYTES_MAX)))
    }

    pub(super) async fn resolve(&self, place: &Place) -> Result<Resolved> {
        let answer = self.0.clone().resolve(query(place)).await.map_err(refused)?.into_inner();
        let by = answer.version.as_ref().map(|version| (version.server.clone(), version.generation));
        let trace = wire::referrals(answer.trace.clone()).map_err(nonsense)?;
        let end = wire::answer(answer).map_err(nonsense)?.end;
        Ok(Resolved { trace, end, by })
    }

    pub(super) async fn list(&self, place: &Place) -> Result<Result<Listing, Problem>> {
        let answer = self.0.clone().list(query(place)).await.map_err(refused)?.into_inner();
        wire::list_answer(answer).map_err(nonsense)
    }
}

fn query(place: &Place) -> Query {
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
