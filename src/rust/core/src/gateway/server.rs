//! The server's side of the abba API: which call is asked for, by whom, how often, and whether the cluster can be asked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::answer::{self, ApiError, Reply, Response};
use super::archive::Archive;
use super::archiving::Archiving;
use super::arguments::Arguments;
use super::audit_log::{Audit, AuditLog};
use super::bounds::Places;
use super::caller::{self, Caller};
use super::calls::{self, Answers, Asked, Call};
use super::directory::Directory;
use super::headers::Headers;
use super::holdings::Ledger;
use super::metrics::{self, Metrics, Readers, Timed};
use super::permissions::{not_permitted, Permissions};
use super::policy::{IdentityMode, Policy};
use super::request_rate::RequestRate;
use super::snapshot::{self, Following, Snapshots};
use super::watchers::Watchers;
use crate::error::quote_shortened;
use crate::gateway::api_key_file::ApiKeyFile;
use crate::gateway::api_keys::{ApiKeys, Scope};
use crate::local::accounts;
use crate::operations::{self, Connection, JobSelector, JobSnapshot};
use crate::{Error, ErrorClass};

/// A request, as HTTP brought it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Request {
    /// HTTP's method, as `GET`.
    pub method: String,
    /// The call: the path without its `/`, as `submit-job`.
    pub call: String,
    /// What stands after the `?`.
    #[serde(default)]
    pub query: String,
    /// The body, which comes by itself.
    #[serde(skip)]
    pub body: Vec<u8>,
    /// The headers.
    #[serde(default)]
    pub headers: Headers,
    /// When it came, RFC 3339.
    pub when: String,
    /// The address of the program that sent it; empty on a Unix socket.
    #[serde(default)]
    pub from: String,
}

/// Gives a connection to the cluster to what it is given; fails where there is none.
pub type WithConnection<'a> =
    &'a dyn Fn(&mut dyn FnMut(&Connection<'_>) -> Result<Reply, ApiError>) -> Result<Reply, ApiError>;

/// The server's side of the abba API: decides, asks the cluster, answers.
#[derive(Debug)]
pub struct Gateway {
    pub(super) policy: Policy,
    keys: KeySource,
    pub(super) directory: Directory,
    pub(super) abba_version: String,
    rate: Mutex<RequestRate>,
    /// Jobs that callers submit.
    job_rate: Mutex<RequestRate>,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) ledger: Ledger,
    health: Mutex<Health>,
    /// Requests that no known caller has sent.
    strangers: Mutex<RequestRate>,
    /// What anybody was told last, by call, and when.
    told: Mutex<HashMap<&'static str, Told>>,
    pub(super) places: Places,
    pub(super) watchers: Watchers,
    /// How the cluster failed last, and when.
    outage: Mutex<Option<(Instant, ApiError)>>,
    audit_log: Arc<AuditLog>,
    metrics: Metrics,
    /// Jobs that the cluster has forgotten.
    pub(super) archive: Option<Archive>,
    /// How they get there, where this server has that done.
    archiving: OnceLock<Arc<Archiving>>,
}

/// When something was told, and what.
type Told = (Instant, Result<Reply, ApiError>);

/// Where the keys are that callers have.
#[derive(Debug)]
pub enum KeySource {
    /// In a file.
    File(ApiKeyFile),
    /// They were made at the start.
    Held(ApiKeys),
    /// Callers have none.
    None,
}

/// What is said of a request before its body is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Early {
    /// It is refused.
    Refused(Box<Response>),
    /// It is from this caller.
    From(String),
}

/// After a failure of the cluster callers are told so at once for this long: each attempt would keep all others waiting.
const OUTAGE: Duration = Duration::from_secs(if cfg!(test) { 600 } else { 2 });

/// What is known of the cluster's health.
#[derive(Debug, Default)]
struct Health {
    /// The version of Kubernetes, or that there was no answer, and when that was seen.
    seen: Option<(Instant, Option<String>)>,
    /// Whether somebody is asking.
    is_asked: bool,
}

/// Sees to it that the next one asks again, whatever becomes of this one.
struct Asking<'a>(&'a Gateway);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.health().is_asked = false;
    }
}

/// For how long an answer about the health of the cluster is good.
const HEALTH: Duration = Duration::from_secs(if cfg!(test) { 600 } else { 5 });

/// So long strangers are told the same.
const TELL_AGAIN: Duration = Duration::from_secs(if cfg!(test) { 600 } else { 1 });

impl Gateway {
    /// A server with a policy.
    ///
    /// Errors: it has no way to know its callers, or no way to write its log, and must.
    pub fn new(policy: Policy, keys: KeySource, abba_version: &str) -> Result<Self, Error> {
        let has_keys = !matches!(keys, KeySource::None);
        if matches!(policy.identity, IdentityMode::Keys | IdentityMode::Local) && !has_keys {
            return Err(
                Error::input("The abba server has no file of API keys, and so no way to know its callers.")
                    .meaning("The server is not started.")
                    .advise("Make keys with abba_api_key_create(), and name their file in the option `abba.api.keys`."),
            );
        }
        Ok(Self {
            rate: Mutex::new(RequestRate::new(policy.requests_per_minute_of_each_server())),
            job_rate: Mutex::new(RequestRate::new(policy.jobs_per_minute_of_each_server())),
            strangers: Mutex::new(RequestRate::new(policy.bounds.strangers_per_minute)),
            told: Mutex::default(),
            places: Places::new(&policy.bounds),
            snapshots: Arc::new(Snapshots::new(
                policy.snapshot_age,
                // At a desk a login that has run out asks for the user again and again.
                policy.identity == IdentityMode::Local,
            )),
            ledger: Ledger::default(),
            audit_log: Arc::new(AuditLog::new(&policy.log)?),
            metrics: Metrics::default(),
            policy,
            keys,
            directory: Directory::default(),
            abba_version: abba_version.to_string(),
            health: Mutex::default(),
            watchers: Watchers::default(),
            outage: Mutex::new(None),
            archive: None,
            archiving: OnceLock::new(),
        })
    }

    /// What the administrator has to know as the server starts: operators that nobody can be. None of it keeps a server from
    /// starting: somebody who has left takes no power along by a name that stays in the list.
    pub fn doubts(&self) -> Vec<String> {
        let operators = self.policy.operators.iter();
        let doubts = operators.filter_map(|name| self.directory.doubt_of_operator(name));
        doubts.collect()
    }

    /// The same server, which answers from an archive for jobs that the cluster has forgotten.
    pub fn with_archive(mut self, archive: Archive) -> Self {
        self.archive = Some(archive);
        self
    }

    /// What has jobs archived for this server, for whoever begins it; `None`: somebody has begun already.
    pub fn begin_archiving(&self) -> Option<Arc<Archiving>> {
        let new = Arc::new(Archiving::default());
        self.archiving.set(Arc::clone(&new)).is_ok().then_some(new)
    }

    /// What is to be begun so that answers need not ask the cluster, and so that the jobs of plans start in their turn: mostly
    /// nothing. `source` tells the cluster and the login that requests use; `holder` is the server's name in the Lease.
    pub fn begin_following(&self, source: &str, holder: &str) -> Vec<Following> {
        // A local server serves one person, whatever others there are.
        let is_alone = !self.has_others() && self.policy.identity != IdentityMode::Local;
        self.snapshots
            .begin_following(source, holder, &self.audit_log, is_alone)
    }

    /// Answers a request, whatever happens.
    pub fn answer(&self, request: &Request, with_connection: WithConnection<'_>) -> Response {
        let begun = Instant::now();
        let _under_way = self.metrics.begin();
        let audit = self.audit(request);
        let timed = |operation: &mut dyn FnMut(&Connection<'_>) -> Result<Reply, ApiError>| {
            with_connection(&mut |connection| {
                let transport = Timed {
                    transport: connection.transport,
                    metrics: &self.metrics,
                };
                operation(&Connection {
                    transport: &transport,
                    ..*connection
                })
            })
        };
        let work = || self.outcome(request, &audit, &timed);
        let outcome = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(answer::fault("abba itself failed; standard error has more.")));
        self.finish(request, &audit, outcome, begun)
    }

    /// What comes of a request.
    fn outcome(
        &self,
        request: &Request,
        audit: &Audit<'_>,
        with_connection: WithConnection<'_>,
    ) -> Result<Reply, ApiError> {
        self.check_sender(request)?;
        let call = calls::find(&request.call);
        match call.map(|call| (call, call.answers)) {
            Some((call, Answers::Anybody(answer))) => {
                check_method(call, request)?;
                return match self.identify(request, None).is_ok() {
                    true => answer(self, with_connection, true),
                    false => self.tell_anybody(call, || answer(self, with_connection, false)),
                };
            }
            Some((call, _)) if self.is_for_anybody(call.name) => {
                check_method(call, request)?;
                return self.tell_anybody(call, || Ok(self.metrics()));
            }
            _ => {}
        }
        // Callers that are not known do not learn either which calls there are.
        let mut caller = self
            .identify(request, call)
            .map_err(|refusal| self.count_stranger(refusal))?;
        audit.is_from(&caller);
        match call.map(|call| (call, call.answers)) {
            Some((call, Answers::Callers(answer))) => {
                let asked = self.ask(call, request, &mut caller, audit, with_connection)?;
                answer(self, asked)
            }
            _ => Err(no_call(&request.call)),
        }
    }

    /// Whether strangers are answered, too, who ask for this call.
    pub fn is_for_anybody(&self, call: &str) -> bool {
        let is_always = |call: &Call| matches!(call.answers, Answers::Anybody(_));
        calls::find(call).is_some_and(is_always) || call == "metrics" && self.policy.metrics == Readers::Anybody
    }

    /// What strangers are told, which is found out anew once in a while: they may ask as often as they like.
    fn tell_anybody(&self, call: &Call, find_out: impl FnOnce() -> Result<Reply, ApiError>) -> Result<Reply, ApiError> {
        if let Some(told) = self.told(call) {
            return told;
        }
        let outcome = find_out();
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(call.name, (Instant::now(), outcome.clone()));
        outcome
    }

    /// What strangers were told a moment ago.
    fn told(&self, call: &Call) -> Option<Result<Reply, ApiError>> {
        let all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, outcome) = all.get(call.name)?;
        (when.elapsed() < TELL_AGAIN).then(|| outcome.clone())
    }

    /// The answer to a stranger who asks for what was told a moment ago. `None`: [`Self::answer`] has it, and may take time.
    pub fn answer_at_once(&self, request: &Request) -> Option<Response> {
        let begun = Instant::now();
        let call = calls::find(&request.call).filter(|call| self.is_for_anybody(call.name))?;
        if caller::says_who(&request.headers, &self.policy) {
            return None;
        }
        let told = self.told(call)?;
        let _under_way = self.metrics.begin();
        let outcome = self
            .check_sender(request)
            .and_then(|()| check_method(call, request))
            .and(told);
        Some(self.finish(request, &self.audit(request), outcome, begun))
    }

    /// Looks at a request before its body is read.
    pub fn look_early(&self, request: &Request) -> Early {
        let caller = self.check_sender(request).and_then(|()| {
            self.identify(request, None)
                .map_err(|refusal| self.count_stranger(refusal))
        });
        let bytes = request
            .headers
            .get("content-length")
            .and_then(|text| text.trim().parse().ok());
        let refused = |refusal, who: Option<&Caller>| {
            let audit = self.audit(request);
            who.into_iter().for_each(|caller| audit.is_from(caller));
            Early::Refused(Box::new(self.finish(request, &audit, Err(refusal), Instant::now())))
        };
        match caller {
            Err(refusal) => refused(refusal, None),
            Ok(caller) => match self.places.check_large(&caller.name, bytes.unwrap_or_default()) {
                Ok(()) => Early::From(caller.name),
                Err(refusal) => refused(refusal, Some(&caller)),
            },
        }
    }

    /// The refusal of a request whose sender is not known, counted. All strangers are counted together: where they come
    /// from is theirs to choose. Those who are known are not concerned.
    fn count_stranger(&self, refusal: ApiError) -> ApiError {
        if refusal.status >= 500 {
            return refusal;
        }
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        match strangers.ask("", Instant::now()) {
            Ok(()) => refusal,
            Err(seconds) => {
                let error = Error::new(
                    ErrorClass::Unavailable,
                    "The abba server does not know you, and it is asked too often by others that it does not know.",
                )
                .meaning("Nothing was done.")
                .advise(format!("Check your API key, and ask again in {seconds} s."));
                ApiError::too_many(error, seconds)
            }
        }
    }

    /// The answer to a request that is refused before it is looked at, or where abba itself has failed.
    pub fn refuse(&self, request: &Request, refusal: ApiError) -> Response {
        self.finish(request, &self.audit(request), Err(refusal), Instant::now())
    }

    fn audit<'a>(&'a self, request: &'a Request) -> Audit<'a> {
        let from = self
            .audit_log
            .address(&request.from, &request.headers, self.policy.on_socket);
        Audit::new(&self.audit_log, &request.call, from)
    }

    /// Writes down what came of a request, and makes the answer.
    fn finish(
        &self,
        request: &Request,
        audit: &Audit<'_>,
        outcome: Result<Reply, ApiError>,
        begun: Instant,
    ) -> Response {
        let call = calls::find(&request.call);
        let written = audit.finish(&outcome, call.is_some_and(Call::reads_logs));
        let outcome = written.refusal.map_or(outcome, Err);
        let class = outcome.as_ref().err().map(|refusal| refusal.error.class.name());
        let answer = Response {
            request_id: audit.request_id().into(),
            decision: written.line,
            said: written.said,
            ..answer::answer(outcome)
        };
        let name = call.map_or("other", |call| call.name);
        self.metrics.answered(name, answer.status, class, begun.elapsed());
        answer
    }

    /// The figures for Prometheus.
    pub(super) fn metrics(&self) -> Reply {
        let now = metrics::Now {
            version: self.abba_version.clone(),
            jobs: self.snapshots.seen(),
            log: self.audit_log.counts(),
            archiving: self.archiving.get().map(|archiving| archiving.stand()),
        };
        Reply {
            body: self.metrics.text(&now).into(),
            headers: vec![("Content-Type", metrics::MEDIA_TYPE.into())],
            ..Default::default()
        }
    }

    #[cfg(test)]
    pub(super) fn audit_log(&self) -> &AuditLog {
        &self.audit_log
    }

    #[cfg(test)]
    pub(super) fn audit_log_mut(&mut self) -> &mut AuditLog {
        Arc::get_mut(&mut self.audit_log).unwrap()
    }

    /// Whether callers can be known.
    pub(super) fn keys_are_readable(&self) -> bool {
        match &self.keys {
            KeySource::File(file) => file.keys().is_ok(),
            KeySource::Held(_) | KeySource::None => true,
        }
    }

    /// Whether the log of decisions can be written, where nothing is done without it.
    pub(super) fn log_is_writable(&self) -> bool {
        !self.audit_log.is_required() || self.audit_log.check().is_ok()
    }

    /// Refuses a request that could be taken for another, or that does not come from the program before the server.
    fn check_sender(&self, request: &Request) -> Result<(), ApiError> {
        request.headers.check_names()?;
        caller::check_host(&request.headers, &self.policy).map_err(|error| {
            ApiError::new(403, error).because("The request lacks the secret of the program that runs the server.")
        })
    }

    /// Who asks, for a call.
    fn identify(&self, request: &Request, call: Option<&Call>) -> Result<Caller, ApiError> {
        let keys = match &self.keys {
            KeySource::File(file) => file.keys().map_err(|error| {
                let told = Error::new(ErrorClass::Unavailable, "The abba server cannot read its API keys.")
                    .advise("Tell the administrator of the abba server.");
                ApiError::new(503, told).because(error.message)
            })?,
            KeySource::Held(keys) => keys.clone(),
            KeySource::None => ApiKeys::default(),
        };
        let stated = caller::identify(&request.headers, &request.from, &self.policy, &keys)?;
        if let (KeySource::File(file), Some(id), Some(_)) = (&self.keys, &stated.key_id, call) {
            file.note_use(id, &keys);
        }
        let (known, account) = self.directory.name(&stated.name, call.is_some_and(Call::submits))?;
        let is_local = self.policy.identity == IdentityMode::Local;
        let (name, uid) = known.unzip();
        // Nobody is an operator by a name that no account has yet.
        let is_named = name.as_ref().is_some_and(|name| self.policy.operators.contains(name));
        Ok(Caller {
            name: name.unwrap_or(stated.name),
            is_operator: is_named || is_local,
            scope: stated.scope,
            key_id: stated.key_id,
            // There programs of root run as their image or template says.
            uid: uid.filter(|_| !is_local),
            account,
        })
    }

    /// Counts a caller's request, and reads its arguments.
    fn ask<'a>(
        &'a self,
        call: &Call,
        request: &'a Request,
        caller: &'a mut Caller,
        audit: &'a Audit<'a>,
        with_connection: WithConnection<'a>,
    ) -> Result<Asked<'a>, ApiError> {
        check_method(call, request)?;
        let asked = self
            .rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ask(&caller.name, Instant::now());
        if let Err(seconds) = asked {
            audit.asks_too_often();
            let error = Error::new(
                ErrorClass::Unavailable,
                format!(
                    "You ask too often: the abba server answers {} requests a minute.",
                    self.policy.requests_per_minute_of_each_server()
                ),
            )
            .advise(format!("Ask again in {seconds} s."));
            return Err(ApiError::too_many(error, seconds));
        }
        if request.method == "POST" {
            check_post(request)?;
        }
        if caller.scope == Scope::Read && call.changes() {
            return Err(Error::new(
                ErrorClass::Forbidden,
                "Your API key is for looking at jobs alone: it neither submits nor cancels any.",
            )
            .meaning("Nothing was done.")
            .advise("Ask the administrator of the abba server for a key that may.")
            .into());
        }
        let place = self.places.for_request(&caller.name, request.body.len())?;
        let mut arguments = {
            let _reading = self.places.for_reading(&caller.name, request.body.len())?;
            Arguments::read(&request.query, &request.body)?
        };
        arguments.check(call.arguments())?;
        if call.submits() && caller.account.is_none() {
            caller.account = self.directory.account(&caller.name)?;
        }
        if call.submits() {
            self.check_shell(caller)?;
        }
        Ok(Asked {
            caller,
            arguments,
            idempotency_key: request.headers.get("idempotency-key"),
            when: &request.when,
            audit,
            with_connection,
            places: &self.places,
            place: Some(place),
        })
    }

    /// Counts jobs that a caller is about to submit: a request may hold a thousand, and each is work for the cluster.
    ///
    /// Errors (429): they were too many in a minute.
    pub(super) fn count_jobs(&self, caller: &Caller, count: usize) -> Result<(), ApiError> {
        let mut rate = self.job_rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.ask_for(&caller.name, count, Instant::now()).map_err(|seconds| {
            let error = Error::new(
                ErrorClass::Unavailable,
                format!(
                    "You submit too many jobs in a minute: the abba server takes {}.",
                    self.policy.jobs_per_minute_of_each_server()
                ),
            )
            .meaning("No job was created.")
            .advise(format!("Submit again in {seconds} s."));
            ApiError::too_many(error, seconds)
        })
    }

    /// Refuses to submit for an account that nobody may log in to, where the administrator wants that.
    fn check_shell(&self, caller: &Caller) -> Result<(), Error> {
        match &caller.account {
            Some(account) if self.policy.refuse_nologin && accounts::is_nologin(&account.name) => Err(not_permitted(
                format!(
                    "Nobody may log in to the account {} of the abba server, and it runs no programs of such accounts.",
                    quote_shortened(&account.name)
                ),
                "Ask the administrator of the abba server.",
            )),
            _ => Ok(()),
        }
    }

    /// What is permitted to a caller.
    ///
    /// Errors (503): it depends on their account, which cannot be looked up.
    pub(super) fn permissions(&self, caller: &Caller) -> Result<Cow<'_, Permissions>, ApiError> {
        match &caller.account {
            None if self.policy.has_profiles() => {
                let account = self.directory.account(&caller.name)?;
                Ok(self.policy.permissions(account.as_ref()))
            }
            account => Ok(self.policy.permissions(account.as_ref())),
        }
    }

    /// Does something with the cluster, unless it has just failed.
    pub(super) fn with_cluster(
        &self,
        with_connection: WithConnection<'_>,
        operation: &mut dyn FnMut(&Connection<'_>) -> Result<Reply, ApiError>,
    ) -> Result<Reply, ApiError> {
        self.unless_outage(|| with_connection(operation))
    }

    /// Does something with the cluster, unless it has just failed.
    pub(super) fn unless_outage<T>(&self, operation: impl FnOnce() -> Result<T, ApiError>) -> Result<T, ApiError> {
        self.snapshots.note_question();
        let outage = || self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, refusal)) = outage().as_ref() {
            if when.elapsed() < OUTAGE {
                let mut refusal = refusal.clone();
                // Of another caller's jobs nothing is told.
                refusal.error.job_ids.clear();
                refusal.error.consequence = Some("Nothing was asked of the cluster.".into());
                refusal.error = self.snapshots.with_age(refusal.error);
                return Err(refusal);
            }
        }
        let outcome = operation();
        *outage() = match &outcome {
            // A single node that is down, or a single log that is gone, is no outage.
            Err(refusal) if is_outage(refusal) => Some((
                Instant::now(),
                ApiError {
                    detail: None,
                    ..refusal.clone()
                },
            )),
            _ => None,
        };
        outcome
    }

    /// Has the cluster be asked again at once.
    #[cfg(test)]
    pub(super) fn forget_outage(&self) {
        *self.outage.lock().unwrap() = None;
    }

    /// The version of Kubernetes; `None`: the cluster does not answer. Asked by one at a time, since everybody may ask for
    /// it: the others get what was seen last.
    pub(super) fn cluster_version(&self, with_connection: WithConnection<'_>) -> Option<String> {
        {
            let mut health = self.health();
            let is_good = health.seen.as_ref().is_some_and(|(when, _)| when.elapsed() < HEALTH);
            if is_good || health.is_asked {
                return health.seen.as_ref().and_then(|(_, version)| version.clone());
            }
            health.is_asked = true;
        }
        let asking = Asking(self);
        let mut version = None;
        let _ = with_connection(&mut |connection| {
            version = Some(operations::server_version(connection)?);
            Ok(Reply::default())
        });
        self.health().seen = Some((Instant::now(), version.clone()));
        drop(asking);
        version
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jobs that are meant, if the caller may see them.
    pub(super) fn seen(
        &self,
        connection: &Connection<'_>,
        caller: &Caller,
        which: &JobSelector,
    ) -> Result<Vec<JobSnapshot>, Error> {
        self.snapshots.ask(connection, &caller.name, which, |store| {
            snapshot::seen(store, caller, which)
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.snapshots.stop_following();
    }
}

fn no_call(call: &str) -> ApiError {
    let message = format!("The abba API has no call {}.", quote_shortened(call));
    ApiError::new(404, Error::new(ErrorClass::NotFound, message))
}

fn check_method(call: &Call, request: &Request) -> Result<(), ApiError> {
    // HEAD asks for what GET gives, without its body (RFC 9110, 9.3.2).
    let method = match request.method.as_str() {
        "HEAD" => "GET",
        method => method,
    };
    if call.methods.contains(&method) {
        return Ok(());
    }
    let methods = call.methods.join(", ");
    let error = Error::input(format!(
        "The call {} is made with {methods}, not with {}.",
        call.name,
        quote_shortened(&request.method)
    ));
    Err(ApiError {
        allow: Some(methods.replace("GET", "GET, HEAD")),
        ..ApiError::new(405, error)
    })
}

/// A page of another site can make a browser send a form, or text, or an address with a query, with the login that the
/// browser keeps for the server; but not JSON, unless the server agrees: <https://fetch.spec.whatwg.org/#simple-header>
fn check_post(request: &Request) -> Result<(), Error> {
    if !request.query.trim_start_matches('?').is_empty() {
        return Err(Error::input(
            "The arguments of a POST stand in its body, and the address of the request has some.",
        )
        .meaning("Nothing was done.")
        .advise("Send them in the body, a JSON object."));
    }
    let encoding = request
        .headers
        .get("content-encoding")
        .map(str::trim)
        .unwrap_or_default();
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        return Err(Error::input(format!(
            "The body of the request is packed ({}), and the abba server unpacks none.",
            quote_shortened(encoding)
        ))
        .meaning("Nothing was done.")
        .advise("Send it as it is, without the header `Content-Encoding`."));
    }
    let content_type = request.headers.get("content-type").unwrap_or_default();
    if is_json(content_type) {
        return Ok(());
    }
    Err(Error::input(format!(
        "The body of a POST must be JSON in UTF-8, and its `Content-Type` is {}.",
        match content_type {
            "" => "missing".into(),
            other => quote_shortened(other),
        }
    ))
    .meaning("Nothing was done.")
    .advise("Send the arguments as a JSON object, with the header `Content-Type: application/json`."))
}

/// Whether a media type is that of JSON. It has no parameters (RFC 8259, 11); many send its only encoding along.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_utf8 = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset")
            && (value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8"))
    };
    let is_json = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    is_json && parts.all(|parameter| parameter.is_empty() || is_utf8(parameter))
}

/// Whether the cluster as a whole did not answer.
fn is_outage(refusal: &ApiError) -> bool {
    refusal.error.job_ids.is_empty()
        && refusal.error.kubectl.is_some()
        && matches!(refusal.error.class, ErrorClass::Unavailable | ErrorClass::Timeout)
}

#[cfg(test)]
mod tests {
    use crate::gateway::fake_cluster::{decision, program, request_of, server, server_with};
    use crate::gateway::metrics::Readers;
    use crate::transport::FailureKind;
    use serde_json::{json, Value};

    #[test]
    fn nobody_is_answered_who_is_not_known() {
        let server = server();
        for call in ["jobs", "whoami", "submit-job", "no-such-call", ""] {
            assert_eq!(server.get("", call).0, 401, "{call}");
        }
        assert_eq!(server.get("", "health").0, 200);
        assert_eq!(server.cluster.lists(), 0);
    }

    #[test]
    fn a_post_that_a_page_of_another_site_can_have_sent_is_refused() {
        let server = server();
        let known = [
            ("Plumber-Shared-Secret", "a-secret-of-the-host"),
            ("RStudio-Connect-Credentials", r#"{"user": "daemon"}"#),
        ];
        let send = |target: &str, fields: &[(&str, &str)]| {
            let body = program("a.R").to_string();
            server
                .send_bytes("POST", target, &[&known[..], fields].concat(), body.as_bytes())
                .status
        };
        let json = ("Content-Type", "application/json");
        for fields in [
            &[][..],
            &[("Content-Type", "text/plain")],
            &[("Content-Type", "application/json; charset=latin1")],
            &[("Content-Type", "application/json, text/plain")],
            &[json, ("Content-Encoding", "gzip")],
            &[json, ("Idempotency_Key", "k")],
        ] {
            assert_eq!(send("submit-job", fields), 400, "{fields:?}");
        }
        assert_eq!(send("submit-job?user_tag=x", &[json]), 400);
        assert_eq!(send("submit-job", &[json, ("Origin", "https://evil.example")]), 403);
        assert_eq!(server.cluster.count("POST"), 0);
        assert_eq!(send("submit-job", &[json]), 200);
        assert_eq!(
            send("submit-job", &[("content-type", "Application/Json ;Charset=\"UTF-8\"")]),
            200
        );
    }

    #[test]
    fn a_key_for_reading_changes_nothing() {
        use crate::gateway::api_keys::{self, ApiKeys, Scope};
        use crate::gateway::{Gateway, KeySource, Policy};

        let mut server = server();
        let id = server.submit("daemon", "b");
        let new = api_keys::create("daemon", None, Scope::Read, "").unwrap();
        let policy = Policy::new(crate::gateway::policy::tests::settings()).unwrap();
        server.gateway = Gateway::new(policy, KeySource::Held(ApiKeys::one(new.kept)), "0.1.0").unwrap();
        let authorization = format!("Key {}", new.key);
        let send = |method: &str, target: &str, body: Value| {
            let fields = [
                ("Authorization", authorization.as_str()),
                ("Content-Type", "application/json"),
            ];
            server.send_bytes(method, target, &fields, body.to_string().as_bytes())
        };
        assert_eq!(send("GET", "jobs", json!({})).status, 200);
        assert_eq!(send("POST", "job-status", json!({"job_id": id})).status, 200);
        let before = server.cluster.count("P");
        for (call, body) in [
            ("submit-job", program("a.R")),
            ("submit-batch", json!({"programs": [program("a.R")]})),
            ("cancel-job", json!({"job_id": id})),
        ] {
            let answer = send("POST", call, body);
            assert_eq!(answer.status, 403, "{call}");
            assert!(answer.body.contains("looking at jobs alone"), "{}", answer.body);
        }
        assert_eq!(server.cluster.count("P"), before);
    }

    #[test]
    fn an_account_is_looked_up_once_a_request_and_its_name_is_the_directorys() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        use crate::domain::identity::Identity;
        static LOOK_UPS: AtomicUsize = AtomicUsize::new(0);
        let mut server = server();
        server.gateway.directory.look_up = |name, with_groups| {
            LOOK_UPS.fetch_add(1, Ordering::SeqCst);
            let name = name.to_lowercase().replace("@corp", "");
            let groups = if with_groups { vec![0, 27, 5000] } else { Vec::new() };
            let (uid, gid) = (5000, 5000);
            let home = format!("/home/{name}");
            Ok(Some(Identity {
                name,
                uid,
                gid,
                groups,
                home,
            })
            .filter(|account| account.name == "mike"))
        };
        let programs = json!({"programs": [program("a.R"), program("b.R"), program("c.R")]});
        for (times, name) in ["Mike@corp", "Mike@corp", "mike"].into_iter().enumerate() {
            let (status, rows) = server.post(name, "submit-batch", &programs, None);
            assert_eq!(status, 200, "{rows}");
            assert_eq!(LOOK_UPS.load(Ordering::SeqCst), times + 1);
            let job = server.cluster.job(rows[0]["job_id"].as_str().unwrap());
            assert_eq!(job["metadata"]["annotations"]["abba/owner"], "mike");
            let context = &job["spec"]["template"]["spec"]["securityContext"];
            assert_eq!(
                (&context["runAsUser"], &context["runAsGroup"]),
                (&json!(5000), &json!(5000))
            );
            assert_eq!(context["supplementalGroups"], json!([27, 5000]));
        }
        for name in ["Mike@corp", "mike", "MIKE"] {
            assert_eq!(server.get(name, "whoami").1["user"], "mike");
            assert_eq!(server.get(name, "jobs").1.as_array().unwrap().len(), 9);
        }
        assert_eq!(LOOK_UPS.load(Ordering::SeqCst), 4);
        // A name that no account has yet is not an operator's.
        assert_eq!(server.get("sys", "whoami").1, json!({"user": "sys", "operator": false}));
        assert_eq!(server.post("sys", "submit-batch", &programs, None).0, 403);
    }

    #[test]
    fn an_account_that_nobody_logs_in_to_submits_nothing_where_the_administrator_wants_that() {
        let server = server_with(|settings| settings.refuse_nologin = true);
        let (status, body) = server.post("daemon", "submit-job", &program("a.R"), None);
        assert_eq!((status, &body["class"]), (403, &json!("forbidden")), "{body}");
        assert_eq!(server.get("daemon", "jobs").0, 200);
        assert_eq!(server.cluster.count("POST"), 0);
    }

    #[test]
    fn a_directory_that_does_not_answer_is_no_missing_account() {
        let mut server = server();
        server.gateway.directory.look_up = |_, _| Err("Connection refused".into());
        for (status, body) in [
            server.post("daemon", "submit-job", &program("a.R"), None),
            server.get("daemon", "jobs"),
        ] {
            assert_eq!((status, &body["class"]), (503, &json!("unavailable")), "{body}");
            assert!(!body.to_string().contains("does not exist"), "{body}");
            assert!(!body.to_string().contains("refused"), "{body}");
        }
        assert_eq!(server.cluster.count("POST"), 0);
    }

    #[test]
    fn without_the_secret_of_the_host_nobody_is_answered() {
        let server = server();
        for call in ["health", "whoami", "no-such-call"] {
            let who = ("RStudio-Connect-Credentials", r#"{"user": "daemon"}"#);
            let answer = server.send_bytes("GET", call, &[who], b"");
            assert_eq!(
                (answer.status, &decision(&answer)["decision"]),
                (403, &json!("refused"))
            );
        }
    }

    #[test]
    fn who_asks_too_often_is_told_when_to_come_back() {
        let server = server_with(|settings| settings.requests_per_minute = 3);
        for _ in 0..3 {
            assert_eq!(server.get("daemon", "whoami").0, 200);
        }
        let answer = server.send("daemon", "GET", "whoami", &Value::Null, None);
        assert_eq!(answer.status, 429);
        let [("Retry-After", seconds)] = &answer.headers[..] else {
            panic!("{:?}", answer.headers);
        };
        // Less, where the requests themselves took their time.
        assert!((1..=20).contains(&seconds.parse::<u32>().unwrap()), "{seconds}");
        assert_eq!(server.get("bin", "whoami").0, 200);
    }

    #[test]
    fn strangers_are_bounded_together_and_keep_nobody_else_out() {
        let server = server_with(|settings| settings.bounds.strangers_per_minute = 1);
        assert_eq!(server.get("", "whoami").0, 401);
        let answer = server.send("", "GET", "jobs", &Value::Null, None);
        assert_eq!((answer.status, answer.headers[0].0), (429, "Retry-After"));
        assert_eq!(server.get("daemon", "whoami").0, 200);
        // Who watches over the server is no caller, and is not taken for one that guesses.
        for _ in 0..10 {
            assert_eq!(server.get("", "health").0, 200);
        }
    }

    #[test]
    fn what_strangers_may_ask_without_end_is_found_out_once_for_many_of_them() {
        let server = server_with(|settings| settings.metrics = Readers::Anybody);
        let at_once = |user: &str, method: &str, call: &str| {
            server
                .gateway
                .answer_at_once(&request_of(user, method, call, &Value::Null, None))
        };
        for call in ["live", "ready", "health", "metrics"] {
            // Nobody has been told yet.
            assert_eq!(at_once("", "GET", call), None, "{call}");
            let first = server.send("", "GET", call, &Value::Null, None);
            assert_eq!(first.status, 200, "{call}");
            let again = at_once("", "GET", call).unwrap();
            assert_eq!((again.status, &again.body), (200, &first.body));
            assert_eq!(server.send("", "GET", call, &Value::Null, None).body, first.body);
            // Each is one request of its own all the same.
            assert_ne!(again.request_id, first.request_id);
            // A caller who is known is told more, and another method has another answer.
            assert_eq!(at_once("daemon", "GET", call), None);
            assert_eq!(at_once("", "POST", call).unwrap().status, 405);
        }
        assert!(server.get("daemon", "health").1.get("versions").is_some());
        assert_eq!(at_once("", "GET", "whoami"), None);
    }

    #[test]
    fn after_a_failure_of_the_cluster_it_is_not_asked_for_a_moment() {
        let server = server();
        server.cluster.fails("GET", FailureKind::Timeout);
        assert_eq!(server.get("daemon", "jobs").0, 504);
        let asked = server.cluster.lists();
        for target in ["jobs", "job-status?job_id=a-1", "batch-log?batch_id=b"] {
            let (status, body) = server.get("bin", target);
            assert_eq!(
                (status, &body["consequence"]),
                (504, &json!("Nothing was asked of the cluster."))
            );
        }
        assert_eq!(server.cluster.lists(), asked);
        // What needs no cluster is answered all the same.
        assert_eq!(server.get("daemon", "whoami").0, 200);
    }

    #[test]
    fn a_missing_namespace_or_right_is_the_servers_fault_and_shows_nothing_of_it() {
        for (kind, class) in [
            (FailureKind::NotFound, "kubectl"),
            (FailureKind::Forbidden, "forbidden"),
            (FailureKind::Unauthorized, "unauthorized"),
            (FailureKind::MalformedResponse, "kubectl"),
            (FailureKind::NotConfigured, "not_configured"),
        ] {
            for verb in ["GET", "POST"] {
                let server = server();
                server.cluster.fails(verb, kind);
                let (status, body) = match verb {
                    "GET" => server.get("daemon", "jobs"),
                    _ => server.post("daemon", "submit-job", &program("a.R"), None),
                };
                assert_eq!((status, &body["class"]), (502, &json!(class)), "{kind:?}: {body}");
                let text = body.to_string();
                for word in ["kubectl ", "secret", "namespace", "k8s", "_local"] {
                    assert!(!text.contains(word), "{kind:?} {word}: {text}");
                }
            }
        }
    }

    #[test]
    fn every_request_is_one_line_in_the_log_of_decisions_without_secrets() {
        let server = server();
        let mut body = program("/studies/a.R");
        body["program_text"] = "the programs text".into();
        let answer = server.send("daemon", "POST", "submit-job", &body, Some("k\u{7f}"));
        assert_eq!(decision(&answer)["status"], 400);
        let answer = server.send("daemon", "POST", "submit-job", &body, Some("the-key"));
        let line = decision(&answer);
        assert_eq!(
            (&line["who"], &line["what"], &line["decision"], &line["status"]),
            (&json!("daemon"), &json!("submit-job"), &json!("allowed"), &json!(200))
        );
        assert_eq!(line["job"].as_array().unwrap().len(), 1);
        assert!(!answer.decision.contains("the programs text") && !answer.decision.contains("the-key"));

        // Who sends a request does not decide how long a line is, nor where it ends.
        let ids = vec!["a-1"; 5000].join(",");
        for target in [
            "x".repeat(60_000),
            format!("job-status?job_id={ids}"),
            format!("jobs?status={}", "x".repeat(60_000)),
            "a\r\n{\"decision\":\"allowed\"}".into(),
        ] {
            for user in ["daemon", ""] {
                let answer = server.send(user, "GET", &target, &Value::Null, None);
                assert!(answer.decision.len() < 4000, "{}", answer.decision.len());
                assert!(!answer.decision.contains(['\r', '\n']));
                assert_eq!(
                    decision(&answer)["who"],
                    if user.is_empty() { Value::Null } else { user.into() }
                );
            }
        }
    }
}
