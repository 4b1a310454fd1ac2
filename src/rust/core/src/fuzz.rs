//! Broken inputs for whatever reads from outside: the engine. The targets stand in `fuzz.rs` of each layer.
//!
//! An input is a real sample with some mutations: cut, repeated, flipped, spliced with another, its numbers huge, its
//! JSON nested or of other kinds. A target reads it and asserts what must hold of every input.
//!
//! Each input comes from a number, so a run can be repeated: `ABBA_FUZZ_INPUTS` is how many inputs each target gets,
//! `ABBA_FUZZ_SEED` the number of the first one. A failure names both, and the shortest input found that fails so.

use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

use serde_json::{json, Map, Value};

pub type Rng = fastrand::Rng;

/// The longest input that mutations make of a sample.
const LONGEST: usize = 64 * 1024;

/// Gives a target inputs made of samples: so many as `ABBA_FUZZ_INPUTS` says, else `inputs`. Its [`Rng`] is for what it
/// chooses itself, such as where a stream breaks.
pub fn fuzz<S: AsRef<[u8]>>(inputs: u64, samples: &[S], target: impl Fn(&[u8], &mut Rng)) {
    run(
        first(),
        of_environment("ABBA_FUZZ_INPUTS").unwrap_or(inputs),
        samples,
        target,
    );
}

fn first() -> u64 {
    of_environment("ABBA_FUZZ_SEED").unwrap_or(0)
}

fn run<S: AsRef<[u8]>>(first: u64, inputs: u64, samples: &[S], target: impl Fn(&[u8], &mut Rng)) {
    let samples: Vec<&[u8]> = samples.iter().map(AsRef::as_ref).collect();
    // The choices are the same while an input is shortened.
    let fails =
        |input: &[u8], seed: u64| catch_unwind(AssertUnwindSafe(|| target(input, &mut Rng::with_seed(!seed)))).is_err();
    for seed in first..first.saturating_add(inputs) {
        let input = input(&samples, &mut Rng::with_seed(seed));
        if fails(&input, seed) {
            let shortest = quietly(|| shortened(input, |input| fails(input, seed)));
            let thread = std::thread::current();
            panic!(
                "\nThe input {seed} fails. Repeat it with\n  ABBA_FUZZ_SEED={seed} ABBA_FUZZ_INPUTS=1 cargo test -p abba-core --lib {}\n\
                 The shortest that fails so: \"{}\"",
                thread.name().unwrap_or_default(),
                shortest[..shortest.len().min(4000)].escape_ascii()
            );
        }
    }
}

/// The same for a target that waits for something, a socket or a pause: it gets one input where others get a hundred.
pub fn fuzz_slowly<S: AsRef<[u8]>>(inputs: u64, samples: &[S], target: impl Fn(&[u8], &mut Rng)) {
    let inputs = of_environment("ABBA_FUZZ_INPUTS").unwrap_or(inputs);
    run(first(), inputs.div_ceil(100), samples, target);
}

fn of_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
    )
}

/// An input out of samples.
fn input(samples: &[&[u8]], rng: &mut Rng) -> Vec<u8> {
    let pick = |rng: &mut Rng| samples[rng.usize(..samples.len())];
    let mut input = pick(rng).to_vec();
    if let (Ok(mut json), true) = (serde_json::from_slice::<Value>(&input), rng.u8(..4) > 0) {
        let other = serde_json::from_slice(pick(rng)).unwrap_or_default();
        for _ in 0..some(rng) {
            change_json(&mut json, &other, rng);
        }
        input = json.to_string().into_bytes();
        if rng.u8(..8) > 0 {
            return input;
        }
    }
    for _ in 0..some(rng) {
        change_bytes(&mut input, pick(rng), rng);
        input.truncate(LONGEST);
    }
    input
}

/// A small number, mostly 1 to 3.
fn some(rng: &mut Rng) -> usize {
    match rng.u8(..16) {
        0 => 0,
        1 => rng.usize(4..32),
        _ => rng.usize(1..4),
    }
}

/// What stands in many formats, or breaks them.
const TOKENS: &[&str] = &[
    "\0",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "\"",
    "\\",
    "'",
    ":",
    ",",
    ".",
    "/",
    "..",
    "-",
    "+",
    "=",
    "&",
    "%",
    "%s",
    "%00",
    "{",
    "}",
    "[",
    "]",
    "<",
    ">",
    "#",
    "null",
    "true",
    "é",
    "\u{FEFF}",
    "\u{202E}",
    "\u{1F600}",
    "\u{0301}",
    "ß",
    "İ",
    "０",
    "0",
    "1",
    "-1",
    "00",
    "1e9",
    "1e999",
    "-1e-999",
    "0.5",
    "NaN",
    "inf",
    "127",
    "255",
    "256",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "999999999999999999999999999999",
    "2026-01-01T00:00:00Z",
    "2026-06-01T14:00:05.123456789+02:00",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T23:59:60Z",
    "2026-12-31T23:59:59-25:59",
    "-000001-01-01T00:00:00Z",
    "1969-12-31T23:59:59.5Z",
    "\u{1b}[31m",
    "<html><head>",
    "<!DOCTYPE html>",
    "</html>",
    "\"\\ud800\"",
    "\\u0000",
];

/// What is no UTF-8.
const NO_TEXT: &[&[u8]] = &[
    b"\xff",
    b"\xfe\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\x80",
    b"\xef\xbb\xbf",
];

/// Some text that a sample does not have.
pub fn token(rng: &mut Rng) -> &'static str {
    TOKENS[rng.usize(..TOKENS.len())]
}

/// A part of some bytes, mostly a short one.
fn range(length: usize, rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.usize(..=length);
    let longest = if rng.u8(..4) == 0 { length } else { 16 };
    start..(start + rng.usize(..=longest)).min(length)
}

fn change_bytes(input: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let at = rng.usize(..=input.len());
    match rng.u8(..14) {
        0 => input.truncate(at),
        1 => drop(input.drain(..at)),
        2 => drop(input.drain(range(input.len(), rng))),
        3 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
        4 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.u8(..);
            }
        }
        // A part, repeated; now and then very often, which is a deep nesting or a long line.
        5 | 6 => {
            let part = input[range(input.len(), rng)].to_vec();
            let most = LONGEST.saturating_sub(input.len()) / part.len().max(1);
            let times = if rng.u8(..16) == 0 {
                most
            } else {
                most.min(rng.usize(1..8))
            };
            drop(input.splice(at..at, part.repeat(times)));
        }
        7 | 8 => drop(input.splice(at..at, token(rng).bytes())),
        9 => drop(input.splice(at..at, NO_TEXT[rng.usize(..NO_TEXT.len())].iter().copied())),
        10 => {
            let part = &other[range(other.len(), rng)];
            drop(input.splice(at..at, part.iter().copied()));
        }
        11 => {
            input.truncate(at);
            input.extend_from_slice(&other[rng.usize(..=other.len())..]);
        }
        // A number becomes another one.
        12 => {
            let begin = input
                .iter()
                .skip(at)
                .position(u8::is_ascii_digit)
                .map_or(at, |digit| at + digit);
            let digits = input[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            drop(input.splice(begin..begin + digits, token(rng).bytes()));
        }
        // Two lines change places.
        _ => {
            let mut lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
            let (a, b) = (rng.usize(..lines.len()), rng.usize(..lines.len()));
            lines.swap(a, b);
            *input = lines.join(&b'\n');
        }
    }
}

/// Changes a value somewhere in JSON.
fn change_json(value: &mut Value, other: &Value, rng: &mut Rng) {
    let goes_on = rng.u8(..6) > 0;
    match value {
        Value::Array(items) if goes_on && !items.is_empty() => {
            let at = rng.usize(..items.len());
            return change_json(&mut items[at], other, rng);
        }
        Value::Object(fields) if goes_on && !fields.is_empty() => {
            let at = rng.usize(..fields.len());
            if let Some((_, field)) = fields.iter_mut().nth(at) {
                return change_json(field, other, rng);
            }
        }
        _ => {}
    }
    match (rng.u8(..8), &mut *value) {
        (0 | 1, Value::Array(items)) if !items.is_empty() => {
            let item = items[rng.usize(..items.len())].clone();
            items.insert(rng.usize(..=items.len()), item);
        }
        (2, Value::Array(items)) if !items.is_empty() => drop(items.remove(rng.usize(..items.len()))),
        (0 | 1, Value::Object(fields)) if !fields.is_empty() => {
            let name = fields
                .keys()
                .nth(rng.usize(..fields.len()))
                .cloned()
                .unwrap_or_default();
            fields.remove(&name);
        }
        (2 | 3, Value::Object(fields)) => {
            let name = part_of(other, rng)
                .as_object()
                .and_then(|o| o.keys().nth(rng.usize(..o.len().max(1))));
            fields.insert(
                name.map_or_else(|| token(rng).into(), Clone::clone),
                part_of(other, rng).clone(),
            );
        }
        (0..=4, Value::String(text)) => {
            let mut bytes = std::mem::take(text).into_bytes();
            change_bytes(&mut bytes, token(rng).as_bytes(), rng);
            *text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST / 8)]).into_owned();
        }
        (5, value) => *value = part_of(other, rng).clone(),
        (_, value) => *value = odd(rng),
    }
}

/// A value somewhere in JSON.
fn part_of<'a>(value: &'a Value, rng: &mut Rng) -> &'a Value {
    let inner = match value {
        Value::Array(items) => items.get(rng.usize(..items.len().max(1))),
        Value::Object(fields) => fields.values().nth(rng.usize(..fields.len().max(1))),
        _ => None,
    };
    match inner {
        Some(inner) if rng.u8(..5) > 0 => part_of(inner, rng),
        _ => value,
    }
}

/// A value that is seldom expected.
fn odd(rng: &mut Rng) -> Value {
    match rng.u8(..16) {
        0 => Value::Null,
        1 => true.into(),
        2 => 0.into(),
        3 => (-1).into(),
        4 => i64::MAX.into(),
        5 => i64::MIN.into(),
        6 => u64::MAX.into(),
        7 => 1e300.into(),
        8 => 0.5.into(),
        9 => json!([]),
        10 => json!({}),
        11 => json!([null]),
        12 => (0..rng.usize(1..200)).fold(Value::Null, |inner, _| match rng.bool() {
            true => json!([inner]),
            false => Value::Object(Map::from_iter([(token(rng).to_string(), inner)])),
        }),
        13 => token(rng).repeat(rng.usize(1..2000)).into(),
        _ => token(rng).into(),
    }
}

/// Leaves parts out of an input for as long as it fails.
fn shortened(mut input: Vec<u8>, fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut shorter = input.clone();
            shorter.drain(at..(at + size).min(input.len()));
            if fails(&shorter) {
                input = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    input
}

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Does what panics again and again without a word about each time.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                usual(panic);
            }
        }));
    });
    IS_QUIET.set(true);
    let result = work();
    IS_QUIET.set(false);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_input_and_shortens_it() {
        let failure = catch_unwind(|| {
            quietly(|| {
                run(0, 100_000, &["abcdefgh", "{\"a\": 1}"], |input, _| {
                    assert!(!input.contains(&0))
                })
            });
        });
        IS_QUIET.set(false);
        let words = failure.unwrap_err().downcast_ref::<String>().cloned().unwrap();
        assert!(words.ends_with("fails so: \"\\x00\""), "{words}");
        let (_, seed) = words.split_once("ABBA_FUZZ_SEED=").unwrap();
        let seed: u64 = seed.split(' ').next().unwrap().parse().unwrap();
        assert!(input(&[b"abcdefgh", b"{\"a\": 1}"], &mut Rng::with_seed(seed)).contains(&0));
    }
}
