//! The verdicts of logs that were saved as files.

use serde::Serialize;

use crate::domain::verdict::{self, LogPatterns, Verdict};
use crate::local::files;
use crate::Error;

/// A log file and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedLog {
    /// The verdict; never `Killed`, which a log alone does not tell.
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
        Ok(CheckedLog {
            verdict: finding.verdict,
            verdict_line: finding.line,
        })
    };
    paths.iter().map(check).collect()
}
