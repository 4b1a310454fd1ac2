//! Broken inputs for what comes from the kept kubectl, and for the files it reads; see [`crate::fuzz`].

use std::cell::Cell;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::configuration::values_of;
use super::http::{exchange, Exchange};
use super::{refusal, Call, Deadline};
use crate::fuzz::{fuzz, fuzz_slowly};
use crate::test_folder::Folder;

const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\nWarning: 299 - \"a \\\"b\\\" c\"\r\n\r\n{\"items\": []}",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n3\r\nped\r\n0\r\n\r\n",
    "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy",
    "HTTP/1.1 403 Forbidden\r\nContent-Length: 52\r\n\r\n{\"kind\": \"Status\", \"reason\": \"Forbidden\", \"code\": 1}",
];

#[test]
fn any_answer_over_the_socket_is_read_and_a_cut_one_is_no_success() {
    let folder = Folder::new();
    let socket = folder.join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = Arc::new(Mutex::new(Vec::new()));
    let given = answer.clone();
    // Ends with the process, as the listener does.
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(&given.lock().unwrap());
        }
    });
    fuzz_slowly(20_000, ANSWERS, |input, rng| {
        let whole = ANSWERS[rng.usize(..ANSWERS.len())].as_bytes();
        let is_cut = rng.u8(..4) == 0;
        *answer.lock().unwrap() = if is_cut {
            whole[..rng.usize(..whole.len())].to_vec()
        } else {
            input.to_vec()
        };
        let mut body = Vec::new();
        let deadline = Deadline::new(Duration::from_secs(60), &|| false);
        let result = exchange(&socket, &Call::get("/api"), &deadline, &Cell::new(false), &mut |part| {
            body.extend_from_slice(part);
            ControlFlow::Continue(())
        });
        match result {
            Ok(_) if is_cut => panic!("an answer that was cut is taken for a whole one"),
            Ok(Exchange::Refused { status, body, .. }) => {
                let _ = refusal(&Call::get("/api"), status, &body);
            }
            _ => {}
        }
    });
}

#[test]
fn any_refusal_has_words() {
    let samples = [
        r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"jobs.batch \"a\" already exists","reason":"AlreadyExists","details":{"name":"a"},"code":409}"#,
        r#"{"kind":"Status","message":"admission webhook \"v\" denied the request: no","reason":"","code":400}"#,
        "<!DOCTYPE html><html><body>503</body></html>",
        "dial tcp [::1]:8080: connect: connection refused",
        "404 page not found\n",
    ];
    let samples: Vec<&str> = samples.iter().chain(crate::transport::fuzz::WORDS).copied().collect();
    fuzz(2000, &samples, |input, rng| {
        let code = [
            400,
            401,
            403,
            404,
            409,
            422,
            429,
            500,
            502,
            503,
            504,
            rng.u16(100..1000),
        ][rng.usize(..12)];
        let failure = refusal(&Call::get("/x"), code, input);
        assert!(!failure.words.is_empty());
        let _ = failure.may_still_arrive();
    });
}

#[test]
fn any_configuration_file_is_searched_for_paths() {
    let samples = [
        "users:\n- name: a\n  user:\n    client-certificate: /pki/a.crt # of a\n    client-key: 'my keys/a.key'\n    tokenFile: \"token\"   # rotates\n",
        "users:\n- name: b\n  user:\n    exec:\n      command: aws\n      args: [eks, get-token]\n",
        r#"{"users": [{"name": "a", "user": {"client-key":"a.key", "tokenFile" : "/t"}}]}"#,
    ];
    fuzz(2000, &samples, |input, _| {
        let text = String::from_utf8_lossy(input);
        for key in ["client-key", "tokenFile", "command", "exec"] {
            assert!(values_of(&text, key)
                .iter()
                .all(|value| text.contains(value) && !value.contains('\n')));
        }
    });
}
