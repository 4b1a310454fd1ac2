//! The server's side of the abba API, for R.

use std::path::Path;

use abba_core::domain::api_keys;
use abba_core::gateway::{caller::Credentials, policy, Answer, Gateway, Policy, Refusal, Request};
use abba_core::local::api_key_file::{self, ApiKeyFile};
use abba_core::operations::Connection;
use abba_core::{Error, ErrorClass};
use extendr_api::prelude::*;
use serde_json::Value as Json;

use crate::arguments::{optional_text, text, Settings};
use crate::values::Value;

/// A server, for R to hold. `policy` is the list that `api_policy()` in `R/api-options.R` makes.
pub fn open(policy: Json, key_file: Option<&str>, version: &str) -> std::result::Result<Robj, Error> {
    let settings: policy::Settings = serde_json::from_value(policy)
        .map_err(|error| Error::input(format!("The options of the abba API cannot be used: {error}.")))?;
    let policy = Policy::new(settings)?;
    let key_file = key_file.map(|path| ApiKeyFile::open(Path::new(path))).transpose()?;
    Ok(ExternalPtr::new(Gateway::new(policy, key_file, version)?).into())
}

/// Answers a request. `request` is the list that `abba_api_answer()` makes, without the body.
pub fn answer(gateway: &Robj, request: &Json, body: &[u8], settings: &Settings) -> std::result::Result<Value, Error> {
    let gateway: ExternalPtr<Gateway> = gateway
        .clone()
        .try_into()
        .map_err(|_| Error::new(ErrorClass::Internal, "The server of the abba API is gone."))?;
    let header = |name: &str| request["headers"][name].as_str();
    let (call, query) = (text(request, "call")?, optional_text(request, "query")?);
    let (when, from) = (text(request, "when")?, optional_text(request, "from")?);
    let from = from.unwrap_or_default();
    let request = Request {
        call: &call,
        query: query.as_deref().unwrap_or_default(),
        body,
        credentials: Credentials {
            authorization: header("authorization"),
            connect_credentials: header("connect_credentials"),
            host: header("host"),
            origin: header("origin"),
            peer: &from,
            is_forwarded: header("forwarded").is_some(),
        },
        idempotency_key: header("idempotency_key"),
        when: &when,
        from: &from,
    };
    let answer = gateway.answer(request, &|operation| with_connection(settings, operation));
    Ok(answer_list(answer))
}

fn with_connection<T>(
    settings: &Settings,
    operation: &mut dyn FnMut(&Connection<'_>) -> std::result::Result<T, Refusal>,
) -> std::result::Result<T, Refusal> {
    let mut outcome = None;
    let connected = settings.connected(|connection| {
        outcome = Some(operation(connection));
        Ok(())
    });
    match (connected, outcome) {
        (_, Some(outcome)) => outcome,
        (Err(error), None) => Err(Refusal::of_cluster(error)),
        (Ok(()), None) => Err(Error::new(ErrorClass::Internal, "Nothing was asked of the cluster.").into()),
    }
}

/// A list with `status`, an integer; `headers`, a list of strings with names; `body` and `decision`, strings of JSON.
fn answer_list(answer: Answer) -> Value {
    Value::named([
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
