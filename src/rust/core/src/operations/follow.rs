//! Reading a log while it is written.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Duration;

use super::log::{log, Logs};
use super::observation::Observed;
use super::watch::look_patiently;
use super::{watch, Connection, Which};
use crate::domain::followed_log::FollowedLog;
use crate::domain::job_status::Status;
use crate::error::{Error, ErrorClass, Warning};
use crate::kubernetes::{Api, LogQuestion};
use crate::transport::{FailureKind, Patience};

/// The first pause before a stream that ended is opened again.
const FIRST_PAUSE: Duration = Duration::from_millis(300);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often the rest of the log is asked for, once the program has ended, while its node does not give it.
const ATTEMPTS_AT_THE_REST: usize = 8;

/// Waits for a job to start, hands over its lines as the program writes them until it ends or `line` breaks off, and then
/// gives back the log read whole, with a warning where that differs from what was handed over (a node drops lines when it
/// rotates a long log). While the cluster cannot be reached it is tried again for ever.
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
        &mut |news| match news.jobs.iter().all(|job| job.status.status == Status::Pending) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        },
    )?;
    if connection.patience.is_interrupted() {
        return Ok(None);
    }
    let mut followed = FollowedLog::new(job_id);
    let mut skip_what_is_there = from_now;
    let mut pause = FIRST_PAUSE;
    let mut failures = 0;
    loop {
        let Some((api, observation)) = look_patiently(connection, || connection.observe(&which))? else {
            return Ok(None);
        };
        let Some(observed @ Observed::Pod(pod)) = observation.of(job_id) else {
            break;
        };
        if !pod.has_started() {
            break;
        }
        let status = observed.status().status;
        let stream = Stream {
            connection,
            api: &api,
            pod_name: &pod.metadata.name,
            follow: !status.is_final(),
        };
        let seen = followed.lines;
        let mut read = Read::Whole;
        if skip_what_is_there {
            read = stream.read(&mut followed, true, &mut |_| ControlFlow::Continue(()))?;
            skip_what_is_there = !matches!(read, Read::Whole);
            followed.lines = 0;
        }
        if matches!(read, Read::Whole) {
            read = stream.read(&mut followed, false, line)?;
        }
        match read {
            Read::BrokeOff => return Ok(None),
            Read::Whole if status.is_final() => break,
            Read::Whole => {}
            Read::Failed(error) => {
                // While the cluster heals it is tried for ever; what is not known to heal is tried some times.
                failures = match followed.lines > seen {
                    true => 0,
                    false => failures + usize::from(status.is_final() || !error.may_heal()),
                };
                // A node that does not answer may not do so for hours.
                if failures == ATTEMPTS_AT_THE_REST || status == Status::Unknown {
                    return Err(error);
                }
            }
        }
        pause = match followed.lines > seen {
            true => FIRST_PAUSE,
            false => (pause * 2).min(LONGEST_PAUSE),
        };
        if !connection.patience.renewed().sleep(pause) {
            return Ok(None);
        }
    }
    let Some(mut logs) = log_patiently(connection, &which)? else {
        return Ok(None);
    };
    let whole: Vec<&String> = logs.logs.iter().flat_map(|log| &log.lines).collect();
    if followed.lines == 0 && !from_now {
        // It never started: the reason stands for the log.
        for text in whole {
            if line(text.clone()).is_break() {
                return Ok(None);
            }
        }
    } else if !from_now && !followed.is(&whole) && logs.warnings.is_empty() {
        let missed = whole.len().abs_diff(followed.lines);
        let message = match missed {
            0 => format!("What was printed of the log of job \"{job_id}\" while it was followed differs from the log."),
            1 => format!("While the log of job \"{job_id}\" was followed, one of its lines was missed."),
            _ => format!("While the log of job \"{job_id}\" was followed, {missed} of its lines were missed."),
        };
        logs.warnings.push(Warning {
            class: "log_incomplete",
            message,
            advice: "The log that is returned was read whole after the end.".into(),
            job_ids: vec![job_id.to_string()],
        });
    }
    Ok(Some(logs))
}

/// Reads the log whole, again where the cluster or the node does not answer for a moment. `None` where the user wants to
/// stop.
fn log_patiently(connection: &Connection<'_>, which: &Which) -> Result<Option<Logs>, Error> {
    let mut pause = FIRST_PAUSE;
    let mut failures = 0;
    loop {
        // This waits until the cluster can be reached; what fails then is the node.
        if look_patiently(connection, || connection.observe(which))?.is_none() {
            return Ok(None);
        }
        match log(connection, which) {
            Ok(logs) => return Ok(Some(logs)),
            Err(error) if error.class == ErrorClass::Interrupted => return Ok(None),
            Err(error) if error.may_heal() && failures < ATTEMPTS_AT_THE_REST => failures += 1,
            Err(error) => return Err(error),
        }
        if !connection.patience.renewed().sleep(pause) {
            return Ok(None);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What became of a stream.
enum Read {
    /// It ended as streams do.
    Whole,
    /// It broke, or could not be opened; it may be opened again.
    Failed(Error),
    /// The caller broke off, or the user wants to stop.
    BrokeOff,
}

struct Stream<'a, 'b> {
    connection: &'b Connection<'a>,
    api: &'b Api<'a>,
    pod_name: &'b str,
    /// Whether the program still writes.
    follow: bool,
}

impl Stream<'_, '_> {
    /// Reads from where `followed` stands; or the newest line alone.
    ///
    /// Errors: those that another attempt does not heal.
    fn read(
        &self,
        followed: &mut FollowedLog,
        newest_line_only: bool,
        line: &mut dyn FnMut(String) -> ControlFlow<()>,
    ) -> Result<Read, Error> {
        followed.reopened();
        let since = followed.since();
        let question = LogQuestion {
            since: since.as_deref(),
            newest_line_only,
            follow: self.follow && !newest_line_only,
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
            return Ok(Read::BrokeOff);
        }
        match result {
            Ok(()) => Ok(Read::Whole),
            Err(failure) => {
                let error = self.connection.error(self.api, &failure, "read the logs of pods");
                let error = error.meaning("The job itself is not affected.");
                match may_pass(failure.kind, self.follow) {
                    true => Ok(Read::Failed(error)),
                    false => Err(error),
                }
            }
        }
    }
}

/// Whether a stream that failed so is worth another attempt. The container may not be there yet, and where it is no more
/// the next look says so; kubectl may die in the midst.
fn may_pass(kind: FailureKind, follows: bool) -> bool {
    kind.may_heal()
        || matches!(
            kind,
            FailureKind::Timeout | FailureKind::KubectlDied | FailureKind::Other
        )
        || (follows && matches!(kind, FailureKind::NotFound | FailureKind::Invalid))
}
