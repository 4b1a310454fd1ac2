//! The arguments that R hands over, as the core's own types.
//!
//! `R/check.R` has checked their R types; an argument of another type here is a mistake of the package itself.

use abba_core::operations::{self, CheckArguments, CpuArgument, ListArguments, RestOfRerun, SubmitArguments, Which};
use abba_core::{Error, ErrorClass};
use serde_json::Value as Json;

/// The options and arguments that every call has.
#[derive(Clone)]
pub struct Settings {
    /// kubectl's path, or its name on PATH.
    pub kubectl: String,
    /// Seconds that a call may take.
    pub request_timeout: f64,
    /// The namespace, if any was given.
    pub namespace: Option<String>,
    /// Whether one kubectl is kept for the R session.
    pub session: bool,
}

impl Settings {
    /// Reads the list that `settings()` in `R/settings.R` makes.
    pub fn read(json: Json) -> Result<Self, Error> {
        Ok(Self {
            kubectl: text(&json, "kubectl")?,
            request_timeout: number(&json, "request_timeout")?
                .filter(|seconds| *seconds > 0.0 && *seconds < 1e9)
                .ok_or_else(|| mistake("request_timeout"))?,
            namespace: optional_text(&json, "namespace")?,
            session: json["session"].as_bool().ok_or_else(|| mistake("session"))?,
        })
    }
}

/// Reads the list that `abba_submit_k8s_job_local()` makes.
pub fn submit_arguments(json: Json) -> Result<SubmitArguments, Error> {
    Ok(SubmitArguments {
        given_path: text(&json, "given_path")?,
        expanded_path: text(&json, "expanded_path")?,
        absolute_path: optional_text(&json, "absolute_path")?,
        batch_group_id: text(&json, "batch_group_id")?,
        user_tag: text(&json, "user_tag")?,
        cpu_limit: cpu_limit(&json)?,
        memory_limit: text(&json, "memory_limit")?,
        container: text(&json, "container")?,
        mounts: json.get("mounts").filter(|mounts| !mounts.is_null()).cloned(),
        auto_mount_home: json["auto_mount_home"]
            .as_bool()
            .ok_or_else(|| mistake("auto_mount_home"))?,
        home_nfs_ip_address: optional_text(&json, "home_nfs_ip_address")?,
        username: optional_text(&json, "username")?,
        time_limit_seconds: number(&json, "time_limit_seconds")?,
        job_id: optional_text(&json, "job_id")?,
    })
}

/// Reads the list that `abba_check_k8s_local()` makes.
pub fn check_arguments(json: Json) -> Result<CheckArguments, Error> {
    Ok(CheckArguments {
        container: optional_text(&json, "container")?,
        permitted_containers: json
            .get("permitted_containers")
            .filter(|permitted| !permitted.is_null())
            .map_or_else(|| Ok(Vec::new()), texts)?,
        cpu_limit: cpu_limit(&json)?,
        memory_limit: text(&json, "memory_limit")?,
        username: optional_text(&json, "username")?,
    })
}

/// The arguments of an earlier submission, with some of them replaced by those that R hands over now: a list with
/// `values`, by name, and `none`, the names of those that are to be none.
pub fn with_changes(before: SubmitArguments, changes: &Json) -> Result<SubmitArguments, Error> {
    let mut arguments =
        serde_json::to_value(before).map_err(|error| Error::new(ErrorClass::Internal, format!("JSON: {error}.")))?;
    if let (Some(arguments), Some(values)) = (arguments.as_object_mut(), changes["values"].as_object()) {
        for (name, value) in values {
            arguments.insert(name.clone(), value.clone());
        }
        for name in texts(&changes["none"])? {
            arguments.insert(name, Json::Null);
        }
    }
    submit_arguments(arguments)
}

/// Reads the list that `rest_of_rerun()` makes, or `NULL`.
pub fn rest_of_rerun(json: &Json) -> Result<Option<RestOfRerun>, Error> {
    if json.is_null() {
        return Ok(None);
    }
    let texts_of = |name: &str| json.get(name).ok_or_else(|| mistake(name)).and_then(texts);
    let job_ids = texts_of("job_id")?;
    let jobs = texts_of("rerun_of")?.into_iter().zip(job_ids);
    Ok(Some(RestOfRerun {
        batch_id: text(json, "batch_id")?,
        jobs: jobs
            .map(|(rerun_of, job_id)| (rerun_of, Some(job_id).filter(|id| !id.is_empty())))
            .collect(),
    }))
}

/// Checks such changes by themselves, before the earlier submissions are known.
pub fn check_changes(changes: &Json) -> Result<(), Error> {
    let harmless = SubmitArguments {
        given_path: String::new(),
        expanded_path: String::new(),
        absolute_path: None,
        batch_group_id: String::new(),
        user_tag: String::new(),
        cpu_limit: CpuArgument::Number(1.0),
        memory_limit: "1G".into(),
        container: "r".into(),
        mounts: None,
        auto_mount_home: false,
        home_nfs_ip_address: None,
        username: None,
        time_limit_seconds: None,
        job_id: None,
    };
    operations::check_values(&with_changes(harmless, changes)?)
}

/// Reads the list with either `job_id`, a character vector, or `batch_id`, a string.
pub fn which(json: &Json) -> Result<Which, Error> {
    match optional_text(json, "batch_id")? {
        Some(batch_id) => Ok(Which::Batch(batch_id)),
        None => json
            .get("job_id")
            .map_or_else(|| Ok(Vec::new()), texts)
            .map(Which::Jobs),
    }
}

/// Reads the list that `abba_list_k8s_jobs_local()` makes.
pub fn list_arguments(json: &Json) -> Result<ListArguments, Error> {
    Ok(ListArguments {
        user: optional_text(json, "user")?,
        batch_id: optional_text(json, "batch_id")?,
        statuses: json.get("status").map_or_else(|| Ok(Vec::new()), texts)?,
        since: optional_text(json, "since")?,
    })
}

/// Reads a character vector.
fn texts(json: &Json) -> Result<Vec<String>, Error> {
    let texts = match json {
        Json::String(id) => Some(vec![id.clone()]),
        Json::Array(ids) => ids.iter().map(|id| id.as_str().map(String::from)).collect(),
        _ => None,
    };
    texts.ok_or_else(|| mistake("a character vector"))
}

fn cpu_limit(json: &Json) -> Result<CpuArgument, Error> {
    let cores = match &json["cpu_limit"] {
        Json::Number(cores) => cores.as_f64().map(CpuArgument::Number),
        Json::String(text) => Some(CpuArgument::Text(text.clone())),
        _ => None,
    };
    cores.ok_or_else(|| mistake("cpu_limit"))
}

/// A string that must be there.
pub fn text(json: &Json, name: &str) -> Result<String, Error> {
    optional_text(json, name)?.ok_or_else(|| mistake(name))
}

/// A string that may be missing.
pub fn optional_text(json: &Json, name: &str) -> Result<Option<String>, Error> {
    match json.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(mistake(name)),
    }
}

fn number(json: &Json, name: &str) -> Result<Option<f64>, Error> {
    match json.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| mistake(name)),
    }
}

fn mistake(name: &str) -> Error {
    Error::new(
        ErrorClass::Internal,
        format!("abba's R code handed over an argument `{name}` of a wrong type."),
    )
}
