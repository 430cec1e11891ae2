//! What an agent tells: `agent.json` in its directory, and `/status`, `/readyz`, `/metrics` over HTTP on loopback.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// An agent on this machine answers within a fraction of it, or is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest answer that is read: metrics of many regions take some hundred kilobytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// `agent.json`: written by an agent when it is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgentInfo {
    /// Its process.
    pub(crate) pid: u32,
    /// Its name.
    pub(crate) name: String,
    /// Its number in the mesh.
    pub(crate) id: u16,
    /// Where its peers reach it.
    pub(crate) listen: SocketAddr,
    /// Where it answers HTTP.
    pub(crate) http: SocketAddr,
    /// Where programs attach.
    pub(crate) socket: PathBuf,
}

/// What an agent holds: the answer to `/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// Its name.
    pub(crate) name: String,
    /// Its number in the mesh.
    pub(crate) id: u16,
    /// Version of its program.
    pub(crate) version: String,
    /// Its process.
    pub(crate) pid: u32,
    /// The other agents that it knows of.
    pub(crate) peers: Vec<Peer>,
    /// The regions that it knows of.
    pub(crate) regions: Vec<Region>,
    /// The programs attached to it.
    pub(crate) attachments: Vec<Attachment>,
}

/// Another agent, as an agent sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    /// Its name.
    pub(crate) name: String,
    /// Whether there is a connection.
    pub(crate) connected: bool,
}

/// A region, as an agent sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Region {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its page size in bytes.
    pub(crate) page_size: u64,
    /// What a program may assume.
    pub(crate) consistency: String,
    /// How copies are kept.
    pub(crate) coherence: String,
    /// Number of its placement; 0 or absent if it has none.
    pub(crate) epoch: Option<u64>,
    /// Names of the agents that home its pages.
    pub(crate) homes: Vec<String>,
    /// Whether programs can attach.
    pub(crate) ready: bool,
    /// Why not.
    pub(crate) reason: Option<String>,
    /// Its pages on this node.
    pub(crate) pages: Pages,
    /// How many programs of this node are attached.
    pub(crate) attachments: u64,
}

/// Pages of a region on a node.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Pages {
    /// That the node may read.
    pub(crate) shared: u64,
    /// That the node may write.
    pub(crate) exclusive: u64,
}

/// One process attached to one region of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attachment {
    /// Its number on this node.
    pub(crate) id: u64,
    /// The region, as NAMESPACE/NAME.
    pub(crate) region: String,
    /// The process.
    pub(crate) pid: u32,
    /// Whose it is.
    pub(crate) uid: u32,
    /// What it runs.
    pub(crate) command: String,
    /// Its pod, as NAMESPACE/NAME, if it came by the volume of one.
    #[serde(default)]
    pub(crate) pod: Option<String>,
    /// Whether it may only read.
    #[serde(default)]
    pub(crate) read_only: bool,
    /// Why it may not have the region any more, if so.
    #[serde(default)]
    pub(crate) revoked: Option<String>,
    /// How much of the region it has mapped.
    pub(crate) mapped_bytes: u64,
}

impl AgentInfo {
    /// Reads `agent.json` in a node's directory; `None` if the agent has not written it.
    pub(crate) fn read(node_dir: &Path) -> Result<Option<AgentInfo>> {
        let path = node_dir.join("agent.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("{} cannot be read", path.display()))?,
        };
        let info = serde_json::from_slice(&text).with_context(|| {
            format!("{} is not what an agent writes; is it of another version?", path.display())
        })?;
        Ok(Some(info))
    }

    /// What the agent holds.
    pub(crate) fn status(&self) -> Result<Status> {
        let text = self.get("/status")?;
        serde_json::from_str(&text).with_context(|| format!("{}'s status is not readable", self.name))
    }

    /// The agent's metrics, in the text format of Prometheus.
    pub(crate) fn metrics(&self) -> Result<String> {
        self.get("/metrics")
    }

    /// Whether the agent says that it is ready.
    pub(crate) fn ready(&self) -> Result<()> {
        self.get("/readyz").map(drop)
    }

    fn get(&self, path: &str) -> Result<String> {
        // A proxy that the environment names is not meant for loopback.
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .proxy(None)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .build()
            .into();
        let silent = || format!("{} (pid {}) does not answer", self.name, self.pid);
        let mut answer = agent.get(format!("http://{}{path}", self.http)).call().with_context(silent)?;
        let text =
            answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().with_context(silent)?;
        if !answer.status().is_success() {
            bail!("{} answers {path} with: {}", self.name, text.trim().escape_debug());
        }
        Ok(text)
    }
}
