//! The record of a job: an in-toto Statement whose predicate is SLSA provenance.
//!
//! The names of the fields are those of <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>,
//! <https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md> and
//! <https://slsa.dev/spec/v1.0/provenance>; those that begin with `abba_` are extension fields as the latter names them.

use std::collections::BTreeMap;

use percent_encoding::{utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::job_record::{Explanation, NotedEvent};
use crate::domain::session::{self, Noted, Session};
use crate::domain::submission::SubmitArguments;

/// The type of a Statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of its predicate.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// Says how abba runs a program: `externalParameters` are the arguments of its submission.
pub const BUILD_TYPE: &str = "https://github.com/abba-r/abba/r-program/v1";
/// Says who vouches for the run: the cluster as abba has asked it, with the rights of the user.
pub const BUILDER_ID: &str = "https://github.com/abba-r/abba/kubernetes/v1";

/// A record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// [`STATEMENT_TYPE`]
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// What it is about: the log, and the outputs of the program.
    pub subject: Vec<Resource>,
    /// [`PREDICATE_TYPE`]
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// How that came to be.
    pub predicate: Provenance,
}

/// How files came to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What was to be run.
    pub build_definition: BuildDefinition,
    /// What was run.
    pub run_details: RunDetails,
}

/// What was to be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// [`BUILD_TYPE`]
    pub build_type: String,
    /// The arguments of the submission, under the names that users give them.
    pub external_parameters: Map<String, Value>,
    /// What the user did not give.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub internal_parameters: Map<String, Value>,
    /// The program, its inputs, the container image, and R with its packages.
    #[serde(default)]
    pub resolved_dependencies: Vec<Resource>,
}

/// What was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetails {
    /// Who ran it.
    pub builder: Builder,
    /// When, and how it ended.
    pub metadata: Metadata,
}

/// Who ran it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// [`BUILDER_ID`]
    pub id: String,
    /// The versions of what has run it, by name.
    #[serde(default)]
    pub version: BTreeMap<String, String>,
}

/// When it ran, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The job's id.
    pub invocation_id: String,
    /// When the program began, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_on: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_on: Option<String>,
    /// What provenance has no field for.
    #[serde(rename = "abba_run", default)]
    pub run: Run,
    /// What R itself has said of the run; `None`: it has not ended, or the record is of an earlier abba.
    #[serde(rename = "abba_session", default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// How a job went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// Its batch.
    pub batch_id: String,
    /// Who submitted it.
    pub user: String,
    /// When it was submitted.
    pub submitted: String,
    /// Its state.
    pub status: String,
    /// R's exit status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it failed, or what is to be said of a job that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Kubernetes' own words for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The verdict of its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The line that the verdict rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict_line: Option<String>,
    /// The pod's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_id: Option<String>,
    /// The node that it ran on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The limit of processor cores that the cluster held it to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<String>,
    /// The limit of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<String>,
    /// How many pods there were: at least so many.
    pub attempts: usize,
    /// What Kubernetes noted, oldest first.
    pub events: Vec<NotedEvent>,
    /// When the files were looked at for this record.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub recorded: String,
    /// Outputs and inputs that were told and that were not there then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_found: Vec<NotFound>,
}

/// A file, or files, that were told and were not there, or could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotFound {
    /// What it is to the program.
    pub role: Role,
    /// As it was told: a path, maybe with `*` and `?`. Of what is there, its path.
    pub name: String,
    /// Why it could not be looked at; `None`: it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl NotFound {
    /// The same in a sentence, of the time when the record was made.
    pub fn what(&self) -> String {
        match &self.why {
            None => "It was not there when the record was made.".into(),
            Some(why) => format!("It could not be looked at when the record was made: {why}."),
        }
    }
}

/// A file, the container image, or a package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// A file's name, or its path as it was told.
    pub name: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Its digests, as hexadecimal digits, by algorithm.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    /// What else is known of it.
    #[serde(default)]
    pub annotations: Annotations,
}

/// What else is known of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    /// What it is to the program.
    #[serde(rename = "abba_role", default)]
    pub role: Role,
    /// Its path from the folder of the record, or from the root.
    #[serde(rename = "abba_path", default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How many bytes it has.
    #[serde(rename = "abba_bytes", default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// When it was changed last, RFC 3339.
    #[serde(rename = "abba_modified", default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// What must be known of it, in sentences.
    #[serde(rename = "abba_notes", default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a file is to a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// What it printed.
    Log,
    /// What it wrote.
    Output,
    /// The program itself.
    Program,
    /// What it read.
    Input,
    /// The container image.
    Image,
    /// R, or a package that it had loaded.
    Package,
    /// Of a later version of abba, or of another program.
    #[default]
    #[serde(other)]
    Other,
}

names!(Role {
    Log = "log",
    Output = "output",
    Program = "program",
    Input = "input",
    Image = "image",
    Package = "package",
    Other = "other",
});

impl Resource {
    /// A file or image with this SHA-256, if it is known.
    pub fn new(role: Role, name: impl Into<String>, sha256: Option<String>) -> Self {
        Self {
            name: name.into(),
            uri: String::new(),
            digest: sha256
                .map(|digest| ("sha256".to_string(), digest))
                .into_iter()
                .collect(),
            annotations: Annotations {
                role,
                ..Default::default()
            },
        }
    }

    /// Its SHA-256 as hexadecimal digits.
    pub fn sha256(&self) -> Option<&str> {
        self.digest.get("sha256").map(String::as_str)
    }
}

/// What a record is made of besides the log.
#[derive(Debug)]
pub struct Facts {
    /// The job explained.
    pub explanation: Explanation,
    /// What it was submitted with, as users give it; empty where the Job does not say.
    pub parameters: Map<String, Value>,
    /// What the user did not give.
    pub internal_parameters: Map<String, Value>,
    /// Where the program was on the machine of whoever submitted it; empty where that is not known.
    pub program_path: String,
    /// The program's SHA-256 when it was submitted.
    pub program_sha256: Option<String>,
    /// Whether it ran where it was, in a mount, and not as it was submitted.
    pub in_place: bool,
    /// The versions of what has run it.
    pub versions: BTreeMap<String, String>,
    /// What R noted as it ended; `None` where it has not.
    pub noted: Option<Noted>,
}

/// R and its packages, as package URLs name them. Those that are a part of R have no version of their own.
///
/// <https://github.com/package-url/purl-spec/blob/main/types-doc/cran-definition.md>
fn packages(noted: &Noted) -> Vec<Resource> {
    let resource = |kind: &str, name: &str, version: &str| Resource {
        uri: format!(
            "pkg:{kind}/{}@{}",
            utf8_percent_encode(name, &KEPT_IN_NAME),
            utf8_percent_encode(version, &KEPT_IN_NAME)
        ),
        ..Resource::new(Role::Package, name, None)
    };
    let r = noted.version.iter().map(|version| resource("generic", "R", version));
    let of_r = |(name, version): &&(String, String)| version.is_empty() || session::is_of_r(name);
    let others = noted.packages.iter().filter(|package| !of_r(package));
    r.chain(others.map(|(name, version)| resource("cran", name, version)))
        .collect()
}

impl Statement {
    /// The record of a job whose log has this SHA-256; `log_notes`: what is missing of the log.
    pub fn new(facts: Facts, log_sha256: String, log_bytes: u64, log_notes: Vec<String>) -> Self {
        let Facts {
            explanation,
            parameters,
            noted,
            mut versions,
            ..
        } = facts;
        let packages = noted.as_ref().map_or_else(Vec::new, packages);
        if let Some(version) = noted.as_ref().and_then(|noted| noted.version.clone()) {
            versions.insert("R".into(), version);
        }
        let record = explanation.record;
        let mut log = Resource::new(Role::Log, format!("{}.log", record.job_id), Some(log_sha256));
        log.annotations.bytes = Some(log_bytes);
        log.annotations.notes = log_notes;
        let mut program = Resource::new(Role::Program, record.program.clone(), facts.program_sha256);
        program.uri = file_uri(&facts.program_path);
        program.annotations.path = Some(facts.program_path).filter(|path| is_absolute(path));
        if facts.in_place {
            program
                .annotations
                .notes
                .push("It ran where it lies, in a mount: the digest is that of the time of its submission.".into());
        }
        let image = explanation.image.as_deref().map(|image| {
            let (uri, sha256) = image_reference(image, explanation.image_digest.as_deref());
            Resource {
                uri,
                ..Resource::new(Role::Image, image, sha256)
            }
        });
        Self {
            statement_type: STATEMENT_TYPE.into(),
            subject: vec![log],
            predicate_type: PREDICATE_TYPE.into(),
            predicate: Provenance {
                build_definition: BuildDefinition {
                    build_type: BUILD_TYPE.into(),
                    external_parameters: parameters,
                    internal_parameters: facts.internal_parameters,
                    // The specification wants one of them of each.
                    resolved_dependencies: [Some(program), image]
                        .into_iter()
                        .flatten()
                        .filter(|resource| !resource.uri.is_empty() || !resource.digest.is_empty())
                        .chain(packages)
                        .collect(),
                },
                run_details: RunDetails {
                    builder: Builder {
                        id: BUILDER_ID.into(),
                        version: versions,
                    },
                    metadata: Metadata {
                        invocation_id: record.job_id,
                        started_on: record.started,
                        finished_on: record.finished,
                        run: Run {
                            batch_id: record.batch_id,
                            user: record.user,
                            submitted: record.submitted,
                            status: record.status.name().into(),
                            exit_code: record.exit_code,
                            reason: record.reason,
                            details: explanation.details,
                            advice: explanation.advice,
                            verdict: explanation.verdict.map(|verdict| verdict.name().to_string()),
                            verdict_line: explanation.verdict_line,
                            pod_id: explanation.pod_id,
                            node: explanation.node,
                            cpu_limit: explanation.cpu_limit,
                            memory_limit: explanation.memory_limit,
                            attempts: explanation.attempts,
                            events: explanation.events,
                            recorded: String::new(),
                            not_found: Vec::new(),
                        },
                        session: noted.map(|noted| noted.session),
                    },
                },
            },
        }
    }

    /// Reads a record; `None` where the JSON is something else.
    pub fn read(json: &[u8]) -> Option<Self> {
        let statement: Self = serde_json::from_slice(json).ok()?;
        let is_record = statement.statement_type == STATEMENT_TYPE && statement.predicate_type == PREDICATE_TYPE;
        is_record.then_some(statement)
    }

    /// The job.
    pub fn job_id(&self) -> &str {
        &self.predicate.run_details.metadata.invocation_id
    }

    /// How it went.
    pub fn run(&self) -> &Run {
        &self.predicate.run_details.metadata.run
    }

    /// The log, the outputs, the program and what it read, in this order.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        let before = &self.predicate.build_definition.resolved_dependencies;
        self.subject.iter().chain(before)
    }

    /// Those of one kind.
    pub fn of_role(&self, role: Role) -> impl Iterator<Item = &Resource> {
        self.resources()
            .filter(move |resource| resource.annotations.role == role)
    }
}

/// The arguments of a submission, under the names that users give them, without those that say nothing.
pub fn parameters(arguments: &SubmitArguments) -> Map<String, Value> {
    let Ok(Value::Object(mut all)) = serde_json::to_value(arguments) else {
        return Map::new();
    };
    if !arguments.auto_mount_home {
        all.remove("home_nfs_ip_address");
    }
    for name in [
        "given_path",
        "expanded_path",
        "absolute_path",
        "job_id",
        "batch_group_id",
    ] {
        all.remove(name);
    }
    all.retain(|_, value| !value.is_null());
    let path = [("file_path".to_string(), Value::from(arguments.given_path.as_str()))];
    path.into_iter().chain(all).collect()
}

/// Whether a path begins at a root, on this machine or on Windows.
pub fn is_absolute(path: &str) -> bool {
    let bytes = path.as_bytes();
    path.starts_with('/') || path.starts_with("\\\\") || (bytes.get(1) == Some(&b':') && bytes[0].is_ascii_alphabetic())
}

/// The address of a file; empty where its path is not absolute.
///
/// <https://www.rfc-editor.org/rfc/rfc8089>
pub fn file_uri(path: &str) -> String {
    if !is_absolute(path) {
        return String::new();
    }
    let path = match path.starts_with('/') {
        true => path.to_string(),
        false => path.replace('\\', "/"),
    };
    let authority = match (path.starts_with("//"), path.starts_with('/')) {
        (true, _) => "file:",
        (_, true) => "file://",
        _ => "file:///",
    };
    format!("{authority}{}", utf8_percent_encode(&path, &KEPT_IN_PATH))
}

/// What stands as it is in an address: letters, digits and these.
const KEPT_IN_NAME: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same in a path.
const KEPT_IN_PATH: AsciiSet = KEPT_IN_NAME.remove(b'/').remove(b':');

/// The package URL of an image, and its SHA-256. `digest`: the image as the node names it, once it has it.
///
/// <https://github.com/package-url/purl-spec/blob/main/types-doc/oci-definition.md>
fn image_reference(image: &str, digest: Option<&str>) -> (String, Option<String>) {
    let sha256_of = |text: &str| {
        let (_, digits) = text.rsplit_once("sha256:")?;
        let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| digits.to_ascii_lowercase())
    };
    let (tagged, _) = image.split_once('@').unwrap_or((image, ""));
    // A colon before the last `/` belongs to the port of the registry.
    let (repository, tag) = match tagged.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (tagged, ""),
    };
    let sha256 = digest.and_then(sha256_of).or_else(|| sha256_of(image));
    let name = repository.rsplit('/').next().unwrap_or(repository).to_lowercase();
    let version = sha256
        .as_ref()
        .map_or(String::new(), |digits| format!("@sha256%3A{digits}"));
    let mut uri = format!("pkg:oci/{}{version}", utf8_percent_encode(&name, &KEPT_IN_NAME));
    let mut qualifier = '?';
    for (name, value) in [("repository_url", repository), ("tag", tag)] {
        if !value.is_empty() && (name == "tag" || repository.contains('/')) {
            uri.push_str(&format!(
                "{qualifier}{name}={}",
                utf8_percent_encode(value, &KEPT_IN_PATH)
            ));
            qualifier = '&';
        }
    }
    (uri, sha256)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_image_has_its_package_url() {
        let digits = "0a".repeat(32);
        let with = |rest: &str| Some(format!("{rest}@sha256:{digits}"));
        for (image, digest, uri) in [
            ("r-base:4.3", None, "pkg:oci/r-base?tag=4.3".to_string()),
            (
                "registry.example.com:5000/openval_4.2.1:2023.09",
                with("registry.example.com:5000/openval_4.2.1"),
                format!("pkg:oci/openval_4.2.1@sha256%3A{digits}?repository_url=registry.example.com:5000/openval_4.2.1&tag=2023.09"),
            ),
            ("registry:5000/a/R", None, "pkg:oci/r?repository_url=registry:5000/a/R".into()),
            (&with("x/r").unwrap(), None, format!("pkg:oci/r@sha256%3A{digits}?repository_url=x/r")),
        ] {
            let (found, sha256) = image_reference(image, digest.as_deref());
            assert_eq!(found, uri);
            assert_eq!(sha256.is_some(), uri.contains(&digits));
        }
    }

    #[test]
    fn a_file_has_its_address() {
        for (path, uri) in [
            ("/s/t ae%.R", "file:///s/t%20ae%25.R"),
            ("C:\\s\\a.R", "file:///C:/s/a.R"),
            ("\\\\server\\s\\a.R", "file://server/s/a.R"),
            ("/\u{e9}", "file:///%C3%A9"),
            ("a.R", ""),
        ] {
            assert_eq!(file_uri(path), uri);
        }
    }

    #[test]
    fn the_arguments_stand_under_the_names_that_users_give_them() {
        let arguments: SubmitArguments = serde_json::from_value(json!({
            "given_path": "a.R", "expanded_path": "/s/a.R", "container": "r:1", "home_nfs_ip_address": "192.0.2.1",
            "job_id": "a-1", "arguments": ["x"],
        }))
        .unwrap();
        let Value::Object(expected) = json!({
            "file_path": "a.R", "user_tag": "", "cpu_limit": 1.0, "memory_limit": "512M",
            "container": "r:1", "auto_mount_home": false, "arguments": ["x"],
        }) else {
            unreachable!()
        };
        assert_eq!(parameters(&arguments), expected);
    }

    /// The fields of each object as the specifications publish them: `spec/v1/statement.md` and `resource_descriptor.md` of in-toto's
    /// attestation framework, and `provenance.proto` of SLSA v1. A field of our own begins with our name.
    const FIELDS: [(&str, &[&str], &[&str]); 6] = [
        (
            "",
            &["_type", "subject", "predicateType", "predicate"],
            &["_type", "subject", "predicateType", "predicate"],
        ),
        (
            "predicate",
            &["buildDefinition", "runDetails"],
            &["buildDefinition", "runDetails"],
        ),
        (
            "buildDefinition",
            &["buildType", "externalParameters"],
            &[
                "buildType",
                "externalParameters",
                "internalParameters",
                "resolvedDependencies",
            ],
        ),
        ("runDetails", &["builder"], &["builder", "metadata", "byproducts"]),
        ("builder", &["id"], &["id", "version", "builderDependencies"]),
        ("metadata", &[], &["invocationId", "startedOn", "finishedOn"]),
    ];
    const OF_RESOURCES: [&str; 7] = [
        "name",
        "uri",
        "digest",
        "content",
        "downloadLocation",
        "mediaType",
        "annotations",
    ];

    /// Whether JSON is a Statement with provenance, by the published names and rules.
    pub(crate) fn check_by_specification(statement: &Value) {
        let own = |name: &str| name.starts_with("abba_");
        let is_uri = |value: &Value| {
            value
                .as_str()
                .is_some_and(|uri| uri.contains(':') && !uri.contains(' '))
        };
        let is_time = |value: &Value| crate::kubernetes::time::parse(value.as_str().unwrap()).is_some();
        let mut objects = vec![("", statement)];
        let mut resources = Vec::new();
        while let Some((name, object)) = objects.pop() {
            let (_, required, known) = FIELDS.iter().find(|fields| fields.0 == name).unwrap();
            let object = object.as_object().unwrap();
            assert!(
                required.iter().all(|field| object.contains_key(*field)),
                "{name}: {object:?}"
            );
            for (field, value) in object {
                assert!(known.contains(&field.as_str()) || own(field), "{name}.{field}");
                match field.as_str() {
                    "predicate" | "buildDefinition" | "runDetails" | "builder" | "metadata" => {
                        objects.push((field.as_str(), value));
                    }
                    "subject" | "resolvedDependencies" | "byproducts" | "builderDependencies" => {
                        resources.extend(value.as_array().unwrap().iter().map(|one| (field.as_str(), one)));
                    }
                    "buildType" | "id" | "predicateType" | "_type" => assert!(is_uri(value), "{field}: {value}"),
                    "startedOn" | "finishedOn" => assert!(is_time(value), "{field}: {value}"),
                    "version" => assert!(value.as_object().unwrap().values().all(Value::is_string)),
                    "externalParameters" | "internalParameters" => assert!(value.is_object()),
                    "invocationId" => assert!(value.is_string()),
                    _ => {}
                }
            }
        }
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
        let mut names = std::collections::BTreeSet::new();
        for (list, resource) in resources {
            let object = resource.as_object().unwrap();
            assert!(
                object.keys().all(|field| OF_RESOURCES.contains(&field.as_str())),
                "{resource}"
            );
            assert!(
                ["uri", "digest", "content"]
                    .iter()
                    .any(|field| object.contains_key(*field)),
                "{resource}"
            );
            if let Some(digest) = object.get("digest") {
                for (algorithm, value) in digest.as_object().unwrap() {
                    let digits = value.as_str().unwrap();
                    assert_eq!((algorithm.as_str(), digits.len()), ("sha256", 64));
                    assert!(digits
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
                }
            }
            assert!(object.get("uri").is_none_or(is_uri), "{resource}");
            if let Some(annotations) = object.get("annotations") {
                assert!(
                    annotations.as_object().unwrap().keys().all(|name| own(name)),
                    "{resource}"
                );
            }
            if list == "subject" {
                assert!(object.contains_key("digest"), "{resource}");
                assert!(names.insert(object["name"].to_string()), "{resource}");
            }
        }
    }

    /// What `go/predicates/provenance/v1/provenance_test.go` of in-toto's attestation framework reads, in a Statement.
    #[test]
    fn the_frameworks_own_example_is_read() {
        let digest = "0a".repeat(32);
        let resource = json!({"name": "theResource", "digest": {"sha256": digest}});
        let example = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [resource],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "https://example.com/theBuildType",
                    "externalParameters": {"param1": {"subKey": "subVal"}},
                    "resolvedDependencies": [resource],
                },
                "runDetails": {
                    "builder": {
                        "id": "https://example.com/theId", "version": {"theComponent": "v0.1"}, "builderDependencies": [resource],
                    },
                    "metadata": {"invocationId": "theInvocationId"},
                    "byproducts": [resource],
                },
            },
        });
        check_by_specification(&example);
        let statement = Statement::read(example.to_string().as_bytes()).unwrap();
        assert_eq!(statement.job_id(), "theInvocationId");
        assert_eq!(statement.subject[0].sha256(), Some(digest.as_str()));
        for (name, value) in [
            ("_type", "https://in-toto.io/Statement/v0.1"),
            ("predicateType", "https://slsa.dev/provenance/v0.2"),
        ] {
            let mut other = example.clone();
            other[name] = value.into();
            assert_eq!(Statement::read(other.to_string().as_bytes()), None);
        }
    }
}
