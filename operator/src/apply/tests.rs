//! What is written, and how often.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Applier, Pacing};
use crate::leader::Fence;
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::plan::{Action, FINALIZER, Precondition, RegionKey};
use crate::regions_for_tests::Regions;

fn applier(regions: &Regions) -> Applier {
    let (observer, metrics) = (Arc::new(Observer::default()), Arc::new(Metrics::new()));
    Applier::new(regions.client(), "pagemesh".into(), "test".into(), observer, Fence::open(), metrics)
}

fn table(region: &Value) -> (RegionKey, Precondition) {
    let version = region["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let key = RegionKey { namespace: "default".into(), name: "table".into() };
    (key, Precondition { uid: "table".into(), resource_version: version })
}

#[tokio::test]
async fn the_own_finalizer_goes_whoever_wrote_it_and_others_stay() {
    let regions = Regions::default();
    let (region, on) = table(&regions.add("table", &[FINALIZER, "backup.example/copy"]));
    let others = vec!["backup.example/copy".to_owned()];
    let remove = |on| Action::RemoveRegionFinalizer {
        region: region.clone(),
        on,
        others: others.clone(),
        notes: Vec::new(),
    };
    let applier = applier(&regions);

    let stale = Precondition { resource_version: "0".into(), ..on.clone() };
    applier.apply(vec![remove(stale)], &mut Pacing::default()).await;
    assert_eq!(regions.finalizers("table"), json!([FINALIZER, "backup.example/copy"]));

    applier.apply(vec![remove(on)], &mut Pacing::default()).await;
    assert_eq!(regions.finalizers("table"), json!(["backup.example/copy"]));
}

#[tokio::test]
async fn a_write_that_changes_nothing_rests_longer_and_longer() {
    let regions = Regions::default();
    let (region, on) = table(&regions.add("table", &[FINALIZER]));
    let add = || Action::AddRegionFinalizer { region: region.clone(), on: on.clone() };
    let (applier, mut pacing) = (applier(&regions), Pacing::default());
    applier.apply(vec![add()], &mut pacing).await;
    applier.apply(vec![add()], &mut pacing).await;
    assert_eq!(regions.writes().len(), 1);
    assert!(pacing.next().is_some_and(|next| next > Instant::now()));
}
