//! One HTTP request over a unix socket.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::transport::{Call, Patience, Verb};

/// The end of an exchange.
#[derive(Debug)]
pub enum Exchange {
    /// The server said yes, and the body was handed over (as far as it was wanted).
    Done {
        /// Its warnings.
        warnings: Vec<String>,
    },
    /// The server answered with an error status.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        body: Vec<u8>,
    },
}

/// Why there was no exchange.
#[derive(Debug)]
pub enum HttpFailure {
    /// Nobody listens on the socket: nothing was sent.
    NoProxy(String),
    /// The connection broke.
    Broken(String),
    /// The time limit was over.
    TimedOut,
    /// The user wants to stop.
    Interrupted,
}

/// Sends a call over `socket`. The body of a success is handed to `part` as it comes, until that breaks off.
///
/// Runs in the calling thread alone, which is R's: an interrupt is looked for there about twenty times a second.
pub fn exchange(
    socket: &Path,
    call: &Call,
    patience: &Patience<'_>,
    part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<Exchange, HttpFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| HttpFailure::Broken(error.to_string()))?;
    runtime.block_on(async {
        tokio::select! {
            biased;
            ended = watch_patience(patience) => Err(ended),
            result = converse(socket, call, part) => result,
        }
    })
}

async fn watch_patience(patience: &Patience<'_>) -> HttpFailure {
    loop {
        if patience.is_interrupted() {
            return HttpFailure::Interrupted;
        }
        if patience.is_over() {
            return HttpFailure::TimedOut;
        }
        tokio::time::sleep(patience.next_look()).await;
    }
}

async fn converse(
    socket: &Path,
    call: &Call,
    part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<Exchange, HttpFailure> {
    let stream = UnixStream::connect(socket).await.map_err(no_proxy)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Moves the bytes; its errors reach us through the request.
    let mover = tokio::spawn(connection);
    let response = sender.send_request(request(call)?).await.map_err(broken)?;
    let result = read(response, part).await;
    mover.abort();
    result
}

/// What is wanted as an answer.
const OBJECTS: &str = "application/json, */*";

/// The same where the metadata is enough; a server that cannot give it alone gives the objects.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches>
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1, application/json, */*";

fn request(call: &Call) -> Result<Request<Full<Bytes>>, HttpFailure> {
    let method = match call.verb {
        Verb::Get => Method::GET,
        Verb::Create => Method::POST,
        Verb::Replace => Method::PUT,
        Verb::Delete => Method::DELETE,
    };
    let body = call.body.clone().unwrap_or_default();
    Request::builder()
        .method(method)
        .uri(&call.path)
        // kubectl proxy answers to this name only.
        .header("Host", "localhost")
        .header("Accept", if call.metadata_only { METADATA } else { OBJECTS })
        .header("Content-Type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| HttpFailure::Broken(error.to_string()))
}

async fn read(
    mut response: Response<Incoming>,
    part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<Exchange, HttpFailure> {
    let status = response.status();
    let warnings = warnings(response.headers());
    let mut refusal = Vec::new();
    while let Some(frame) = response.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        if !status.is_success() {
            refusal.extend_from_slice(&data);
        } else if part(&data).is_break() {
            return Ok(Exchange::Done { warnings });
        }
    }
    if status.is_success() {
        Ok(Exchange::Done { warnings })
    } else {
        Ok(Exchange::Refused {
            status: status.as_u16(),
            body: refusal,
        })
    }
}

/// The texts of `Warning: 299 - "TEXT"`, with `\"` for a quotation mark in it (RFC 9110, quoted-string).
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let text = |header: &HeaderValue| {
        let header = String::from_utf8_lossy(header.as_bytes()).into_owned();
        let quoted = header.strip_prefix("299 ")?.split_once('"')?.1.rsplit_once('"')?.0;
        let mut text = String::new();
        let mut characters = quoted.chars();
        while let Some(character) = characters.next() {
            text.extend(match character {
                '\\' => characters.next(),
                other => Some(other),
            });
        }
        Some(text)
    };
    headers.get_all("Warning").iter().filter_map(text).collect()
}

fn no_proxy(error: io::Error) -> HttpFailure {
    HttpFailure::NoProxy(format!("kubectl proxy does not answer: {error}"))
}

fn broken(error: hyper::Error) -> HttpFailure {
    HttpFailure::Broken(format!(
        "Unable to connect to the server: the connection to kubectl proxy broke: {error}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_read_as_they_were_meant() {
        let mut headers = HeaderMap::new();
        for value in [
            r#"299 - "would violate PodSecurity \"restricted:latest\": a \\ b""#,
            r#"299 apiserver "deprecated""#,
            r#"214 - "not a warning of Kubernetes""#,
            "garbage",
        ] {
            headers.append("Warning", HeaderValue::from_static(value));
        }
        assert_eq!(
            warnings(&headers),
            [r#"would violate PodSecurity "restricted:latest": a \ b"#, "deprecated"]
        );
    }
}
