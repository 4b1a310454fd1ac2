//! The verdicts of logs that were saved as files.

use std::path::Path;

use serde::Serialize;

use super::record_files;
use crate::domain::verdict::{self, LogPatterns, Verdict};
use crate::local::files;
use crate::Error;

/// A log file and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedLog {
    /// The verdict. That a program has failed, or was killed, its log need not tell: the record beside it does.
    pub verdict: Verdict,
    /// The first line of the worst kind.
    pub verdict_line: Option<String>,
}

/// Reads log files of this machine, in order.
///
/// Errors, of class `Input`: one cannot be read.
pub fn log_check(paths: &[String], patterns: &LogPatterns) -> Result<Vec<CheckedLog>, Error> {
    let check = |path: &String| {
        let lines = files::lines(path)?;
        let finding = verdict::of_lines(&lines, patterns);
        // As of a job that is listed with its verdict.
        let verdict = failed_by_record(Path::new(path)).unwrap_or(finding.verdict);
        Ok(CheckedLog {
            verdict,
            verdict_line: finding.line.filter(|_| finding.verdict == verdict),
        })
    };
    paths.iter().map(check).collect()
}

/// What the record beside a log says of a program that has failed.
fn failed_by_record(log: &Path) -> Option<Verdict> {
    let name = log.file_stem()?.to_str()?;
    let record = record_files::read(log.parent()?, name).ok()??;
    let run = record.statement.run();
    let is_of_log = log.extension()? == "log" && record.statement.subject[0].name == format!("{name}.log");
    (is_of_log && run.status == "Failed").then(|| match run.verdict.as_deref().and_then(Verdict::of_name) {
        Some(Verdict::Killed) => Verdict::Killed,
        _ => Verdict::Errors,
    })
}
