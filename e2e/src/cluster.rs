//! The cluster under test, and the programs with which a user would touch it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, PostParams};
use kube::config::AuthInfo;
use kube::{Api, Client, Config};
use serde_json::Value;
use tokio::process::Command;

/// The cluster under test.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// Its API.
    pub(crate) client: Client,
    /// Its workers, by name.
    pub(crate) workers: Vec<String>,
    /// Its control plane's node.
    pub(crate) control_plane: String,
    /// The workspace.
    pub(crate) root: PathBuf,
    /// Its nodes are containers on this machine, made by kind.
    pub(crate) of_kind: bool,
}

impl Cluster {
    /// Connects to the cluster that `KUBECONFIG` names.
    pub(crate) async fn connect() -> Result<Cluster> {
        let client = Client::try_default().await?;
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
        let is_control_plane = |node: &&Node| {
            let labels = node.metadata.labels.as_ref();
            labels.is_some_and(|labels| labels.contains_key("node-role.kubernetes.io/control-plane"))
        };
        let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
        let control_plane = nodes.iter().find(is_control_plane).map(name);
        let mut workers: Vec<_> = nodes.iter().filter(|node| !is_control_plane(node)).map(name).collect();
        workers.sort();
        if workers.len() < 2 {
            bail!("the tests need two workers, and there are {}", workers.len());
        }
        let control_plane = control_plane.context("no node is labelled as the control plane")?;
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let of_kind = std::env::var_os("E2E_FOREIGN").is_none_or(|foreign| foreign != "yes");
        Ok(Cluster { client, workers, control_plane, root, of_kind })
    }

    /// The API as somebody else sees it: whoever a token names.
    pub(crate) async fn client_with_token(&self, token: &str) -> Result<Client> {
        let mut config = Config::infer().await?;
        config.auth_info = AuthInfo { token: Some(token.to_owned().into()), ..AuthInfo::default() };
        Ok(Client::try_from(config)?)
    }

    /// Runs a program to its end and returns what it printed.
    ///
    /// # Errors
    ///
    /// Its exit status was not 0: with all that it printed.
    pub(crate) async fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.attempt(program, arguments).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(anyhow!("{program} {} ended with {}: {}", arguments.join(" "), output.status, said(&output)))
    }

    /// Runs a program that may fail.
    pub(crate) async fn attempt(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<Output> {
        let program = program.as_ref();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root).kill_on_drop(true);
        command.output().await.with_context(|| format!("cannot start {}", program.display()))
    }

    /// kubectl, as a user runs it.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run("kubectl", arguments).await
    }

    /// A command on a node, which is a container of kind's.
    pub(crate) async fn on_node(&self, node: &str, command: &[&str]) -> Result<String> {
        self.run("docker", &[&["exec", node], command].concat()).await
    }

    /// Brings a program to a node, which is a container of kind's, and returns where it is there.
    pub(crate) async fn bring(&self, node: &str, program: &Path, name: &str) -> Result<String> {
        let there = format!("/usr/local/bin/{name}");
        let here = program.to_str().context("the program's path is no text")?;
        self.run("docker", &["cp", here, &format!("{node}:{there}")]).await?;
        Ok(there)
    }

    /// Applies YAML or JSON by kubectl, in a namespace.
    pub(crate) async fn apply(&self, namespace: &str, objects: &str) -> Result<String> {
        use tokio::io::AsyncWriteExt;
        let mut child = Command::new("kubectl")
            .args(["apply", "--server-side", "--field-manager=user", "-n", namespace, "-f", "-"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().context("kubectl has no stdin")?;
        stdin.write_all(objects.as_bytes()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        bail!("kubectl apply ended with {}: {}", output.status, said(&output))
    }

    /// Creates one object by the API.
    pub(crate) async fn create<K>(&self, api: &Api<K>, object: Value) -> Result<K>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
    {
        Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?)
    }
}

/// All that a program printed.
pub(crate) fn said(output: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}{}", stdout.trim(), stderr.trim())
}
