use futures::stream;
use pagemesh_crds::{AgentSpec, Quantity, RegionSpec};
use serde_json::json;

use super::*;

type Told<K> = watcher::Result<Event<DeserializeGuard<K>>>;

fn agent(name: &str, id: Option<u16>) -> DeserializeGuard<Agent> {
    DeserializeGuard(Ok(Agent::new(name, AgentSpec { id, ..AgentSpec::default() })))
}

/// All that is known after each event, and whether that one changed it.
async fn follow(events: Vec<Told<Agent>>) -> Vec<(Vec<String>, bool)> {
    let mut kind = Kind::of(stream::iter(events).chain(stream::pending()).boxed(), lean_agent);
    let mut seen = Vec::new();
    loop {
        let Ok(changed) = tokio::time::timeout(Duration::ZERO, kind.next()).await else { return seen };
        let shown = |((_, name), agent): (&Key, &Read<Agent>)| {
            let id = agent.as_ref().map_or("?".into(), |a| a.spec.id.map_or("-".into(), |id| id.to_string()));
            format!("{name}:{id}")
        };
        seen.push((kind.known.iter().map(shown).collect(), changed));
    }
}

fn no_news(known: &[&str]) -> (Vec<String>, bool) {
    (known.iter().map(|name| (*name).to_owned()).collect(), false)
}

fn news(known: &[&str]) -> (Vec<String>, bool) {
    (no_news(known).0, true)
}

#[tokio::test]
async fn a_list_counts_when_it_is_whole() {
    let seen = follow(vec![
        Ok(Event::Init),
        Ok(Event::InitApply(agent("a", Some(0)))),
        Ok(Event::InitApply(agent("b", None))),
        Ok(Event::InitDone),
        Ok(Event::Apply(agent("b", Some(1)))),
        Ok(Event::Apply(agent("b", Some(1)))),
        Ok(Event::Delete(agent("a", Some(0)))),
        Ok(Event::Delete(agent("a", Some(0)))),
    ]);
    let expected = [
        no_news(&[]),
        no_news(&[]),
        no_news(&[]),
        news(&["a:0", "b:-"]),
        news(&["a:0", "b:1"]),
        no_news(&["a:0", "b:1"]),
        news(&["b:1"]),
        no_news(&["b:1"]),
    ];
    assert_eq!(seen.await, expected);
    let empty = follow(vec![Ok(Event::Init), Ok(Event::InitDone)]).await;
    assert_eq!(empty, [no_news(&[]), news(&[])], "that there is nothing is news at first");
}

#[tokio::test]
async fn what_was_known_stays_while_the_api_server_is_away() {
    let seen = follow(vec![
        Ok(Event::Init),
        Ok(Event::InitApply(agent("a", Some(0)))),
        Ok(Event::InitApply(agent("b", Some(1)))),
        Ok(Event::InitDone),
        Err(watcher::Error::NoResourceVersion),
        Ok(Event::Init),
        Ok(Event::InitApply(agent("b", Some(1)))),
        // The list breaks off, and begins anew.
        Err(watcher::Error::NoResourceVersion),
        Ok(Event::Init),
        Ok(Event::InitApply(agent("b", Some(1)))),
        Ok(Event::InitApply(agent("c", Some(2)))),
        Ok(Event::InitDone),
        Ok(Event::Init),
        Ok(Event::InitApply(agent("c", Some(2)))),
        Ok(Event::InitApply(agent("b", Some(1)))),
        Ok(Event::InitDone),
    ]);
    let seen = seen.await;
    assert!(seen[3..11].iter().all(|(known, _)| known == &["a:0", "b:1"]), "{seen:?}");
    assert_eq!(seen[11], news(&["b:1", "c:2"]));
    assert_eq!(seen[15], no_news(&["b:1", "c:2"]), "a list that says the same is no news");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_hides_no_other() {
    let metadata =
        json!({"name": "b", "uid": "u", "generation": 3, "deletionTimestamp": "2026-01-01T00:00:00Z"});
    let strange = json!({
        "apiVersion": "pagemesh.io/v1alpha1", "kind": "Agent", "metadata": metadata, "spec": {"id": "one"},
    });
    let strange: DeserializeGuard<Agent> = serde_json::from_value(strange).unwrap();
    let list = vec![
        Ok(Event::Init),
        Ok(Event::InitApply(agent("a", Some(0)))),
        Ok(Event::InitApply(strange)),
        Ok(Event::InitDone),
    ];
    let mut kind = Kind::of(stream::iter(list).chain(stream::pending()).boxed(), lean_agent);
    while !kind.next().await {}
    assert_eq!(kind.good().count(), 1);
    let bad: Vec<_> = kind.bad("Agent").collect();
    let Unreadable { reason, deleting, .. } = bad[0].1.objects.as_ref().unwrap_err();
    assert_eq!(deleting, &Some(Deleting { uid: "u".into(), generation: 3 }));
    assert_eq!((bad.len(), bad[0].0.as_str()), (1, "Agent b"));
    assert!(reason.contains("u16"), "{reason}");
}

#[test]
fn of_an_object_only_what_is_used_is_kept() {
    let mut region = Region::new("t", RegionSpec::sized(Quantity::from("4Ki")));
    region.metadata.resource_version = Some("7".into());
    region.metadata.annotations =
        Some([("pagemesh.io/traceparent".into(), "00-1-2-01".into()), ("other".into(), "x".into())].into());
    region.status = Some(RegionStatus { attachments: Some(3), ..RegionStatus::default() });
    let lean = lean_region(region);
    assert_eq!(lean.annotations().len(), 1);
    assert_eq!(lean.metadata.resource_version, None);
    assert_eq!(lean.status.unwrap().attachments, None);

    let mut agent = Agent::new("a", AgentSpec::default());
    let status = AgentStatus {
        address: Some("10.0.0.1:1".into()),
        incarnation: Some("7".into()),
        version: Some("1".into()),
        ..AgentStatus::default()
    };
    agent.status = Some(status);
    let status = lean_agent(agent).status.unwrap();
    assert_eq!((status.address.as_deref(), status.version), (Some("10.0.0.1:1"), None));
    assert_eq!(status.incarnation.as_deref(), Some("7"));
}

#[test]
fn tries_come_less_and_less_often() {
    let mut patience = Patience::default();
    let pauses: Vec<Duration> = patience.by_ref().take(8).collect();
    assert!(pauses[0] >= RETRY_MIN / 2 && pauses[0] <= RETRY_MIN, "{pauses:?}");
    assert!(pauses[7] >= RETRY_MAX / 2 && pauses[7] <= RETRY_MAX, "{pauses:?}");
    // That a list begins is no success.
    patience.reset();
    assert!(patience.next().unwrap() >= RETRY_MAX / 2);
}
