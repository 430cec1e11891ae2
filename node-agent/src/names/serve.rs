//! Answers what it is asked by `pagemesh.v1.Directory`. Whoever asks is hostile: questions are short, and what one costs is bounded.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use pagemesh_names::follow::{self, Servers};
use pagemesh_names::proto::directory_server::{Directory, DirectoryServer};
use pagemesh_names::proto::{self, Query};
use pagemesh_names::{End, Listing, Place, Problem, QUERY_BYTES_MAX, Remote, Tree, Walk, wire};
use tokio::time::timeout;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::Names;
use super::asker::Asker;

/// Watches at a time.
pub const WATCHES_MAX: usize = 1024;
/// Questions at a time that other servers are asked for somebody.
pub const ASKED_ELSEWHERE_MAX: usize = 64;

/// Questions of one connection that are worked on at a time.
const CONCURRENT_MAX: usize = 32;
/// How long it may take to follow a path through other servers.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(4);
/// How often a connection is asked whether its other end lives, and how long that may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

pub(super) fn server() -> Server {
    Server::builder()
        .concurrency_limit_per_connection(CONCURRENT_MAX)
        .max_concurrent_streams(Some(2 * CONCURRENT_MAX as u32))
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
}

pub(super) fn service(names: &Arc<Names>, asker: Asker) -> DirectoryServer<Asked> {
    let asked = Asked { names: Arc::clone(names), asker };
    DirectoryServer::new(asked).max_decoding_message_size(4 * QUERY_BYTES_MAX)
}

/// Names, as gRPC asks for them.
#[derive(Debug)]
pub(super) struct Asked {
    names: Arc<Names>,
    asker: Asker,
}

impl Asked {
    /// What a path stands for, as far as who asks is shown it.
    async fn resolve(&self, tree: &Tree, walk: &mut Walk, follow: bool) -> Result<End, Problem> {
        let end = if follow { self.names.resolve(tree, walk, &Remote).await } else { tree.resolve(walk) };
        self.asker.end(end?, walk, tree, &self.names.objects.borrow())
    }

    /// What is in a context, in the same way.
    async fn list(
        &self,
        tree: &Tree,
        walk: &mut Walk,
        follow: bool,
    ) -> Result<Result<Listing, End>, Problem> {
        let found = if follow { self.names.list(tree, walk).await? } else { list_own(tree, walk)? };
        let objects = self.names.objects.borrow();
        match found {
            Ok(listing) => Ok(Ok(self.asker.listing(listing, walk, tree, &objects))),
            Err(end) => self.asker.end(end, walk, tree, &objects).map(Err),
        }
    }
}

impl Names {
    fn check_fresh(&self) -> Result<(), Status> {
        if self.is_stale() {
            return Err(Status::unavailable("another agent has taken over from this one: connect again"));
        }
        Ok(())
    }

    /// What a path stands for. Other servers are asked only if it leads to them, and no more of them at a time than may be.
    pub(super) async fn resolve(
        &self,
        tree: &Tree,
        walk: &mut Walk,
        servers: &impl Servers,
    ) -> Result<End, Problem> {
        let end = tree.resolve(walk)?;
        if !matches!(end, End::Elsewhere(_)) {
            return Ok(end);
        }
        self.elsewhere(walk, async |walk| follow::resolve(tree, servers, walk).await).await
    }

    /// What is in a context, in the same way.
    async fn list(&self, tree: &Tree, walk: &mut Walk) -> Result<Result<Listing, End>, Problem> {
        match tree.resolve(walk)? {
            End::Context => tree.list(walk.place()).map(Ok),
            end @ End::Region { .. } => Ok(Err(end)),
            End::Elsewhere(_) => {
                self.elsewhere(walk, async |walk| follow::list(tree, &Remote, walk).await).await
            }
        }
    }

    /// Asks other servers, within a deadline.
    async fn elsewhere<T>(
        &self,
        walk: &mut Walk,
        follow: impl AsyncFnOnce(&mut Walk) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let server = |walk: &Walk| walk.place().server.clone().unwrap_or_default();
        let Ok(_permit) = self.elsewhere.try_acquire() else {
            let why = "the agent of this node asks too many others already, try again";
            return Err(pagemesh_names::explain(&server(walk), why));
        };
        let result = timeout(FOLLOW_TIMEOUT, follow(walk)).await;
        result.unwrap_or_else(|_| {
            let why = "the servers on the way to it have taken too long";
            Err(pagemesh_names::explain(&server(walk), why))
        })
    }
}

/// What this server knows by itself.
fn list_own(tree: &Tree, walk: &mut Walk) -> Result<Result<Listing, End>, Problem> {
    match tree.resolve(walk)? {
        End::Context => tree.list(walk.place()).map(Ok),
        end @ (End::Region { .. } | End::Elsewhere(_)) => Ok(Err(end)),
    }
}

#[tonic::async_trait]
impl Directory for Asked {
    async fn resolve(&self, request: Request<Query>) -> Result<Response<proto::Resolution>, Status> {
        self.names.check_fresh()?;
        let query = request.into_inner();
        let (tree, version) = self.names.now();
        let place = match self.asker.place(&query) {
            Ok(place) => place,
            Err(problem) => return Ok(Response::new(wire::resolution(version, &[], &Err(problem)))),
        };
        let mut walk = Walk::new(place);
        let end = self.resolve(&tree, &mut walk, query.follow).await;
        Ok(Response::new(wire::resolution(version, walk.trace(), &end)))
    }

    async fn list(&self, request: Request<Query>) -> Result<Response<proto::Listing>, Status> {
        self.names.check_fresh()?;
        let query = request.into_inner();
        let (tree, version) = self.names.now();
        let place = match self.asker.place(&query) {
            Ok(place) => place,
            Err(problem) => {
                return Ok(Response::new(wire::listing(version, &query.path, &[], &Err(problem))));
            }
        };
        let mut walk = Walk::new(place);
        let end = self.list(&tree, &mut walk, query.follow).await;
        Ok(Response::new(wire::listing(version, &query.path, walk.trace(), &end)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<proto::Resolution, Status>> + Send>>;

    async fn watch(&self, request: Request<Query>) -> Result<Response<Self::WatchStream>, Status> {
        let (names, asker) = (Arc::clone(&self.names), self.asker.clone());
        names.check_fresh()?;
        let place = asker.place(&request.into_inner());
        let place = place.map_err(|problem| Status::invalid_argument(problem.reason))?;
        let permit = Arc::clone(&names.watches).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{WATCHES_MAX} names are watched here already: try again later"
            ))
        })?;
        let objects = names.objects.clone();
        let watching = Watching { names, asker, place, objects, last: None, over: false, _permit: permit };
        let stream = stream::unfold(watching, async |mut watching| {
            let news = watching.news().await?;
            Some((news, watching))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// A path that somebody watches.
struct Watching {
    names: Arc<Names>,
    asker: Asker,
    place: Place,
    objects: tokio::sync::watch::Receiver<Arc<crate::config::Objects>>,
    last: Option<(Walk, Result<End, Problem>)>,
    over: bool,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Watching {
    /// Awaits what the path has not stood for when it was last told.
    async fn news(&mut self) -> Option<Result<proto::Resolution, Status>> {
        if self.over {
            return None;
        }
        loop {
            self.objects.mark_unchanged();
            let (tree, version) = self.names.now();
            let mut walk = Walk::new(self.place.clone());
            let end = tree.resolve(&mut walk);
            let end = end.and_then(|end| self.asker.end(end, &walk, &tree, &self.objects.borrow()));
            let now = (walk, end);
            if self.last.as_ref() != Some(&now) {
                let resolution = wire::resolution(version, now.0.trace(), &now.1);
                self.last = Some(now);
                return Some(Ok(resolution));
            }
            if self.objects.changed().await.is_err() {
                self.over = true;
                return Some(self.names.check_fresh().map(|()| proto::Resolution::default()));
            }
        }
    }
}
