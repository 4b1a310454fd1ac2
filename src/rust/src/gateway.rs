//! The server's side of the abba API, for R.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use abba_core::gateway::api_key_file::{self, ApiKeyFile};
use abba_core::gateway::api_keys::{self, ApiKeys, Scope};
use abba_core::gateway::archive::Archive;
use abba_core::gateway::archive_reader::index_reader;
use abba_core::gateway::calls::CALLS;
use abba_core::gateway::policy::IdentityMode;
use abba_core::gateway::{answer, policy, ApiError, Early, Gateway, KeySource, Policy, Request, Response};
#[cfg(unix)]
use abba_core::local::listening_socket;
use abba_core::local::{accounts, socket_file};
use abba_core::operations::Connection;
use abba_core::transport::{leave_signals_to_main_thread, OwnProgram};
use abba_core::{Error, ErrorClass};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::background::spawn;
#[cfg(unix)]
use crate::descriptors;
use crate::objects::Argument;
use crate::registration::r_functions;
use crate::settings::Settings;
use crate::values::{from_r, read, to_json, Value};

/// A server, for R to hold. Each request is answered in a thread of its own, so that one that has to wait for the cluster
/// keeps nobody else waiting; R's one thread begins them and takes the answers.
pub struct Server {
    gateway: Arc<Gateway>,
    answers: Mutex<Answers>,
    sender: Sender<Ready>,
    /// Where the bodies of large answers lie until they are sent.
    folder: PathBuf,
    /// The key of a local server.
    local_key: Option<String>,
    upkeep: Arc<Mutex<Upkeep>>,
}

/// The archive that a server answers from.
#[derive(Deserialize)]
struct ArchiveSettings {
    folder: String,
    /// What reads its index.
    program: OwnProgram,
    /// For how many seconds an answer of it is waited for.
    patience: f64,
}

/// What the watches of the cluster are begun with, also where no request comes.
#[derive(Default)]
struct Upkeep {
    /// The server's name in the Lease.
    holder: String,
    /// Those of the start or the last request.
    settings: Option<Settings>,
    /// Whether a thread sees to the watches between requests.
    is_kept: bool,
}

/// An answer that is ready.
struct Ready {
    /// The request's number.
    number: i32,
    answer: Response,
    /// The file with its body, where that is large.
    file: Option<PathBuf>,
}

struct Answers {
    receiver: Receiver<Ready>,
    /// The number of the request that was begun last.
    begun: i32,
}

/// Opens a server. `policy` is the list that `api_policy()` in `R/server-options.R` makes.
fn open(
    policy: Json,
    key_file: Option<&str>,
    version: &str,
    archive: Option<ArchiveSettings>,
    folder: PathBuf,
) -> Result<Server, Error> {
    let settings: policy::Settings = serde_json::from_value(policy)
        .map_err(|error| Error::input(format!("The options of the abba API cannot be used: {error}.")))?;
    let policy = Policy::new(settings)?;
    let local_key = match policy.identity {
        IdentityMode::Local => Some(api_keys::create(&accounts::current_name(), None, Scope::Submit, "")?),
        _ => None,
    };
    let keys = match (&local_key, key_file) {
        (Some(new), _) => KeySource::Held(ApiKeys::one(new.kept.clone())),
        (None, Some(path)) => KeySource::File(
            ApiKeyFile::open(Path::new(path))
                .map_err(|error| error.after("The option `abba.api.keys` cannot be used:"))?,
        ),
        (None, None) => KeySource::None,
    };
    let (sender, receiver) = mpsc::channel();
    let gateway = Gateway::new(policy, keys, version)?;
    let gateway = match archive {
        Some(archive) => {
            let (ask, reader) = index_reader();
            let patience = Duration::try_from_secs_f64(archive.patience).unwrap_or(Duration::MAX);
            spawn("abba-archive-reader", move || {
                reader.keep(&archive.program, patience);
            })?;
            gateway.with_archive(Archive::new(archive.folder, ask))
        }
        None => gateway,
    };
    Ok(Server {
        gateway: Arc::new(gateway),
        answers: Mutex::new(Answers { receiver, begun: 0 }),
        sender,
        folder,
        local_key: local_key.map(|new| new.key),
        upkeep: Arc::default(),
    })
}

/// How often it is looked whether the watches of the cluster are to be begun.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Begins the watches of the cluster now, and anew whenever they have ended, until the server is gone.
fn keep_following(server: &Server, upkeep: Upkeep) -> Result<(), Error> {
    let before = std::mem::replace(&mut *lock(&server.upkeep), upkeep);
    if before.is_kept {
        return Ok(());
    }
    let (gateway, upkeep) = (Arc::downgrade(&server.gateway), Arc::clone(&server.upkeep));
    spawn("abba-upkeep", move || {
        while let Some(gateway) = gateway.upgrade() {
            begin_following(&gateway, &upkeep);
            drop(gateway);
            thread::sleep(UPKEEP_INTERVAL);
        }
    })
}

/// Has jobs archived until the server is gone.
fn have_archived(server: &Server, program: OwnProgram) -> Result<(), Error> {
    let Some(archiving) = server.gateway.begin_archiving() else {
        return Ok(());
    };
    let gateway = Arc::downgrade(&server.gateway);
    spawn("abba-archive", move || {
        archiving.keep(&program, &|| gateway.strong_count() == 0);
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

r_functions! {
    get_gateway_metadata;

    /// Opens the server's side of the abba API. A pointer for `core_gateway_begin`. `policy` is a list, see
    /// `R/server-options.R`; `key_file` a path or `NULL`; `archive` a list with `folder`, `program`, what reads its index, and
    /// `patience`, seconds, or `NULL`; `folder` is one for temporary files.
    fn core_gateway_open(policy, key_file: Option<String>, version: String, archive, folder: String) {
        let gateway = open(to_json(policy)?, key_file.as_deref(), &version, read(archive)?, folder.into())?;
        Ok(Value::Pointer(Box::new(gateway)).into())
    }

    /// Has the server start the jobs of plans in their turn, also while no request comes. `holder` is its name in the Lease.
    fn core_gateway_keep_following(gateway, holder: String, settings: Settings) {
        let upkeep = Upkeep { holder, settings: Some(settings), is_kept: true };
        keep_following(server(gateway)?, upkeep)?;
        Ok(Value::null().into())
    }

    /// Has the server archive the jobs that end, by a process of its own: `program` is a list of `program`, `arguments` and
    /// `environment`.
    fn core_gateway_archive(gateway, program) {
        have_archived(server(gateway)?, read(program)?)?;
        Ok(Value::null().into())
    }

    /// Begins to answer a request to the abba API. `request` is a list with `method`, `call`, `query`, `headers` (a list
    /// of strings with names), `when` and `from`; `body` a raw vector. The request's number, for `core_gateway_answers`.
    fn core_gateway_begin(gateway, request, body, settings: Settings) {
        let number = begin(server(gateway)?, to_json(request)?, body.bytes(), settings)?;
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

    /// What the administrator has to know of the options as the server starts: sentences, mostly none.
    fn core_gateway_doubts(gateway) {
        Ok(Value::Texts(server(gateway)?.gateway.doubts()).into())
    }

    /// Makes way for the Unix socket that a server is to listen on.
    fn core_socket_make_way(path: String) {
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
    /// `number`, `status`, `headers`, `body` (a list with `file` and `owned` where it is large) and `said`.
    fn core_gateway_answers(gateway, awaited: i32, seconds: f64) {
        let patience = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Ok(answers(server(gateway)?, awaited, patience).into())
    }

    /// Makes an API key for a user and keeps its hash in a file. `days` is a number or `NULL`. The key, a string.
    fn core_api_key_create(user: String, file: String, days: Option<f64>, scope: Scope, note: String) {
        // Whole, as R has checked; what is too large is refused as such.
        let days = days.map(|days| days as u32);
        let new = api_key_file::add(Path::new(&file), &user, days, scope, &note)?;
        Ok(Value::Text(new.key).into())
    }

    /// The API keys of a file: a list of lists with `id`, `user`, `note`, `scope`, `created`, `expires` and `last_used`,
    /// the last three `NULL` or strings.
    fn core_api_key_list(file: String) {
        Value::json(&api_key_file::list(Path::new(&file))?)
    }

    /// Takes an API key out of a file, by its id. A list as of `core_api_key_list`.
    fn core_api_key_revoke(id: String, file: String) {
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
        let mut answers = lock(&server.answers);
        answers.begun = answers.begun.checked_add(1).unwrap_or(1);
        answers.begun
    };
    let (gateway, sender, folder) = (
        Arc::clone(&server.gateway),
        server.sender.clone(),
        server.folder.clone(),
    );
    let upkeep = Arc::clone(&server.upkeep);
    let request = request_of(&request, body)?;
    if server.gateway.is_for_anybody(&request.call) {
        if let Some(answer) = without_signals(|| server.gateway.answer_at_once(&request)) {
            let _ = sender.send(Ready {
                number,
                answer,
                file: None,
            });
            return Ok(number);
        }
    }
    spawn("abba-request", move || {
        let mut answer = gateway.answer(&request, &|operation| {
            lock(&upkeep).settings = Some(settings.clone());
            begin_following(&gateway, &upkeep);
            with_connection(&settings, operation)
        });
        let file = set_aside(&mut answer.body, &folder.join(format!("abba-answer-{number}")));
        // The receiver is there as long as the server.
        let _ = sender.send(Ready { number, answer, file });
    })?;
    Ok(number)
}

/// What is said of a request before its body is read: a list, see [`answer_list`], or the caller's name.
fn look_early(server: &Server, request: Json) -> Result<Value, Error> {
    let request = request_of(&request, &[])?;
    Ok(match without_signals(|| server.gateway.look_early(&request)) {
        Early::Refused(answer) => answer_list(0, *answer, None),
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
    let request = broken_request(request);
    answer_list(0, without_signals(|| server.gateway.refuse(&request, refusal)), None)
}

/// Takes the answers that are ready, and waits up to `patience` for that with the number `awaited`. A list of lists, see
/// [`answer_list`].
fn answers(server: &Server, awaited: i32, patience: Duration) -> Value {
    let answers = lock(&server.answers);
    let deadline = Instant::now() + patience;
    let mut ready = Vec::new();
    let mut is_there = false;
    loop {
        let wait = match is_there {
            true => Duration::ZERO,
            false => deadline.saturating_duration_since(Instant::now()),
        };
        match answers.receiver.recv_timeout(wait) {
            Ok(Ready { number, answer, file }) => {
                is_there |= number == awaited;
                ready.push(answer_list(number, answer, file));
            }
            Err(_) => return Value::Unnamed(ready),
        }
    }
}

/// `json` is the list that `api_request()` in `R/server-answer.R` makes.
///
/// Errors: it is none.
fn request_of(json: &Json, body: &[u8]) -> Result<Request, Error> {
    Ok(Request {
        body: body.to_vec(),
        ..from_r(json.clone())?
    })
}

/// The same without a body; of what is no request as much as names it.
fn broken_request(json: &Json) -> Request {
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_string();
    request_of(json, &[]).unwrap_or_else(|_| Request {
        method: text("method"),
        call: text("call"),
        when: text("when"),
        from: text("from"),
        ..Request::default()
    })
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

/// Begins the watches by which the server knows the cluster's jobs, and what starts jobs in their turn by them, each in a
/// thread of its own, where it wants some. One kubectl a call, or one that is kept for a server without Unix sockets, would
/// not do for them.
fn begin_following(gateway: &Gateway, upkeep: &Mutex<Upkeep>) {
    let (holder, settings) = {
        let upkeep = lock(upkeep);
        (upkeep.holder.clone(), upkeep.settings.clone())
    };
    let Some(settings) = settings.filter(|settings| cfg!(unix) && settings.session) else {
        return;
    };
    for following in gateway.begin_following(&format!("{settings:?}"), &holder) {
        let settings = settings.clone();
        // Without a thread its end is that of the watch, and LISTs serve.
        let _ = spawn("abba-watch", move || {
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

/// A body of more bytes is a file, which the thread that serves connections reads: R's own, which all callers share, has nothing
/// to do with it then, and holds none of it.
const LARGE_BODY: usize = 64 * 1024;

/// Puts a large body into a new file that its owner alone can read; `None`: it is small, or that cannot be done, and it stays.
fn set_aside(body: &mut String, path: &Path) -> Option<PathBuf> {
    if body.len() <= LARGE_BODY {
        return None;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).ok()?;
    if file.write_all(body.as_bytes()).is_err() {
        let _ = fs::remove_file(path);
        return None;
    }
    *body = String::new();
    Some(path.to_path_buf())
}

/// A list with `number`, the request's; `status`, an integer; `headers`, a list of strings with names; `body`, a string, a raw
/// vector where it is large, or a list with the path `file` where it was set aside, to be removed by whoever sends it (`owned`);
/// and `said`, a string.
fn answer_list(number: i32, answer: Response, file: Option<PathBuf>) -> Value {
    let body = match file {
        Some(path) => Value::named([
            ("file", Value::Text(path.to_string_lossy().into_owned())),
            ("owned", Value::Json(true.into())),
        ]),
        None if answer.body.len() > LARGE_BODY => Value::Bytes(answer.body.into_bytes()),
        None => Value::Text(answer.body),
    };
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
        ("body", body),
        ("said", Value::Text(answer.said)),
    ])
}
