//! The client: asks name servers by their addresses.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use crate::follow::{Answer, Servers};
use crate::proto::directory_client::DirectoryClient;
use crate::wire::{self, LISTING_BYTES_MAX, RESOLUTION_BYTES_MAX};
use crate::{End, Listing, Place, Problem, ProblemKind, proto};

/// How long a name server may take to answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// Name servers that are asked over the network, each time by a connection of its own: this is seldom done, and one that has
/// moved is found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remote;

impl Remote {
    /// A connection to a server: `HOST:PORT`, or `unix:PATH`.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn connect(address: &str) -> Result<DirectoryClient<Channel>, Problem> {
        let uri = if address.starts_with("unix:") { address.to_owned() } else { format!("http://{address}") };
        let wrong = |error: &dyn std::error::Error| explain(address, &innermost(error));
        let endpoint = Endpoint::from_shared(uri).map_err(|error| wrong(&error))?;
        let endpoint = endpoint.connect_timeout(ANSWER_TIMEOUT);
        let connect = tokio::time::timeout(ANSWER_TIMEOUT, endpoint.connect());
        let channel = match connect.await {
            Ok(connected) => connected.map_err(|error| wrong(&error))?,
            Err(_) => return Err(explain(address, "it does not answer in time")),
        };
        Ok(DirectoryClient::new(channel).max_decoding_message_size(LISTING_BYTES_MAX))
    }
}

impl Remote {
    /// A connection that there is already.
    ///
    /// # Errors
    /// It has ended.
    pub async fn over(stream: std::os::unix::net::UnixStream) -> Result<Channel, Problem> {
        let wrong = |error: &dyn std::error::Error| explain("of this node", &innermost(error));
        stream.set_nonblocking(true).map_err(|error| wrong(&error))?;
        let mut stream = Some(stream);
        // There is no second one to connect again by.
        let connector = tower::service_fn(move |_: Uri| {
            let stream = stream.take().ok_or(io::ErrorKind::NotConnected.into());
            std::future::ready(stream.and_then(UnixStream::from_std).map(TokioIo::new))
        });
        let endpoint = Endpoint::from_static("http://agent");
        endpoint.connect_with_connector(connector).await.map_err(|error| wrong(&error))
    }
}

/// That a server gives no answer that can be used.
#[must_use]
pub fn explain(server: &str, why: &str) -> Problem {
    let reason = format!(
        "name server {server} does not answer: {why}; does it run, and may this machine connect to it?"
    );
    Problem::new(ProblemKind::Unreachable, reason)
}

/// What the outer ones say is that there was an error.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn refused(server: &str, status: &Status) -> Problem {
    let why: String = status.message().chars().filter(|char| !char.is_control()).take(200).collect();
    let why = if status.code() == Code::Unimplemented {
        "it is no name server of pagemesh, or of another version".into()
    } else if why.is_empty() {
        status.code().to_string()
    } else {
        why
    };
    explain(server, &why)
}

fn query(place: &Place) -> Request<proto::Query> {
    let query = proto::Query { path: place.absolute(), ..proto::Query::default() };
    let mut request = Request::new(query);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

/// A server that has begun to answer may still take for ever.
async fn in_time<T>(
    server: &str,
    answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map(tonic::Response::into_inner).map_err(|status| refused(server, &status)),
        Err(_) => Err(explain(server, "it does not answer in time")),
    }
}

impl Servers for Remote {
    async fn resolve(&self, server: &str, place: &Place) -> Result<Answer<End>, Problem> {
        let mut client = Remote::connect(server).await?.max_decoding_message_size(RESOLUTION_BYTES_MAX);
        let message = in_time(server, client.resolve(query(place))).await?;
        wire::answer(message).map_err(|nonsense| explain(server, &nonsense.to_string()))
    }

    async fn list(&self, server: &str, place: &Place) -> Result<Listing, Problem> {
        let mut client = Remote::connect(server).await?;
        let message = in_time(server, client.list(query(place))).await?;
        wire::list_answer(message).map_err(|nonsense| explain(server, &nonsense.to_string()))?
    }
}
