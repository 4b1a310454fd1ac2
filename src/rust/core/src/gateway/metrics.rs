//! What Prometheus is told of the server, in its text format:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>. Nothing in it is about a single user.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::archiving::Stand;
use crate::transport::{Call, Deadline, Failure, Transport, Verb};

/// The media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Who may read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readers {
    /// Callers that are known.
    #[default]
    Callers,
    /// Operators alone.
    Operators,
    /// Everybody, also without a key.
    Anybody,
}

/// The upper ends of the classes of times, in seconds.
const BOUNDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// How often something took how long.
#[derive(Clone, Debug, Default)]
struct Histogram {
    /// For each of [`BOUNDS`] those up to it that are in no class before.
    classes: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

impl Histogram {
    fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(class) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.classes[class] += 1;
        }
        self.count += 1;
        self.seconds += seconds;
    }

    fn write(&self, text: &mut String, name: &str, label: &str) {
        let mut up_to = 0;
        for (bound, count) in BOUNDS.iter().zip(self.classes) {
            up_to += count;
            let _ = writeln!(text, "{name}_bucket{{{label},le=\"{bound}\"}} {up_to}");
        }
        let _ = writeln!(text, "{name}_bucket{{{label},le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(text, "{name}_sum{{{label}}} {}", self.seconds);
        let _ = writeln!(text, "{name}_count{{{label}}} {}", self.count);
    }
}

/// What was counted since the start.
#[derive(Debug)]
pub struct Metrics {
    started: SystemTime,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// By call and status.
    requests: BTreeMap<(&'static str, u16), u64>,
    /// Those that were refused or failed, by the class of the error.
    refusals: BTreeMap<&'static str, u64>,
    /// By call.
    times: BTreeMap<&'static str, Histogram>,
    under_way: u64,
    /// Calls to the cluster by HTTP's method.
    cluster_times: BTreeMap<&'static str, Histogram>,
    cluster_failures: BTreeMap<&'static str, u64>,
}

/// What is known of the server at the moment.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// The version of abba.
    pub version: String,
    /// What was seen of the jobs last: how long ago, how many have not ended, and how many there are; `None`: nothing yet.
    pub jobs: Option<(Duration, usize, usize)>,
    /// Lines of the log of decisions, and how often some could not be written.
    pub log: (u64, u64),
    /// How the archiving stands that the server has done; `None`: it has none done.
    pub archiving: Option<Stand>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: SystemTime::now(),
            counted: Mutex::default(),
        }
    }
}

impl Metrics {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request as one that is under way, until what is given back is dropped.
    pub fn begin(&self) -> UnderWay<'_> {
        self.counted().under_way += 1;
        UnderWay(self)
    }

    /// Counts a request that was answered. `call`: one of the API's, or a word for all others; `class`: that of the error.
    pub fn answered(&self, call: &'static str, status: u16, class: Option<&'static str>, took: Duration) {
        let mut counted = self.counted();
        *counted.requests.entry((call, status)).or_default() += 1;
        if let Some(class) = class {
            *counted.refusals.entry(class).or_default() += 1;
        }
        counted.times.entry(call).or_default().observe(took);
    }

    fn cluster_answered(&self, verb: Verb, is_failure: bool, took: Duration) {
        let mut counted = self.counted();
        counted.cluster_times.entry(verb.method()).or_default().observe(took);
        *counted.cluster_failures.entry(verb.method()).or_default() += u64::from(is_failure);
    }

    /// The text.
    pub fn text(&self, now: &Now) -> String {
        let counted = self.counted();
        let mut text = Text::default();

        let version = format!("abba_build_info{{version=\"{}\"}} 1\n", escaped(&now.version));
        text.metric("gauge", "abba_build_info", "The version of abba.", &version);
        let since = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "Start time of the process since unix epoch in seconds.";
        text.gauge("process_start_time_seconds", help, since.as_secs_f64());

        let mut answered = String::new();
        for ((call, status), count) in &counted.requests {
            let _ = writeln!(
                answered,
                "abba_requests_total{{call=\"{call}\",status=\"{status}\"}} {count}"
            );
        }
        let help = "Requests that were answered.";
        text.metric("counter", "abba_requests_total", help, &answered);
        let help = "Requests that were refused or failed, by the class of the error.";
        text.counters("abba_refusals_total", help, "class", &counted.refusals);
        let help = "How long requests took to answer.";
        text.histograms("abba_request_duration_seconds", help, "call", &counted.times);
        let help = "Requests that are under way.";
        text.gauge("abba_requests_in_progress", help, counted.under_way);

        let (name, times) = ("abba_cluster_request_duration_seconds", &counted.cluster_times);
        let help = "How long the cluster took to answer; of an answer that comes in parts until the first.";
        text.histograms(name, help, "method", times);
        let (name, failures) = ("abba_cluster_failures_total", &counted.cluster_failures);
        let help = "Calls to the cluster that it refused or did not answer.";
        text.counters(name, help, "method", failures);

        if let Some((age, open, kept)) = now.jobs {
            let help = "Jobs that have not ended, as they were seen last.";
            text.gauge("abba_open_jobs", help, open);
            let help = "All jobs that the cluster has, as they were seen last.";
            text.gauge("abba_kept_jobs", help, kept);
            let help = "How long ago the jobs were seen last.";
            text.gauge("abba_cache_age_seconds", help, age.as_secs_f64());
        }

        if let Some(stand) = now.archiving {
            let help = "Whether jobs that end are archived: 0 where that does not work, as with a full disk.";
            text.gauge("abba_archive_up", help, u8::from(stand.is_up));
            let help = "Jobs that have ended and are not archived yet.";
            text.gauge("abba_archive_due_jobs", help, stand.due);
            let help = "Jobs that this server has archived.";
            text.counter("abba_archived_jobs_total", help, stand.archived);
        }

        let (lines, failures) = now.log;
        text.counter("abba_log_lines_total", "Lines of the log of decisions.", lines);
        let help = "How often lines of the log of decisions could not be written.";
        text.counter("abba_log_failures_total", help, failures);
        text.0
    }
}

/// The text while it is written.
#[derive(Default)]
struct Text(String);

impl Text {
    /// A metric and its samples; nothing where it has none.
    fn metric(&mut self, kind: &str, name: &str, help: &str, samples: &str) {
        if !samples.is_empty() {
            let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric("gauge", name, help, &format!("{name} {value}\n"));
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric("counter", name, help, &format!("{name} {value}\n"));
    }

    /// A counter for each value of a label.
    fn counters(&mut self, name: &str, help: &str, label: &str, counts: &BTreeMap<&'static str, u64>) {
        let samples = counts.iter();
        let samples = samples.map(|(value, count)| format!("{name}{{{label}=\"{value}\"}} {count}\n"));
        self.metric("counter", name, help, &samples.collect::<String>());
    }

    /// A histogram for each value of a label.
    fn histograms(&mut self, name: &str, help: &str, label: &str, times: &BTreeMap<&'static str, Histogram>) {
        let mut samples = String::new();
        for (value, times) in times {
            times.write(&mut samples, name, &format!("{label}=\"{value}\""));
        }
        self.metric("histogram", name, help, &samples);
    }
}

/// A label's value, as the format has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A request that is under way.
#[must_use]
pub struct UnderWay<'a>(&'a Metrics);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut counted = self.0.counted();
        counted.under_way = counted.under_way.saturating_sub(1);
    }
}

/// Carries calls to the cluster and counts them.
pub struct Timed<'a> {
    /// Carries them.
    pub transport: &'a dyn Transport,
    /// Counts them.
    pub metrics: &'a Metrics,
}

impl Transport for Timed<'_> {
    fn send_with_warnings(&self, call: &Call, deadline: &Deadline<'_>) -> Result<(Vec<u8>, Vec<String>), Failure> {
        let begun = Instant::now();
        let outcome = self.transport.send_with_warnings(call, deadline);
        self.metrics
            .cluster_answered(call.verb, outcome.is_err(), begun.elapsed());
        outcome
    }

    fn stream(
        &self,
        call: &Call,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Vec<String>, Failure> {
        let begun = Instant::now();
        let mut first = None;
        let outcome = self.transport.stream(call, deadline, &mut |bytes| {
            first.get_or_insert_with(|| begun.elapsed());
            part(bytes)
        });
        self.metrics
            .cluster_answered(call.verb, outcome.is_err(), first.unwrap_or_else(|| begun.elapsed()));
        outcome
    }

    fn answered(&self) -> usize {
        self.transport.answered()
    }

    fn server(&self, deadline: &Deadline<'_>) -> Option<String> {
        self.transport.server(deadline)
    }

    fn configuration_number(&self, deadline: &Deadline<'_>) -> Option<u64> {
        self.transport.configuration_number(deadline)
    }

    fn namespace(&self, deadline: &Deadline<'_>) -> Result<String, Failure> {
        self.transport.namespace(deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_as_prometheus_wants_it() {
        let metrics = Metrics::default();
        let _under_way = metrics.begin();
        metrics.answered("jobs", 200, None, Duration::from_millis(3));
        metrics.answered("jobs", 200, None, Duration::from_secs(100));
        metrics.answered("other", 401, Some("unauthorized"), Duration::ZERO);
        metrics.cluster_answered(Verb::Get, true, Duration::from_millis(20));
        let now = Now {
            version: "0.1\"\\\n".into(),
            jobs: Some((Duration::from_millis(1500), 2, 5)),
            log: (7, 1),
            archiving: Some(Stand {
                archived: 4,
                due: 2,
                is_up: true,
            }),
        };
        let text = metrics.text(&now);
        for line in [
            "abba_build_info{version=\"0.1\\\"\\\\\\n\"} 1",
            "# TYPE abba_requests_total counter",
            "abba_requests_total{call=\"jobs\",status=\"200\"} 2",
            "abba_refusals_total{class=\"unauthorized\"} 1",
            "# TYPE abba_request_duration_seconds histogram",
            "abba_request_duration_seconds_bucket{call=\"jobs\",le=\"0.0025\"} 0",
            "abba_request_duration_seconds_bucket{call=\"jobs\",le=\"0.005\"} 1",
            "abba_request_duration_seconds_bucket{call=\"jobs\",le=\"30\"} 1",
            "abba_request_duration_seconds_bucket{call=\"jobs\",le=\"+Inf\"} 2",
            "abba_request_duration_seconds_sum{call=\"jobs\"} 100.003",
            "abba_request_duration_seconds_count{call=\"jobs\"} 2",
            "abba_requests_in_progress 1",
            "abba_archive_up 1",
            "abba_archive_due_jobs 2",
            "abba_archived_jobs_total 4",
            "abba_cluster_failures_total{method=\"GET\"} 1",
            "abba_open_jobs 2",
            "abba_kept_jobs 5",
            "abba_cache_age_seconds 1.5",
            "abba_log_lines_total 7",
            "abba_log_failures_total 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        // Each sample follows the head of its metric, and each metric is there once: the format wants it so.
        let mut seen = Vec::new();
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(!seen.contains(&name));
            seen.push(name);
        }
        let mut head = "";
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(rest) => head = rest.split(' ').next().unwrap(),
                None => assert!(line.starts_with("# HELP") || line.starts_with(head), "{line}"),
            }
        }
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn what_was_not_seen_yet_is_not_told() {
        let text = Metrics::default().text(&Now::default());
        assert!(
            !text.contains("abba_open_jobs") && !text.contains("abba_cache_age"),
            "{text}"
        );
        assert!(text.contains("abba_requests_in_progress 0\n"));
    }
}
