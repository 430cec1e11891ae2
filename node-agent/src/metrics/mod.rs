//! What the agent counts and measures, by the naming conventions of Prometheus: base units, units last.
//!
//! The fault path touches only values that were resolved from their labels when the agent started: an update is one
//! atomic addition, with no lock and no look-up.

mod kinds;

use std::time::Duration;

pub use kinds::{Before, Direction, FaultKind, Phase, Served};
use pagemesh_protocol::Body;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// A region that is open on this node.
#[derive(Clone, Debug)]
pub struct RegionGauges {
    /// As `namespace/name`.
    pub name: String,
    /// Pages that this node may read.
    pub shared: u64,
    /// Pages that this node may write.
    pub exclusive: u64,
    /// Memory that its pages take.
    pub resident_bytes: u64,
}

/// All metrics of an agent.
#[derive(Debug)]
pub struct Metrics {
    /// Gathers them for `/metrics`.
    pub registry: Registry,
    faults: [[IntCounter; Served::ALL.len()]; FaultKind::ALL.len()],
    fault_seconds: [[Histogram; Phase::ALL.len()]; FaultKind::ALL.len()],
    messages: [[IntCounter; Body::NAMES.len()]; Direction::ALL.len()],
    message_bytes: [[IntCounter; Body::NAMES.len()]; Direction::ALL.len()],
    /// Faults on a page for which the same program was waiting already.
    pub faults_repeated: IntCounter,
    /// Faults in memory that the program had just unmapped.
    pub faults_unmapped: IntCounter,
    /// Messages of userfaultfds that were no page faults.
    pub strange_events: IntCounter,
    /// Copies of pages that were dropped because another node writes.
    pub invalidations: IntCounter,
    /// Pages that were given up to another node.
    pub takes: IntCounter,
    /// Pushed contents that were put in place.
    pub updates: IntCounter,
    ahead: [IntCounter; 2],
    /// Pages that were poisoned because a program had removed their contents.
    pub poisoned: IntCounter,
    frames_refused: IntCounterVec,
    violations: IntCounterVec,
    uffd_failures: IntCounterVec,
    connections_lost: IntCounter,
    pages: IntGaugeVec,
    resident: IntGaugeVec,
    take_over_seconds: HistogramVec,
    attachments: IntGauge,
    peers: IntGauge,
}

impl Metrics {
    /// New metrics in a registry of their own, all zero.
    ///
    /// # Panics
    /// If two metrics have one name: a mistake that any start shows.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "an empty set of metrics is made on purpose")]
    pub fn new() -> Metrics {
        let make = Maker { registry: Registry::new() };
        let faults = make.counters("faults_total", "Page faults served.", &["kind", "served"]);
        let fault_seconds = make.histograms("fault_seconds", "Time of page faults.", &["kind", "phase"]);
        let messages = make.counters("messages_total", "Messages between agents.", &["type", "direction"]);
        let message_bytes = make.counters(
            "message_bytes_total",
            "Bytes of messages between agents, pages included.",
            &["type", "direction"],
        );
        let by_message = |counters: &IntCounterVec| {
            Direction::ALL.map(|d| Body::NAMES.map(|m| counters.with_label_values(&[m, d.name()])))
        };
        let ahead = make.counters(
            "ahead_pages_total",
            "Pages asked for before a program touched them, by whether it has come as far.",
            &["outcome"],
        );
        Metrics {
            faults: FaultKind::ALL
                .map(|k| Served::ALL.map(|s| faults.with_label_values(&[k.name(), s.name()]))),
            fault_seconds: FaultKind::ALL
                .map(|k| Phase::ALL.map(|p| fault_seconds.with_label_values(&[k.name(), p.name()]))),
            messages: by_message(&messages),
            message_bytes: by_message(&message_bytes),
            faults_repeated: make.counter("faults_repeated_total", "Faults absorbed by one under way."),
            faults_unmapped: make
                .counter("faults_unmapped_total", "Faults in memory that the program had just unmapped."),
            strange_events: make
                .counter("uffd_strange_events_total", "Messages of userfaultfds that were no page faults."),
            invalidations: make
                .counter("invalidations_total", "Copies dropped because another node writes the page."),
            takes: make.counter("pages_given_up_total", "Pages given up to another node."),
            updates: make.counter("updates_total", "Pushed page contents put in place."),
            ahead: ["used", "wasted"].map(|outcome| ahead.with_label_values(&[outcome])),
            poisoned: make
                .counter("pages_poisoned_total", "Pages poisoned because a program removed their contents."),
            frames_refused: make.counters(
                "frames_refused_total",
                "Frames from peers that broke their connection, or were passed over for not fitting their region.",
                &["reason"],
            ),
            violations: make.counters(
                "violations_total",
                "Demands of peers or of the configuration that cannot be met.",
                &["reason"],
            ),
            uffd_failures: make.counters(
                "uffd_failures_total",
                "Operations on programs' memory that did not succeed at once.",
                &["operation", "error"],
            ),
            connections_lost: make.counter("connections_lost_total", "Connections to peers that broke."),
            pages: make.gauges("pages", "Pages on this node.", &["region", "state"]),
            resident: make.gauges(
                "region_resident_bytes",
                "Memory that the pages of a region take on this node.",
                &["region"],
            ),
            take_over_seconds: make.histograms(
                "take_over_seconds",
                "Time that programs had to wait for this agent to take over from the one before: since that one stopped, or, if \
                 it died, since this one's process began.",
                &["before"],
            ),
            attachments: make.gauge("attachments", "Programs attached to regions."),
            peers: make.gauge("peers_connected", "Agents that every shard is connected to."),
            registry: make.registry,
        }
    }

    /// A fault was served.
    pub fn fault_served(&self, kind: FaultKind, served: Served, whole: Duration, install: Duration) {
        self.faults[kind as usize][served as usize].inc();
        let phases = &self.fault_seconds[kind as usize];
        phases[Phase::Install as usize].observe(install.as_secs_f64());
        match served {
            Served::Local => phases[Phase::Local as usize].observe(whole.as_secs_f64()),
            Served::Home | Served::Third => {
                phases[Phase::Remote as usize].observe(whole.as_secs_f64());
                phases[Phase::Wait as usize].observe(whole.saturating_sub(install).as_secs_f64());
            }
        }
    }

    /// Of what was asked for ahead, so many pages have been reached and so many never will be.
    pub fn ahead(&self, outcome: crate::shard::Outcome) {
        let [used, wasted] = &self.ahead;
        // Most faults belong to no stream.
        if outcome != crate::shard::Outcome::default() {
            used.inc_by(outcome.used);
            wasted.inc_by(outcome.wasted);
        }
    }

    /// A message went out or came in, with `payload` bytes behind it.
    pub fn message(&self, direction: Direction, body: &Body, payload: usize) {
        let kind = usize::from(body.kind());
        self.messages[direction as usize][kind].inc();
        let bytes = pagemesh_protocol::MESSAGE_LEN + payload;
        self.message_bytes[direction as usize][kind].inc_by(bytes as u64);
    }

    /// A peer's frame broke its connection, or was passed over.
    pub fn frame_refused(&self, reason: &str) {
        self.frames_refused.with_label_values(&[reason]).inc();
    }

    /// The protocol refused to do something.
    pub fn violation(&self, reason: &str) {
        self.violations.with_label_values(&[reason]).inc();
    }

    /// An operation on a program's memory failed in a way that is provided for.
    pub fn uffd_failure(&self, operation: &str, error: &str) {
        self.uffd_failures.with_label_values(&[operation, error]).inc();
    }

    /// This agent has taken over.
    pub fn took_over(&self, before: Before, pause: Duration) {
        self.take_over_seconds.with_label_values(&[before.name()]).observe(pause.as_secs_f64());
    }

    /// A connection to a peer broke.
    pub fn connection_lost(&self) {
        self.connections_lost.inc();
    }

    /// The regions that are open here, and no others any more.
    pub fn set_regions(&self, regions: impl Iterator<Item = RegionGauges>) {
        self.pages.reset();
        self.resident.reset();
        for RegionGauges { name, shared, exclusive, resident_bytes } in regions {
            for (state, pages) in [("shared", shared), ("exclusive", exclusive)] {
                self.pages.with_label_values(&[name.as_str(), state]).set(pages.cast_signed());
            }
            self.resident.with_label_values(&[&name]).set(resident_bytes.cast_signed());
        }
    }

    /// Programs that are attached.
    pub fn set_attachments(&self, attachments: usize) {
        self.attachments.set(attachments as i64);
    }

    /// Agents that every shard is connected to.
    pub fn set_peers_connected(&self, peers: usize) {
        self.peers.set(peers as i64);
    }
}

/// Makes metrics and registers them.
struct Maker {
    registry: Registry,
}

impl Maker {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("the name and labels of a metric are well formed");
        self.registry.register(Box::new(collector.clone())).expect("a metric is made once");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(options(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(options(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(options(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(options(name, help), labels))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let buckets = buckets();
        let options = HistogramOpts::from(options(name, help)).buckets(buckets);
        self.register(HistogramVec::new(options, labels))
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("pagemesh")
}

/// One microsecond to one second, six buckets to the decade: close enough that a median read off them is within
/// some 20 % of the true one.
fn buckets() -> Vec<f64> {
    // Divided rather than multiplied, so that the labels are the numbers that people would write.
    let decades = (0..6).flat_map(|decade| [10, 15, 22, 33, 47, 68].map(|m| m * 10_u32.pow(decade)));
    decades.chain([10_000_000]).map(|tenths| f64::from(tenths) / 1e7).collect()
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn a_remote_read_is_counted_and_timed() {
        let metrics = Metrics::new();
        let (whole, install) = (Duration::from_micros(40), Duration::from_micros(3));
        metrics.fault_served(FaultKind::Read, Served::Home, whole, install);
        metrics.message(Direction::Received, &Body::Refused, 0);
        let region =
            |name: &str| RegionGauges { name: name.into(), shared: 3, exclusive: 4, resident_bytes: 28_672 };
        metrics.set_regions([region("default/gone")].into_iter());
        metrics.set_regions([region("default/table")].into_iter());
        let text = TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap();
        for line in [
            r#"pagemesh_faults_total{kind="read",served="home"} 1"#,
            r#"pagemesh_faults_total{kind="read",served="local"} 0"#,
            r#"pagemesh_fault_seconds_count{kind="read",phase="remote"} 1"#,
            r#"pagemesh_fault_seconds_count{kind="read",phase="local"} 0"#,
            r#"pagemesh_fault_seconds_bucket{kind="read",phase="remote",le="0.000047"} 1"#,
            r#"pagemesh_message_bytes_total{direction="received",type="refused"} 64"#,
            r#"pagemesh_pages{region="default/table",state="exclusive"} 4"#,
            r#"pagemesh_region_resident_bytes{region="default/table"} 28672"#,
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
        assert!(!text.contains("default/gone"), "{text}");
    }

    #[test]
    fn buckets_rise_from_a_microsecond_to_a_second() {
        let buckets = buckets();
        assert!(buckets.is_sorted());
        assert_eq!((buckets.len(), buckets.last()), (37, Some(&1.0)));
    }
}
