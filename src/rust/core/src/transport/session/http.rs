//! One HTTP request over a unix socket.
//!
//! Why hyper on a current-thread tokio runtime, and not ureq over a transport of its own:
//!
//! * **Interrupts.** A request is a future, so one `select!` looks for Ctrl-C and the time limit twenty times a second
//!   while connecting, sending, waiting and reading, and dropping the future ends the exchange wherever it stands. ureq
//!   blocks: its transport would need a socket time-out of 50 ms, and a read that has timed out ends its request, so that
//!   the transport would have to hide the time-outs and look for interrupts by itself.
//! * **Streams.** Watches and followed logs last for hours and are left at any moment; both libraries can read a body in
//!   parts, but see above for leaving one in the middle of a silence.
//! * **A unix socket.** hyper takes any byte stream. ureq takes one through `ureq::unversioned`, the part of its interface
//!   that it does not promise to keep.
//! * **Many requests at once** make no difference: each runs in a thread of its own (`operations/parallel_map.rs`), with a
//!   runtime and a connection of its own. That costs some 0.1 ms on a unix socket, and is what makes a fork safe: nothing
//!   is kept between two calls that a child of R could share with it.
//! * **Build time, size, MSRV.** hyper 1.12 with tokio 1.53 are 23 crates, 21 s of processor time in a cold release build
//!   and under 1 MB; they ask for Rust 1.71. ureq 3.5 without TLS is 10 crates and 13 s, and asks for Rust 1.85.

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

use crate::transport::{Call, Deadline, Verb};

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
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// What it said.
        body: Vec<u8>,
    },
}

/// Why there was no exchange.
#[derive(Debug)]
pub enum HttpFailure {
    /// Nobody listens on the socket: nothing was sent.
    NoProxy(String),
    /// This process lacks something: nothing was sent, and the proxy may be well.
    NotSent(String),
    /// The connection broke.
    Broken(String),
    /// The time limit was over.
    TimedOut,
    /// The user wants to stop.
    Interrupted,
}

/// Sends a call over `socket`. The body of a success is handed to `part` as it comes, until that breaks off. `answered` is
/// set when the answer begins.
///
/// Runs in the calling thread alone, which is R's: an interrupt is looked for there about twenty times a second.
pub fn exchange(
    socket: &Path,
    call: &Call,
    deadline: &Deadline<'_>,
    answered: &Cell<bool>,
    part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<Exchange, HttpFailure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| HttpFailure::NotSent(error.to_string()))?;
    runtime.block_on(async {
        tokio::select! {
            biased;
            ended = watch_deadline(deadline) => Err(ended),
            result = converse(socket, call, answered, part) => result,
        }
    })
}

/// The pause before a proxy is asked again that has too many connections to accept.
const FULL_BACKLOG_PAUSE: Duration = Duration::from_millis(5);

async fn watch_deadline(deadline: &Deadline<'_>) -> HttpFailure {
    loop {
        if deadline.is_interrupted() {
            return HttpFailure::Interrupted;
        }
        if deadline.has_passed() {
            return HttpFailure::TimedOut;
        }
        tokio::time::sleep(deadline.poll_interval()).await;
    }
}

async fn converse(
    socket: &Path,
    call: &Call,
    answered: &Cell<bool>,
    part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<Exchange, HttpFailure> {
    let stream = connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(WithoutSignal(stream)))
        .await
        .map_err(broken)?;
    // Moves the bytes; its errors reach us through the request.
    let mover = tokio::spawn(connection);
    let response = sender.send_request(request(call)?).await.map_err(broken)?;
    answered.set(true);
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
    let retry_after = retry_after(&response);
    let mut refusal = Vec::new();
    // Of a stream that is silent at first it is known so that it has begun.
    if status.is_success() && part(&[]).is_break() {
        return Ok(Exchange::Done { warnings });
    }
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
            retry_after,
            body: refusal,
        })
    }
}

/// The texts of `Warning: 299 - "TEXT"`, with `\"` for a quotation mark in it (RFC 9110, quoted-string). What stands between
/// may join several into one header, with a comma after each (RFC 9110, 5.3).
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let mut texts = Vec::new();
    for header in headers.get_all("Warning") {
        let header = String::from_utf8_lossy(header.as_bytes()).into_owned();
        let mut rest = header.as_str();
        while let Some((before, quoted)) = rest.split_once('"') {
            let (mut text, mut characters) = (String::new(), quoted.chars());
            let mut is_closed = false;
            while let Some(character) = characters.next() {
                match character {
                    '"' => {
                        is_closed = true;
                        break;
                    }
                    '\\' => text.extend(characters.next()),
                    other => text.push(other),
                }
            }
            // A quoted date may stand before the comma.
            let code = before.rsplit(',').next().unwrap_or_default().trim_start();
            if is_closed && code.starts_with("299 ") && !texts.contains(&text) {
                texts.push(text);
            }
            rest = characters.as_str();
        }
    }
    texts
}

/// The server's wish in seconds, which is the form that the API server uses.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// Connects, and again where the proxy has many connections to accept just now (EAGAIN on a unix socket). Only a socket
/// that is gone, or on which nobody listens, says that the proxy is gone.
async fn connect(socket: &Path) -> Result<UnixStream, HttpFailure> {
    loop {
        let error = match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let words = format!("kubectl proxy does not answer: {error}");
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Err(HttpFailure::NoProxy(words)),
            io::ErrorKind::WouldBlock => tokio::time::sleep(FULL_BACKLOG_PAUSE).await,
            _ => return Err(HttpFailure::NotSent(words)),
        }
    }
}

fn broken(error: hyper::Error) -> HttpFailure {
    HttpFailure::Broken(format!(
        "Unable to connect to the server: the connection to kubectl proxy broke: {error}"
    ))
}

/// A connection on which writing to a proxy that has gone is an error and no more. By itself it raises SIGPIPE too, and
/// R's handler for that jumps out of the middle of this code.
struct WithoutSignal(UnixStream);

/// Apple's systems have no such flag; there the socket itself was told so when it was made.
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: libc::c_int = 0;
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: libc::c_int = libc::MSG_NOSIGNAL;

impl AsyncWrite for WithoutSignal {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = &self.0;
        loop {
            ready!(stream.poll_write_ready(context))?;
            let sent = stream.try_io(Interest::WRITABLE, || {
                socket2::SockRef::from(stream).send_with_flags(bytes, NO_SIGNAL)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl AsyncRead for WithoutSignal {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_folder::Folder;
    use hyper::header::HeaderValue;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    /// A server that gives each connection one answer, and then closes it.
    struct Server {
        folder: Folder,
    }

    impl Server {
        fn new(answer: &'static [u8]) -> Self {
            let folder = Folder::new();
            let listener = UnixListener::bind(folder.join("socket")).unwrap();
            std::thread::spawn(move || {
                for mut connection in listener.incoming().flatten() {
                    let mut request = vec![0; 64 * 1024];
                    let _ = connection.read(&mut request);
                    let _ = connection.write_all(answer);
                }
            });
            Self { folder }
        }

        fn ask(&self) -> (Result<Exchange, HttpFailure>, Vec<u8>) {
            let mut body = Vec::new();
            let deadline = Deadline::new(Duration::from_secs(60), &|| false);
            let result = exchange(
                &self.folder.join("socket"),
                &Call::get("/api"),
                &deadline,
                &Cell::new(false),
                &mut |part| {
                    body.extend_from_slice(part);
                    ControlFlow::Continue(())
                },
            );
            (result, body)
        }
    }

    #[test]
    fn an_answer_comes_back_whole() {
        let server =
            Server::new(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n3\r\nped\r\n0\r\n\r\n");
        let (result, body) = server.ask();
        assert!(matches!(result, Ok(Exchange::Done { .. })), "{result:?}");
        assert_eq!(body, b"Wikiped");
    }

    #[test]
    fn an_answer_that_is_cut_is_no_answer() {
        for answer in [
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".as_slice(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nWi",
            b"HTTP/1.1 200 OK\r\nConten",
            b"",
            b"what?\n",
        ] {
            let (result, _) = Server::new(answer).ask();
            assert!(matches!(result, Err(HttpFailure::Broken(_))), "{result:?}");
        }
    }

    #[test]
    fn a_busy_servers_wish_is_heard() {
        for (header, wish) in [
            ("Retry-After: 7\r\n", Some(Duration::from_secs(7))),
            ("Retry-After: soon\r\n", None),
            ("", None),
        ] {
            let answer = format!("HTTP/1.1 429 Too Many Requests\r\n{header}Content-Length: 4\r\n\r\nbusy");
            let (result, body) = Server::new(answer.leak().as_bytes()).ask();
            assert!(body.is_empty());
            match result {
                Ok(Exchange::Refused {
                    status: 429,
                    retry_after,
                    body,
                }) => assert_eq!((retry_after, body), (wish, b"busy".to_vec())),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn where_nobody_listens_nothing_was_sent() {
        let server = Server::new(b"");
        let deadline = Deadline::new(Duration::from_secs(60), &|| false);
        let nowhere = server.folder.join("nowhere");
        let result = exchange(&nowhere, &Call::get("/api"), &deadline, &Cell::new(false), &mut |_| {
            ControlFlow::Continue(())
        });
        assert!(matches!(result, Err(HttpFailure::NoProxy(_))), "{result:?}");
        // What this process lacks, here the right to use the socket's name, is no sign that the proxy is gone.
        let no_folder = std::path::Path::new("/dev/null/socket");
        let result = exchange(no_folder, &Call::get("/api"), &deadline, &Cell::new(false), &mut |_| {
            ControlFlow::Continue(())
        });
        assert!(matches!(result, Err(HttpFailure::NotSent(_))), "{result:?}");
    }

    #[test]
    fn warnings_are_read_as_they_were_meant() {
        let mut headers = HeaderMap::new();
        for value in [
            r#"299 - "would violate PodSecurity \"restricted:latest\": a \\ b""#,
            r#"299 apiserver "deprecated""#,
            r#"214 - "not a warning of Kubernetes""#,
            "garbage",
            r#"299 - "of the first, \"a\"", 299 - "of the second" "Thu, 01 Jan 2026 00:00:00 GMT",299 - "deprecated""#,
            r#"299 - "never closed"#,
        ] {
            headers.append("Warning", HeaderValue::from_static(value));
        }
        assert_eq!(
            warnings(&headers),
            [
                r#"would violate PodSecurity "restricted:latest": a \ b"#,
                "deprecated",
                r#"of the first, "a""#,
                "of the second"
            ]
        );
    }
}
