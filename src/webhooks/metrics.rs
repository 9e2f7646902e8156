//! What is counted while deliveries are received and worked, as Prometheus reads it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Maximum number of label values of one counter: a sender can't fill the memory with names.
const MAX_LABELS: usize = 200;
/// Label of what comes beyond.
const OTHER: &str = "other";
/// Upper bounds of the buckets of times, in milliseconds.
const BUCKETS: [u64; 11] = [1, 2, 5, 10, 25, 50, 100, 250, 1000, 4000, 9000];

/// A counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the counter.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter by a label's value.
#[derive(Debug, Default)]
pub struct LabeledCounter(Mutex<BTreeMap<String, u64>>);

impl LabeledCounter {
    /// Adds one.
    pub fn count(&self, label: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(label) {
            *count += 1;
            return;
        }
        let label = if counts.len() < MAX_LABELS { label } else { OTHER };
        *counts.entry(label.to_owned()).or_default() += 1;
    }

    /// Returns the counts.
    pub fn get(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the sum of all counts.
    pub fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

/// Times by their length.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    /// Adds a time.
    pub fn record(&self, time: Duration) {
        for (bucket, bound) in self.buckets.iter().zip(BUCKETS) {
            if time <= Duration::from_millis(bound) {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Everything that is counted since the start of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Answers by status code.
    pub answers: LabeledCounter,
    /// Time from a request's head to its answer.
    pub answer_time: Histogram,
    /// Verified deliveries by event.
    pub deliveries: LabeledCounter,
    /// Bytes of their bodies.
    pub bytes: Counter,
    /// Those that were new.
    pub stored: Counter,
    /// Those that were there already.
    pub repeated: Counter,
    /// Those of accounts that are not mirrored.
    pub not_mirrored: Counter,
    /// Those of ignored events, by event.
    pub ignored: LabeledCounter,
    /// Transactions that stored them.
    pub batches: Counter,
    /// Connections accepted.
    pub connections: Counter,
    /// Times at which the store could not be written.
    pub store_failures: Counter,
    /// Deliveries worked.
    pub worked: Counter,
    /// Deliveries worked that named nothing to refresh, by event.
    pub unnamed: LabeledCounter,
    /// Failed attempts.
    pub failed: Counter,
    /// Deliveries given up.
    pub given_up: Counter,
}

/// A text in Prometheus's format.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a metric.
    pub fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Appends a metric without labels.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.metric(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// Appends a metric with one label.
    pub fn labeled<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.metric(name, kind, help);
        for (text, value) in values {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(self.0, "{name}{{{label}=\"{text}\"}} {value}");
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.metric(name, "histogram", help);
        for (bucket, bound) in histogram.buckets.iter().zip(BUCKETS) {
            let seconds = Duration::from_millis(bound).as_secs_f64();
            let _ = writeln!(self.0, "{name}_bucket{{le=\"{seconds}\"}} {}", bucket.load(Ordering::Relaxed));
        }
        let count = histogram.count.load(Ordering::Relaxed);
        let sum = Duration::from_micros(histogram.micros.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(self.0, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
    }

    /// Returns the text.
    pub fn finish(self) -> String {
        self.0
    }
}

impl Metrics {
    /// Appends all of them.
    pub fn write(&self, to: &mut Exposition) {
        let mut labeled = |name: &str, help: &str, label: &str, counter: &LabeledCounter| {
            let counts = counter.get();
            to.labeled(name, "counter", help, label, counts.iter().map(|(text, count)| (text.as_str(), *count)));
        };
        labeled("msght_webhooks_answers_total", "Answers by status code.", "code", &self.answers);
        labeled("msght_webhooks_deliveries_total", "Verified deliveries by event.", "event", &self.deliveries);
        labeled("msght_webhooks_ignored_total", "Deliveries of ignored events.", "event", &self.ignored);
        labeled(
            "msght_webhooks_unnamed_total",
            "Deliveries worked that named nothing to refresh.",
            "event",
            &self.unnamed,
        );
        to.histogram("msght_webhooks_answer_seconds", "Time from a request's head to its answer.", &self.answer_time);
        for (name, help, counter) in [
            ("msght_webhooks_bytes_total", "Bytes of verified deliveries.", &self.bytes),
            ("msght_webhooks_stored_total", "Deliveries stored that were new.", &self.stored),
            ("msght_webhooks_repeated_total", "Deliveries that were there already.", &self.repeated),
            ("msght_webhooks_not_mirrored_total", "Deliveries of accounts that are not mirrored.", &self.not_mirrored),
            ("msght_webhooks_batches_total", "Transactions that stored deliveries.", &self.batches),
            ("msght_webhooks_connections_total", "Connections accepted.", &self.connections),
            ("msght_webhooks_store_failures_total", "Times that the inbox could not be written.", &self.store_failures),
            ("msght_deliveries_worked_total", "Deliveries worked.", &self.worked),
            ("msght_deliveries_failed_total", "Failed attempts at deliveries.", &self.failed),
            ("msght_deliveries_given_up_total", "Deliveries given up.", &self.given_up),
        ] {
            to.single(name, "counter", help, counter.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_in_prometheus_format() {
        let metrics = Metrics::default();
        metrics.answers.count("202");
        metrics.deliveries.count("a\"b\\");
        metrics.answer_time.record(Duration::from_millis(7));
        let mut text = Exposition::default();
        metrics.write(&mut text);
        let text = text.finish();
        for line in [
            "msght_webhooks_answers_total{code=\"202\"} 1",
            "msght_webhooks_deliveries_total{event=\"a\\\"b\\\\\"} 1",
            "msght_webhooks_answer_seconds_bucket{le=\"0.005\"} 0",
            "msght_webhooks_answer_seconds_bucket{le=\"0.01\"} 1",
            "msght_webhooks_answer_seconds_sum 0.007",
            "msght_webhooks_stored_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        let counter = LabeledCounter::default();
        (0..2 * MAX_LABELS).for_each(|number| counter.count(&number.to_string()));
        assert_eq!((counter.get().len(), counter.total()), (MAX_LABELS + 1, 2 * MAX_LABELS as u64));
    }
}
