//! The API calls that abba uses, each as a function.
//!
//! Reads are tried again while the failure may heal; a create is tried again under the same name, so that however often
//! its answer is lost there is one Job.

use std::time::Duration;

use percent_encoding::{utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};
use serde::de::DeserializeOwned;

use super::objects::{Event, Job, List, Pod, PROGRAM_CONTAINER};
use crate::domain::labels;
use crate::transport::{Call, Failure, FailureKind, Patience, Transport};

/// The pauses between attempts. Together they outlast a short restart of the API server's front, and do not keep a user
/// waiting long for the news that there is no server.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
];

/// Proxies before an API server may refuse longer request lines (8 KiB is a common bound).
const LONGEST_QUERY: usize = 7000;

/// What stays as it is in a query's value (RFC 3986, unreserved).
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The API of one cluster, in one namespace.
pub struct Api<'a> {
    transport: &'a dyn Transport,
    namespace: String,
    patience: Patience<'a>,
}

/// A create that did not succeed.
#[derive(Debug)]
pub struct CreateFailure {
    /// The last failure.
    pub failure: Failure,
    /// Whether the Job may exist all the same.
    pub may_exist: bool,
}

impl<'a> Api<'a> {
    /// The API as `transport` reaches it. Without a namespace it is the one that the user's configuration names.
    /// `patience` begins anew with each call.
    pub fn new(transport: &'a dyn Transport, namespace: Option<&str>, patience: Patience<'a>) -> Result<Self, Failure> {
        let namespace = match namespace {
            Some(namespace) => namespace.to_string(),
            None => transport.namespace(&patience.renewed())?,
        };
        Ok(Self {
            transport,
            namespace,
            patience,
        })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Creates a Job. `Ok` means that there is exactly one Job of this name and that it is this one; `submission` is the
    /// value of its annotation [`labels::SUBMISSION`], by which it is known again.
    pub fn create_job(&self, job: &Job, submission: &str) -> Result<(), CreateFailure> {
        let name = &job.metadata.name;
        let body = serde_json::to_vec(job).map_err(|error| CreateFailure {
            failure: Failure::new(
                FailureKind::Other,
                format!("The job cannot be written as JSON: {error}"),
            ),
            may_exist: false,
        })?;
        // Strict: the server refuses a field that it does not know, instead of dropping it.
        let path = format!(
            "/apis/batch/v1/namespaces/{}/jobs?fieldValidation=Strict",
            self.namespace
        );
        let call = Call::create(path, body);
        let patience = self.patience.renewed();
        let mut pauses = PAUSES.iter();
        let mut may_exist = false;
        let mut may_still_arrive = false;
        loop {
            // The first attempt leaves time to find out what became of it.
            let attempt = if may_exist {
                patience
            } else {
                patience.share_of_rest(0.5)
            };
            let failure = match self.transport.send(&call, &attempt) {
                Ok(answer) => match parse::<Job>(&answer) {
                    Ok(created) if created.metadata.name == *name => return Ok(()),
                    Ok(_) => Failure::new(FailureKind::Garbage, "kubectl's answer is not the job that was sent."),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            if failure.kind == FailureKind::AlreadyExists && self.is_ours(name, submission) {
                return Ok(());
            }
            if failure.kind == FailureKind::Interrupted {
                return Err(CreateFailure {
                    failure,
                    may_exist: true,
                });
            }
            may_exist |= failure.kind.leaves_outcome_open() || failure.kind == FailureKind::AlreadyExists;
            may_still_arrive |= failure.kind == FailureKind::Timeout;
            let try_again = failure.kind.may_heal() || failure.kind.leaves_outcome_open();
            if try_again && !patience.is_over() {
                if let Some(pause) = pauses.next() {
                    if patience.sleep(*pause) {
                        continue;
                    }
                    let failure = Failure {
                        kind: FailureKind::Interrupted,
                        ..failure
                    };
                    return Err(CreateFailure { failure, may_exist });
                }
            }
            return match may_exist {
                false => Err(CreateFailure { failure, may_exist }),
                true => self.settle(name, submission, failure, may_still_arrive, &patience),
            };
        }
    }

    /// After attempts whose outcome is open: looks whether the Job is there.
    fn settle(
        &self,
        name: &str,
        submission: &str,
        failure: Failure,
        may_still_arrive: bool,
        patience: &Patience<'_>,
    ) -> Result<(), CreateFailure> {
        if patience.is_over() {
            return Err(CreateFailure {
                failure,
                may_exist: true,
            });
        }
        match self.transport.send(&self.job_call(name), patience) {
            Ok(answer) if parse::<Job>(&answer).is_ok_and(|job| is_submission(&job, submission)) => Ok(()),
            Err(look) if look.kind == FailureKind::NotFound => Err(CreateFailure {
                failure,
                may_exist: may_still_arrive,
            }),
            _ => Err(CreateFailure {
                failure,
                may_exist: true,
            }),
        }
    }

    fn is_ours(&self, name: &str, submission: &str) -> bool {
        self.read::<Job>(&self.job_call(name))
            .is_ok_and(|job| is_submission(&job, submission))
    }

    fn job_call(&self, name: &str) -> Call {
        Call::get(format!("/apis/batch/v1/namespaces/{}/jobs/{name}", self.namespace))
    }

    /// The pods of some of abba's jobs, in one LIST as long as the ids fit into one request.
    pub fn list_pods(&self, job_ids: &[&str]) -> Result<Vec<Pod>, Failure> {
        let resource = format!("/api/v1/namespaces/{}/pods", self.namespace);
        self.list_by_job_id(&resource, job_ids)
    }

    /// Some of abba's Jobs themselves.
    pub fn list_jobs(&self, job_ids: &[&str]) -> Result<Vec<Job>, Failure> {
        let resource = format!("/apis/batch/v1/namespaces/{}/jobs", self.namespace);
        self.list_by_job_id(&resource, job_ids)
    }

    fn list_by_job_id<T: DeserializeOwned>(&self, resource: &str, job_ids: &[&str]) -> Result<Vec<T>, Failure> {
        let mut found = Vec::new();
        for ids in chunks_that_fit(job_ids) {
            let selector = format!(
                "{}={},{} in ({})",
                labels::MANAGED_BY,
                labels::MANAGED_BY_ABBA,
                labels::JOB_ID,
                ids.join(",")
            );
            let path = format!("{resource}?labelSelector={}", encode(&selector));
            found.extend(self.read::<List<T>>(&Call::get(path))?.items);
        }
        Ok(found)
    }

    /// The events about an object, oldest first. `kind` is `Job` or `Pod`.
    pub fn list_events(&self, kind: &str, name: &str) -> Result<Vec<Event>, Failure> {
        let selector = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let path = format!(
            "/api/v1/namespaces/{}/events?fieldSelector={}",
            self.namespace,
            encode(&selector)
        );
        let mut events = self.read::<List<Event>>(&Call::get(path))?.items;
        events.sort_by(|a, b| a.last_timestamp.cmp(&b.last_timestamp));
        Ok(events)
    }

    /// The log of the program's container in a pod: bytes, as the node gives them.
    pub fn log(&self, pod_name: &str) -> Result<Vec<u8>, Failure> {
        let path = format!(
            "/api/v1/namespaces/{}/pods/{pod_name}/log?container={PROGRAM_CONTAINER}",
            self.namespace
        );
        self.read_bytes(&Call::get(path))
    }

    fn read<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failure> {
        parse(&self.read_bytes(call)?)
    }

    fn read_bytes(&self, call: &Call) -> Result<Vec<u8>, Failure> {
        let patience = self.patience.renewed();
        let mut pauses = PAUSES.iter();
        loop {
            let failure = match self.transport.send(call, &patience) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !failure.kind.may_heal() || patience.is_over() {
                return Err(failure);
            }
            let Some(pause) = pauses.next() else {
                return Err(failure);
            };
            if !patience.sleep(*pause) {
                return Err(Failure {
                    kind: FailureKind::Interrupted,
                    ..failure
                });
            }
        }
    }
}

fn is_submission(job: &Job, submission: &str) -> bool {
    job.metadata.annotations.get(labels::SUBMISSION).map(String::as_str) == Some(submission)
}

fn parse<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|error| {
        let beginning: String = String::from_utf8_lossy(answer).chars().take(200).collect();
        Failure::new(
            FailureKind::Garbage,
            format!("kubectl's answer cannot be read ({error}); it begins: {beginning:?}"),
        )
    })
}

fn encode(value: &str) -> String {
    utf8_percent_encode(value, QUERY_VALUE).to_string()
}

/// Splits ids so that each part fits into one request. An id needs itself and an encoded comma.
fn chunks_that_fit<'a, 'b>(job_ids: &'a [&'b str]) -> Vec<&'a [&'b str]> {
    let mut chunks = Vec::new();
    let mut begin = 0;
    let mut length = 0;
    for (index, id) in job_ids.iter().enumerate() {
        if length + id.len() + 3 > LONGEST_QUERY {
            chunks.push(&job_ids[begin..index]);
            begin = index;
            length = 0;
        }
        length += id.len() + 3;
    }
    if begin < job_ids.len() {
        chunks.push(&job_ids[begin..]);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Verb;
    use serde_json::json;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// A transport that plays back answers and remembers the calls.
    struct Script {
        answers: RefCell<VecDeque<Result<Vec<u8>, Failure>>>,
        calls: RefCell<Vec<Call>>,
    }

    impl Script {
        fn new(answers: impl IntoIterator<Item = Result<Vec<u8>, Failure>>) -> Self {
            Self {
                answers: RefCell::new(answers.into_iter().collect()),
                calls: RefCell::default(),
            }
        }

        fn verbs(&self) -> Vec<Verb> {
            self.calls.borrow().iter().map(|call| call.verb).collect()
        }
    }

    impl Transport for Script {
        fn send(&self, call: &Call, _: &Patience<'_>) -> Result<Vec<u8>, Failure> {
            self.calls.borrow_mut().push(call.clone());
            self.answers.borrow_mut().pop_front().expect("one call too many")
        }

        fn namespace(&self, _: &Patience<'_>) -> Result<String, Failure> {
            Ok("from-configuration".into())
        }
    }

    fn failure(kind: FailureKind) -> Result<Vec<u8>, Failure> {
        Err(Failure::new(kind, "scripted"))
    }

    fn job_answer(submission: &str) -> Result<Vec<u8>, Failure> {
        let job = json!({"metadata": {"name": "a-1", "annotations": {labels::SUBMISSION: submission}}});
        Ok(serde_json::to_vec(&job).unwrap())
    }

    fn never() -> bool {
        false
    }

    fn create(script: &Script) -> Result<(), CreateFailure> {
        let api = Api::new(script, Some("n"), Patience::new(Duration::from_secs(60), &never)).unwrap();
        let mut job = Job::default();
        job.metadata.name = "a-1".into();
        api.create_job(&job, "s")
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
            FailureKind::Garbage,
            FailureKind::Server,
            FailureKind::Other,
        ] {
            let script = Script::new([failure(lost), failure(FailureKind::AlreadyExists), job_answer("s")]);
            create(&script).unwrap();
            assert_eq!(script.verbs(), [Verb::Create, Verb::Create, Verb::Get], "{lost:?}");
        }
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
        ] {
            let script = Script::new([failure(refusal)]);
            let error = create(&script).unwrap_err();
            assert_eq!((error.failure.kind, error.may_exist), (refusal, false));
        }
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
            failure(FailureKind::Unreachable),
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
        // What has timed out may still arrive.
        let late = Script::new([
            failure(FailureKind::Timeout),
            failure(FailureKind::Forbidden),
            failure(FailureKind::NotFound),
        ]);
        assert!(create(&late).unwrap_err().may_exist);
    }

    #[test]
    fn an_interrupt_ends_the_attempts() {
        let script = Script::new([failure(FailureKind::Interrupted)]);
        let error = create(&script).unwrap_err();
        assert_eq!((error.failure.kind, error.may_exist), (FailureKind::Interrupted, true));
    }

    #[test]
    fn a_read_heals_by_itself() {
        let list = || Ok(br#"{"items": []}"#.to_vec());
        let script = Script::new([
            failure(FailureKind::Refused),
            failure(FailureKind::TooManyRequests),
            list(),
        ]);
        let api = Api::new(&script, None, Patience::new(Duration::from_secs(60), &never)).unwrap();
        assert!(api.list_pods(&["a-1"]).unwrap().is_empty());
        assert_eq!(
            script.calls.borrow()[0].path,
            "/api/v1/namespaces/from-configuration/pods?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dabba%2Cabba%2Fjob-id%20in%20%28a-1%29"
        );
    }

    #[test]
    fn what_is_no_list_is_not_taken_for_an_empty_one() {
        for answer in ["", "{}", "null", "<html>", "{\"items\": 1}"] {
            let script = Script::new([Ok(answer.as_bytes().to_vec())]);
            let api = Api::new(&script, None, Patience::new(Duration::from_secs(60), &never)).unwrap();
            assert_eq!(
                api.list_pods(&["a-1"]).unwrap_err().kind,
                FailureKind::Garbage,
                "{answer}"
            );
        }
    }

    #[test]
    fn many_ids_are_split_and_none_is_lost() {
        let id = "x".repeat(63);
        let ids = vec![id.as_str(); 1000];
        let chunks = chunks_that_fit(&ids);
        assert_eq!(chunks.iter().map(|chunk| chunk.len()).sum::<usize>(), 1000);
        assert!(chunks.iter().all(|chunk| chunk.len() * 66 <= LONGEST_QUERY));
        assert_eq!(chunks_that_fit(&ids[..25]).len(), 1);
        assert!(chunks_that_fit(&[]).is_empty());
    }
}
