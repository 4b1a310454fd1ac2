//! Reading a log while it is written.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Duration;

use super::log::{log, Logs};
use super::observation::Observed;
use super::reconnect::look_patiently;
use super::{watch, Archived, Connection, JobSelector};
use crate::domain::followed_log::FollowedLog;
use crate::domain::job_status::Status;
use crate::error::{Error, ErrorClass, Warning};
use crate::kubernetes::{Api, LogQuestion};
use crate::transport::{Backoff, FailureKind, Patience};

/// The first pause before a stream that ended is opened again.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 300 });

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 4 } else { 2000 });

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
    let which = JobSelector::Jobs(vec![job_id.to_string()]);
    watch(
        connection,
        &which,
        // One that runs in a pod that has lost abba's labels can be read once it has ended.
        &mut |news| match news.jobs.iter().all(|job| match job.status.status {
            Status::Running => job.status.id == job.job_id,
            status => status == Status::Pending,
        }) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        },
    )?;
    if connection.patience.is_interrupted() {
        return Ok(None);
    }
    let mut followed = FollowedLog::new(job_id);
    let mut skip_what_is_there = from_now;
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
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
            followed.begin_here();
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
                    false => failures + usize::from(status.is_final() || !error.is_transient()),
                };
                // A node that does not answer may not do so for hours.
                if failures == ATTEMPTS_AT_THE_REST || status == Status::Unknown {
                    return Err(error);
                }
            }
        }
        if followed.lines > seen {
            backoff.reset();
        }
        if !backoff.sleep(&connection.patience) {
            return Ok(None);
        }
    }
    let Some(mut logs) = log_patiently(connection, &which)? else {
        return Ok(None);
    };
    let whole: &[String] = logs.logs.first().map_or(&[], |log| &log.lines);
    if !from_now && followed.begins(whole) {
        // What a stream did not show, and where the program never started the reason, which stands for the log.
        for text in &whole[followed.lines..] {
            if line(text.clone()).is_break() {
                return Ok(None);
            }
        }
    } else if !from_now && logs.warnings.is_empty() {
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
fn log_patiently(connection: &Connection<'_>, which: &JobSelector) -> Result<Option<Logs>, Error> {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut failures = 0;
    loop {
        // This waits until the cluster can be reached; what fails then is the node.
        if look_patiently(connection, || connection.observe(which))?.is_none() {
            return Ok(None);
        }
        match log(connection, which, &Archived::default()) {
            Ok(logs) => return Ok(Some(logs)),
            Err(error) if error.class == ErrorClass::Interrupted => return Ok(None),
            Err(error) if error.is_transient() && failures < ATTEMPTS_AT_THE_REST => failures += 1,
            Err(error) => return Err(error),
        }
        if !backoff.sleep(&connection.patience) {
            return Ok(None);
        }
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
            longest_line: None,
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
        let result = self.api.log_lines(self.pod_name, question, &patience, &mut |bytes| {
            let taken = followed.take(bytes);
            for text in followed.owed.take().into_iter().chain(taken) {
                let flow = line(text);
                broke_off = flow.is_break();
                if broke_off {
                    return flow;
                }
            }
            ControlFlow::Continue(())
        });
        if broke_off || stopped.get() {
            return Ok(Read::BrokeOff);
        }
        match result {
            // What comes after the last line end is left to the log that is read whole at the end.
            Ok(_) => Ok(Read::Whole),
            Err(failure) => {
                let error = self.connection.error(self.api, &failure, "read the logs of pods");
                let error = error.meaning("The job itself is not affected.");
                match is_transient(failure.kind, self.follow) {
                    true => Ok(Read::Failed(error)),
                    false => Err(error),
                }
            }
        }
    }
}

/// Whether a stream that failed so is worth another attempt. The container may not be there yet, and where it is no more
/// the next look says so; kubectl may die in the midst.
fn is_transient(kind: FailureKind, follows: bool) -> bool {
    kind.is_transient()
        || matches!(
            kind,
            FailureKind::Timeout | FailureKind::KubectlDied | FailureKind::Other
        )
        || (follows && matches!(kind, FailureKind::NotFound | FailureKind::Invalid))
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{
        ended, event, impatient, list, patient, pod, running, waiting, Answer, Scripted, StreamEnd,
    };
    use super::*;
    use crate::error::ErrorClass;
    use serde_json::json;

    const FOLLOW: &str = "follow=true";
    const REST: &str = "sinceTime=";
    const WHOLE: &str = "/log?container=program";
    const PODS: &str = "/pods?";

    /// Lines with their times, one a second, from `first` on; the marker is line 0.
    fn lines(first: usize, texts: &[&str]) -> String {
        texts
            .iter()
            .enumerate()
            .map(|(index, text)| format!("2026-01-01T00:00:{:02}Z {text}\n", first + index))
            .collect()
    }

    const MARKER: &str = "abba-log-of a";

    fn whole(texts: &[&str]) -> Answer {
        Answer::Body(format!("{MARKER}\n{}\n", texts.join("\n")).into_bytes())
    }

    fn closes(text: &str) -> Answer {
        Answer::Stream(vec![text.to_string()], StreamEnd::Closes)
    }

    fn pods<const N: usize>(states: [serde_json::Value; N]) -> [Answer; N] {
        states.map(|state| list(1, [pod("a", 1, state)]))
    }

    /// What was handed over, and what came back.
    fn follow_all(connection: &Connection<'_>, from_now: bool) -> Result<(Vec<String>, Option<Logs>), Error> {
        let mut seen = Vec::new();
        let logs = follow(connection, "a", from_now, &mut |line| {
            seen.push(line);
            ControlFlow::Continue(())
        })?;
        Ok((seen, logs))
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_loses_no_line_and_repeats_none() {
        let texts = ["one", "two", "two", "", "four"];
        let text = lines(0, &[&[MARKER], &texts[..]].concat());
        for cut in 0..=text.len() {
            let cluster = Scripted::new()
                .get(FOLLOW, [closes(&text[..cut]), closes(&text)])
                .get(REST, [closes("")])
                .get(WHOLE, [whole(&texts)])
                .get(PODS, pods([running(), running(), running(), ended(0)]));
            let (seen, logs) = follow_all(&patient(&cluster), false).unwrap();
            assert_eq!(seen, texts, "{cut}");
            let logs = logs.unwrap();
            assert_eq!(logs.logs[0].lines, texts);
            assert!(logs.warnings.is_empty(), "{cut}");
            assert_eq!(cluster.paths(FOLLOW).len(), 2, "{cut}");
        }
    }

    #[test]
    fn what_a_stream_can_die_of_does_not_end_a_follow() {
        for kind in [
            FailureKind::Unreachable,
            FailureKind::Refused,
            FailureKind::Server,
            FailureKind::TooManyRequests,
            FailureKind::Timeout,
            FailureKind::KubectlDied,
            FailureKind::Invalid,
        ] {
            let cluster = Scripted::new()
                .get(
                    FOLLOW,
                    [
                        Answer::Stream(vec![lines(0, &[MARKER, "x"])], StreamEnd::Breaks(kind)),
                        closes(&lines(1, &["x", "y"])),
                    ],
                )
                .get(REST, [closes("")])
                .get(WHOLE, [whole(&["x", "y"])])
                .get(PODS, pods([running(), running(), running(), ended(0)]));
            assert_eq!(follow_all(&patient(&cluster), false).unwrap().0, ["x", "y"], "{kind:?}");
            assert!(cluster.paths(FOLLOW)[1].contains("sinceTime=2026-01-01T00%3A00%3A01Z"));
        }
    }

    #[test]
    fn a_cluster_that_is_away_meanwhile_is_asked_again() {
        let cluster = Scripted::new()
            .get(FOLLOW, [closes(&lines(0, &[MARKER, "x"]))])
            .get(
                REST,
                [Answer::Fails(FailureKind::Refused), closes(&lines(1, &["x", "y"]))],
            )
            .get(WHOLE, [whole(&["x", "y"])])
            .get(
                PODS,
                [
                    list(1, [pod("a", 1, running())]),
                    list(1, [pod("a", 1, running())]),
                    Answer::Fails(FailureKind::Refused),
                    Answer::Fails(FailureKind::Timeout),
                    list(1, [pod("a", 1, ended(0))]),
                ],
            );
        assert_eq!(follow_all(&impatient(&cluster), false).unwrap().0, ["x", "y"]);
    }

    #[test]
    fn what_does_not_pass_is_an_error() {
        let cluster = Scripted::new()
            .get(FOLLOW, [Answer::Fails(FailureKind::Forbidden)])
            .get(PODS, pods([running()]));
        assert_eq!(
            follow_all(&patient(&cluster), false).unwrap_err().class,
            ErrorClass::Forbidden
        );
        // A node that does not give the rest, after some attempts.
        let cluster = Scripted::new()
            .get(WHOLE, [Answer::Fails(FailureKind::Server)])
            .get(PODS, pods([ended(0)]));
        assert_eq!(
            follow_all(&patient(&cluster), false).unwrap_err().class,
            ErrorClass::Unavailable
        );
        assert_eq!(cluster.paths(WHOLE).len(), ATTEMPTS_AT_THE_REST);
    }

    #[test]
    fn lines_that_were_missed_are_counted() {
        let cluster = Scripted::new()
            .get(
                WHOLE,
                [closes(&lines(0, &[MARKER, "1", "4"])), whole(&["1", "2", "3", "4"])],
            )
            .get(PODS, pods([ended(0)]));
        let (seen, logs) = follow_all(&patient(&cluster), false).unwrap();
        assert_eq!(seen, ["1", "4"]);
        let logs = logs.unwrap();
        assert_eq!(logs.logs[0].lines.len(), 4);
        assert_eq!(logs.warnings.len(), 1);
        assert_eq!(logs.warnings[0].class, "log_incomplete");
        assert!(logs.warnings[0].message.contains("2 of its lines were missed"));
    }

    #[test]
    fn from_now_leaves_out_what_was_there_before() {
        let cluster = Scripted::new()
            .get("tailLines=1", [closes(&lines(2, &["old"])), closes("end\n")])
            .get(FOLLOW, [closes(&lines(2, &["old", "new"]))])
            .get(REST, [closes(&lines(3, &["new", "end"]))])
            .get(WHOLE, [whole(&["older", "old", "new", "end"])])
            .get(PODS, pods([running(), running(), ended(0)]));
        let (seen, logs) = follow_all(&patient(&cluster), true).unwrap();
        assert_eq!(seen, ["new", "end"]);
        assert_eq!(logs.unwrap().warnings, []);
    }

    #[test]
    fn a_program_that_has_not_started_is_waited_for_and_one_that_never_does_is_explained() {
        let cluster = Scripted::new()
            .get(
                "watch=1",
                [Answer::Stream(
                    vec![event("MODIFIED", &pod("a", 1, running()))],
                    StreamEnd::Stays,
                )],
            )
            .get(FOLLOW, [closes(&lines(0, &[MARKER, "x"]))])
            .get(REST, [closes("")])
            .get(WHOLE, [whole(&["x"])])
            .get(PODS, pods([waiting(), running(), ended(0)]));
        assert_eq!(follow_all(&patient(&cluster), false).unwrap().0, ["x"]);

        let never = json!({"terminated": {"exitCode": 128, "reason": "StartError"}});
        let cluster = Scripted::new().get("/events", [list(1, [])]).get(PODS, pods([never]));
        let (seen, logs) = follow_all(&patient(&cluster), false).unwrap();
        assert!(seen[0].starts_with("abba: The program has not run"), "{seen:?}");
        assert_eq!(logs.unwrap().logs[0].lines, seen);
    }

    #[test]
    fn who_has_enough_gets_no_log() {
        let cluster = Scripted::new()
            .get(
                FOLLOW,
                [Answer::Stream(vec![lines(0, &[MARKER, "x", "y"])], StreamEnd::Stays)],
            )
            .get(PODS, pods([running()]));
        let mut seen = 0;
        let logs = follow(&patient(&cluster), "a", false, &mut |_| {
            seen += 1;
            ControlFlow::Break(())
        });
        assert_eq!((logs.unwrap(), seen), (None, 1));

        let asked = Cell::new(0);
        let interrupted = || {
            asked.set(asked.get() + 1);
            asked.get() > 3
        };
        let connection = Connection {
            patience: Patience::new(Duration::from_secs(60), &interrupted),
            ..patient(&cluster)
        };
        assert_eq!(
            follow_all(&connection, false).unwrap(),
            (vec!["x".into(), "y".into()], None)
        );
    }
}
