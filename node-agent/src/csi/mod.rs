//! The CSI driver `csi.pagemesh.io`: gives pods their volumes.
//!
//! The kubelet calls it, on the node's own socket; there is no controller, for a volume lives and ends with its pod.
//! `request` checks what is asked for, `store` does it, `services` answers, `registration` tells the kubelet where to ask.
//! Everything here is off the data path: with the driver away, pods that have their volumes go on.

mod authority;
mod library;
mod mounts;
pub mod proto;
mod registration;
mod request;
mod services;
mod socket;
mod store;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use pagemesh_crds::CSI_DRIVER as DRIVER;
use ring::digest::{SHA256, digest};
use tokio::task::JoinSet;
use tonic::transport::Server;
use tracing::{info, warn};

use crate::grpc::Served;
use crate::volume::Volumes;
use library::Library;
use proto::csi::identity_server::IdentityServer;
use proto::csi::node_server::NodeServer;
use services::{Identity, Node};
use socket::SocketFile;
use store::Store;

/// Requests of one connection that are worked on at a time. The kubelet has one connection.
const CONCURRENT_MAX: usize = 32;
/// Longest request: a kubelet's are some hundred bytes, and a pod's volume attributes are part of an object of 1.5 MiB at most.
const REQUEST_BYTES_MAX: usize = 2 << 20;

/// What the driver must know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the node.
    pub node: String,
    /// Root directory of the node's kubelet, under the name that the kubelet itself has for it.
    pub kubelet_dir: PathBuf,
    /// The agent's own directory, which no other agent uses now.
    pub dir: PathBuf,
    /// The preload library that pods get.
    pub library: PathBuf,
}

impl Settings {
    fn pods_dir(&self) -> PathBuf {
        self.kubelet_dir.join("pods")
    }

    fn registry(&self) -> PathBuf {
        self.kubelet_dir.join("plugins_registry")
    }
}

/// Why the driver cannot run.
#[derive(Debug, thiserror::Error)]
pub enum CsiError {
    /// There is no kubelet there.
    #[error(
        "{dir} is no directory of a kubelet ({source}): start the agent with the root directory of this node's kubelet as \
         --kubelet-dir, and let its container see `pods`, `plugins` and `plugins_registry` of it"
    )]
    NoKubelet {
        /// What was looked for.
        dir: PathBuf,
        /// Why it cannot be used.
        source: io::Error,
    },
    /// The library is not there.
    #[error(
        "cannot give pods the preload library {path}: {source}; name libpagemesh_preload.so with --library"
    )]
    Library {
        /// The library.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Volumes cannot be kept.
    #[error("cannot keep pods' volumes in {dir}: {source}")]
    Volumes {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kubelet could not call.
    #[error("cannot listen for the kubelet in {dir}: {source}")]
    Listen {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The running driver. Dropped, it ends, and its sockets go; volumes stay for the next process of the agent.
#[derive(Debug)]
pub struct Csi {
    store: Arc<Store>,
    endpoint: SocketFile,
    tasks: JoinSet<&'static str>,
}

impl Drop for Csi {
    fn drop(&mut self) {
        // A request that is being worked on would go on in its thread, while the next process of the agent has the volumes.
        self.store.close();
    }
}

/// Looks whether the driver could run, before anything depends on it.
///
/// # Errors
/// What the kubelet should have made is not there, or the library is not.
pub fn check(settings: &Settings) -> Result<(), CsiError> {
    for dir in [settings.pods_dir(), settings.registry()] {
        fs::read_dir(&dir).map_err(|source| CsiError::NoKubelet { dir, source })?;
    }
    let path = settings.library.clone();
    fs::File::open(&path).map(drop).map_err(|source| CsiError::Library { path, source })
}

impl Csi {
    /// Opens the volumes that are there, then serves the kubelet. `ready` says whether the agent serves. Must be called within
    /// a runtime.
    ///
    /// # Errors
    /// A directory cannot be used, or the library is not there.
    pub fn start(
        settings: &Settings,
        ready: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Csi, CsiError> {
        check(settings)?;
        let Settings { node, kubelet_dir, dir, library } = settings;
        let placed = Library::place(library, &dir.join("library"));
        let placed = placed.map_err(|source| CsiError::Library { path: library.clone(), source })?;
        let volumes_dir = dir.join("volumes");
        let store = Store::open(&volumes_dir, placed, &settings.pods_dir());
        let store = Arc::new(store.map_err(|source| CsiError::Volumes { dir: volumes_dir, source })?);

        let plugin = kubelet_dir.join("plugins").join(DRIVER);
        let listening = fs::create_dir_all(&plugin)
            .and_then(|()| socket::remove_stale(&plugin))
            .and_then(|_living| socket::listen(&plugin));
        let (listener, endpoint) =
            listening.map_err(|source| CsiError::Listen { dir: plugin.clone(), source })?;
        let open = store.volumes().borrow().len();
        info!(endpoint = %endpoint.path().display(), volumes = open, "pods can have volumes");

        let node = Node { name: node.clone(), pods_dir: settings.pods_dir(), store: Arc::downgrade(&store) };
        let identity = Identity { ready: Arc::new(ready) };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let served = Server::builder()
                .concurrency_limit_per_connection(CONCURRENT_MAX)
                .add_service(IdentityServer::new(identity).max_decoding_message_size(REQUEST_BYTES_MAX))
                .add_service(NodeServer::new(node).max_decoding_message_size(REQUEST_BYTES_MAX))
                .serve_with_incoming(socket::incoming(listener).map_ok(Served::new))
                .await;
            if let Err(error) = served {
                warn!(%error, "cannot serve the kubelet any more");
            }
            "the CSI services"
        });
        let waiting = Arc::downgrade(&store);
        tasks.spawn(async move { match store::open_the_rest(waiting).await {} });
        let (registry, path) = (settings.registry(), endpoint.path().to_owned());
        tasks.spawn(async move {
            match registration::register(&registry, &path).await {
                Ok(never) => match never {},
                Err(error) => warn!(dir = %registry.display(), %error, "cannot register with the kubelet"),
            }
            "the registration with the kubelet"
        });
        Ok(Csi { store, endpoint, tasks })
    }

    /// The node's volumes, as they come and go.
    #[must_use]
    pub fn volumes(&self) -> Volumes {
        self.store.volumes()
    }

    /// Where the kubelet calls.
    #[must_use]
    pub fn endpoint(&self) -> &Path {
        self.endpoint.path()
    }

    /// Runs until a part of it fails.
    pub async fn run(mut self) {
        let ended = self.tasks.join_next().await;
        warn!(?ended, "the CSI driver has ended");
    }
}

/// A short name that only the same contents have.
fn hash(contents: &[u8]) -> String {
    let digest = digest(&SHA256, contents);
    digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
