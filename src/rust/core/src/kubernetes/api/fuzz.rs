//! Broken inputs for what the API server sends; see [`crate::fuzz`].

use std::ops::ControlFlow;

use serde_json::Value;

use super::lines::LineBuffer;
use super::{parse, Call};
use crate::fuzz::{fuzz, Rng};
use crate::kubernetes::list_reader::ListReader;
use crate::kubernetes::objects::{Job, List, Pod};

/// The same bytes in parts, as a connection brings them.
fn parts<'a>(input: &'a [u8], rng: &mut Rng) -> Vec<&'a [u8]> {
    let (mut parts, mut rest) = (Vec::new(), input);
    while !rest.is_empty() {
        let longest = rest.len().min(1 << rng.u8(0..17));
        let (part, after) = rest.split_at(rng.usize(1..=longest));
        parts.push(part);
        rest = after;
    }
    parts
}

#[test]
fn a_stream_is_cut_into_the_same_lines_wherever_its_parts_end() {
    fuzz(
        3000,
        &[
            "2026-01-01T00:00:00Z a\r\n\n2026-01-01T00:00:01Z b\nunfinished",
            "\n\n\n",
        ],
        |input, rng| {
            let mut buffer = LineBuffer::default();
            let mut lines = Vec::new();
            for part in parts(input, rng) {
                let _ = buffer.push(part, &mut |line| {
                    lines.push(line.to_vec());
                    ControlFlow::Continue(())
                });
            }
            lines.push(buffer.pending);
            assert_eq!(lines.join(&b'\n'), input);
            assert!(lines.iter().all(|line| !line.contains(&b'\n')));
        },
    );
}

const LISTS: &[&str] = &[
    r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"x"},"items":[{"metadata":{"name":"é }],","labels":{"abba/job-id":"b"},"annotations":{"other":"\ud83d\ude00"}},"spec":{"containers":[{"name":"program"}]},"status":{"phase":"Running","startTime":null}},{"status":{"containerStatuses":[{"name":"program","restartCount":1,"state":{"terminated":{"exitCode":-1}}}]}}]}"#,
    "{ \"items\" : [\n{\"metadata\":{\"name\":\"a\",\"generation\":1}} ,\t{} ] , \"count\" : 12 , \"metadata\" : {\"resourceVersion\":\"7\"} }\n",
    r#"{"items":null,"metadata":{}}"#,
    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"Forbidden","code":403}"#,
];

fn read<T: serde::de::DeserializeOwned>(parts: &[&[u8]]) -> Option<List<T>> {
    let mut reader = ListReader::new();
    for part in parts {
        reader.push(part).ok()?;
    }
    reader.finish().ok()
}

#[test]
fn a_list_is_the_same_wherever_its_parts_end() {
    fuzz(2000, LISTS, |input, rng| {
        let parts = parts(input, rng);
        let pods = read::<Pod>(&parts);
        assert_eq!(pods, read(&[input]));
        // Whatever the whole text says at once is what its parts say; serde alone takes an array for an object's fields.
        match serde_json::from_slice::<List<Pod>>(input) {
            Ok(whole) if !input.trim_ascii_start().starts_with(b"[") => assert_eq!(pods, Some(whole)),
            _ => {}
        }
        let _ = (read::<Job>(&parts), read::<Value>(&parts));
    });
}

#[test]
fn any_answer_is_an_object_or_a_failure_in_words() {
    fuzz(2000, LISTS, |input, _| {
        if let Err(failure) = parse::<List<Job>>(&Call::get("/x"), input) {
            assert!(failure.details.is_some_and(|details| details.len() < 5000));
        }
    });
}
