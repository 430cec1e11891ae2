//! Regions behind the API server's interface, as far as writes of them go: for tests of what is written and how often.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use kube::Client;
use serde_json::{Value, json};

const LIST: &str = "/apis/pagemesh.io/v1alpha1/regions";

#[derive(Default)]
struct Store {
    /// By path.
    regions: BTreeMap<String, Value>,
    version: u64,
    /// Path and body of each write, in order.
    writes: Vec<(String, Value)>,
    /// What somebody else does to a region as soon as its status is written: adds this finalizer.
    interferes: Option<&'static str>,
    refuses: Option<&'static str>,
}

/// Regions behind the API server's interface.
#[derive(Clone, Default)]
pub(crate) struct Regions(Arc<Mutex<Store>>);

impl Regions {
    pub(crate) fn client(&self) -> Client {
        let store = Arc::clone(&self.0);
        let router = Router::new().fallback(async move |request: Request<Body>| {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            let (status, answer) = match store.answer(&parts.method, parts.uri.path(), body) {
                Ok(object) => (StatusCode::OK, object),
                Err((status, message)) => (
                    status,
                    json!({ "kind": "Status", "code": status.as_u16(), "message": message, "reason": "" }),
                ),
            };
            Response::builder().status(status).body(Body::from(answer.to_string())).unwrap()
        });
        Client::new(router, "default")
    }

    pub(crate) fn add(&self, name: &str, finalizers: &[&str]) -> Value {
        let mut store = self.0.lock().unwrap();
        store.version += 1;
        let region = json!({
            "apiVersion": "pagemesh.io/v1alpha1",
            "kind": "Region",
            "metadata": {
                "name": name, "namespace": "default", "uid": name,
                "resourceVersion": store.version.to_string(), "finalizers": finalizers,
            },
            "spec": { "size": "1Mi" },
        });
        store
            .regions
            .insert(format!("/apis/pagemesh.io/v1alpha1/namespaces/default/regions/{name}"), region.clone());
        region
    }

    /// All that is written to this region is refused.
    pub(crate) fn refuse(&self, name: &'static str) {
        self.0.lock().unwrap().refuses = Some(name);
    }

    /// Somebody else adds a finalizer between the first two writes.
    pub(crate) fn interfere(&self, finalizer: &'static str) {
        self.0.lock().unwrap().interferes = Some(finalizer);
    }

    pub(crate) fn finalizers(&self, name: &str) -> Value {
        let store = self.0.lock().unwrap();
        let region = store.regions.values().find(|region| region["metadata"]["name"] == name).unwrap();
        region["metadata"]["finalizers"].clone()
    }

    pub(crate) fn writes(&self) -> Vec<(String, Value)> {
        self.0.lock().unwrap().writes.clone()
    }
}

impl Store {
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        body: Value,
    ) -> Result<Value, (StatusCode, &'static str)> {
        if method == Method::GET && path == LIST {
            let items: Vec<&Value> = self.regions.values().collect();
            return Ok(json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }));
        }
        if method != Method::PATCH {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "only lists and patches of regions"));
        }
        self.writes.push((path.to_owned(), body.clone()));
        let of_status = path.ends_with("/status");
        let interferes = self.interferes.take_if(|_| of_status);
        let region = self.regions.get_mut(path.trim_end_matches("/status"));
        let region = region.ok_or((StatusCode::NOT_FOUND, "there is none"))?;
        if self.refuses.is_some_and(|name| region["metadata"]["name"] == name) {
            return Err((StatusCode::UNPROCESSABLE_ENTITY, "it is not valid"));
        }
        let version = &body["metadata"]["resourceVersion"];
        if !version.is_null() && *version != region["metadata"]["resourceVersion"] {
            return Err((StatusCode::CONFLICT, "it has changed"));
        }
        let before = region.clone();
        let patch = &body["metadata"]["finalizers"];
        if patch.is_array() && !of_status {
            region["metadata"]["finalizers"] = patch.clone();
        }
        let mut bump = |region: &mut Value| {
            self.version += 1;
            region["metadata"]["resourceVersion"] = self.version.to_string().into();
        };
        if *region != before {
            bump(region);
        }
        let answer = region.clone();
        if let Some(finalizer) = interferes {
            region["metadata"]["finalizers"].as_array_mut().unwrap().push(finalizer.into());
            bump(region);
        }
        Ok(answer)
    }
}
