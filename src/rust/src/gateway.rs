//! The server's side of the abba API, for R.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use abba_core::gateway::api_key_file::{self, ApiKeyFile};
use abba_core::gateway::api_keys::{self, ApiKeys, Scope};
use abba_core::gateway::calls::CALLS;
use abba_core::gateway::headers::Headers;
use abba_core::gateway::policy::IdentityMode;
use abba_core::gateway::{answer, policy, ApiError, Early, Gateway, KeySource, Policy, Request, Response};
#[cfg(unix)]
use abba_core::local::listening_socket;
use abba_core::local::{accounts, socket_file};
use abba_core::operations::Connection;
use abba_core::transport::leave_signals_to_main_thread;
use abba_core::{Error, ErrorClass};
use serde_json::Value as Json;

#[cfg(unix)]
use crate::descriptors;
use crate::objects::Argument;
use crate::registration::r_functions;
use crate::settings::Settings;
use crate::values::{read, to_json, Value};

/// A server, for R to hold. Each request is answered in a thread of its own, so that one that has to wait for the cluster
/// keeps nobody else waiting; R's one thread begins them and takes the answers.
pub struct Server {
    gateway: Arc<Gateway>,
    answers: Mutex<Answers>,
    sender: Sender<(i32, Response)>,
    /// The key of a local server.
    local_key: Option<String>,
}

struct Answers {
    receiver: Receiver<(i32, Response)>,
    /// The number of the request that was begun last.
    begun: i32,
}

/// What a request says, to be read in another thread.
struct OwnedRequest {
    method: String,
    call: String,
    query: String,
    when: String,
    from: String,
    headers: Headers,
    body: Vec<u8>,
}

/// Opens a server. `policy` is the list that `api_policy()` in `R/server-options.R` makes.
fn open(policy: Json, key_file: Option<&str>, version: &str) -> Result<Server, Error> {
    let settings: policy::Settings = serde_json::from_value(policy)
        .map_err(|error| Error::input(format!("The options of the abba API cannot be used: {error}.")))?;
    let policy = Policy::new(settings)?;
    let local_key = match policy.identity {
        IdentityMode::Local => Some(api_keys::create(&accounts::current_name(), None, Scope::Submit, "")?),
        _ => None,
    };
    let keys = match (&local_key, key_file) {
        (Some(new), _) => KeySource::Held(ApiKeys::one(new.kept.clone())),
        (None, Some(path)) => KeySource::File(ApiKeyFile::open(Path::new(path)).map_err(|error| Error {
            message: format!("The option `abba.api.keys` cannot be used: {}", error.message),
            ..error
        })?),
        (None, None) => KeySource::None,
    };
    let (sender, receiver) = mpsc::channel();
    Ok(Server {
        gateway: Arc::new(Gateway::new(policy, keys, version)?),
        answers: Mutex::new(Answers { receiver, begun: 0 }),
        sender,
        local_key: local_key.map(|new| new.key),
    })
}

r_functions! {
    get_gateway_metadata;

    /// Opens the server's side of the abba API. A pointer for `core_gateway_begin`. `policy` is a list, see
    /// `R/server-options.R`; `key_file` a path or `NULL`.
    fn core_gateway_open(policy, key_file, version) {
        let (key_file, version): (Option<String>, String) = (read(key_file)?, read(version)?);
        let gateway = open(to_json(policy)?, key_file.as_deref(), &version)?;
        Ok(Value::Pointer(Box::new(gateway)).into())
    }

    /// Begins to answer a request to the abba API. `request` is a list with `method`, `call`, `query`, `headers` (a list
    /// of strings with names), `when` and `from`; `body` a raw vector. The request's number, for `core_gateway_answers`.
    fn core_gateway_begin(gateway, request, body, settings) {
        let number = begin(server(gateway)?, to_json(request)?, body.bytes(), read(settings)?)?;
        Ok(Value::Json(number.into()).into())
    }

    /// The calls of the abba API: a list of lists with `name`, the path without its `/`, and `methods`, a character vector.
    fn core_api_calls() {
        let list = CALLS.iter().map(|call| {
            let methods = call.methods.iter().map(|method| (*method).to_string());
            Value::named([
                ("name", Value::Text(call.name.to_string())),
                ("methods", Value::Texts(methods.collect())),
            ])
        });
        Ok(Value::Unnamed(list.collect()).into())
    }

    /// The key of a local server, which is made at its start; `NULL` for others.
    fn core_gateway_local_key(gateway) {
        let key = server(gateway)?.local_key.clone();
        Ok(key.map_or_else(Value::null, Value::Text).into())
    }

    /// Makes way for the Unix socket that a server is to listen on.
    fn core_socket_make_way(path) {
        let path: String = read(path)?;
        socket_file::make_way(Path::new(&path))?;
        Ok(Value::null().into())
    }

    /// Has the TCP sockets on which this R session listens send what is written to their connections at once.
    fn core_sockets_send_at_once() {
        #[cfg(unix)]
        descriptors::each_open(|file| {
            listening_socket::send_at_once(&file);
        });
        Ok(Value::null().into())
    }

    /// Looks at a request to the abba API before its body is read. `request` as for `core_gateway_begin`. A list of
    /// `core_gateway_answers`, where it is refused; else the caller's name.
    fn core_gateway_look_early(gateway, request) {
        Ok(look_early(server(gateway)?, to_json(request)?)?.into())
    }

    /// The answer to a request that R refuses, or cannot begin: a list of `core_gateway_answers`. `refusal` is a list with
    /// `status`, `message` and `advice`; or with `reason`, where the server has failed, for the administrator alone.
    fn core_gateway_refuse(gateway, request, refusal) {
        let (request, refusal) = (to_json(request)?, to_json(refusal)?);
        Ok(refuse(server(gateway)?, &request, &refusal).into())
    }

    /// Takes the answers that are ready, waiting up to `seconds` for that with the number `awaited`: a list of lists with
    /// `number`, `status`, `headers`, `body` and `said`.
    fn core_gateway_answers(gateway, awaited, seconds) {
        let patience = Duration::try_from_secs_f64(read(seconds)?).unwrap_or_default();
        Ok(answers(server(gateway)?, read(awaited)?, patience).into())
    }

    /// Makes an API key for a user and keeps its hash in a file. `days` is a number or `NULL`. The key, a string.
    fn core_api_key_create(user, file, days, scope, note) {
        let (user, file, note): (String, String, String) = (read(user)?, read(file)?, read(note)?);
        let days: Option<f64> = read(days)?;
        let scope: String = read(scope)?;
        let scope = Scope::parse(&scope).ok_or_else(|| mistake("scope"))?;
        // Whole, as R has checked; what is too large is refused as such.
        let days = days.map(|days| days as u32);
        let new = api_key_file::add(Path::new(&file), &user, days, scope, &note)?;
        Ok(Value::Text(new.key).into())
    }

    /// The API keys of a file: a list of lists with `id`, `user`, `note`, `scope`, `created`, `expires` and `last_used`,
    /// the last three `NULL` or strings.
    fn core_api_key_list(file) {
        let file: String = read(file)?;
        Value::json(&api_key_file::list(Path::new(&file))?)
    }

    /// Takes an API key out of a file, by its id. A list as of `core_api_key_list`.
    fn core_api_key_revoke(id, file) {
        let (id, file): (String, String) = (read(id)?, read(file)?);
        Value::json(&api_key_file::revoke(Path::new(&file), &id)?)
    }
}

fn server(pointer: Argument<'_>) -> Result<&Server, Error> {
    pointer
        .pointee()
        .ok_or_else(|| Error::new(ErrorClass::Internal, "The server of the abba API is gone."))
}

/// Begins to answer a request. `request` is the list that `api_request()` in `R/server-answer.R` makes. The number by which
/// [`answers`] names it.
fn begin(server: &Server, request: Json, body: &[u8], settings: Settings) -> Result<i32, Error> {
    let number = {
        let mut answers = server.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.begun = answers.begun.checked_add(1).unwrap_or(1);
        answers.begun
    };
    let (gateway, sender) = (Arc::clone(&server.gateway), server.sender.clone());
    let request = OwnedRequest::new(&request, body.to_vec())?;
    thread::Builder::new()
        .name("abba-request".into())
        .spawn(move || {
            leave_signals_to_main_thread();
            let answer = gateway.answer(request.request(), &|operation| {
                begin_following(&gateway, &settings);
                with_connection(&settings, operation)
            });
            // The receiver is there as long as the server.
            let _ = sender.send((number, answer));
        })
        .map_err(|error| Error::new(ErrorClass::Internal, format!("A thread cannot be started: {error}.")))?;
    Ok(number)
}

/// What is said of a request before its body is read: a list, see [`answer_list`], or the caller's name.
fn look_early(server: &Server, request: Json) -> Result<Value, Error> {
    let request = OwnedRequest::new(&request, Vec::new())?;
    Ok(match without_signals(|| server.gateway.look_early(request.request())) {
        Early::Refused(answer) => answer_list(0, *answer),
        Early::From(name) => Value::Text(name),
    })
}

/// The answer to a request that is refused. `refusal` as of `core_gateway_refuse`.
fn refuse(server: &Server, request: &Json, refusal: &Json) -> Value {
    let text = |name: &str| refusal[name].as_str().unwrap_or_default();
    let status = refusal["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let refusal = match status {
        Some(status) => {
            let class = if status < 500 {
                ErrorClass::Input
            } else {
                ErrorClass::Unavailable
            };
            let error = Error::new(class, text("message"))
                .meaning("Nothing was done.")
                .advise(text("advice"));
            ApiError {
                retry_after: (status >= 500).then_some(2),
                ..ApiError::new(status, error)
            }
        }
        None => answer::fault(text("reason")),
    };
    let request = OwnedRequest::of_broken(request, Vec::new());
    answer_list(0, without_signals(|| server.gateway.refuse(request.request(), refusal)))
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
    /// `json` is the list that `api_request()` in `R/server-answer.R` makes.
    ///
    /// Errors: it is none.
    fn new(json: &Json, body: Vec<u8>) -> Result<Self, Error> {
        for name in ["method", "call", "when"] {
            text(json, name)?;
        }
        for name in ["query", "from"] {
            optional_text(json, name)?;
        }
        Ok(Self::of_broken(json, body))
    }

    /// The same, without what is wrong in it.
    fn of_broken(json: &Json, body: Vec<u8>) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_string();
        let fields = json["headers"].as_object().into_iter().flatten();
        Self {
            method: text("method"),
            call: text("call"),
            query: text("query"),
            when: text("when"),
            from: text("from"),
            headers: Headers::new(
                fields.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().into())),
            ),
            body,
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            call: &self.call,
            query: &self.query,
            body: &self.body,
            headers: &self.headers,
            when: &self.when,
            from: &self.from,
        }
    }
}

/// Does something in a thread that has no signals, as whatever writes the log must.
fn without_signals<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            leave_signals_to_main_thread();
            work()
        });
        match worker.join() {
            Ok(result) => result,
            // The boundary makes an error of it.
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Begins the watches by which the server knows the cluster's jobs, each in a thread of its own, where it wants some. One
/// kubectl a call, or one that is kept for a server without Unix sockets, would not do for them.
fn begin_following(gateway: &Gateway, settings: &Settings) {
    if !(cfg!(unix) && settings.session) {
        return;
    }
    for following in gateway.begin_following(&format!("{settings:?}")) {
        let settings = settings.clone();
        // Without a thread its end is that of the watch, and LISTs serve.
        let _ = thread::Builder::new().name("abba-watch".into()).spawn(move || {
            leave_signals_to_main_thread();
            // What cannot be connected is told by the request.
            let _ = settings.connected_until(&|| false, |connection| {
                following.run(connection);
                Ok(())
            });
        });
    }
}

fn with_connection<T>(
    settings: &Settings,
    operation: &mut dyn FnMut(&Connection<'_>) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let mut outcome = None;
    // The thread is not R's, which alone may ask R for interrupts.
    let connected = settings.connected_until(&|| false, |connection| {
        outcome = Some(operation(connection));
        Ok(())
    });
    match (connected, outcome) {
        (_, Some(outcome)) => outcome,
        (Err(error), None) => Err(ApiError::of_cluster(error)),
        (Ok(()), None) => Err(Error::new(ErrorClass::Internal, "Nothing was asked of the cluster.").into()),
    }
}

/// A list with `number`, the request's; `status`, an integer; `headers`, a list of strings with names; `body` and `said`, strings.
fn answer_list(number: i32, answer: Response) -> Value {
    Value::named([
        ("number", Value::Json(number.into())),
        ("status", Value::Json(answer.status.into())),
        (
            "headers",
            Value::named(
                answer
                    .headers
                    .into_iter()
                    .chain([(answer::REQUEST_ID, answer.request_id)])
                    .map(|(name, value)| (name, Value::Text(value))),
            ),
        ),
        ("body", Value::Text(answer.body)),
        ("said", Value::Text(answer.said)),
    ])
}

/// A string that must be there.
fn text(json: &Json, name: &str) -> Result<String, Error> {
    optional_text(json, name)?.ok_or_else(|| mistake(name))
}

/// A string that may be missing.
fn optional_text(json: &Json, name: &str) -> Result<Option<String>, Error> {
    match json.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(mistake(name)),
    }
}

fn mistake(name: &str) -> Error {
    Error::new(
        ErrorClass::Internal,
        format!("abba's R code handed over an argument `{name}` of a wrong type."),
    )
}
