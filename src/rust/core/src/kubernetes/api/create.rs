//! Creating a Job once.

use super::attempts::{Attempts, FIRST_PAUSE, LONGEST_PAUSE};
use super::{garbage, parse, Api};
use crate::kubernetes::labels;
use crate::transport::{Backoff, Call, Deadline, Failure, FailureKind};
use serde_json::Value;

/// A Job that was created.
#[derive(Debug)]
pub struct Created {
    /// What the server warned of.
    pub warnings: Vec<String>,
    /// The Job as the cluster has it: rules of the cluster may have changed it.
    pub job: Value,
}

/// A create that did not succeed.
#[derive(Debug)]
pub struct CreateFailure {
    /// The last failure.
    pub failure: Failure,
    /// Whether the Job may exist all the same.
    pub may_exist: bool,
}

impl Api<'_> {
    /// Creates a Job. `Ok` means that there is exactly one Job of this name and that it is this one; `submission` is the
    /// value of its annotation [`labels::SUBMISSION`], by which it is known again.
    pub fn create_job(&self, job: &Value, submission: &str) -> Result<Created, CreateFailure> {
        let name = job["metadata"]["name"].as_str().unwrap_or_default();
        // Strict: the server refuses a field that it does not know, instead of dropping it.
        let path = format!("{}?fieldValidation=Strict", self.jobs());
        let call = Call::create(path, job);
        let deadline = self.patience.deadline();
        let mut attempts = Attempts::new(self.transport, deadline, LONGEST_PAUSE);
        let mut may_exist = false;
        let mut may_still_arrive = false;
        loop {
            // The first attempt leaves time to find out what became of it.
            let attempt = if may_exist { deadline } else { deadline.fraction(0.5) };
            let mut failure = match self.transport.send_with_warnings(&call, &attempt) {
                Ok((answer, warnings)) => match parse::<Value>(&call, &answer) {
                    Ok(job) if job["metadata"]["name"] == name => return Ok(Created { warnings, job }),
                    Ok(_) => garbage(&call, "The answer is not the job that was sent.".into()),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            if failure.kind == FailureKind::AlreadyExists {
                match self.read::<Value>(&self.job_call(name)) {
                    Ok(job) if is_submission(&job, submission) => return Ok(without_warnings(job)),
                    // The name is another's, so no attempt of ours can have made a Job.
                    Ok(_) => {
                        return Err(CreateFailure {
                            failure,
                            may_exist: false,
                        })
                    }
                    Err(look) if look.kind == FailureKind::Interrupted => {
                        return Err(CreateFailure {
                            failure: look,
                            may_exist: true,
                        });
                    }
                    _ => {}
                }
            }
            if failure.kind == FailureKind::Interrupted {
                return Err(CreateFailure {
                    failure,
                    may_exist: true,
                });
            }
            may_exist |= failure.kind.leaves_outcome_open() || failure.kind == FailureKind::AlreadyExists;
            may_still_arrive |= failure.may_still_arrive();
            // A create conflicts where a quota's count changed at the same time; then nothing was made.
            // https://github.com/kubernetes/kubernetes/issues/67761
            let conflict = failure.kind == FailureKind::Conflict;
            // A page does not go away by itself; whether it hides a Job the look at it says.
            let is_page = failure.kind == FailureKind::Page;
            if conflict || failure.kind.is_transient() || (failure.kind.leaves_outcome_open() && !is_page) {
                failure = match attempts.wait_after(failure) {
                    Ok(()) => continue,
                    Err(stopped) if stopped.kind == FailureKind::Interrupted => {
                        return Err(CreateFailure {
                            failure: stopped,
                            may_exist,
                        })
                    }
                    Err(failure) => failure,
                };
            }
            return match may_exist {
                false => Err(CreateFailure { failure, may_exist }),
                true => self.settle(name, submission, failure, may_still_arrive, &deadline),
            };
        }
    }

    /// After attempts whose outcome is open: looks whether the Job is there; where one of them may still be under way, until
    /// the time is over.
    fn settle(
        &self,
        name: &str,
        submission: &str,
        failure: Failure,
        may_still_arrive: bool,
        deadline: &Deadline<'_>,
    ) -> Result<Created, CreateFailure> {
        let call = self.job_call(name);
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let not_known = |failure| CreateFailure {
            failure,
            may_exist: true,
        };
        loop {
            if deadline.has_passed() {
                return Err(not_known(failure));
            }
            match self.transport.send(&call, deadline) {
                Ok(answer) => match parse::<Value>(&call, &answer) {
                    Ok(job) if is_submission(&job, submission) => return Ok(without_warnings(job)),
                    _ => return Err(not_known(failure)),
                },
                Err(look) if look.kind == FailureKind::Interrupted => return Err(not_known(look)),
                Err(look) if look.kind == FailureKind::NotFound && may_still_arrive => {
                    if !deadline.sleep(backoff.pause()) {
                        return Err(not_known(Failure {
                            kind: FailureKind::Interrupted,
                            ..failure
                        }));
                    }
                }
                Err(look) if look.kind == FailureKind::NotFound => {
                    return Err(CreateFailure {
                        failure,
                        may_exist: false,
                    })
                }
                _ => return Err(not_known(failure)),
            }
        }
    }

    fn job_call(&self, name: &str) -> Call {
        Call::get(format!("{}/{name}", self.jobs()))
    }
}

fn is_submission(job: &Value, submission: &str) -> bool {
    job["metadata"]["annotations"][labels::SUBMISSION] == submission
}

/// A Job whose create was answered before, or whose answer was lost.
fn without_warnings(job: Value) -> Created {
    Created {
        warnings: Vec::new(),
        job,
    }
}

#[cfg(test)]
mod tests {
    use super::super::attempts::FURTHER_ATTEMPTS;
    use super::super::scripted::{api, failure, Script};
    use super::*;
    use crate::transport::Verb;
    use serde_json::json;

    fn job_answer(submission: &str) -> Result<Vec<u8>, Failure> {
        let job = json!({"metadata": {"name": "a-1", "annotations": {labels::SUBMISSION: submission}}});
        Ok(serde_json::to_vec(&job).unwrap())
    }

    fn create(script: &Script) -> Result<(), CreateFailure> {
        let job = json!({"metadata": {"name": "a-1"}});
        api(script).create_job(&job, "s").map(|_| ())
    }

    #[test]
    fn a_create_is_one_call() {
        let script = Script::new([job_answer("s")]);
        create(&script).unwrap();
        assert_eq!(script.verbs(), [Verb::Create]);
    }

    #[test]
    fn a_create_whose_answer_was_lost_is_repeated_and_found() {
        for lost in [
            FailureKind::Timeout,
            FailureKind::Unreachable,
            FailureKind::KubectlDied,
            FailureKind::MalformedResponse,
            FailureKind::Server,
            FailureKind::Other,
        ] {
            let script = Script::new([failure(lost), failure(FailureKind::AlreadyExists), job_answer("s")]);
            create(&script).unwrap();
            assert_eq!(script.verbs(), [Verb::Create, Verb::Create, Verb::Get], "{lost:?}");
        }
    }

    #[test]
    fn a_quota_that_changes_at_the_same_time_does_not_fail_a_create() {
        let script = Script::new([
            failure(FailureKind::Conflict),
            failure(FailureKind::Conflict),
            job_answer("s"),
        ]);
        create(&script).unwrap();
        // Where it never ends there is no job, and that is known.
        let script = Script::new((0..=FURTHER_ATTEMPTS).map(|_| failure(FailureKind::Conflict)));
        let error = create(&script).unwrap_err();
        assert_eq!((error.failure.kind, error.may_exist), (FailureKind::Conflict, false));
    }

    #[test]
    fn somebody_elses_job_of_the_same_name_is_no_success() {
        let script = Script::new([
            failure(FailureKind::AlreadyExists),
            job_answer("other"),
            job_answer("other"),
        ]);
        create(&script).unwrap_err();
    }

    #[test]
    fn a_refusal_is_final_and_says_that_there_is_no_job() {
        for refusal in [
            FailureKind::Forbidden,
            FailureKind::Invalid,
            FailureKind::Unauthorized,
            FailureKind::NotFound,
            FailureKind::KubectlMissing,
            FailureKind::NotConfigured,
            FailureKind::RuleRefused,
            FailureKind::NamespaceEnds,
            FailureKind::LoginHelperMissing,
            FailureKind::LoginHelperFailed,
            FailureKind::LoginPending,
            FailureKind::Certificate,
            FailureKind::Proxy,
            FailureKind::NoTls,
        ] {
            let script = Script::new([failure(refusal)]);
            let error = create(&script).unwrap_err();
            assert_eq!((error.failure.kind, error.may_exist), (refusal, false));
        }
    }

    #[test]
    fn a_page_in_the_place_of_an_answer_says_nothing_of_the_job() {
        let page = || failure(FailureKind::Page);
        // It is not sent again, and looked for once.
        let hidden = Script::new([page(), job_answer("s")]);
        create(&hidden).unwrap();
        assert_eq!(hidden.verbs(), [Verb::Create, Verb::Get]);
        assert!(create(&Script::new([page(), page()])).unwrap_err().may_exist);
        assert!(
            !create(&Script::new([page(), failure(FailureKind::NotFound)]))
                .unwrap_err()
                .may_exist
        );
        let stranger = || failure(FailureKind::Stranger);
        let all = std::iter::repeat_with(stranger).take(FURTHER_ATTEMPTS + 2);
        assert!(create(&Script::new(all)).unwrap_err().may_exist);
    }

    #[test]
    fn a_quota_used_up_by_our_own_lost_create_is_not_believed() {
        let script = Script::new([
            failure(FailureKind::Unreachable),
            failure(FailureKind::Forbidden),
            job_answer("s"),
        ]);
        create(&script).unwrap();
    }

    #[test]
    fn after_a_lost_answer_it_is_said_whether_there_is_a_job() {
        let absent = Script::new([
            failure(FailureKind::Server),
            failure(FailureKind::Forbidden),
            failure(FailureKind::NotFound),
        ]);
        assert!(!create(&absent).unwrap_err().may_exist);
        let unknown = Script::new([
            failure(FailureKind::Unreachable),
            failure(FailureKind::Forbidden),
            failure(FailureKind::Unreachable),
        ]);
        assert!(create(&unknown).unwrap_err().may_exist);
    }

    #[test]
    fn a_write_that_may_still_be_under_way_is_looked_for_until_it_is_there() {
        let still_processing = Failure {
            words: "Error from server (Timeout): Timeout: request did not complete within the allotted timeout".into(),
            ..Failure::new(FailureKind::Server, "")
        };
        for open in [
            failure(FailureKind::Timeout),
            failure(FailureKind::Unreachable),
            failure(FailureKind::KubectlDied),
            Err(still_processing),
        ] {
            let late = Script::new([
                open.clone(),
                failure(FailureKind::Forbidden),
                failure(FailureKind::NotFound),
                failure(FailureKind::NotFound),
                job_answer("s"),
            ]);
            create(&late).unwrap();
            // Nobody says that there is none while that is not known.
            let never = Script::new([
                open,
                failure(FailureKind::Forbidden),
                failure(FailureKind::NotFound),
                failure(FailureKind::Unreachable),
            ]);
            assert!(create(&never).unwrap_err().may_exist);
        }
    }

    #[test]
    fn an_interrupt_ends_the_attempts() {
        let script = Script::new([failure(FailureKind::Interrupted)]);
        let error = create(&script).unwrap_err();
        assert_eq!((error.failure.kind, error.may_exist), (FailureKind::Interrupted, true));
    }
}
