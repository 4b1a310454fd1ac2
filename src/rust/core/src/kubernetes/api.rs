//! The API calls that abba uses, each as a function.
//!
//! Reads are tried again while the failure may heal; a create is tried again under the same name, so that however often
//! its answer is lost there is one Job.

use std::ops::ControlFlow;
use std::time::Duration;

use percent_encoding::{utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};
use serde::de::DeserializeOwned;
use serde_json::{json, Value};

use super::cluster_objects::{
    LimitRange, Namespace, Node, ResourceQuota, ResourceRule, SelfSubjectAccessReview, SelfSubjectReview,
    SelfSubjectRulesReview, VersionInfo,
};
use super::list_reader::ListReader;
use super::objects::{Event, Job, List, Name, Named, Pod, WatchEvent, PROGRAM_CONTAINER};
use crate::error::KubectlReport;
use crate::kubernetes::labels;
use crate::transport::{Backoff, Call, Deadline, Failure, FailureKind, Patience, Transport};

/// How often a call is tried again. With the pauses between them the attempts outlast a short restart of the API server's
/// front, and do not keep a user waiting long for the news that there is no server.
const FURTHER_ATTEMPTS: usize = 4;

/// The first pause between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 250 });

/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 4 } else { 2000 });

/// The longest one before an object that somebody else has changed is read anew.
const LONGEST_PAUSE_OF_UPDATE: Duration = Duration::from_millis(if cfg!(test) { 4 } else { 500 });

/// The attempts of one call.
struct Attempts<'a> {
    deadline: Deadline<'a>,
    backoff: Backoff,
    left: usize,
}

impl<'a> Attempts<'a> {
    fn new(deadline: Deadline<'a>, longest_pause: Duration) -> Self {
        Self {
            deadline,
            backoff: Backoff::new(FIRST_PAUSE, longest_pause),
            left: FURTHER_ATTEMPTS,
        }
    }

    /// The pause after a failure; `None`: give up. A server that is busy is asked again as long as there is time, and not
    /// before the moment that it names.
    fn pause_after(&mut self, failure: &Failure) -> Option<Duration> {
        if self.left == 0 && failure.kind != FailureKind::TooManyRequests {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        let pause = self.backoff.pause();
        let pause = failure.retry_after.map_or(pause, |wanted| wanted.max(pause));
        // An attempt without time would hide this failure behind a time-out.
        (pause + TIME_FOR_AN_ATTEMPT < self.deadline.remaining()).then_some(pause)
    }

    /// Waits until the next attempt is due.
    ///
    /// Errors: `failure`, where another attempt is not worth it; the same as an interrupt, where the user wants to stop.
    fn wait_after(&mut self, failure: Failure) -> Result<(), Failure> {
        match self.pause_after(&failure) {
            Some(pause) if self.deadline.sleep(pause) => Ok(()),
            Some(_) => Err(Failure {
                kind: FailureKind::Interrupted,
                ..failure
            }),
            None => Err(failure),
        }
    }
}

/// What an attempt needs at least: kubectl alone takes a tenth of a second to start, and more on a busy machine.
const TIME_FOR_AN_ATTEMPT: Duration = Duration::from_millis(500);

/// Proxies before an API server may refuse longer request lines (8 KiB is a common bound).
const LONGEST_QUERY: usize = 7000;

/// How many bytes of an answer are kept to show how it begins.
const LONGEST_BEGINNING: usize = 800;

/// After how many seconds the server ends a watch, so that what it cannot show (a Job that fails without a pod) is looked
/// for from time to time.
const WATCH_SECONDS: u32 = 240;

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
    /// `patience` is the limit of each call.
    pub fn new(transport: &'a dyn Transport, namespace: Option<&str>, patience: Patience<'a>) -> Result<Self, Failure> {
        let namespace = match namespace {
            Some(namespace) => namespace.to_string(),
            None => transport.namespace(&patience.deadline())?,
        };
        Ok(Self {
            transport,
            namespace,
            patience,
        })
    }

    /// How it is reached, for [`Self::in_namespace`] in another thread.
    pub fn transport(&self) -> &'a dyn Transport {
        self.transport
    }

    /// The API in a namespace that is known.
    pub fn in_namespace(transport: &'a dyn Transport, namespace: &str, patience: Patience<'a>) -> Self {
        Self {
            transport,
            namespace: namespace.to_string(),
            patience,
        }
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
        let deadline = self.patience.deadline();
        let mut attempts = Attempts::new(deadline, LONGEST_PAUSE);
        let mut may_exist = false;
        let mut may_still_arrive = false;
        loop {
            // The first attempt leaves time to find out what became of it.
            let attempt = if may_exist { deadline } else { deadline.fraction(0.5) };
            let mut failure = match self.transport.send(&call, &attempt) {
                Ok(answer) => match parse::<Job>(&call, &answer) {
                    Ok(created) if created.metadata.name == *name => return Ok(()),
                    Ok(_) => garbage(&call, "The answer is not the job that was sent.".into()),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            if failure.kind == FailureKind::AlreadyExists {
                match self.read::<Job>(&self.job_call(name)) {
                    Ok(job) if is_submission(&job, submission) => return Ok(()),
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
            may_still_arrive |= failure.kind == FailureKind::Timeout;
            // A create conflicts where a quota's count changed at the same time; then nothing was made.
            // https://github.com/kubernetes/kubernetes/issues/67761
            let conflict = failure.kind == FailureKind::Conflict;
            if conflict || failure.kind.may_heal() || failure.kind.leaves_outcome_open() {
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

    /// After attempts whose outcome is open: looks whether the Job is there.
    fn settle(
        &self,
        name: &str,
        submission: &str,
        failure: Failure,
        may_still_arrive: bool,
        deadline: &Deadline<'_>,
    ) -> Result<(), CreateFailure> {
        if deadline.has_passed() {
            return Err(CreateFailure {
                failure,
                may_exist: true,
            });
        }
        let call = self.job_call(name);
        match self.transport.send(&call, deadline) {
            Ok(answer) if parse::<Job>(&call, &answer).is_ok_and(|job| is_submission(&job, submission)) => Ok(()),
            Err(look) if look.kind == FailureKind::Interrupted => Err(CreateFailure {
                failure: look,
                may_exist: true,
            }),
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

    fn job_call(&self, name: &str) -> Call {
        Call::get(format!("/apis/batch/v1/namespaces/{}/jobs/{name}", self.namespace))
    }

    /// The pods of a selection: in one LIST, as long as its ids fit into one request.
    ///
    /// Each by itself in memory: a list of ten thousand would otherwise be moved as a whole each time it grows.
    pub fn list_pods(&self, selection: &Selection<'_>) -> Result<Listed<Box<Pod>>, Failure> {
        let resource = format!("/api/v1/namespaces/{}/pods", self.namespace);
        self.list(&resource, selection, Call::get)
    }

    /// The Jobs of a selection.
    pub fn list_jobs(&self, selection: &Selection<'_>) -> Result<Listed<Job>, Failure> {
        self.list(&self.jobs(), selection, Call::get)
    }

    /// The metadata of the Jobs of a selection: their names and when they were created. Costs less than the Jobs themselves,
    /// which hold their programs.
    pub fn list_job_names(&self, selection: &Selection<'_>) -> Result<Vec<Name>, Failure> {
        let listed: Listed<Named> = self.list(&self.jobs(), selection, Call::get_metadata)?;
        Ok(listed.items.into_iter().map(|named| named.metadata).collect())
    }

    fn jobs(&self) -> String {
        format!("/apis/batch/v1/namespaces/{}/jobs", self.namespace)
    }

    fn list<T: DeserializeOwned>(
        &self,
        resource: &str,
        selection: &Selection<'_>,
        call: impl Fn(String) -> Call,
    ) -> Result<Listed<T>, Failure> {
        let mut listed = Listed {
            items: Vec::new(),
            resource_version: String::new(),
        };
        for selector in selection.selectors() {
            let path = format!("{resource}?labelSelector={}", encode(&selector));
            let list: List<T> = self.read_list(&call(path))?;
            listed.items.extend(list.items);
            // Of several lists the first: a watch from there sees too much rather than too little.
            if listed.resource_version.is_empty() {
                listed.resource_version = list.metadata.resource_version;
            }
        }
        Ok(listed)
    }

    /// Follows what happens to the pods of a selection from `resource_version` on, until `event` breaks off, the server
    /// closes the stream (it does so after some minutes), or it breaks.
    ///
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
    pub fn watch_pods(
        &self,
        selection: &Selection<'_>,
        resource_version: &str,
        patience: &Patience<'_>,
        event: &mut dyn FnMut(WatchEvent) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let path = format!(
            "/api/v1/namespaces/{}/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}&labelSelector={}",
            self.namespace,
            encode(resource_version),
            encode(&selection.one_selector())
        );
        let mut lines = LineBuffer::default();
        let mut no_event = None;
        let call = Call::get(path);
        self.transport.stream(&call, &patience.deadline(), &mut |part| {
            lines.push(part, &mut |line| match parse::<WatchEvent>(&call, line) {
                Ok(parsed) => event(parsed),
                Err(failure) => {
                    no_event = Some(failure);
                    ControlFlow::Break(())
                }
            })
        })?;
        no_event.map_or(Ok(()), Err)
    }

    /// The events about an object, oldest first. `kind` is `Job` or `Pod`.
    pub fn list_events(&self, kind: &str, name: &str) -> Result<Vec<Event>, Failure> {
        self.list_events_with(&format!("involvedObject.kind={kind},involvedObject.name={name}"))
    }

    fn list_events_with(&self, selector: &str) -> Result<Vec<Event>, Failure> {
        let path = format!(
            "/api/v1/namespaces/{}/events?fieldSelector={}",
            self.namespace,
            encode(selector)
        );
        let mut events = self.read::<List<Event>>(&Call::get(path))?.items;
        events.sort_by_key(Event::time);
        Ok(events)
    }

    /// The same; nothing where they cannot be had, since they only make a reason clearer.
    pub fn list_events_if_allowed(&self, kind: &str, name: &str) -> Result<Vec<Event>, Stopped> {
        match self.list_events(kind, name) {
            Ok(events) => Ok(events),
            Err(failure) if failure.kind == FailureKind::Interrupted => Err(Stopped),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// The log of the program's container in a pod: bytes, as the node gives them.
    pub fn log(&self, pod_name: &str) -> Result<Vec<u8>, Failure> {
        let path = format!(
            "/api/v1/namespaces/{}/pods/{pod_name}/log?container={PROGRAM_CONTAINER}",
            self.namespace
        );
        self.read_bytes(&Call::get(path))
    }

    /// Reads the log of a pod with the time before each line, as `2026-01-01T00:00:00.123456789Z text`, and hands over each
    /// line without its end. `since`, RFC 3339 with whole seconds, leaves out what is older; `newest_line_only` all but
    /// one; `follow` goes on until the program ends, `line` breaks off or the stream breaks. A line without an end is
    /// handed over only where the log is not followed.
    pub fn log_lines(
        &self,
        pod_name: &str,
        question: LogQuestion<'_>,
        patience: &Patience<'_>,
        line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let mut path = format!(
            "/api/v1/namespaces/{}/pods/{pod_name}/log?container={PROGRAM_CONTAINER}&timestamps=true",
            self.namespace
        );
        if let Some(since) = question.since {
            path.push_str("&sinceTime=");
            path.push_str(&encode(since));
        }
        if question.newest_line_only {
            path.push_str("&tailLines=1");
        }
        if question.follow {
            path.push_str("&follow=true");
        }
        let mut lines = LineBuffer::default();
        self.transport
            .stream(&Call::get(path), &patience.deadline(), &mut |part| {
                lines.push(part, line)
            })?;
        if !question.follow && !lines.pending.is_empty() {
            let _ = line(&lines.pending);
        }
        Ok(())
    }

    /// One pod.
    pub fn get_pod(&self, name: &str) -> Result<Pod, Failure> {
        self.read(&Call::get(format!("/api/v1/namespaces/{}/pods/{name}", self.namespace)))
    }

    /// Changes a Job or a pod: reads it, has `change` change it, and writes it back; again where somebody else was faster.
    /// `resource` is `Job` or `Pod`. `false` where `change` says, by `false`, that there is nothing to change: then
    /// nothing is written. What is written is what `change` saw with its changes and nothing else.
    pub fn update(&self, resource: Resource, name: &str, change: &dyn Fn(&mut Value) -> bool) -> Result<bool, Failure> {
        let namespace = &self.namespace;
        let path = match resource {
            Resource::Job => format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}"),
            Resource::Pod => format!("/api/v1/namespaces/{namespace}/pods/{name}"),
        };
        let deadline = self.patience.deadline();
        let mut attempts = Attempts::new(deadline, LONGEST_PAUSE_OF_UPDATE);
        loop {
            let mut object: Value = self.read(&Call::get(&path))?;
            if !change(&mut object) {
                return Ok(false);
            }
            let body = serde_json::to_vec(&object)
                .map_err(|error| Failure::new(FailureKind::Other, format!("JSON: {error}")))?;
            match self.transport.send(&Call::replace(&path, body), &deadline) {
                Ok(_) => return Ok(true),
                // The change may have been made all the same; making it again does no harm.
                Err(failure) if failure.kind == FailureKind::Conflict || failure.kind.may_heal() => {
                    attempts.wait_after(failure)?;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// The server's version. It tells everybody.
    pub fn server_version(&self) -> Result<VersionInfo, Failure> {
        self.read(&Call::get("/version"))
    }

    /// Who the user is to the cluster.
    pub fn who_am_i(&self) -> Result<SelfSubjectReview, Failure> {
        self.review("authentication.k8s.io", "SelfSubjectReview", &json!({}))
    }

    /// What the user may do in the namespace. The list may lack what another authorizer than RBAC allows.
    pub fn rules(&self) -> Result<Vec<ResourceRule>, Failure> {
        let spec = json!({"namespace": self.namespace});
        let review: SelfSubjectRulesReview = self.review("authorization.k8s.io", "SelfSubjectRulesReview", &spec)?;
        Ok(review.status.resource_rules.unwrap_or_default())
    }

    /// Whether the user may do one thing in the namespace. `resource` may have a subresource, as `pods/log`.
    pub fn is_allowed(&self, api_group: &str, resource: &str, verb: &str) -> Result<bool, Failure> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let spec = json!({"resourceAttributes": {
            "namespace": self.namespace,
            "group": api_group,
            "resource": resource,
            "subresource": subresource,
            "verb": verb,
        }});
        let review: SelfSubjectAccessReview = self.review("authorization.k8s.io", "SelfSubjectAccessReview", &spec)?;
        Ok(review.status.allowed)
    }

    /// Asks for a review, which the server answers and does not keep.
    fn review<T: DeserializeOwned>(&self, api_group: &str, kind: &str, spec: &Value) -> Result<T, Failure> {
        let api_version = format!("{api_group}/v1");
        let path = format!("/apis/{api_version}/{}s", kind.to_lowercase());
        let body = json!({"apiVersion": api_version, "kind": kind, "spec": spec});
        self.read(&Call::create(path, body.to_string().into_bytes()))
    }

    /// The namespace itself.
    pub fn namespace_object(&self) -> Result<Namespace, Failure> {
        self.read(&Call::get(format!("/api/v1/namespaces/{}", self.namespace)))
    }

    /// The quotas of the namespace.
    pub fn list_quotas(&self) -> Result<Vec<ResourceQuota>, Failure> {
        self.list_all("resourcequotas")
    }

    /// The bounds on single pods in the namespace.
    pub fn list_limit_ranges(&self) -> Result<Vec<LimitRange>, Failure> {
        self.list_all("limitranges")
    }

    fn list_all<T: DeserializeOwned>(&self, resource: &str) -> Result<Vec<T>, Failure> {
        let path = format!("/api/v1/namespaces/{}/{resource}", self.namespace);
        Ok(self.read::<List<T>>(&Call::get(path))?.items)
    }

    /// The nodes of the cluster.
    pub fn list_nodes(&self) -> Result<Vec<Node>, Failure> {
        Ok(self.read::<List<Node>>(&Call::get("/api/v1/nodes"))?.items)
    }

    /// The events of the last hour that tell why a Job's pod could not be made, oldest first.
    pub fn list_refused_pods(&self) -> Result<Vec<Event>, Failure> {
        self.list_events_with("involvedObject.kind=Job,reason=FailedCreate")
    }

    /// Has the server check a Job as it would check one that is created, and keeps nothing. Its warnings.
    ///
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>
    pub fn try_job(&self, job: &Job) -> Result<Vec<String>, Failure> {
        let path = format!("/apis/batch/v1/namespaces/{}/jobs", self.namespace);
        self.try_object::<Job>(&path, &json!(job))
    }

    /// The same for the pod of a Job, which more rules apply to: the user needs the right to create pods.
    pub fn try_pod(&self, job: &Job) -> Result<Vec<String>, Failure> {
        let path = format!("/api/v1/namespaces/{}/pods", self.namespace);
        let mut pod = json!(job.spec.template);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(job.metadata.name);
        self.try_object::<Pod>(&path, &pod)
    }

    fn try_object<T: DeserializeOwned>(&self, path: &str, object: &Value) -> Result<Vec<String>, Failure> {
        let path = format!("{path}?dryRun=All&fieldValidation=Strict");
        let call = Call::create(path, object.to_string().into_bytes());
        let (answer, warnings) = self.read_with(|deadline| self.transport.send_with_warnings(&call, deadline))?;
        parse::<T>(&call, &answer).map(|_| warnings)
    }

    fn read<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failure> {
        parse(call, &self.read_bytes(call)?)
    }

    fn read_bytes(&self, call: &Call) -> Result<Vec<u8>, Failure> {
        self.read_with(|deadline| self.transport.send(call, deadline))
    }

    /// Reads a list while it arrives: a long one would fill the memory.
    fn read_list<T: DeserializeOwned>(&self, call: &Call) -> Result<List<T>, Failure> {
        self.read_with(|deadline| {
            let mut reader = ListReader::new();
            let mut beginning = Vec::new();
            let mut no_list = None;
            self.transport.stream(call, deadline, &mut |part| {
                let missing = LONGEST_BEGINNING.saturating_sub(beginning.len());
                beginning.extend_from_slice(&part[..missing.min(part.len())]);
                match reader.push(part) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        no_list = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })?;
            no_list
                .map_or_else(|| reader.finish(), Err)
                .map_err(|error| unreadable(call, &beginning, &error))
        })
    }

    /// Reads, and again while the failure may heal.
    fn read_with<T>(&self, read: impl Fn(&Deadline<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let deadline = self.patience.deadline();
        let mut attempts = Attempts::new(deadline, LONGEST_PAUSE);
        loop {
            match read(&deadline) {
                Err(failure) if failure.kind.may_heal() => attempts.wait_after(failure)?,
                outcome => return outcome,
            }
        }
    }
}

/// What [`Api::log_lines`] reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogQuestion<'a> {
    /// Leaves out what is older: RFC 3339 with whole seconds, as the API server cuts it to those.
    pub since: Option<&'a str>,
    /// The newest line alone.
    pub newest_line_only: bool,
    /// Goes on until the program ends.
    pub follow: bool,
}

/// What [`Api::update`] changes.
#[derive(Clone, Copy, Debug)]
pub enum Resource {
    /// A Job.
    Job,
    /// A pod.
    Pod,
}

/// The user wants to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stopped;

/// What a LIST found.
#[derive(Debug)]
pub struct Listed<T> {
    /// The objects.
    pub items: Vec<T>,
    /// The moment of the LIST.
    pub resource_version: String,
}

/// Which of abba's jobs.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// Those with these ids.
    Jobs(&'a [&'a str]),
    /// Those of a batch.
    Batch(&'a str),
    /// All, or those of one user (as [`labels::USER`] has it).
    User(Option<&'a str>),
}

impl Selection<'_> {
    /// Label selectors that together select exactly these jobs.
    fn selectors(&self) -> Vec<String> {
        match self {
            Self::Jobs(ids) => chunks_that_fit(ids)
                .into_iter()
                .map(|ids| format!("{},{} in ({})", ours(), labels::JOB_ID, ids.join(",")))
                .collect(),
            Self::User(None) => vec![ours()],
            Self::User(Some(user)) => vec![format!("{},{}={user}", ours(), labels::USER)],
            Self::Batch(batch_id) => vec![format!("{},{}={batch_id}", ours(), labels::BATCH_ID)],
        }
    }

    /// One label selector that selects these jobs, and all of abba's where the ids do not fit into one request.
    fn one_selector(&self) -> String {
        match <[String; 1]>::try_from(self.selectors()) {
            Ok([selector]) => selector,
            Err(_) => ours(),
        }
    }
}

fn ours() -> String {
    format!("{}={}", labels::MANAGED_BY, labels::MANAGED_BY_ABBA)
}

/// Puts lines together out of the parts of a stream.
#[derive(Default)]
struct LineBuffer {
    pending: Vec<u8>,
}

impl LineBuffer {
    /// Adds a part, and hands over each line that it completes, without its end.
    fn push(&mut self, part: &[u8], line: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut rest = part;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let (head, tail) = rest.split_at(end);
            rest = &tail[1..];
            if self.pending.is_empty() {
                line(head)?;
            } else {
                self.pending.extend_from_slice(head);
                line(&std::mem::take(&mut self.pending))?;
            }
        }
        self.pending.extend_from_slice(rest);
        ControlFlow::Continue(())
    }
}

fn is_submission(job: &Job, submission: &str) -> bool {
    job.metadata.annotations.get(labels::SUBMISSION).map(String::as_str) == Some(submission)
}

/// Reads the answer to a call.
fn parse<T: DeserializeOwned>(call: &Call, answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|error| unreadable(call, answer, &error))
}

/// The failure for an answer that cannot be read. `beginning` is the answer, or its first part.
fn unreadable(call: &Call, beginning: &[u8], error: &serde_json::Error) -> Failure {
    let beginning: String = String::from_utf8_lossy(beginning).chars().take(200).collect();
    garbage(
        call,
        format!("The answer cannot be read ({error}); it begins: {beginning:?}"),
    )
}

/// The failure for an answer that is none to this call.
fn garbage(call: &Call, details: String) -> Failure {
    Failure {
        report: Some(KubectlReport {
            request: call.request_line(),
            ..Default::default()
        }),
        ..Failure::new(FailureKind::Garbage, details)
    }
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
    use std::collections::VecDeque;
    use std::sync::Mutex;

    /// A transport that plays back answers and remembers the calls.
    struct Script {
        answers: Mutex<VecDeque<Result<Vec<u8>, Failure>>>,
        calls: Mutex<Vec<Call>>,
    }

    impl Script {
        fn new(answers: impl IntoIterator<Item = Result<Vec<u8>, Failure>>) -> Self {
            Self {
                answers: Mutex::new(answers.into_iter().collect()),
                calls: Mutex::default(),
            }
        }

        fn verbs(&self) -> Vec<Verb> {
            self.calls.lock().unwrap().iter().map(|call| call.verb).collect()
        }
    }

    impl Transport for Script {
        fn send(&self, call: &Call, _: &Deadline<'_>) -> Result<Vec<u8>, Failure> {
            self.calls.lock().unwrap().push(call.clone());
            self.answers.lock().unwrap().pop_front().expect("one call too many")
        }

        fn stream(
            &self,
            call: &Call,
            deadline: &Deadline<'_>,
            part: &mut dyn FnMut(&[u8]) -> std::ops::ControlFlow<()>,
        ) -> Result<(), Failure> {
            let _ = part(&self.send(call, deadline)?);
            Ok(())
        }

        fn namespace(&self, _: &Deadline<'_>) -> Result<String, Failure> {
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
        assert!(api.list_pods(&Selection::Jobs(&["a-1"])).unwrap().items.is_empty());
        assert_eq!(
            script.calls.lock().unwrap()[0].path,
            "/api/v1/namespaces/from-configuration/pods?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dabba%2Cabba%2Fjob-id%20in%20%28a-1%29"
        );
    }

    #[test]
    fn names_are_asked_for_without_the_objects() {
        let script = Script::new([Ok(br#"{"items": [{"metadata": {"name": "a-1"}}]}"#.to_vec())]);
        let api = Api::new(&script, None, Patience::new(Duration::from_secs(60), &never)).unwrap();
        assert_eq!(api.list_job_names(&Selection::Batch("b")).unwrap()[0].name, "a-1");
        let calls = script.calls.lock().unwrap();
        assert!(calls[0].metadata_only);
    }

    #[test]
    fn a_busy_server_is_asked_until_the_time_is_over_and_never_before_it_wishes() {
        let busy = |wish| Failure {
            retry_after: wish,
            ..Failure::new(FailureKind::TooManyRequests, "scripted")
        };
        let attempts = || Attempts::new(Deadline::new(Duration::from_secs(60), &never), LONGEST_PAUSE);
        let mut busy_server = attempts();
        for _ in 0..100 {
            assert!(busy_server.pause_after(&busy(None)).is_some());
        }
        let wish = Duration::from_secs(7);
        assert_eq!(attempts().pause_after(&busy(Some(wish))), Some(wish));
        // There is no time for that.
        let wish = Duration::from_secs(600);
        assert_eq!(attempts().pause_after(&busy(Some(wish))), None);
        // Other failures are soon given up.
        let mut failing_server = attempts();
        let failure = Failure::new(FailureKind::Server, "scripted");
        let taken = (0..100)
            .filter(|_| failing_server.pause_after(&failure).is_some())
            .count();
        assert_eq!(taken, FURTHER_ATTEMPTS);
    }

    #[test]
    fn what_is_no_list_is_not_taken_for_an_empty_one() {
        for answer in ["", "{}", "null", "<html>", "{\"items\": 1}"] {
            let script = Script::new([Ok(answer.as_bytes().to_vec())]);
            let api = Api::new(&script, None, Patience::new(Duration::from_secs(60), &never)).unwrap();
            assert_eq!(
                api.list_pods(&Selection::Jobs(&["a-1"])).unwrap_err().kind,
                FailureKind::Garbage,
                "{answer}"
            );
        }
    }

    #[test]
    fn a_stream_is_cut_into_lines_wherever_its_parts_end() {
        let mut lines = LineBuffer::default();
        let mut seen = Vec::new();
        for part in ["a", "b\nc", "\n", "\nd\ne\n", "unfinished"] {
            let _ = lines.push(part.as_bytes(), &mut |line| {
                seen.push(String::from_utf8(line.to_vec()).unwrap());
                ControlFlow::Continue(())
            });
        }
        assert_eq!(seen, ["ab", "c", "", "d", "e"]);
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

    fn api(script: &Script) -> Api<'_> {
        Api::new(script, Some("n"), Patience::new(Duration::from_secs(60), &never)).unwrap()
    }

    fn paths(script: &Script) -> Vec<String> {
        script
            .calls
            .lock()
            .unwrap()
            .iter()
            .map(|call| call.path.clone())
            .collect()
    }

    fn watched(answer: &str, stop_at: Option<&str>) -> (Vec<String>, Result<(), Failure>) {
        let script = Script::new([Ok(answer.as_bytes().to_vec())]);
        let mut seen = Vec::new();
        let patience = Patience::new(Duration::from_secs(60), &never);
        let result = api(&script).watch_pods(&Selection::Batch("b"), "7", &patience, &mut |event| {
            let stop = stop_at == Some(event.event_type.as_str());
            seen.push(event.event_type);
            match stop {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        (seen, result)
    }

    #[test]
    fn a_watch_names_its_moment_and_its_jobs() {
        let script = Script::new([Ok(Vec::new())]);
        let patience = Patience::new(Duration::from_secs(60), &never);
        let go_on = &mut |_| ControlFlow::Continue(());
        api(&script)
            .watch_pods(&Selection::Batch("b"), "7", &patience, go_on)
            .unwrap();
        assert_eq!(
            paths(&script),
            ["/api/v1/namespaces/n/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds=240&resourceVersion=7&labelSelector=app.kubernetes.io%2Fmanaged-by%3Dabba%2Cabba%2Fbatch-id%3Db"]
        );
        // More ids than fit into one request: all of abba's pods are watched.
        let id = "x".repeat(63);
        let ids = vec![id.as_str(); 1000];
        let script = Script::new([Ok(Vec::new())]);
        let go_on = &mut |_| ControlFlow::Continue(());
        api(&script)
            .watch_pods(&Selection::Jobs(&ids), "7", &patience, go_on)
            .unwrap();
        assert!(paths(&script)[0].ends_with("labelSelector=app.kubernetes.io%2Fmanaged-by%3Dabba"));
    }

    #[test]
    fn the_events_of_a_watch_are_handed_over_until_somebody_has_enough() {
        let line = |kind: &str| json!({"type": kind, "object": {}}).to_string();
        let three = format!("{}\n{}\n{}\n", line("ADDED"), line("BOOKMARK"), line("DELETED"));
        let (seen, result) = watched(&three, None);
        assert_eq!(seen, ["ADDED", "BOOKMARK", "DELETED"]);
        result.unwrap();
        let (seen, result) = watched(&three, Some("BOOKMARK"));
        assert_eq!(seen, ["ADDED", "BOOKMARK"]);
        result.unwrap();
        // The end of a stream that broke in the middle of a line is no event.
        assert_eq!(watched(&three[..three.len() - 5], None).0, ["ADDED", "BOOKMARK"]);
    }

    #[test]
    fn a_line_of_a_watch_that_is_no_event_is_a_failure() {
        for line in ["<html>\n", "{}\n", "\n", "{\"type\": \"ADDED\"}\n"] {
            let (seen, result) = watched(line, None);
            assert!(seen.is_empty());
            assert_eq!(result.unwrap_err().kind, FailureKind::Garbage, "{line}");
        }
    }

    #[test]
    fn a_list_in_parts_is_one_list_of_the_first_moment() {
        let part = |version: &str, name: &str| {
            let list = json!({"metadata": {"resourceVersion": version}, "items": [{"metadata": {"name": name}}]});
            Ok(serde_json::to_vec(&list).unwrap())
        };
        let id = "x".repeat(63);
        let ids = vec![id.as_str(); 150];
        let script = Script::new([part("7", "a"), part("9", "b")]);
        let listed = api(&script).list_pods(&Selection::Jobs(&ids)).unwrap();
        assert_eq!(listed.resource_version, "7");
        let names: Vec<&str> = listed.items.iter().map(|pod| pod.metadata.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        // Where one part fails there is no list at all.
        let script = Script::new([part("7", "a"), failure(FailureKind::Forbidden)]);
        let failed = api(&script).list_pods(&Selection::Jobs(&ids)).unwrap_err();
        assert_eq!(failed.kind, FailureKind::Forbidden);
    }

    #[test]
    fn events_come_in_the_order_of_time_whichever_api_they_are_of() {
        let events = json!({"items": [
            {"reason": "c", "lastTimestamp": "2026-01-01T00:00:03Z"},
            {"reason": "b", "lastTimestamp": null, "eventTime": "2026-01-01T00:00:02.5Z"},
            {"reason": "a", "lastTimestamp": "2026-01-01T00:00:01Z", "eventTime": null},
        ]});
        let script = Script::new([Ok(serde_json::to_vec(&events).unwrap())]);
        let events = api(&script).list_events("Pod", "a-p").unwrap();
        let reasons: Vec<&str> = events.iter().map(|event| event.reason.as_str()).collect();
        assert_eq!(reasons, ["a", "b", "c"]);
        assert_eq!(
            paths(&script),
            ["/api/v1/namespaces/n/events?fieldSelector=involvedObject.kind%3DPod%2CinvolvedObject.name%3Da-p"]
        );
    }

    #[test]
    fn a_line_without_an_end_counts_where_the_log_is_not_followed() {
        for (follow, expected) in [(true, vec!["a"]), (false, vec!["a", "b"])] {
            let script = Script::new([Ok(b"a\nb".to_vec())]);
            let question = LogQuestion {
                since: Some("2026-01-01T00:00:01Z"),
                follow,
                ..Default::default()
            };
            let mut seen = Vec::new();
            let patience = Patience::new(Duration::from_secs(60), &never);
            api(&script)
                .log_lines("a-p", question, &patience, &mut |line| {
                    seen.push(String::from_utf8(line.to_vec()).unwrap());
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(seen, expected);
            let path = &paths(&script)[0];
            assert!(path.contains("/pods/a-p/log?container=program&timestamps=true&sinceTime=2026-01-01T00%3A00%3A01Z"));
            assert_eq!(path.ends_with("&follow=true"), follow);
        }
    }

    #[test]
    fn a_change_is_made_on_what_is_there_now_and_given_up_where_it_is_refused() {
        let object = || Ok(br#"{"spec": {}}"#.to_vec());
        let change = |value: &mut Value| {
            value["spec"]["x"] = json!(1);
            true
        };
        let script = Script::new([
            object(),
            failure(FailureKind::Conflict),
            object(),
            failure(FailureKind::Unreachable),
            object(),
            object(),
        ]);
        api(&script).update(Resource::Pod, "a-p", &change).unwrap();
        let verbs = script.verbs();
        assert_eq!(verbs.iter().filter(|verb| **verb == Verb::Replace).count(), 3);
        let script = Script::new([object(), failure(FailureKind::Forbidden)]);
        let failed = api(&script).update(Resource::Job, "a", &change).unwrap_err();
        assert_eq!(failed.kind, FailureKind::Forbidden);
    }
}
