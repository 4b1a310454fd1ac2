//! The transport that keeps one `kubectl proxy` for the R session.
//!
//! Nearly all of the time of a kubectl call is kubectl starting. A proxy on a unix socket is started on the first need;
//! from then on a call is an HTTP request over that socket, while kubectl still owns the login. Nothing is kept but the
//! supervising process and the socket's path: runtime and connection are made anew for each call, so a forked child of R
//! can use the same proxy.
//!
//! Where no proxy can be had, each call is one kubectl, and whatever is wrong is told in that one's words.

mod configuration;
#[cfg(test)]
mod fuzz;
mod http;
mod proxy;

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;

use self::http::{Exchange, HttpFailure};
use self::proxy::Socket;
use super::login::{self, Words};
use super::login_gate::{self, Pass};
use super::{words, Call, Deadline, Failure, FailureKind, Kubectl, Transport, Verb};
use crate::error::KubectlReport;

/// Calls a function, and meanwhile has no program that is started inherit any open file beside its standard streams.
///
/// The kept kubectl outlives files that R closes. If it held the end of such a pipe, the pipe's reader would wait for ever.
pub type WithNothingInherited = fn(&mut dyn FnMut());

/// Speaks to the API server through the `kubectl proxy` of this process.
#[derive(Clone, Debug)]
pub struct Session {
    kubectl: Kubectl,
    isolated: WithNothingInherited,
}

/// A proxy that has not answered for so long may hold a connection that is dead: a laptop has slept, a VPN was set up anew.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(20);

/// So long such a proxy is waited for when it is asked for something that may be asked again.
const DOUBT: Duration = Duration::from_secs(5);

/// How often it is looked whether a login helper still runs.
const LOOK_FOR_HELPER: Duration = Duration::from_millis(500);

/// The login that a login helper gives, as a number; `None` where there is no helper.
pub(super) fn login_of_helper(kubectl: &Path) -> Option<u64> {
    configuration::Configuration::now(kubectl).login_of_helper()
}

/// The configuration as it is now, as a number.
pub(super) fn configuration(kubectl: &Path) -> u64 {
    configuration::Configuration::now(kubectl).number()
}

impl Session {
    /// A transport that starts the proxy with `kubectl` when it needs one.
    pub fn new(kubectl: Kubectl, isolated: WithNothingInherited) -> Self {
        Self { kubectl, isolated }
    }

    /// Ends the proxy of this process, if it has one. It ends by itself with the process, however that ends.
    pub fn end() {
        proxy::end();
    }

    /// [`Transport::stream`] over one proxy. `may_renew`: whether another proxy may be tried.
    fn exchange_over(
        &self,
        socket: &Socket,
        call: &Call,
        deadline: &Deadline<'_>,
        may_renew: bool,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Outcome, Failure> {
        let pass = socket
            .login_of_helper
            .map(|login| login_gate::enter(login, &deadline.of_login()).map_err(|failure| about(call, failure)));
        let pass = RefCell::new(pass.transpose()?);
        let has_login = || {
            if let Some(pass) = pass.borrow_mut().as_mut() {
                pass.has_login();
            }
        };
        let stderr_before = socket.stderr_length();
        let words = RefCell::new(Words::new(stderr_before));
        let (answered, waits_for_login) = (Cell::new(false), Cell::new(false));
        let (given_up, was_interrupted) = (Cell::new(false), Cell::new(false));
        let begun = Instant::now();
        let last_look = Cell::new(begun);
        let is_doubtful = may_renew && call.verb == Verb::Get && socket.idle() > DOUBTFUL_AFTER;
        // Asked about twenty times a second, in this thread.
        let stop = || {
            if deadline.is_interrupted() {
                was_interrupted.set(true);
                return true;
            }
            if answered.get() {
                if pass.borrow().as_ref().is_some_and(Pass::is_alone) {
                    has_login();
                }
                return deadline.has_passed();
            }
            let mut words = words.borrow_mut();
            if words.are_due() {
                if socket.stderr_length() > words.shown() {
                    words.show(&socket.stderr());
                }
                if socket.login_of_helper.is_some() && last_look.get().elapsed() >= LOOK_FOR_HELPER {
                    last_look.set(Instant::now());
                    let runs = socket.helper_runs();
                    waits_for_login.set(runs == Some(true));
                    if runs == Some(false) && pass.borrow().as_ref().is_some_and(Pass::is_alone) {
                        has_login();
                    }
                }
            }
            given_up.set(is_doubtful && begun.elapsed() > DOUBT && !waits_for_login.get());
            given_up.get() || (deadline.has_passed() && !waits_for_login.get())
        };
        let whole = deadline.of_login().or_when(&stop);
        let ended = http::exchange(&socket.path(), call, &whole, &answered, part);
        if answered.get() {
            socket.has_answered();
        }
        let failure = match ended {
            Ok(Exchange::Done { warnings }) => {
                has_login();
                return Ok(Outcome::Answered(warnings));
            }
            Ok(Exchange::Refused {
                status,
                retry_after,
                body,
            }) => Failure {
                retry_after,
                ..refusal(call, status, &body)
            },
            Err(HttpFailure::NoProxy(words)) => {
                // It died, or another program removed its socket. Nothing was delivered: a new one, once.
                proxy::forget(socket, deadline)?;
                if may_renew {
                    return Ok(Outcome::AskAgain);
                }
                failure(call, FailureKind::Unreachable, words)
            }
            Err(HttpFailure::NotSent(words)) => failure(call, FailureKind::NotSent, words),
            Err(HttpFailure::Broken(words)) => failure(call, FailureKind::Unreachable, words),
            Err(HttpFailure::Interrupted) if was_interrupted.get() => {
                if waits_for_login.get() {
                    // The next call would wait for the same helper, whose words are gone.
                    proxy::forget(socket, &Deadline::new(DOUBT, &|| false))?;
                }
                failure(call, FailureKind::Interrupted, String::new())
            }
            Err(HttpFailure::Interrupted | HttpFailure::TimedOut) => {
                // Its connection may be dead, or its login helper waits for ever: the next call begins anew.
                if !answered.get() {
                    proxy::forget(socket, &Deadline::new(DOUBT, &|| false))?;
                }
                if given_up.get() {
                    return Ok(Outcome::AskAgain);
                }
                let stderr = socket.stderr();
                let words = login::of_people(&String::from_utf8_lossy(&stderr));
                let kind = match !answered.get() && waits_for_login.get() {
                    true => FailureKind::LoginPending,
                    false => FailureKind::Timeout,
                };
                failure(call, kind, if answered.get() { String::new() } else { words })
            }
        };
        let failure = self.with_words_of_helper(failure, socket, stderr_before);
        match failure.kind {
            // It was refused, so it may be sent again: another kubectl may have a login that was renewed behind our back,
            // which the files do not show.
            FailureKind::Unauthorized | FailureKind::LoginRefused if !socket.new && may_renew => {
                proxy::forget(socket, deadline)?;
                Ok(Outcome::AskAgain)
            }
            FailureKind::Forbidden if socket.login_of_helper.is_some() && socket.may_be_compared() => {
                has_login();
                // A caller of a server may be refused as often as it likes: others keep their proxy, unless its login is
                // shown to be the reason.
                let warnings = self.kubectl.stream(call, deadline, part)?;
                proxy::forget(socket, deadline)?;
                Ok(Outcome::Answered(warnings))
            }
            kind => {
                if let Some(pass) = pass.borrow_mut().as_mut() {
                    match kind {
                        kind if kind.wants_login() => pass.has_no_login(&failure),
                        FailureKind::Interrupted => {}
                        _ => pass.has_login(),
                    }
                }
                Err(failure)
            }
        }
    }

    /// The same failure, with what a login helper has said of it.
    fn with_words_of_helper(&self, failure: Failure, socket: &Socket, stderr_before: usize) -> Failure {
        match failure.kind {
            FailureKind::LoginHelperFailed | FailureKind::LoginHelperMissing => {
                let stderr = socket.stderr();
                let new = stderr.get(stderr_before..).unwrap_or(&stderr);
                let said = login::of_people(&String::from_utf8_lossy(new));
                let words = [said.as_str(), failure.words.as_str()].join("\n").trim().to_string();
                Failure { words, ..failure }
            }
            FailureKind::Unauthorized if socket.login_of_helper.is_some() => Failure {
                kind: FailureKind::LoginRefused,
                ..failure
            },
            _ => failure,
        }
    }
}

/// What became of a call over one proxy.
enum Outcome {
    /// It was answered, with these warnings.
    Answered(Vec<String>),
    /// It was not carried out, and another proxy is worth a try.
    AskAgain,
}

impl Transport for Session {
    fn stream(
        &self,
        call: &Call,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Vec<String>, Failure> {
        let mut renewed = false;
        loop {
            let socket =
                proxy::socket(&self.kubectl, self.isolated, deadline).map_err(|failure| about(call, failure))?;
            let Some(socket) = socket else {
                return self.kubectl.stream(call, deadline, part);
            };
            match self.exchange_over(&socket, call, deadline, !renewed, part)? {
                Outcome::Answered(warnings) => {
                    self.kubectl.note_answer();
                    return Ok(warnings);
                }
                Outcome::AskAgain => renewed = true,
            }
        }
    }

    fn answered(&self) -> usize {
        self.kubectl.answered()
    }

    fn server(&self, deadline: &Deadline<'_>) -> Option<String> {
        self.kubectl.server(deadline)
    }

    fn configuration_number(&self, deadline: &Deadline<'_>) -> Option<u64> {
        self.kubectl.configuration_number(deadline)
    }

    fn namespace(&self, deadline: &Deadline<'_>) -> Result<String, Failure> {
        proxy::namespace(&self.kubectl, self.isolated, deadline)
    }
}

/// The error object that the API server answers with:
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    kind: String,
    reason: String,
    message: String,
}

/// The failure for an answer with an error status. Its words are those that kubectl itself would use for it.
fn refusal(call: &Call, code: u16, body: &[u8]) -> Failure {
    let status = serde_json::from_slice::<Status>(body).unwrap_or_default();
    if status.kind != "Status" {
        let text: String = String::from_utf8_lossy(body).chars().take(1000).collect();
        let kind = of_a_stranger(code, &text);
        // What stopped kubectl proxy itself, in kubectl's words for it.
        let words = match code {
            500 if !words::is_page(&text) => format!("Unable to connect to the server: {}", text.trim()),
            _ => format!("Unable to connect to the server: HTTP status {code}: {}", text.trim()),
        };
        return failure(call, kind, words);
    }
    let words = match (status.reason.as_str(), code) {
        (_, 401) => "error: You must be logged in to the server (Unauthorized)".to_string(),
        ("", _) => format!("Error from server: {}", status.message),
        (reason, _) => format!("Error from server ({reason}): {}", status.message),
    };
    let kind = words::of_refusal(&status.message).or_else(|| words::of_refusal(&status.reason));
    let kind = kind.or_else(|| FailureKind::of_reason(&status.reason));
    let kind = kind.unwrap_or(match code {
        401 => FailureKind::Unauthorized,
        403 => FailureKind::Forbidden,
        404 => FailureKind::NotFound,
        408 => FailureKind::Server,
        409 => FailureKind::Conflict,
        429 => FailureKind::TooManyRequests,
        400 | 405 | 406 | 413 | 415 | 422 => FailureKind::Invalid,
        _ if code >= 500 => FailureKind::Server,
        _ => FailureKind::Other,
    });
    failure(call, kind, words)
}

/// What an answer means that is not the API server's own. kubectl proxy answers 500 with what stopped it as plain text
/// (seen with kubectl 1.34; 502 in other versions); a load balancer before the API server may answer anything, above all
/// while it is set up anew.
fn of_a_stranger(code: u16, text: &str) -> FailureKind {
    // kubectl falls back to this address where nothing is configured.
    let nothing_configured = ["localhost:8080", "[::1]:8080", "127.0.0.1:8080"]
        .iter()
        .any(|address| text.contains(address));
    // An API server that does not have such a resource at all answers so, without an error object.
    let no_such_path =
        code == 404 && ["404 page not found", "404: page not found"].contains(&text.trim().to_lowercase().as_str());
    // 400 is Go's answer to plain HTTP where TLS is spoken; 502 with nothing but its own name is a load balancer's, behind
    // which the call may have arrived.
    let is_load_balancers = code == 502 && text.trim().eq_ignore_ascii_case("bad gateway");
    let by_words = words::of_connection(text).filter(|kind| match code {
        500 | 502 => !words::is_page(text) && !is_load_balancers,
        400 => *kind == FailureKind::NoTls,
        _ => false,
    });
    if let Some(kind) = by_words {
        return kind;
    }
    if let Some(kind) = words::of_strangers_status(code).filter(|_| !no_such_path) {
        return kind;
    }
    match code {
        404 => FailureKind::NotFound,
        _ if words::is_page(text) => FailureKind::Stranger,
        _ if text.contains("connection refused") && nothing_configured => FailureKind::NotConfigured,
        _ if text.contains("connection refused") => FailureKind::Refused,
        502 => FailureKind::Unreachable,
        500 if !text.trim().is_empty() => FailureKind::Unreachable,
        _ if code >= 500 => FailureKind::Server,
        _ => FailureKind::Other,
    }
}

fn failure(call: &Call, kind: FailureKind, words: String) -> Failure {
    Failure {
        kind,
        report: Some(KubectlReport {
            request: call.request_line(),
            exit_status: None,
            stderr: words.clone(),
        }),
        words,
        details: None,
        retry_after: None,
    }
}

/// The same failure with the call that it stopped.
fn about(call: &Call, failure: Failure) -> Failure {
    let report = Some(KubectlReport {
        request: call.request_line(),
        ..Default::default()
    });
    Failure { report, ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_means_is_read_from_its_error_object() {
        let call = Call::get("/api");
        for (code, reason, kind) in [
            (404, "NotFound", FailureKind::NotFound),
            (403, "Forbidden", FailureKind::Forbidden),
            (409, "AlreadyExists", FailureKind::AlreadyExists),
            (409, "Conflict", FailureKind::Conflict),
            (422, "Invalid", FailureKind::Invalid),
            (413, "RequestEntityTooLarge", FailureKind::Invalid),
            (401, "Unauthorized", FailureKind::Unauthorized),
            (504, "Timeout", FailureKind::Server),
            // Without a reason, or with a new one, the status says it.
            (500, "", FailureKind::Server),
            (413, "", FailureKind::Invalid),
            (403, "Unheard", FailureKind::Forbidden),
            (409, "", FailureKind::Conflict),
            (415, "", FailureKind::Invalid),
            (408, "", FailureKind::Server),
            // Where a watch begins too long ago.
            (410, "Expired", FailureKind::Other),
        ] {
            let status = serde_json::json!({"kind": "Status", "reason": reason, "message": "in words"});
            let failure = refusal(&call, code, status.to_string().as_bytes());
            assert_eq!(failure.kind, kind, "{code} {reason}");
        }
        let status = r#"{"kind":"Status","reason":"NotFound","message":"pods \"a\" not found"}"#;
        assert_eq!(
            refusal(&call, 404, status.as_bytes()).words,
            "Error from server (NotFound): pods \"a\" not found"
        );
    }

    #[test]
    fn what_stands_between_does_not_speak_for_the_server() {
        let call = Call::get("/api");
        let refused =
            |address: &str| format!("Error trying to reach service: 'dial tcp {address}: connect: connection refused'");
        for (code, body, kind) in [
            (429, "slow down", FailureKind::TooManyRequests),
            (502, &*refused("127.0.0.1:1"), FailureKind::Refused),
            (502, &*refused("[::1]:8080"), FailureKind::NotConfigured),
            (502, "", FailureKind::Unreachable),
            (
                500,
                "getting credentials: exec: executable x not found\n\nIt looks like",
                FailureKind::LoginHelperMissing,
            ),
            (
                500,
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                FailureKind::Certificate,
            ),
            (
                500,
                "proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused",
                FailureKind::Proxy,
            ),
            (302, "", FailureKind::Page),
            (503, "<!DOCTYPE html><html>Log in</html>", FailureKind::Stranger),
            (504, "<html><body>gateway timeout</body></html>", FailureKind::Stranger),
            (504, "gateway timeout", FailureKind::Server),
            (404, "default backend - 404", FailureKind::Stranger),
            (
                404,
                r#"{"message":"no Route matched with those values"}"#,
                FailureKind::Stranger,
            ),
            (403, "<html>403 Forbidden</html>", FailureKind::Stranger),
            (404, "404 page not found\n", FailureKind::NotFound),
            // A load balancer's own, behind which the call may have arrived.
            (502, "Bad Gateway", FailureKind::Unreachable),
            (500, "Bad Gateway", FailureKind::Proxy),
            (
                502,
                "<html><title>connection refused</title></html>",
                FailureKind::Stranger,
            ),
            (520, "<html><head></head></html>", FailureKind::Stranger),
            (
                400,
                "Client sent an HTTP request to an HTTPS server.\n",
                FailureKind::NoTls,
            ),
            (400, "Bad Request", FailureKind::Page),
            (405, "<html><head><title>405</title></head></html>", FailureKind::Page),
            (407, "", FailureKind::Proxy),
            (408, "", FailureKind::Stranger),
            (
                413,
                "<html><head><title>413</title></head></html>",
                FailureKind::Invalid,
            ),
            (414, "", FailureKind::Invalid),
            (451, "", FailureKind::Page),
            (511, "<html><head></head>Log in</html>", FailureKind::Page),
        ] {
            assert_eq!(refusal(&call, code, body.as_bytes()).kind, kind, "{code} {body}");
        }
    }
}
