//! Which cluster, and the connection to it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822;
use kube::Client;
use kube::client::Body;

use super::kubeconfig;
use super::trouble::{Trouble, explain};

/// An API server that does not take a connection within it is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An API server that has taken a request answers within it.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Which cluster, as every subcommand for clusters takes it.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Access {
    /// Kubeconfig file [default: $KUBECONFIG or ~/.kube/config; in a pod without either, its service account]
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// Namespace that pagemesh is installed in [default: found by the operator's labels]
    #[arg(long, value_name = "NAMESPACE")]
    install_namespace: Option<String>,
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Answers come at once.
    Answer,
    /// An answer goes on for as long as its source lives.
    Follow,
}

/// A cluster, ready to be asked.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// Speaks to the API server.
    pub(crate) client: Client,
    /// Where the API server is, for people.
    pub(crate) url: String,
    /// What its host is called.
    pub(crate) host: String,
    /// Namespace of the context.
    pub(crate) namespace: String,
    /// Where the user says that pagemesh is installed.
    pub(crate) install_namespace: Option<String>,
}

impl Access {
    /// Whether somebody has said which cluster.
    pub(crate) fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some() || self.install_namespace.is_some()
    }

    /// Does `work` with the cluster. The runtime is this thread's and ends with it.
    pub(crate) fn with_cluster<T>(
        &self,
        patience: Patience,
        work: impl AsyncFnOnce(Cluster) -> Result<T>,
    ) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("the system gives no descriptors to wait on; raise `ulimit -n`")?;
        let result = runtime.block_on(async { work(self.connect(patience).await?).await });
        // What still runs, such as a plug-in that is asked for a token, is not waited for.
        runtime.shutdown_background();
        result
    }

    async fn connect(&self, patience: Patience) -> Result<Cluster> {
        let mut config = kubeconfig::config(self).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = (patience == Patience::Answer).then_some(READ_TIMEOUT);
        // A read that follows another on a kept connection has a whole timeout again.
        config.reset_reader_on_write = true;
        let host = config.cluster_url.host().unwrap_or_default().to_owned();
        let url = match config.proxy_url.as_ref().and_then(http::Uri::host) {
            Some(proxy) => format!("{} through the proxy {proxy}", config.cluster_url),
            None => config.cluster_url.to_string(),
        };
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(|error| explain(&error, &url))?;
        Ok(Cluster { client, url, host, namespace, install_namespace: self.install_namespace.clone() })
    }
}

impl Cluster {
    /// What the cluster's clock says: ages and leases are judged by it, for ours may be wrong. The first question, too:
    /// it fails when the API server is out of reach.
    pub(crate) async fn now(&self) -> Result<Timestamp, Trouble> {
        let request = http::Request::get("/version").body(Body::empty()).map_err(kube::Error::HttpError);
        let ask = async { self.client.send(request?).await };
        let answer = ask.await.map_err(|error| explain(&error, &self.url))?;
        let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
        Ok(date
            .and_then(|date| rfc2822::parse(date).ok())
            .map_or_else(Timestamp::now, |date| date.timestamp()))
    }
}
