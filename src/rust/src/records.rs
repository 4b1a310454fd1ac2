//! Jobs in one line each, a job explained, and a cluster checked, as R lists.

use abba_core::domain::cluster_check::Finding;
use abba_core::domain::job_record::{Explanation, JobRecord};
use abba_core::kubernetes::objects::Event;
use abba_core::operations::CheckReport;

use crate::values::Value;

/// The columns of the data frame of jobs.
pub fn columns(records: &[JobRecord]) -> Value {
    let texts =
        |of: fn(&JobRecord) -> &str| Value::Texts(records.iter().map(|record| of(record).to_string()).collect());
    let optional_texts = |of: fn(&JobRecord) -> Option<String>| Value::OptionalTexts(records.iter().map(of).collect());
    Value::named([
        ("job_id", texts(|record| &record.job_id)),
        ("batch_id", texts(|record| &record.batch_id)),
        ("program", texts(|record| &record.program)),
        ("user", texts(|record| &record.user)),
        ("status", texts(|record| record.status.name())),
        ("submitted", texts(|record| &record.submitted)),
        ("started", optional_texts(|record| record.started.clone())),
        ("finished", optional_texts(|record| record.finished.clone())),
        (
            "exit_code",
            Value::Integers(records.iter().map(|record| record.exit_code).collect()),
        ),
        (
            "reason",
            optional_texts(|record| Some(record.reason.clone()).filter(|reason| !reason.is_empty())),
        ),
    ])
}

/// A job explained: the elements of its record (`job_id` ... `reason`), then `details`, `advice`, `call`,
/// `pod_id`, `node`, `image`, `image_digest`, `cpu_limit`, `memory_limit` (strings or `NA`), `attempts` (an integer), and
/// `events`, a list of the character vectors `time`, `type`, `reason` and `message`.
pub fn explanation(explanation: Explanation) -> Value {
    let record = explanation.record;
    let filled = |text: String| Some(text).filter(|text| !text.is_empty());
    let (details, advice) = match explanation.diagnosis {
        Some(diagnosis) => (filled(diagnosis.details), filled(diagnosis.advice)),
        None => (None, None),
    };
    let events = explanation.events;
    let of_events = |of: fn(&Event) -> String| Value::Texts(events.iter().map(of).collect());
    Value::named([
        ("job_id", Value::Text(record.job_id)),
        ("batch_id", Value::Text(record.batch_id)),
        ("program", Value::Text(record.program)),
        ("user", Value::Text(record.user)),
        ("status", Value::Text(record.status.name().to_string())),
        ("submitted", Value::Text(record.submitted)),
        ("started", Value::OptionalText(record.started)),
        ("finished", Value::OptionalText(record.finished)),
        ("exit_code", Value::Integers(vec![record.exit_code])),
        ("reason", Value::OptionalText(filled(record.reason))),
        ("details", Value::OptionalText(details)),
        ("advice", Value::OptionalText(advice)),
        ("call", Value::OptionalText(explanation.call)),
        ("pod_id", Value::OptionalText(explanation.pod_id)),
        ("node", Value::OptionalText(explanation.node)),
        ("image", Value::OptionalText(explanation.image)),
        ("image_digest", Value::OptionalText(explanation.image_digest)),
        ("cpu_limit", Value::OptionalText(explanation.cpu_limit)),
        ("memory_limit", Value::OptionalText(explanation.memory_limit)),
        (
            "attempts",
            Value::Integer(i32::try_from(explanation.attempts).unwrap_or(i32::MAX)),
        ),
        (
            "events",
            Value::named([
                ("time", of_events(Event::time)),
                ("type", of_events(|event| event.event_type.clone())),
                ("reason", of_events(|event| event.reason.clone())),
                ("message", of_events(|event| event.message.clone())),
            ]),
        ),
    ])
}

/// What was found of a cluster: `checks`, a list of the character vectors `check`, `result`, `what` and `advice` (`NA`
/// where there is nothing to do), and `for_admin`, a string or `NA`.
pub fn check_report(report: CheckReport) -> Value {
    let findings = report.findings;
    let texts = |of: fn(&Finding) -> &str| Value::Texts(findings.iter().map(|one| of(one).to_string()).collect());
    let advice = |finding: &Finding| Some(finding.advice.clone()).filter(|advice| !advice.is_empty());
    Value::named([
        (
            "checks",
            Value::named([
                ("check", texts(|finding| &finding.check)),
                ("result", texts(|finding| finding.outcome.name())),
                ("what", texts(|finding| &finding.what)),
                ("advice", Value::OptionalTexts(findings.iter().map(advice).collect())),
            ]),
        ),
        ("for_admin", Value::OptionalText(report.for_admin)),
    ])
}
