use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::patch;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::*;
use crate::kubernetes::renew;

const DEADLINE: Duration = Duration::from_secs(60);

/// What an API server answers to an agent's writes.
struct Answers {
    /// How many statuses it refuses from now on.
    refuses: AtomicU16,
    /// How often the agent has made its object; each is another.
    made: AtomicU16,
    told: UnboundedSender<(String, Value)>,
}

async fn answer(State(answers): State<Arc<Answers>>, uri: Uri, body: String) -> Response {
    let mut body: Value = serde_json::from_str(&body).unwrap();
    let is_status = uri.path().ends_with("/status");
    let kind = if is_status { "Status" } else { body["kind"].as_str().unwrap() }.to_owned();
    let refuse = |left: u16| left.checked_sub(1);
    if kind == "Status" && answers.refuses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse).is_ok() {
        return (StatusCode::INTERNAL_SERVER_ERROR, "not now").into_response();
    }
    let _ = answers.told.send((kind.clone(), body.clone()));
    if kind == "Agent" {
        body["metadata"]["uid"] = format!("u{}", answers.made.fetch_add(1, Ordering::SeqCst) + 1).into();
    }
    if kind == "Status" {
        body["spec"] = serde_json::json!({});
    }
    Json(body).into_response()
}

/// A server that takes what agents write, and what it has taken, by kinds.
async fn serve(refuses: u16) -> (Client, UnboundedReceiver<(String, Value)>) {
    let (told, taken) = unbounded_channel();
    let answers = Answers { refuses: refuses.into(), made: 0.into(), told };
    let router = Router::new().fallback(patch(answer)).with_state(Arc::new(answers));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    (Client::try_from(kube::Config::new(at.parse().unwrap())).unwrap(), taken)
}

fn identity() -> AgentIdentity {
    let (name, namespace) = ("node-1".into(), "system".into());
    AgentIdentity { name, namespace, pod_name: "agent-x".into(), pool: "default".into() }
}

async fn next(taken: &mut UnboundedReceiver<(String, Value)>, kind: &str) -> Value {
    let of_kind = async {
        loop {
            let (of, body) = taken.recv().await.unwrap();
            if of == kind {
                return body;
            }
        }
    };
    timeout(DEADLINE, of_kind).await.unwrap()
}

fn status(version: &str) -> AgentStatus {
    AgentStatus { version: Some(version.into()), ..AgentStatus::default() }
}

#[tokio::test]
async fn an_object_that_is_made_again_gets_the_lease_and_the_status() {
    let (client, mut taken) = serve(0).await;
    let (statuses, told) = watch::channel(AgentStatus::default());
    let (own, owned) = watch::channel(OwnAgent { present: true, ..OwnAgent::default() });
    let (uid, known_uid) = watch::channel(String::new());
    timeout(DEADLINE, declare(&client, &identity(), &uid)).await.unwrap();
    tokio::spawn(renew(client.clone(), identity(), known_uid));
    tokio::spawn(report(client, identity(), told, owned, watch::Sender::new(false), uid));

    assert_eq!(next(&mut taken, "Lease").await["metadata"]["ownerReferences"][0]["uid"], "u1");
    statuses.send_replace(status("1"));
    assert_eq!(next(&mut taken, "Status").await["status"]["version"], "1");
    own.send_replace(OwnAgent::default());
    // They are written by two tasks, so in either order.
    let (mut lease, mut told) = (None, None);
    while lease.is_none() || told.is_none() {
        let (kind, body) = timeout(DEADLINE, taken.recv()).await.unwrap().unwrap();
        match kind.as_str() {
            "Lease" => lease = Some(body["metadata"]["ownerReferences"][0]["uid"].clone()),
            "Status" => told = Some(body["status"]["version"].clone()),
            _ => {}
        }
    }
    assert_eq!((lease.unwrap(), told.unwrap()), ("u2".into(), "1".into()));
}

#[tokio::test]
async fn the_last_status_is_tried_until_it_is_taken() {
    let (client, mut taken) = serve(3).await;
    let (statuses, told) = watch::channel(AgentStatus::default());
    let own = watch::Sender::new(OwnAgent { present: true, ..OwnAgent::default() });
    let uid = watch::Sender::new("u1".to_owned());
    let reporting = report(client, identity(), told, own.subscribe(), watch::Sender::new(false), uid);
    let reporting = tokio::spawn(reporting);
    statuses.send_replace(status("last"));
    drop(statuses);
    timeout(DEADLINE, reporting).await.unwrap().unwrap();
    assert_eq!(next(&mut taken, "Status").await["status"]["version"], "last");
}
