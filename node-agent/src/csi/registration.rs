//! The kubelet finds drivers by sockets in its `plugins_registry`: it asks each who it is, and tells it what came of that.
//!
//! The kubelet knows a driver by its name alone. It refuses a second one of the same name, and one that goes takes the name with
//! it, whosever it is by then. So an agent registers only when the one before has taken its socket away, and when the kubelet
//! refuses it all the same, it comes again under another socket, since the kubelet asks the same one ever less often.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::transport::Server;
use tonic::{Request as Call, Response, Status};
use tracing::{debug, info, warn};

use super::proto::pluginregistration::registration_server::{self, RegistrationServer};
use super::proto::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};
use super::{DRIVER, authority, socket};
use crate::grpc::Served;

/// How often to look whether the agent before has gone.
const OTHERS_EVERY: Duration = Duration::from_millis(250);
/// Time in which the kubelet takes note that a socket is gone: it looks every second.
const KUBELET_LOOKS: Duration = Duration::from_secs(2);
/// How often to look whether our socket is still there.
const OWN_EVERY: Duration = Duration::from_secs(5);
/// Before coming again, at first and at most.
const AGAIN_MIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(8);

/// What is on its way to and from the kubelet at most: it says little.
const CONNECTION_BYTES: usize = 1 << 14;

/// As the kubelet calls what we are.
const KIND: &str = "CSIPlugin";
/// The version of CSI that the kubelet speaks.
const VERSION: &str = "1.0.0";

/// What the kubelet has said; None when it took us.
type Told = Option<String>;

struct Registration {
    endpoint: String,
    told: mpsc::Sender<Told>,
}

#[tonic::async_trait]
impl registration_server::Registration for Registration {
    async fn get_info(&self, _: Call<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: KIND.into(),
            name: DRIVER.into(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec![VERSION.into()],
        }))
    }

    async fn notify_registration_status(
        &self,
        call: Call<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus { plugin_registered, error } = call.into_inner();
        // Who has more to say than is heard says the same.
        let _ = self.told.try_send((!plugin_registered).then_some(error));
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

/// Keeps the driver registered, whatever the kubelet does. `endpoint` is where it is served.
///
/// # Errors
/// No socket can be made in `registry`.
pub(super) async fn register(registry: &Path, endpoint: &Path) -> io::Result<Infallible> {
    let (mut again, mut refused) = (AGAIN_MIN, false);
    loop {
        let mut waited = false;
        while socket::remove_stale(registry)? > 0 {
            waited = true;
            sleep(OTHERS_EVERY).await;
        }
        if waited {
            sleep(KUBELET_LOOKS).await;
        }
        let (listener, file) = socket::listen(registry)?;
        let (told, mut news) = mpsc::channel(4);
        let path: PathBuf = file.path().into();
        let registration = Registration { endpoint: endpoint.display().to_string(), told };
        let why = tokio::select! {
            served = serve(listener, registration) => return Err(served),
            why = listen_to(&mut news, &path, &mut again) => why,
        };
        drop(file);
        if let Some(why) = why
            && !std::mem::replace(&mut refused, true)
        {
            warn!("the kubelet refuses the CSI driver, which goes on asking: {why}");
        }
        sleep(again).await;
        again = (2 * again).min(AGAIN_MAX);
    }
}

async fn serve(listener: UnixListener, registration: Registration) -> io::Error {
    let served = Server::builder()
        .add_service(RegistrationServer::new(registration))
        .serve_with_incoming(
            socket::incoming(listener).map_ok(|connection| Served::new(understood(connection))),
        )
        .await;
    served.map_or_else(io::Error::other, |()| io::Error::other("the socket has ended"))
}

/// A connection of the kubelet's as the server can take it.
fn understood(connection: UnixStream) -> DuplexStream {
    let (server, mut ours) = duplex(CONNECTION_BYTES);
    tokio::spawn(async move {
        let (mut from_kubelet, mut to_kubelet) = connection.into_split();
        let (mut from_server, mut to_server) = tokio::io::split(&mut ours);
        let passed = tokio::try_join!(authority::pass(&mut from_kubelet, &mut to_server), async {
            tokio::io::copy(&mut from_server, &mut to_kubelet).await?;
            to_kubelet.shutdown().await
        });
        if let Err(error) = passed {
            debug!(%error, "a connection to the socket for the kubelet has ended");
        }
    });
    server
}

/// Returns when another socket is needed, and what the kubelet has against this one.
async fn listen_to(news: &mut mpsc::Receiver<Told>, path: &Path, again: &mut Duration) -> Told {
    let mut looks = interval(OWN_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(told) = news.recv() => match told {
                None => {
                    info!("the kubelet has registered the CSI driver");
                    *again = AGAIN_MIN;
                }
                Some(why) => return Some(why),
            },
            // A kubelet that starts anew may have cleaned up.
            _ = looks.tick() => if !path.exists() { return None },
        }
    }
}
