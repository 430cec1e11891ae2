//! What `/metrics` tells.

use std::sync::Mutex;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::plan::Snapshot;

/// All metrics of the operator.
pub(crate) struct Metrics {
    registry: Registry,
    /// Objects that something was done to, by kind.
    pub(crate) reconciles: IntCounterVec,
    /// Of these, the ones where something failed.
    pub(crate) reconcile_errors: IntCounterVec,
    /// Writes that came to nothing since the object had changed meanwhile.
    pub(crate) conflicts: IntCounterVec,
    pub(crate) reconcile_seconds: HistogramVec,
    pub(crate) plan_seconds: Histogram,
    /// Objects that something is to be done to.
    pub(crate) queue_depth: IntGauge,
    pub(crate) watch_errors: IntCounterVec,
    pub(crate) leader: IntGauge,
    objects: IntGaugeVec,
    conditions: IntGaugeVec,
    /// Held while objects are counted, so that nobody sees half of them.
    counting: Mutex<()>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let registry = Registry::new();
        let counter = |name, help, labels: &[&str]| -> IntCounterVec {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name, help| -> IntGauge { register(&registry, IntGauge::new(name, help)) };
        let gauges = |name, help, labels: &[&str]| -> IntGaugeVec {
            register(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
        let reconcile = HistogramOpts::new(
            "pagemesh_operator_reconcile_duration_seconds",
            "Time that it took to do all that was to be done to one object.",
        );
        let plan = HistogramOpts::new(
            "pagemesh_operator_plan_duration_seconds",
            "Time that it took to decide what is to be done, for all objects together.",
        );
        Metrics {
            reconciles: counter(
                "pagemesh_operator_reconciles_total",
                "Objects that something was to be done to, by kind.",
                &["kind"],
            ),
            reconcile_errors: counter(
                "pagemesh_operator_reconcile_errors_total",
                "Of pagemesh_operator_reconciles_total, those where something failed; it is tried again.",
                &["kind"],
            ),
            conflicts: counter(
                "pagemesh_operator_conflicts_total",
                "Writes that came to nothing because somebody else had changed the object; it is decided anew.",
                &["kind"],
            ),
            reconcile_seconds: register(
                &registry,
                HistogramVec::new(reconcile.buckets(buckets.clone()), &["kind"]),
            ),
            plan_seconds: register(&registry, Histogram::with_opts(plan.buckets(buckets))),
            queue_depth: gauge(
                "pagemesh_operator_queue_depth",
                "Objects that something is still to be done to.",
            ),
            watch_errors: counter(
                "pagemesh_operator_watch_errors_total",
                "Watches that failed and were begun anew, by kind of object.",
                &["kind"],
            ),
            leader: gauge("pagemesh_operator_leader", "1 if this operator is the one that acts."),
            objects: gauges("pagemesh_operator_objects", "Objects that there are, by kind.", &["kind"]),
            conditions: gauges(
                "pagemesh_operator_objects_by_condition",
                "Objects by kind, condition, its status and its reason.",
                &["kind", "condition", "status", "reason"],
            ),
            counting: Mutex::default(),
            registry,
        }
    }

    /// Counts what there is.
    pub(crate) fn count(&self, snapshot: &Snapshot) {
        let _counting = self.counting.lock();
        self.objects.reset();
        self.conditions.reset();
        let objects = [
            ("AgentPool", snapshot.pools.len()),
            ("Agent", snapshot.agents.len()),
            ("Region", snapshot.regions.len()),
            ("RegionClass", snapshot.classes.len()),
        ];
        for (kind, number) in objects {
            self.objects.with_label_values(&[kind]).set(number as i64);
        }
        for status in snapshot.pools.values().filter_map(|pool| pool.status.as_ref()) {
            self.count_conditions("AgentPool", &status.conditions);
        }
        for status in snapshot.agents.values().filter_map(|agent| agent.status.as_ref()) {
            self.count_conditions("Agent", &status.conditions);
        }
        for status in snapshot.regions.values().filter_map(|region| region.status.as_ref()) {
            self.count_conditions("Region", &status.conditions);
        }
    }

    /// Tells no numbers any more that only the one that acts knows.
    pub(crate) fn forget(&self) {
        let _counting = self.counting.lock();
        self.objects.reset();
        self.conditions.reset();
    }

    fn count_conditions(&self, kind: &str, conditions: &[Condition]) {
        for condition in conditions {
            let labels =
                [kind, condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str()];
            self.conditions.with_label_values(&labels).inc();
        }
    }

    /// All metrics, as Prometheus reads them.
    pub(crate) fn text(&self) -> prometheus::Result<String> {
        let _counting = self.counting.lock();
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Names and labels are written in here, so that they are wrong is a bug that every test finds.
fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("a metric has a good name");
    registry.register(Box::new(metric.clone())).expect("a metric has a name of its own");
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_well_formed_and_what_is_gone_is_not_told() {
        let metrics = Metrics::new();
        metrics.reconciles.with_label_values(&["Region"]).inc();
        metrics.count(&Snapshot::default());
        let text = metrics.text().unwrap();
        assert!(text.contains("pagemesh_operator_reconciles_total{kind=\"Region\"} 1"), "{text}");
        assert!(text.contains("pagemesh_operator_objects{kind=\"Region\"} 0"), "{text}");
        metrics.forget();
        assert!(!metrics.text().unwrap().contains("pagemesh_operator_objects{"));
    }
}
