//! Answers what it is asked by `pagemesh.v1.Directory`. Whoever asks is hostile: questions are short, and what one costs is bounded.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use pagemesh_names::proto::directory_server::{Directory, DirectoryServer};
use pagemesh_names::proto::{self, Query};
use pagemesh_names::{End, Listing, Place, Problem, QUERY_BYTES_MAX, Remote, Tree, Walk, follow, wire};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::Names;
use super::asker::Asker;
use super::shares::{Share, Shares};
use crate::config::Objects;

/// Questions of one connection that are worked on at a time.
const CONCURRENT_MAX: usize = 8;
/// How long it may take to follow a path through other servers.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(4);
/// Calls of one connection at a time, watches among them: what was answered and is not read waits here.
const STREAMS_MAX: u32 = 16;
/// How long a connection of the agent's own sockets is used, and a watch lasts: who goes on asking comes again, and who does not has gone.
pub(super) const AGE_MAX: Duration = Duration::from_secs(3600);
/// How often a connection is asked whether its other end lives, and how long that may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

pub(super) fn server() -> Server {
    Server::builder()
        .concurrency_limit_per_connection(CONCURRENT_MAX)
        .max_concurrent_streams(Some(STREAMS_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
}

pub(super) fn service(names: &Arc<Names>, asker: Asker) -> DirectoryServer<Asked> {
    let asked = Asked { names: Arc::clone(names), asker };
    DirectoryServer::new(asked).max_decoding_message_size(4 * QUERY_BYTES_MAX)
}

/// What is in a context, or what else is there.
type Listed = Result<Listing, End>;

/// Names, as gRPC asks for them.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    names: Arc<Names>,
    asker: Asker,
}

impl Asked {
    /// What a path stands for by what this server knows, as far as who asks is shown it.
    fn look(&self, tree: &Tree, walk: &mut Walk) -> Result<End, Problem> {
        let objects = self.names.objects.borrow();
        match self.asker.by_own_name(walk.place(), tree, &objects)? {
            Some(own) => Ok(own),
            None => self.asker.end(tree.resolve(walk)?, &objects),
        }
    }

    /// The same, by what other servers know as well.
    async fn resolve(&self, tree: &Tree, walk: &mut Walk, follow: bool) -> Result<End, Problem> {
        match self.look(tree, walk)? {
            End::Elsewhere(_) if follow => {
                let servers = async |walk: &mut Walk| follow::resolve(tree, &Remote, walk).await;
                let end = self.elsewhere(&self.names.asking, walk, servers).await?;
                self.asker.end(end, &self.names.objects.borrow())
            }
            end @ (End::Region { .. } | End::Context | End::Elsewhere(_)) => Ok(end),
        }
    }

    /// What is in a context, in the same way.
    async fn list(&self, tree: &Tree, walk: &mut Walk, follow: bool) -> Result<Listed, Problem> {
        if let Some(own) = self.asker.by_own_name(walk.place(), tree, &self.names.objects.borrow())? {
            return Ok(Err(own));
        }
        let listed = match tree.resolve(walk)? {
            End::Context => Ok(tree.list(walk.place())?),
            End::Elsewhere(_) if follow => {
                let servers = async |walk: &mut Walk| follow::list(tree, &Remote, walk).await;
                self.elsewhere(&self.names.listing, walk, servers).await?
            }
            end @ (End::Region { .. } | End::Elsewhere(_)) => Err(end),
        };
        let objects = self.names.objects.borrow();
        match listed {
            Ok(listing) => Ok(Ok(self.asker.listing(listing, walk, tree, &objects))),
            Err(end) => self.asker.end(end, &objects).map(Err),
        }
    }

    /// Asks other servers, within a deadline, and no more at a time than may be.
    async fn elsewhere<T>(
        &self,
        places: &Shares,
        walk: &mut Walk,
        follow: impl AsyncFnOnce(&mut Walk) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let server = walk.place().server.clone().unwrap_or_default();
        let Some(_share) = places.take(self.asker.pod()) else {
            let why = "the agent of this node asks too many others already, try again";
            return Err(pagemesh_names::explain(&server, why));
        };
        let result = timeout(FOLLOW_TIMEOUT, follow(walk)).await;
        result.unwrap_or_else(|_| {
            Err(pagemesh_names::explain(&server, "the servers on the way to it have taken too long"))
        })
    }
}

impl Names {
    fn check_fresh(&self) -> Result<(), Status> {
        if self.is_stale() {
            return Err(Status::unavailable("another agent has taken over from this one: connect again"));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Directory for Asked {
    async fn resolve(&self, request: Request<Query>) -> Result<Response<proto::Resolution>, Status> {
        self.names.check_fresh()?;
        let query = request.into_inner();
        let (tree, version) = self.names.told();
        let place = match self.asker.place(&query) {
            Ok(place) => place,
            Err(problem) => return Ok(Response::new(wire::resolution(version, &[], &Err(problem)))),
        };
        let mut walk = Walk::new(place);
        let end = self.resolve(&tree, &mut walk, query.follow).await;
        let end = end.map_err(|problem| self.asker.problem(problem, &walk));
        Ok(Response::new(wire::resolution(version, walk.trace(), &end)))
    }

    async fn list(&self, request: Request<Query>) -> Result<Response<proto::Listing>, Status> {
        self.names.check_fresh()?;
        let query = request.into_inner();
        let (tree, version) = self.names.told();
        let place = match self.asker.place(&query) {
            Ok(place) => place,
            Err(problem) => {
                return Ok(Response::new(wire::listing(version, &query.path, &[], &Err(problem))));
            }
        };
        let mut walk = Walk::new(place);
        let end = self.list(&tree, &mut walk, query.follow).await;
        let end = end.map_err(|problem| self.asker.problem(problem, &walk));
        Ok(Response::new(wire::listing(version, &query.path, walk.trace(), &end)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<proto::Resolution, Status>> + Send>>;

    async fn watch(&self, request: Request<Query>) -> Result<Response<Self::WatchStream>, Status> {
        self.names.check_fresh()?;
        let place = self.asker.place(&request.into_inner());
        let place = place.map_err(|problem| Status::invalid_argument(problem.reason))?;
        let share = self.names.watches.take(self.asker.pod()).ok_or_else(|| {
            Status::resource_exhausted("too many names are watched here already: try again later")
        })?;
        let watching = Watching {
            asked: self.clone(),
            place,
            objects: self.names.objects.clone(),
            last: None,
            over: false,
            until: Instant::now() + AGE_MAX,
            _share: share,
        };
        let stream = stream::unfold(watching, async |mut watching| {
            let news = watching.news().await?;
            Some((news, watching))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// A path that somebody watches.
struct Watching {
    asked: Asked,
    place: Place,
    /// What has been looked at.
    objects: watch::Receiver<Arc<Objects>>,
    last: Option<(Walk, Result<End, Problem>)>,
    over: bool,
    until: Instant,
    _share: Share,
}

impl Watching {
    /// Awaits what the path has not stood for when it was last told.
    async fn news(&mut self) -> Option<Result<proto::Resolution, Status>> {
        if self.over {
            return None;
        }
        loop {
            self.objects.mark_unchanged();
            let (tree, version) = self.asked.names.told();
            let mut walk = Walk::new(self.place.clone());
            let end = self.asked.look(&tree, &mut walk);
            let end = end.map_err(|problem| self.asked.asker.problem(problem, &walk));
            let now = (walk, end);
            if self.last.as_ref() != Some(&now) {
                let resolution = wire::resolution(version, now.0.trace(), &now.1);
                self.last = Some(now);
                return Some(Ok(resolution));
            }
            let ended = match timeout_at(self.until, self.objects.changed()).await {
                Ok(Ok(())) => continue,
                Ok(Err(_)) => "another agent has taken over from this one: connect again",
                Err(_) => "it has been watched for long: watch again",
            };
            self.over = true;
            return Some(Err(Status::unavailable(ended)));
        }
    }
}
