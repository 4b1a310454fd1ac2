//! Reading a log while it is written.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Duration;

use super::log::{log, Logs};
use super::observation::Observed;
use super::watch::observe_patiently;
use super::{watch, Connection, Which};
use crate::domain::followed_log::FollowedLog;
use crate::domain::job_status::Status;
use crate::error::{Error, Warning};
use crate::kubernetes::{Api, LogQuestion};
use crate::transport::{FailureKind, Patience};

/// The pause before a stream that broke is opened again.
const PAUSE: Duration = Duration::from_millis(300);

/// How often the rest of a log is asked for after the program has ended. Together with the pauses as long as other reads
/// are tried.
const ATTEMPTS_FOR_REST: usize = 10;

/// Waits for a job to start, hands over its lines as the program writes them until it ends or `line` breaks off, and then
/// gives back the log read whole, with a warning where lines were missed (a node drops some when it rotates a long log).
///
/// With `from_now` what was written before is left out. `None` where `line` broke off or the user wants to stop.
///
/// Errors: as those of [`super::log`].
pub fn follow(
    connection: &Connection<'_>,
    job_id: &str,
    from_now: bool,
    line: &mut dyn FnMut(String) -> ControlFlow<()>,
) -> Result<Option<Logs>, Error> {
    let which = Which::Jobs(vec![job_id.to_string()]);
    watch(
        connection,
        &which,
        &mut |jobs| match jobs.iter().all(|job| job.status.status == Status::Pending) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        },
    )?;
    if connection.patience.is_interrupted() {
        return Ok(None);
    }
    let mut followed = FollowedLog::new(job_id);
    let mut first = true;
    let mut rest_failed = 0;
    loop {
        let Some((api, observation)) = observe_patiently(connection, &which, PAUSE)? else {
            return Ok(None);
        };
        let Some(Observed::Pod(pod)) = observation.of(job_id) else {
            break;
        };
        if !pod.has_started() {
            break;
        }
        let pod_name = pod.metadata.name.clone();
        let ended = observation.statuses().iter().all(|status| status.status.is_final());
        let stream = Stream {
            connection,
            api: &api,
            pod_name: &pod_name,
        };
        if first && from_now {
            let _ = stream.read(
                &mut followed,
                LogQuestion {
                    newest_line_only: true,
                    ..Default::default()
                },
                &mut |_| ControlFlow::Continue(()),
            )?;
            followed.lines = 0;
        }
        first = false;
        let question = LogQuestion {
            follow: !ended,
            ..Default::default()
        };
        match stream.read(&mut followed, question, line) {
            Ok(ControlFlow::Break(())) => return Ok(None),
            Ok(ControlFlow::Continue(())) if ended => break,
            Ok(ControlFlow::Continue(())) => {}
            // The server may be restarted just when the rest is read.
            Err(error) if ended && error.may_heal() && rest_failed < ATTEMPTS_FOR_REST => rest_failed += 1,
            Err(error) => return Err(error),
        }
        if !connection.patience.renewed().sleep(PAUSE) {
            return Ok(None);
        }
    }
    let mut logs = log(connection, &which)?;
    let whole: usize = logs.logs.iter().map(|log| log.lines.len()).sum();
    if followed.lines == 0 && !from_now {
        // It never started: the reason stands for the log.
        for text in logs.logs.iter().flat_map(|log| &log.lines) {
            if line(text.clone()).is_break() {
                return Ok(None);
            }
        }
    } else if !from_now && whole != followed.lines && logs.warnings.is_empty() {
        logs.warnings.push(Warning {
            class: "log_incomplete",
            message: format!(
                "While the log of job \"{job_id}\" was followed, {} of its lines were missed.",
                whole.abs_diff(followed.lines)
            ),
            advice: "The log that is returned was read whole after the end.".into(),
            job_ids: vec![job_id.to_string()],
        });
    }
    Ok(Some(logs))
}

struct Stream<'a, 'b> {
    connection: &'b Connection<'a>,
    api: &'b Api<'a>,
    pod_name: &'b str,
}

impl Stream<'_, '_> {
    /// Reads from where `followed` stands. Breaks off where the caller does or the user wants to stop; a stream that breaks
    /// by itself is no error, since it is opened again.
    fn read(
        &self,
        followed: &mut FollowedLog,
        question: LogQuestion<'_>,
        line: &mut dyn FnMut(String) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        followed.reopened();
        let since = followed.since();
        let question = LogQuestion {
            since: since.as_deref(),
            ..question
        };
        let stopped = Cell::new(false);
        let interrupted = || {
            stopped.set(stopped.get() || self.connection.patience.is_interrupted());
            stopped.get()
        };
        let limit = match question.follow {
            // Taken up again now and then, in case the connection is dead and nobody says so.
            true => Duration::from_secs(600),
            false => self.connection.patience.limit(),
        };
        let patience = Patience::new(limit, &interrupted);
        let mut broke_off = false;
        let result = self.api.log_lines(
            self.pod_name,
            question,
            &patience,
            &mut |bytes| match followed.take(bytes) {
                Some(text) => {
                    let flow = line(text);
                    broke_off = flow.is_break();
                    flow
                }
                None => ControlFlow::Continue(()),
            },
        );
        if broke_off || stopped.get() {
            return Ok(ControlFlow::Break(()));
        }
        match result {
            Err(failure) if !passes(failure.kind, question.follow) => {
                let error = self.connection.error(self.api, &failure, "read the logs of pods");
                Err(error.meaning("The job itself is not affected."))
            }
            _ => Ok(ControlFlow::Continue(())),
        }
    }
}

/// Whether a stream that failed so is worth another attempt.
fn passes(kind: FailureKind, follows: bool) -> bool {
    follows
        && (kind.may_heal()
            || matches!(
                kind,
                FailureKind::Timeout | FailureKind::NotFound | FailureKind::Invalid | FailureKind::KubectlDied
            ))
}
