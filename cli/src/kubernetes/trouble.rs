//! Why a cluster could not be asked, as a sentence.

use std::error::Error as _;

use kube::client::AuthError;
use kube::core::{ApiResource, Status};
use thiserror::Error;

use super::version::VERSION_MIN;

/// Why a question to the API server has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Trouble {
    /// Nobody answers.
    #[error(
        "the API server at {url} cannot be reached ({cause}): see that the cluster runs and that the context is the one that \
         you mean (`kubectl config current-context`), or choose another with --context"
    )]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What happened.
        cause: String,
    },
    /// It does not know who asks.
    #[error(
        "the API server does not accept your credentials ({0}): log in anew, or choose another context with --context"
    )]
    Unknown(String),
    /// It knows, and says no.
    #[error(
        "you may not ({0}): ask an administrator of the cluster for that right, or choose another context with --context"
    )]
    Forbidden(String),
    /// The cluster has no such kind.
    #[error(
        "the cluster does not have the kind {0}: install pagemesh with `helm install`, or its kinds alone with \
         `pagemesh crd | kubectl apply --server-side -f -`"
    )]
    NoKind(String),
    /// Nor one of Kubernetes' own.
    #[error("the cluster does not have the kind {0}: pagemesh needs Kubernetes {VERSION_MIN} or newer")]
    NoBuiltIn(String),
    /// There is no such object.
    #[error("{0}")]
    NotFound(String),
    /// Anything else.
    #[error("the API server at {url} does not do it: {cause}")]
    Other {
        /// Who says so.
        url: String,
        /// What it says.
        cause: String,
    },
}

/// What `error` means for a user. Which kinds of errors kube has depends on its features, so the rest has no list.
pub(crate) fn explain(error: &kube::Error, url: &str) -> Trouble {
    use kube::Error;
    if let Error::Api(status) = error {
        of_status(status, url)
    } else if let Error::Auth(error) = error {
        Trouble::Unknown(of_credentials(error))
    } else if let Error::Service(_) | Error::HyperError(_) | Error::ReadEvents(_) = error {
        Trouble::Unreachable { url: url.into(), cause: innermost(error) }
    } else if let Error::SerdeError(error) = error {
        let cause = format!("its answer is not what Kubernetes answers ({error}); is it one?");
        Trouble::Other { url: url.into(), cause: line(&cause) }
    } else {
        Trouble::Other { url: url.into(), cause: line(&error.to_string()) }
    }
}

fn of_status(status: &Status, url: &str) -> Trouble {
    let message = line(&status.message);
    match status.code {
        401 => Trouble::Unknown(message),
        403 => Trouble::Forbidden(message),
        404 => {
            let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
            // Without a name in it, it is the path that the server does not know.
            if named { Trouble::NotFound(message) } else { Trouble::NoKind(String::new()) }
        }
        _ => Trouble::Other { url: url.into(), cause: message },
    }
}

/// Why there are no credentials. A plug-in's output, arguments and environment may be some, so only what it complains of is
/// shown.
fn of_credentials(error: &AuthError) -> String {
    if let AuthError::AuthExecRun { cmd: _, out } = error {
        let complaint = line(&String::from_utf8_lossy(&out.stderr));
        return format!(
            "the command that the kubeconfig names for them failed with {}: {complaint}",
            out.status
        );
    }
    line(&error.to_string())
}

impl Trouble {
    /// Says which kind it is that the cluster does not have.
    pub(super) fn about(self, kind: &ApiResource) -> Trouble {
        if !matches!(self, Trouble::NoKind(_)) {
            return self;
        }
        let ours = kind.api_version == pagemesh_crds::API_VERSION;
        if ours { Trouble::NoKind(kind.kind.clone()) } else { Trouble::NoBuiltIn(kind.kind.clone()) }
    }
}

/// What an error comes from in the end: the layers between say nothing that a user could use.
fn innermost(error: &kube::Error) -> String {
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    line(&text)
}

/// The first line, without what a terminal would obey.
fn line(text: &str) -> String {
    const CHARACTERS_MAX: usize = 500;
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
    first.trim().chars().take(CHARACTERS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, message: &str, name: &str) -> kube::Error {
        let status = serde_json::json!({"code": code, "message": message, "details": {"name": name}});
        kube::Error::Api(serde_json::from_value::<Status>(status).expect("a status").boxed())
    }

    #[test]
    fn each_says_what_to_do() {
        let said = |error: kube::Error| {
            explain(&error, "https://1.2.3.4/")
                .about(&ApiResource::erase::<pagemesh_crds::Region>(&()))
                .to_string()
        };
        for (error, expected) in [
            (api(401, "Unauthorized", ""), "log in anew"),
            (api(403, "regions is forbidden: User \"x\"", ""), "ask an administrator"),
            (
                api(404, "the server could not find the requested resource", ""),
                "does not have the kind Region",
            ),
            (api(404, "regions.pagemesh.io \"t\" not found", "t"), "regions.pagemesh.io \"t\" not found"),
            (api(500, "etcd is full\n  trace", ""), "does not do it: etcd is full"),
            (kube::Error::Service("connection refused".into()), "at https://1.2.3.4/ cannot be reached"),
        ] {
            let sentence = said(error);
            assert!(sentence.contains(expected), "{sentence}");
            assert!(!sentence.contains('\n'), "{sentence}");
        }
    }
}
