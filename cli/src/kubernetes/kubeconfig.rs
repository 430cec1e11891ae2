//! The usual ways to a cluster: a kubeconfig, or in a pod its service account.

use std::env;

use anyhow::{Result, anyhow, bail};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::access::Access;
use super::no_proxy;

/// The configuration of a client.
pub(super) async fn config(access: &Access) -> Result<Config> {
    let read = match &access.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let asked = access.kubeconfig.is_some() || access.context.is_some();
    match read {
        Ok(kubeconfig) => of_kubeconfig(kubeconfig, access.context.clone()).await,
        // Nobody has said that there is one.
        Err(error) if !asked && env::var_os("KUBECONFIG").is_none_or(|value| value.is_empty()) => {
            Config::incluster().map_err(|_| anyhow!("{}", sentence(&error)))
        }
        Err(error) => Err(anyhow!("{}", sentence(&error))),
    }
}

async fn of_kubeconfig(kubeconfig: Kubeconfig, context: Option<String>) -> Result<Config> {
    let name = context.clone().or_else(|| kubeconfig.current_context.clone()).unwrap_or_default();
    if name.is_empty() {
        bail!("{}", sentence(&KubeconfigError::CurrentContextNotSet));
    }
    let own_proxy = has_proxy(&kubeconfig, &name);
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|error| anyhow!("{}", sentence(&error)))?;
    // kube looks whether NO_PROXY names the proxy; it is meant to name who is reached without one.
    let host = config.cluster_url.host().unwrap_or_default();
    if !own_proxy && no_proxy::covers(&no_proxy::of_environment(), host) {
        config.proxy_url = None;
    }
    Ok(config)
}

/// Whether the cluster of a context names its own proxy, which then holds whatever the environment says.
fn has_proxy(kubeconfig: &Kubeconfig, context: &str) -> bool {
    let context = kubeconfig.contexts.iter().find(|named| named.name == context);
    let cluster = context.and_then(|named| named.context.as_ref()).map(|context| context.cluster.as_str());
    let cluster = kubeconfig.clusters.iter().find(|named| Some(named.name.as_str()) == cluster);
    let proxy = cluster.and_then(|named| named.cluster.as_ref()?.proxy_url.as_deref());
    proxy.is_some_and(|proxy| !proxy.is_empty())
}

fn sentence(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::CurrentContextNotSet => {
            "the kubeconfig has no current context: choose one with --context, \
             or for good with `kubectl config use-context NAME`"
                .into()
        }
        KubeconfigError::LoadContext(name) => format!(
            "the kubeconfig has no context `{}`: `kubectl config get-contexts` lists those that it has",
            name.escape_debug()
        ),
        KubeconfigError::LoadClusterOfContext(name) => format!(
            "the context is for the cluster `{}`, which the kubeconfig does not describe: correct it with \
             `kubectl config set-cluster`",
            name.escape_debug()
        ),
        KubeconfigError::FindPath => {
            "there is no home directory to look for .kube/config in: name a kubeconfig with --kubeconfig"
                .into()
        }
        KubeconfigError::ReadConfig(error, path) => format!(
            "the kubeconfig {} cannot be read ({error}): name one with --kubeconfig or KUBECONFIG",
            path.display()
        ),
        KubeconfigError::Parse(error) => {
            format!("the kubeconfig is not the YAML that it should be: {}", first_line(&error.to_string()))
        }
        KubeconfigError::MissingClusterUrl => {
            "the kubeconfig does not say where the cluster is: give its cluster a `server`".into()
        }
        KubeconfigError::KindMismatch
        | KubeconfigError::ApiVersionMismatch
        | KubeconfigError::ParseClusterUrl(_)
        | KubeconfigError::ParseProxyUrl(_)
        | KubeconfigError::LoadCertificateAuthority(_)
        | KubeconfigError::LoadClientCertificate(_)
        | KubeconfigError::LoadClientKey(_)
        | KubeconfigError::ParseCertificates(_)
        | KubeconfigError::ParseNoProxy(_) => {
            format!("the kubeconfig cannot be used: {}: correct it", first_line(&error.to_string()))
        }
    }
}

/// Parsers show what they were reading; the kubeconfig has secrets in it.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: here, context: {cluster: one, user: me, namespace: team}}
- {name: lost, context: {cluster: none, user: me}}
clusters:
- {name: one, cluster: {server: 'https://10.0.0.1:6443'}}
users:
- {name: me, user: {token: t}}
";

    async fn read(context: Option<&str>) -> Result<Config> {
        let kubeconfig = Kubeconfig::from_yaml(KUBECONFIG).expect("a kubeconfig");
        of_kubeconfig(kubeconfig, context.map(Into::into)).await
    }

    #[tokio::test]
    async fn a_context_says_where_and_which_namespace() {
        let config = read(None).await.expect("the current one");
        assert_eq!(config.cluster_url, "https://10.0.0.1:6443");
        assert_eq!(config.default_namespace, "team");
    }

    #[tokio::test]
    async fn every_error_says_what_to_do() {
        for (context, expected) in [
            ("gone", "no context `gone`: `kubectl config get-contexts`"),
            ("lost", "cluster `none`, which the kubeconfig does not describe"),
        ] {
            let error = read(Some(context)).await.expect_err("no such");
            assert!(format!("{error:#}").contains(expected), "{error}");
        }
        let none = of_kubeconfig(Kubeconfig::default(), None).await.expect_err("nothing in it");
        assert!(format!("{none}").contains("choose one with --context"), "{none}");
    }
}
