//! The verdicts of logs that were saved as files.

use std::path::Path;

use serde::Serialize;

use super::record_files;
use crate::domain::record::Statement;
use crate::domain::verdict::{self, LogPatterns, Verdict};
use crate::local::files;
use crate::Error;

/// A log file and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedLog {
    /// The verdict. That a program has failed, or was killed, its log need not tell: the record beside it does. `None`: by that
    /// a part of the log is missing, and what is there is clean.
    pub verdict: Option<Verdict>,
    /// The first line of the worst kind; where there is no verdict, what is missing.
    pub verdict_line: Option<String>,
}

/// Reads log files of this machine, in order.
///
/// Errors, of class `Input`: one cannot be read.
pub fn log_check(paths: &[String], patterns: &LogPatterns) -> Result<Vec<CheckedLog>, Error> {
    let check = |path: &String| {
        let lines = files::lines(path)?;
        let finding = verdict::of_lines(&lines, patterns);
        let record = record_of(Path::new(path));
        // As of a job that is listed with its verdict.
        let verdict = record.as_ref().and_then(failed).unwrap_or(finding.verdict);
        let missing = record
            .as_ref()
            .map_or(&[][..], |record| &record.subject[0].annotations.notes);
        Ok(match verdict == Verdict::Clean && !missing.is_empty() {
            true => CheckedLog {
                verdict: None,
                verdict_line: Some(missing.join(" ")),
            },
            false => CheckedLog {
                verdict: Some(verdict),
                verdict_line: finding.line.filter(|_| finding.verdict == verdict),
            },
        })
    };
    paths.iter().map(check).collect()
}

/// The record beside a log.
fn record_of(log: &Path) -> Option<Statement> {
    let name = log.file_stem()?.to_str()?;
    let statement = record_files::read(log.parent()?, name).ok()??.statement;
    let is_of_log = log.extension()? == "log" && statement.subject[0].name == format!("{name}.log");
    is_of_log.then_some(statement)
}

/// What a record says of a program that has failed.
fn failed(record: &Statement) -> Option<Verdict> {
    let run = record.run();
    (run.status == "Failed").then(|| match run.verdict.as_deref().and_then(Verdict::of_name) {
        Some(Verdict::Killed) => Verdict::Killed,
        _ => Verdict::Errors,
    })
}
