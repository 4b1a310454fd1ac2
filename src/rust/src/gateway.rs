//! The server's side of the abba API, for R.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use abba_core::domain::api_keys;
use abba_core::gateway::{answer, caller::Credentials, policy, Answer, Gateway, Policy, Refusal, Request};
use abba_core::local::api_key_file::{self, ApiKeyFile};
use abba_core::operations::Connection;
use abba_core::transport::leave_signals_to_main_thread;
use abba_core::{Error, ErrorClass};
use extendr_api::metadata::{Arg, Func, Metadata};
use extendr_api::prelude::*;
use extendr_api::SEXP;
use serde_json::Value as Json;

use crate::arguments::{optional_text, text, Settings};
use crate::objects::Argument;
use crate::values::{to_json, Value};

/// A server, for R to hold. Each request is answered in a thread of its own, so that one that has to wait for the cluster
/// keeps nobody else waiting; R's one thread begins them and takes the answers.
pub struct Server {
    gateway: Arc<Gateway>,
    answers: Mutex<Answers>,
    sender: Sender<(i32, Answer)>,
}

struct Answers {
    receiver: Receiver<(i32, Answer)>,
    /// The number of the request that was begun last.
    begun: i32,
}

/// What a request says, to be read in another thread.
struct OwnedRequest {
    json: Json,
    body: Vec<u8>,
}

/// Opens a server. `policy` is the list that `api_policy()` in `R/api-options.R` makes.
pub fn open(policy: Json, key_file: Option<&str>, version: &str) -> std::result::Result<Robj, Error> {
    let settings: policy::Settings = serde_json::from_value(policy)
        .map_err(|error| Error::input(format!("The options of the abba API cannot be used: {error}.")))?;
    let policy = Policy::new(settings)?;
    let key_file = key_file
        .map(|path| ApiKeyFile::open(Path::new(path)))
        .transpose()
        .map_err(|error| Error {
            message: format!("The option `abba.api.keys` cannot be used: {}", error.message),
            ..error
        })?;
    let (sender, receiver) = mpsc::channel();
    Ok(ExternalPtr::new(Server {
        gateway: Arc::new(Gateway::new(policy, key_file, version)?),
        answers: Mutex::new(Answers { receiver, begun: 0 }),
        sender,
    })
    .into())
}

/// The calls of a server that every request makes, for `extendr_module!`, which asks its submodules for their functions so.
/// extendr's own functions would note each argument and each answer for ever, see `objects.rs`.
pub fn get_gateway_metadata() -> Metadata {
    let function = |doc, name, c_name, arguments: &[&'static str], address: *const u8| {
        let arguments = arguments.iter().map(|name| Arg {
            name,
            arg_type: "SEXP",
            default: None,
        });
        Func {
            doc,
            rust_name: name,
            mod_name: name,
            r_name: name,
            c_name,
            args: arguments.collect(),
            return_type: "SEXP",
            func_ptr: address,
            hidden: false,
            invisible: None,
        }
    };
    Metadata {
        name: "gateway",
        functions: vec![
            function(
                " Begins to answer a request to the abba API. `request` is a list with `method`, `call`, `query`, `headers`, `when` and\n \
                 `from`; `body` a raw vector. The request's number, for `core_gateway_answers`.",
                "core_gateway_begin",
                "wrap__core_gateway_begin",
                &["gateway", "request", "body", "settings"],
                core_gateway_begin as *const u8,
            ),
            function(
                " Looks at a request to the abba API before its body is read. `request` as for `core_gateway_begin`. `NULL`, or, where\n \
                 its sender is not known, a list of `core_gateway_answers`.",
                "core_gateway_refuse_stranger",
                "wrap__core_gateway_refuse_stranger",
                &["gateway", "request"],
                core_gateway_refuse_stranger as *const u8,
            ),
            function(
                " Takes the answers that are ready, waiting up to `seconds` for that with the number `awaited`: a list of lists with\n \
                 `number`, `status`, `headers`, `body` and `decision`.",
                "core_gateway_answers",
                "wrap__core_gateway_answers",
                &["gateway", "awaited", "seconds"],
                core_gateway_answers as *const u8,
            ),
        ],
        impls: Vec::new(),
    }
}

extern "C" fn core_gateway_begin(gateway: SEXP, request: SEXP, body: SEXP, settings: SEXP) -> SEXP {
    let [gateway, request, body, settings] = arguments([gateway, request, body, settings]);
    respond(|| {
        let settings = Settings::read(to_json(settings)?)?;
        let number = begin(&*server(gateway)?, to_json(request)?, body.bytes(), settings)?;
        Ok(Value::Integer(number))
    })
}

extern "C" fn core_gateway_refuse_stranger(gateway: SEXP, request: SEXP) -> SEXP {
    let [gateway, request] = arguments([gateway, request]);
    respond(|| refuse_stranger(&*server(gateway)?, to_json(request)?))
}

extern "C" fn core_gateway_answers(gateway: SEXP, awaited: SEXP, seconds: SEXP) -> SEXP {
    let [gateway, awaited, seconds] = arguments([gateway, awaited, seconds]);
    respond(|| {
        let (awaited, seconds) = (to_json(awaited)?, to_json(seconds)?);
        let awaited = awaited.as_i64().and_then(|number| i32::try_from(number).ok());
        let patience = Duration::try_from_secs_f64(seconds.as_f64().unwrap_or_default()).unwrap_or_default();
        Ok(answers(&*server(gateway)?, awaited.unwrap_or_default(), patience))
    })
}

/// What R handed over in a call that has not returned.
fn arguments<'a, const COUNT: usize>(objects: [SEXP; COUNT]) -> [Argument<'a>; COUNT] {
    objects.map(|object| unsafe { Argument::new(object) })
}

/// As `crate::respond()`, for R itself.
fn respond(operation: impl FnOnce() -> std::result::Result<Value, Error>) -> SEXP {
    crate::answer_of(|| operation().map(Into::into)).make().into_sexp()
}

fn server(pointer: Argument<'_>) -> std::result::Result<ExternalPtr<Server>, Error> {
    pointer
        .to_robj()
        .try_into()
        .map_err(|_| Error::new(ErrorClass::Internal, "The server of the abba API is gone."))
}

/// Begins to answer a request. `request` is the list that `api_request()` in `R/api-answer.R` makes. The number by which
/// [`answers`] names it.
fn begin(server: &Server, request: Json, body: &[u8], settings: Settings) -> std::result::Result<i32, Error> {
    let number = {
        let mut answers = server.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.begun = answers.begun.checked_add(1).unwrap_or(1);
        answers.begun
    };
    let (gateway, sender) = (Arc::clone(&server.gateway), server.sender.clone());
    let request = OwnedRequest {
        json: request,
        body: body.to_vec(),
    };
    // Refused here what R itself has made wrong.
    request.with(|_| ())?;
    thread::Builder::new()
        .name("abba-request".into())
        .spawn(move || {
            leave_signals_to_main_thread();
            // The receiver is there as long as the server.
            let _ = sender.send((number, answer_or_fault(&gateway, &request, &settings)));
        })
        .map_err(|error| Error::new(ErrorClass::Internal, format!("A thread cannot be started: {error}.")))?;
    Ok(number)
}

/// The answer to a request whose sender is not known, before its body is read, as of [`answer_list`]; or `NULL`.
fn refuse_stranger(server: &Server, request: Json) -> std::result::Result<Value, Error> {
    let request = OwnedRequest {
        json: request,
        body: Vec::new(),
    };
    let refused = request.with(|request| server.gateway.refuse_stranger(request))?;
    Ok(refused.map_or(Value::Null, |answer| answer_list(0, answer)))
}

/// Takes the answers that are ready, and waits up to `patience` for that with the number `awaited`. A list of lists, see
/// [`answer_list`].
fn answers(server: &Server, awaited: i32, patience: Duration) -> Value {
    let answers = server.answers.lock().unwrap_or_else(PoisonError::into_inner);
    let deadline = Instant::now() + patience;
    let mut ready = Vec::new();
    let mut is_there = false;
    loop {
        let wait = match is_there {
            true => Duration::ZERO,
            false => deadline.saturating_duration_since(Instant::now()),
        };
        match answers.receiver.recv_timeout(wait) {
            Ok((number, answer)) => {
                is_there |= number == awaited;
                ready.push(answer_list(number, answer));
            }
            Err(_) => return Value::Unnamed(ready),
        }
    }
}

impl OwnedRequest {
    /// Gives what it says to `operation`.
    fn with<T>(&self, operation: impl FnOnce(Request<'_>) -> T) -> std::result::Result<T, Error> {
        let header = |name: &str| self.json["headers"][name].as_str();
        let method = text(&self.json, "method")?;
        let (call, query) = (text(&self.json, "call")?, optional_text(&self.json, "query")?);
        let (when, from) = (text(&self.json, "when")?, optional_text(&self.json, "from")?);
        let from = from.unwrap_or_default();
        Ok(operation(Request {
            method: &method,
            call: &call,
            query: query.as_deref().unwrap_or_default(),
            body: &self.body,
            credentials: Credentials {
                authorization: header("authorization"),
                connect_credentials: header("connect_credentials"),
                host: header("host"),
                origin: header("origin"),
                fetch_site: header("fetch_site"),
                peer: &from,
                is_forwarded: header("forwarded").is_some(),
            },
            idempotency_key: header("idempotency_key"),
            when: &when,
            from: &from,
        }))
    }
}

/// Whoever waits gets an answer, whatever happens.
fn answer_or_fault(gateway: &Gateway, request: &OwnedRequest, settings: &Settings) -> Answer {
    let work = || request.with(|request| gateway.answer(request, &|operation| with_connection(settings, operation)));
    let reason = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(answer)) => return answer,
        Ok(Err(error)) => error.message,
        Err(_) => "abba itself failed; standard error has more.".into(),
    };
    let text = |name: &str| request.json[name].as_str().unwrap_or_default();
    answer::fault(
        &reason,
        answer::Decision {
            when: text("when"),
            who: None,
            what: text("call"),
            from: text("from"),
        },
    )
}

fn with_connection<T>(
    settings: &Settings,
    operation: &mut dyn FnMut(&Connection<'_>) -> std::result::Result<T, Refusal>,
) -> std::result::Result<T, Refusal> {
    let mut outcome = None;
    // The thread is not R's, which alone may ask R for interrupts.
    let connected = settings.connected_until(&|| false, |connection| {
        outcome = Some(operation(connection));
        Ok(())
    });
    match (connected, outcome) {
        (_, Some(outcome)) => outcome,
        (Err(error), None) => Err(Refusal::of_cluster(error)),
        (Ok(()), None) => Err(Error::new(ErrorClass::Internal, "Nothing was asked of the cluster.").into()),
    }
}

/// A list with `number`, the request's; `status`, an integer; `headers`, a list of strings with names; `body` and `decision`, strings of JSON.
fn answer_list(number: i32, answer: Answer) -> Value {
    Value::named([
        ("number", Value::Integer(number)),
        ("status", Value::Integer(i32::from(answer.status))),
        (
            "headers",
            Value::named(
                answer
                    .headers
                    .into_iter()
                    .map(|(name, value)| (name, Value::Text(value))),
            ),
        ),
        ("body", Value::Text(answer.body)),
        ("decision", Value::Text(answer.decision)),
    ])
}

/// Makes a key for a user and keeps its hash in a file. The key.
pub fn create_key(user: &str, file: &str) -> std::result::Result<String, Error> {
    let new = api_keys::create(user)?;
    api_key_file::append(Path::new(file), &new.line)?;
    Ok(new.key)
}
