//! CSI's Identity and Node services, as the kubelet calls them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use tonic::{Request as Call, Response, Status};
use tracing::warn;

use super::DRIVER;
use super::proto::csi::identity_server;
use super::proto::csi::node_server;
use super::proto::csi::*;
use super::request::{self, Request};
use super::store::{PublishError, Store};

const HEALTH: &str = "volumes of pagemesh have no health of their own: see the conditions of their Regions";

type Answer<T> = Result<Response<T>, Status>;

/// Says who the driver is.
pub(super) struct Identity {
    /// Whether the agent serves.
    pub(super) ready: Arc<dyn Fn() -> bool + Send + Sync>,
}

#[tonic::async_trait]
impl identity_server::Identity for Identity {
    async fn get_plugin_info(&self, _: Call<GetPluginInfoRequest>) -> Answer<GetPluginInfoResponse> {
        Ok(Response::new(GetPluginInfoResponse {
            name: DRIVER.into(),
            vendor_version: env!("CARGO_PKG_VERSION").into(),
            manifest: HashMap::new(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Call<GetPluginCapabilitiesRequest>,
    ) -> Answer<GetPluginCapabilitiesResponse> {
        // No controller: nothing is made before a pod is there, nor is left of it after.
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities: Vec::new() }))
    }

    async fn probe(&self, _: Call<ProbeRequest>) -> Answer<ProbeResponse> {
        Ok(Response::new(ProbeResponse { ready: Some((self.ready)()) }))
    }
}

/// Gives volumes to pods.
pub(super) struct Node {
    pub(super) name: String,
    /// Where the kubelet has its pods' directories.
    pub(super) pods_dir: PathBuf,
    /// Connections are served beyond the end of the driver, and must not keep its volumes.
    pub(super) store: Weak<Store>,
}

#[tonic::async_trait]
impl node_server::Node for Node {
    async fn node_publish_volume(
        &self,
        call: Call<NodePublishVolumeRequest>,
    ) -> Answer<NodePublishVolumeResponse> {
        let request = Request::read(call.into_inner(), &self.pods_dir)?;
        self.work(move |store| store.publish(request)).await?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        call: Call<NodeUnpublishVolumeRequest>,
    ) -> Answer<NodeUnpublishVolumeResponse> {
        let NodeUnpublishVolumeRequest { volume_id, target_path, .. } = call.into_inner();
        let (id, target) = request::read_unpublish(volume_id, &target_path, &self.pods_dir)?;
        self.work(move |store| store.unpublish(&id, &target)).await?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_capabilities(
        &self,
        _: Call<NodeGetCapabilitiesRequest>,
    ) -> Answer<NodeGetCapabilitiesResponse> {
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities: Vec::new() }))
    }

    async fn node_get_info(&self, _: Call<NodeGetInfoRequest>) -> Answer<NodeGetInfoResponse> {
        // Without a limit of its own: --attachments is one of programs.
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.name.clone(),
            ..NodeGetInfoResponse::default()
        }))
    }

    async fn node_stage_volume(&self, _: Call<NodeStageVolumeRequest>) -> Answer<NodeStageVolumeResponse> {
        Err(unable("staged"))
    }

    async fn node_unstage_volume(
        &self,
        _: Call<NodeUnstageVolumeRequest>,
    ) -> Answer<NodeUnstageVolumeResponse> {
        Err(unable("staged"))
    }

    async fn node_expand_volume(&self, _: Call<NodeExpandVolumeRequest>) -> Answer<NodeExpandVolumeResponse> {
        Err(Status::unimplemented("a volume of pagemesh has no size: to grow a region, change its spec.size"))
    }

    async fn node_get_volume_stats(
        &self,
        _: Call<NodeGetVolumeStatsRequest>,
    ) -> Answer<NodeGetVolumeStatsResponse> {
        Err(Status::unimplemented("a volume of pagemesh has no size: see the status of its Regions"))
    }

    async fn node_get_volume_health(
        &self,
        _: Call<NodeGetVolumeHealthRequest>,
    ) -> Answer<NodeGetVolumeHealthResponse> {
        Err(Status::unimplemented(HEALTH))
    }

    async fn node_get_storage_health(
        &self,
        _: Call<NodeGetStorageHealthRequest>,
    ) -> Answer<NodeGetStorageHealthResponse> {
        Err(Status::unimplemented(HEALTH))
    }
}

impl Node {
    /// Works on volumes where it may wait for the disk.
    async fn work(
        &self,
        work: impl FnOnce(&Store) -> Result<(), PublishError> + Send + 'static,
    ) -> Result<(), Status> {
        let store = self.store.upgrade().ok_or_else(|| refusal(PublishError::Closed))?;
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|error| Status::internal(format!("the agent's own mistake: {error}")))?.map_err(refusal)
    }
}

fn refusal(error: PublishError) -> Status {
    let text = error.to_string();
    match error {
        PublishError::Other { .. } => Status::already_exists(text),
        PublishError::Closed => Status::unavailable(text),
        PublishError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            Status::resource_exhausted(format!("{text}; make room in the agent's --dir"))
        }
        PublishError::Io { .. } | PublishError::Listen(_) => {
            warn!("{text}");
            Status::internal(text)
        }
    }
}

fn unable(what: &str) -> Status {
    Status::unimplemented(format!("volumes of pagemesh are not {what}: publish them"))
}
