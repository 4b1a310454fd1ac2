//! The transport that keeps one `kubectl proxy` for the R session.
//!
//! Nearly all of the time of a kubectl call is kubectl starting. A proxy on a unix socket is started on the first need;
//! from then on a call is an HTTP request over that socket, while kubectl still owns the login. Nothing is kept but the
//! supervising process and the socket's path: runtime and connection are made anew for each call, so a forked child of R
//! can use the same proxy.
//!
//! Where no proxy can be had, each call is one kubectl, and whatever is wrong is told in that one's words.

mod configuration;
mod http;
mod proxy;

use std::ops::ControlFlow;
use std::time::Duration;

use serde::Deserialize;

use self::http::{Exchange, HttpFailure};
use self::proxy::Socket;
use super::{Call, Deadline, Failure, FailureKind, Kubectl, Transport};
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

/// How old a proxy must be for a "forbidden" to be blamed on its login. Else each one would start another kubectl.
const OLD_LOGIN: Duration = Duration::from_secs(60);

impl Session {
    /// A transport that starts the proxy with `kubectl` when it needs one.
    pub fn new(kubectl: Kubectl, isolated: WithNothingInherited) -> Self {
        Self { kubectl, isolated }
    }

    /// Ends the proxy of this process, if it has one. It ends by itself with the process, however that ends.
    pub fn end() {
        proxy::end();
    }

    /// Sends a call and hands over the answer's body in parts as they come, until `part` breaks off. Gives back the
    /// server's warnings.
    fn exchange(
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
                return self.kubectl.stream(call, deadline, part).map(|()| Vec::new());
            };
            let failure = match http::exchange(&socket.path, call, deadline, part) {
                Ok(Exchange::Done { warnings }) => return Ok(warnings),
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
                    proxy::forget(&socket, deadline)?;
                    if !renewed {
                        renewed = true;
                        continue;
                    }
                    failure(call, FailureKind::Unreachable, words)
                }
                Err(HttpFailure::Broken(words)) => failure(call, FailureKind::Unreachable, words),
                Err(HttpFailure::TimedOut) => failure(call, FailureKind::Timeout, String::new()),
                Err(HttpFailure::Interrupted) => failure(call, FailureKind::Interrupted, String::new()),
            };
            // It was refused, so it may be sent again.
            if may_be_an_old_login(failure.kind, &socket) && !renewed {
                renewed = true;
                proxy::forget(&socket, deadline)?;
                continue;
            }
            return Err(failure);
        }
    }
}

/// Whether a new kubectl may have a login that is accepted: one that was renewed behind our back, which the files do not
/// show.
fn may_be_an_old_login(kind: FailureKind, socket: &Socket) -> bool {
    match kind {
        FailureKind::Unauthorized => !socket.new,
        FailureKind::Forbidden => socket.has_login_helper && socket.started.elapsed() > OLD_LOGIN,
        _ => false,
    }
}

impl Transport for Session {
    fn stream(
        &self,
        call: &Call,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.exchange(call, deadline, part).map(|_| ())
    }

    fn send_with_warnings(&self, call: &Call, deadline: &Deadline<'_>) -> Result<(Vec<u8>, Vec<String>), Failure> {
        let mut answer = Vec::new();
        let warnings = self.exchange(call, deadline, &mut |part| {
            answer.extend_from_slice(part);
            ControlFlow::Continue(())
        })?;
        Ok((answer, warnings))
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
        let words = format!("Unable to connect to the server: HTTP status {code}: {}", text.trim());
        return failure(call, of_a_stranger(code, &text), words);
    }
    let words = match (status.reason.as_str(), code) {
        (_, 401) => "error: You must be logged in to the server (Unauthorized)".to_string(),
        ("", _) => format!("Error from server: {}", status.message),
        (reason, _) => format!("Error from server ({reason}): {}", status.message),
    };
    let kind = FailureKind::of_reason(&status.reason).unwrap_or(match code {
        401 => FailureKind::Unauthorized,
        403 => FailureKind::Forbidden,
        404 => FailureKind::NotFound,
        429 => FailureKind::TooManyRequests,
        400 | 413 | 422 => FailureKind::Invalid,
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
    let no_such_path = ["404 page not found", "404: page not found"].contains(&text.trim().to_lowercase().as_str());
    match code {
        401 => FailureKind::Unauthorized,
        404 if no_such_path => FailureKind::NotFound,
        403 | 404 => FailureKind::Unreachable,
        429 => FailureKind::TooManyRequests,
        _ if text.contains("getting credentials") => FailureKind::Unauthorized,
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
    use std::time::Instant;

    #[test]
    fn a_refusal_may_be_due_to_an_old_login() {
        let socket = |age: u64, new, has_login_helper| Socket {
            path: "socket".into(),
            started: Instant::now().checked_sub(Duration::from_secs(age)).unwrap(),
            new,
            has_login_helper,
        };
        assert!(may_be_an_old_login(FailureKind::Unauthorized, &socket(1, false, false)));
        assert!(!may_be_an_old_login(FailureKind::Unauthorized, &socket(1, true, true)));
        assert!(may_be_an_old_login(FailureKind::Forbidden, &socket(61, false, true)));
        // Without a login helper the files tell; and not at each refusal.
        assert!(!may_be_an_old_login(FailureKind::Forbidden, &socket(61, false, false)));
        assert!(!may_be_an_old_login(FailureKind::Forbidden, &socket(1, false, true)));
        assert!(!may_be_an_old_login(FailureKind::NotFound, &socket(61, false, true)));
    }

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
            (504, "<html>gateway timeout</html>", FailureKind::Server),
            (404, "default backend - 404", FailureKind::Unreachable),
            (
                404,
                r#"{"message":"no Route matched with those values"}"#,
                FailureKind::Unreachable,
            ),
            (403, "<html>403 Forbidden</html>", FailureKind::Unreachable),
            (404, "404 page not found\n", FailureKind::NotFound),
        ] {
            assert_eq!(refusal(&call, code, body.as_bytes()).kind, kind, "{code} {body}");
        }
    }
}
