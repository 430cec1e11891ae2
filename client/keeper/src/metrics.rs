//! This pod's metrics.

use pagemesh_attach::wire::keeper::Counted;
use prometheus::{CounterVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::holdings::Holdings;

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    faults: IntCounterVec,
    bytes: IntCounterVec,
    wait_seconds: CounterVec,
    attachments: IntGaugeVec,
    connected: IntGauge,
    ready: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let options = |name: &str, help: &str| Opts::new(name, help).namespace("pagemesh");
        let region = &["region"];
        let made = |metrics: prometheus::Result<Metrics>| metrics.expect("names and labels are well formed");
        made((|| {
            let faults = options("pod_faults_total", "Page faults of this pod that were served.");
            let bytes = options("pod_fault_bytes_total", "Bytes of the pages that were mapped for them.");
            let wait = options(
                "pod_fault_wait_seconds_total",
                "Time for which this pod's faults waited, summed over its threads.",
            );
            let attachments =
                options("pod_attachments", "Attachments whose userfaultfds and region files are held.");
            let connected = options("keeper_connected", "1 if this pod's keeper is connected to the agent.");
            let ready = options("pod_regions_ready", "1 if every region of this pod can be attached.");
            let metrics = Metrics {
                registry: Registry::new(),
                faults: IntCounterVec::new(faults, region)?,
                bytes: IntCounterVec::new(bytes, region)?,
                wait_seconds: CounterVec::new(wait, region)?,
                attachments: IntGaugeVec::new(attachments, region)?,
                connected: IntGauge::with_opts(connected)?,
                ready: IntGauge::with_opts(ready)?,
            };
            metrics.registry.register(Box::new(metrics.faults.clone()))?;
            metrics.registry.register(Box::new(metrics.bytes.clone()))?;
            metrics.registry.register(Box::new(metrics.wait_seconds.clone()))?;
            metrics.registry.register(Box::new(metrics.attachments.clone()))?;
            metrics.registry.register(Box::new(metrics.connected.clone()))?;
            metrics.registry.register(Box::new(metrics.ready.clone()))?;
            Ok(metrics)
        })())
    }

    /// Faults of a region have cost so much before, and so much now.
    pub(crate) fn count(&self, region: &str, before: Counted, now: Counted) {
        let region = &[region];
        self.faults.with_label_values(region).inc_by(now.faults.saturating_sub(before.faults));
        self.bytes.with_label_values(region).inc_by(now.bytes.saturating_sub(before.bytes));
        let nanos = now.wait_nanos.saturating_sub(before.wait_nanos);
        self.wait_seconds.with_label_values(region).inc_by(nanos as f64 / 1e9);
    }

    /// All of them, in the text format of Prometheus.
    pub(crate) fn text(&self, holdings: &Holdings, connected: bool, ready: bool) -> String {
        self.connected.set(connected.into());
        self.ready.set(ready.into());
        self.attachments.reset();
        for (region, attachments) in holdings.by_region() {
            self.attachments.with_label_values(&[region]).set(attachments);
        }
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        text.expect("what the registry gathers can be written")
    }
}
