//! The API's description, an OpenAPI document: `inst/plumber/abba/openapi.json` is made of the calls' table and of
//! `description.json`, which has what the calls share: the schemas of what they answer, and their errors. What a submission
//! has as arguments stands in [`PROGRAM`] and [`SETTINGS`] alone.
//!
//! `make document` writes it; a test compares. Each answer that a test of this crate gets is compared with it, too.

use std::sync::OnceLock;

use serde_json::{json, Map, Value};

use super::answer::REQUEST_ID;
use super::arguments::{Argument, Kind};
use super::calls::{Answers, Call, CALLS};
use super::submission::{kept_settings, PROGRAM, SETTINGS};
use crate::domain::submission::SubmitArguments;

/// What the table does not say of a call.
#[derive(Debug)]
pub struct Description {
    /// The name that generated clients give to it. A POST beside a GET has it with `post`.
    pub id: &'static str,
    /// The group that it is shown in.
    pub tag: &'static str,
    /// One line.
    pub summary: &'static str,
    /// More than that; empty: nothing.
    pub text: &'static str,
    /// Examples of bodies: name, summary, JSON.
    pub requests: &'static [(&'static str, &'static str, &'static str)],
    /// The schema of the answer.
    pub answer: Schema,
    /// What the answer is.
    pub answer_text: &'static str,
    /// Headers that it may have.
    pub headers: &'static [&'static str],
    /// Examples of answers.
    pub examples: &'static [(&'static str, &'static str, &'static str)],
    /// The statuses of its errors beside those that every call may have.
    pub errors: &'static [u16],
}

/// What calls about jobs usually have; each states what differs, and what has no usual value.
pub const OF_JOBS: Description = Description {
    id: "",
    tag: "Jobs",
    summary: "",
    text: "",
    requests: &[],
    answer: Schema::Strings,
    answer_text: "",
    headers: &[],
    examples: &[],
    errors: &[404, 502, 504],
};

/// The same of calls about the server.
pub const OF_SERVER: Description = Description {
    tag: "Server",
    errors: &[],
    ..OF_JOBS
};

/// The schema of an answer, by its name.
#[derive(Debug)]
pub enum Schema {
    /// One object.
    One(&'static str),
    /// An array of them.
    Many(&'static str),
    /// An array of strings.
    Strings,
    /// Text of this media type.
    Text(&'static str),
}

/// The document.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(make)
}

fn make() -> Value {
    let mut document: Value = serde_json::from_str(include_str!("description.json")).unwrap();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let mut paths: Map<String, Value> = CALLS
        .iter()
        .map(|call| (format!("/{}", call.name), path(call)))
        .collect();
    paths.append(document["paths"].as_object_mut().unwrap());
    document["paths"] = paths.into();
    for response in document["components"]["responses"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        complete_response(response);
    }
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    let of_submission = || PROGRAM.iter().chain(SETTINGS);
    schemas.insert("SubmitJob".into(), schema_of_arguments(of_submission()));
    let kept = kept_by_default();
    for argument in SETTINGS {
        let (name, schema) = (argument.name, schema_of_kept(argument));
        schemas["Explanation"]["properties"]["submit_again"]["properties"][name] = schema.clone();
        if let Some(value) = kept.get(name) {
            let property = &mut schemas["KeptSubmission"]["properties"][name];
            *property = schema;
            if value.is_null() {
                property["nullable"] = true.into();
            }
        }
    }
    for schema in schemas.values_mut() {
        complete_schema(schema);
    }
    document
}

/// An object has all its properties and no others, where nothing else is said.
fn complete_schema(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(complete_schema);
            let Some(properties) = object.get("properties").and_then(Value::as_object) else {
                return;
            };
            let all: Vec<String> = properties.keys().cloned().collect();
            object.entry("type").or_insert("object".into());
            object.entry("required").or_insert(json!(all));
            if object["required"] == json!([]) {
                object.remove("required");
            }
            object.entry("additionalProperties").or_insert(false.into());
        }
        Value::Array(values) => values.iter_mut().for_each(complete_schema),
        _ => {}
    }
}

fn complete_response(response: &mut Value) {
    let mut parts = std::mem::take(response.as_object_mut().unwrap());
    let mut whole = json!({"description": parts.remove("description")});
    whole["headers"] = json!({REQUEST_ID: reference("headers", "RequestId")});
    if parts.remove("retry").is_some() {
        whole["headers"]["Retry-After"] = reference("headers", "RetryAfter");
    }
    let examples = parts.remove("examples");
    whole["content"] = json!({"application/json": {"schema": schema("Error"), "examples": examples}});
    *response = whole;
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

fn schema(name: &str) -> Value {
    reference("schemas", name)
}

fn path(call: &Call) -> Value {
    let operations = call
        .methods
        .iter()
        .map(|method| (method.to_lowercase(), operation(call, method)));
    Value::Object(operations.collect())
}

fn operation(call: &Call, method: &str) -> Value {
    let description = &call.description;
    let is_post = method == "POST";
    let is_second = call.methods[0] != method;
    let text = match is_second {
        true => "The same as the GET, for more ids than an address can hold.",
        false => description.text,
    };
    let id = match is_second {
        true => description.id.replacen("get", "post", 1),
        false => description.id.to_string(),
    };
    let mut operation = json!({"tags": [description.tag], "operationId": id, "summary": description.summary});
    if !text.is_empty() {
        operation["description"] = text.into();
    }
    if matches!(call.answers, Answers::Anybody(_)) {
        operation["security"] = json!([]);
    }
    let mut parameters = Vec::new();
    if description.errors.contains(&409) {
        parameters.push(reference("parameters", "IdempotencyKey"));
    }
    match is_post {
        true => {
            let arguments = match call.name {
                "submit-job" => schema("SubmitJob"),
                _ => {
                    let mut arguments = schema_of_arguments(call.arguments());
                    complete_schema(&mut arguments);
                    arguments
                }
            };
            operation["requestBody"] = json!({
                "required": true,
                "description": "The arguments.",
                "content": {"application/json": {"schema": arguments, "examples": examples(description.requests)}},
            });
        }
        false => parameters.extend(call.arguments().map(parameter)),
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    operation["responses"] = responses(call, is_post);
    operation
}

fn parameter(argument: &Argument) -> Value {
    let schema = match argument.kind {
        Kind::Ids | Kind::Texts => json!({"type": "string"}),
        kind => schema_of(kind),
    };
    let mut parameter = json!({
        "name": argument.name, "in": "query", "required": argument.is_required, "description": argument.doc,
        "schema": schema,
    });
    let example = match argument.name {
        "job_id" => "test-program-fbc3131d-a850-4081-8224-c06ef32821da",
        "batch_id" => "t_age-0d8f1c6e-7a52-4b39-9e04-c1d2b3a4f567",
        "status" => "Failed",
        _ => return parameter,
    };
    parameter["example"] = example.into();
    parameter
}

fn schema_of_arguments<'a>(arguments: impl Iterator<Item = &'a Argument>) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for argument in arguments {
        let mut schema = schema_of(argument.kind);
        // Beside a reference nothing else counts.
        if schema.get("$ref").is_none() {
            schema["description"] = argument.doc.into();
        }
        properties.insert(argument.name.into(), schema);
        if argument.is_required {
            required.push(argument.name);
        }
    }
    json!({"properties": properties, "required": required})
}

/// The schema of an argument as a job keeps it: a number of bytes is text there, and nothing has a default.
fn schema_of_kept(argument: &Argument) -> Value {
    let mut schema = match argument.kind {
        Kind::Memory | Kind::Bytes => json!({"type": "string"}),
        Kind::Mounts => json!({"type": "object"}),
        kind => schema_of(kind),
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("default");
    }
    schema["description"] = argument.doc.into();
    schema
}

/// What a job keeps of settings that were not given.
fn kept_by_default() -> Map<String, Value> {
    kept_settings(&SubmitArguments::default()).unwrap()
}

fn schema_of(kind: Kind) -> Value {
    let string = json!({"type": "string"});
    let texts = json!({"oneOf": [string, {"type": "array", "items": string}]});
    match kind {
        Kind::Text | Kind::Id => string,
        Kind::Base64 => json!({"type": "string", "format": "byte"}),
        Kind::NewId => json!({"type": "string", "maxLength": 63}),
        Kind::Ids | Kind::Texts => texts,
        Kind::Strings => json!({"type": "array", "items": string}),
        Kind::Variables => json!({"type": "object", "additionalProperties": string}),
        Kind::Time => json!({"type": "string", "format": "date-time"}),
        Kind::Page => json!({"type": "string", "pattern": "^[0-9]+\\.[0-9]+$"}),
        Kind::Number => json!({"type": "number"}),
        Kind::Flag => json!({"type": "boolean", "default": false}),
        Kind::Cpu => json!({"oneOf": [{"type": "number"}, {"type": "string"}], "default": 1}),
        Kind::Memory => json!({"oneOf": [{"type": "string"}, {"type": "integer"}], "default": "512M"}),
        Kind::Bytes => json!({"oneOf": [{"type": "string"}, {"type": "integer"}]}),
        Kind::Choice(choices) => json!({"type": "string", "enum": choices, "default": choices[0]}),
        Kind::Mounts => schema("Mounts"),
        Kind::Programs => json!({"type": "array", "minItems": 1, "maxItems": 1000, "items": schema("SubmitJob")}),
    }
}

fn examples(examples: &[(&str, &str, &str)]) -> Value {
    let example = |(name, summary, text): &(&str, &str, &str)| {
        let value: Value = serde_json::from_str(text).unwrap();
        (name.to_string(), json!({"summary": summary, "value": value}))
    };
    Value::Object(examples.iter().map(example).collect())
}

/// Examples of what jobs were submitted with leave out the settings that were not given.
fn complete_kept(examples: &mut Value) {
    let examples = examples.as_object_mut().unwrap().values_mut();
    for row in examples.flat_map(|example| example["value"].as_array_mut().unwrap()) {
        let row = row.as_object_mut().unwrap();
        row.entry("after").or_insert_with(|| json!({}));
        for (name, value) in kept_by_default() {
            row.entry(name).or_insert(value);
        }
    }
}

fn responses(call: &Call, is_post: bool) -> Value {
    let description = &call.description;
    let body = match description.answer {
        Schema::One(name) => schema(name),
        Schema::Many(name) => json!({"type": "array", "items": schema(name)}),
        Schema::Strings => json!({"type": "array", "items": {"type": "string"}}),
        Schema::Text(_) => json!({"type": "string"}),
    };
    let mut answer = json!({"description": description.answer_text});
    let header = |name: &&str| {
        (
            name.to_string(),
            reference("headers", &name["Abba-".len()..].replace('-', "")),
        )
    };
    answer["headers"] = Value::Object(description.headers.iter().chain(&[REQUEST_ID]).map(header).collect());
    let mut examples = examples(description.examples);
    if matches!(description.answer, Schema::Many("KeptSubmission")) {
        complete_kept(&mut examples);
    }
    answer["content"] = match description.answer {
        Schema::Text(media_type) => json!({media_type: {"schema": body}}),
        _ => json!({"application/json": {"schema": body, "examples": examples}}),
    };
    let everywhere: &[u16] = match call.answers {
        Answers::Anybody(_) => &[500, 503],
        Answers::Callers(_) => &[400, 401, 403, 429, 500, 503],
    };
    let mut statuses: Vec<u16> = everywhere.iter().chain(description.errors).copied().collect();
    if is_post {
        statuses.push(413);
    }
    statuses.sort_unstable();
    let mut responses = Map::from_iter([("200".to_string(), answer)]);
    for status in statuses {
        let name = match status {
            400 => "BadRequest",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            413 => "TooLarge",
            429 => "TooMany",
            502 => "Unreachable",
            503 => "NotReady",
            504 => "Timeout",
            _ => "Internal",
        };
        responses.insert(status.to_string(), reference("responses", name));
    }
    responses.into()
}

/// What is wrong with an answer of a call; empty where it is as the description says.
pub fn misfits(call: &str, method: &str, status: u16, body: &Value) -> Vec<String> {
    // Of what is no call, or has no such method, nothing is described.
    let is_described = |one: &Call| one.name == call && one.methods.contains(&method);
    if !CALLS.iter().any(is_described) {
        return Vec::new();
    }
    let operation = &document()["paths"][format!("/{call}")][method.to_lowercase()];
    let response = resolve(&operation["responses"][status.to_string()]);
    if body.is_string() && response["content"]["application/json"].is_null() && response["content"].is_object() {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    match response["content"]["application/json"].get("schema") {
        Some(schema) => compare(body, schema, "$", &mut wrong),
        None => wrong.push(format!("{method} /{call} has no status {status}")),
    }
    wrong
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => document().pointer(&reference[1..]).unwrap(),
        None => value,
    }
}

fn compare(value: &Value, schema: &'static Value, at: &str, wrong: &mut Vec<String>) {
    let schema = resolve(schema);
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if let Some(schemas) = schema["oneOf"].as_array() {
        let fits = |schema| {
            let mut wrong = Vec::new();
            compare(value, schema, at, &mut wrong);
            wrong.is_empty()
        };
        if !schemas.iter().any(fits) {
            wrong.push(format!("{at} is none of its schemas"));
        }
        return;
    }
    let has_type = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    if !has_type || schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        wrong.push(format!("{at} is {value}"));
    }
    for (place, element) in value.as_array().into_iter().flatten().enumerate() {
        compare(element, &schema["items"], &format!("{at}[{place}]"), wrong);
    }
    let Some(object) = value.as_object() else {
        return;
    };
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !object.contains_key(name) {
            wrong.push(format!("{at} has no {name}"));
        }
    }
    for (name, element) in object {
        match schema["properties"].get(name) {
            Some(schema) => compare(element, schema, &format!("{at}.{name}"), wrong),
            None if schema["additionalProperties"] == false => wrong.push(format!("{at} has a {name}")),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_in_the_package_is_made_of_the_calls() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../inst/plumber/abba/openapi.json");
        let made = serde_json::to_string_pretty(document()).unwrap() + "\n";
        // `make document` says so.
        if std::env::var_os("ABBA_WRITE_DESCRIPTION").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(kept == made, "{path} is not what `make document` makes");
    }

    #[test]
    fn the_check_of_answers_sees_what_is_wrong() {
        let answer = json!([{"job_id": "a", "done": null}]);
        assert!(misfits("cancel-job", "POST", 200, &answer).is_empty());
        for wrong in [
            json!({}),
            json!([{"job_id": 1, "done": null}]),
            json!([{"job_id": "a"}]),
            json!([{"job_id": "a", "done": null, "colour": "red"}]),
        ] {
            assert_eq!(misfits("cancel-job", "POST", 200, &wrong).len(), 1, "{wrong}");
        }
        assert_eq!(misfits("cancel-job", "POST", 418, &answer).len(), 1);
    }
}
