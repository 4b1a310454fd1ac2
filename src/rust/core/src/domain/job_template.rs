//! An administrator's part of a Job that each Job of abba gets: what a cluster needs and users need not know, such as pull
//! secrets, tolerations or a service account.
//!
//! It is merged as Kubernetes merges a strategic merge patch: maps by their keys, the lists that have a merge key by it, all
//! other lists as a whole; `null` takes a field away
//! (<https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/>). Elements that are new
//! come after those of the Job, where `kubectl patch` puts them before: the program's container stays the first.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::manifest;
use crate::domain::mounts::Mounts;
use crate::domain::{paths, unique_json};
use crate::error::quote_shortened;
use crate::kubernetes::labels;
use crate::kubernetes::objects::PROGRAM_CONTAINER;
use crate::Error;

/// The most bytes of a template as JSON: it is kept with the job, beside the user's own arguments.
pub const MOST_BYTES: usize = 16 * 1024;

/// No Kubernetes object is nested deeper.
const DEEPEST: usize = 50;

/// A field of a template that a Job cannot get, or not in this form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedField {
    /// The field's path in the template, as Kubernetes writes it.
    pub path: String,
    /// The rest of a sentence that begins with the path: why it is refused.
    pub rule: String,
}

/// A template, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct JobTemplate(Value);

/// What of a user's own arguments wins over a template.
#[derive(Clone, Copy, Debug, Default)]
pub struct Precedence<'a> {
    /// The names of the variables that the user sets.
    pub variables: &'a [&'a str],
    /// Whether the user has said how much disk the program may fill.
    pub disk: bool,
    /// Whether the user has said whom the program runs as.
    pub account: bool,
}

impl JobTemplate {
    /// Reads a partial Job. An empty map is taken for an empty list where Kubernetes wants a list: an empty R list says nothing
    /// of its kind.
    ///
    /// Errors: [`crate::ErrorClass::Input`], which names each refused field and the rule.
    pub fn from_value(template: &Value) -> Result<Self, Error> {
        if !template.is_object() {
            return Err(refused(
                "must be a part of a Job, as list(spec = list(template = list(...)))".into(),
            ));
        }
        if is_deeper_than(template, DEEPEST) {
            return Err(refused(format!("must not be nested deeper than {DEEPEST} levels")));
        }
        let size = template.to_string().len();
        if size > MOST_BYTES {
            return Err(refused(format!(
                "must have at most {MOST_BYTES} bytes as JSON, and has {size}"
            )));
        }
        let mut checked = template.clone();
        let fields = refused_fields(&mut checked);
        if fields.is_empty() {
            return Ok(Self(checked));
        }
        const SHOWN: usize = 10;
        let mut said: Vec<String> = fields
            .iter()
            .take(SHOWN)
            .map(|field| format!("{} {}", field.path, field.rule))
            .collect();
        if fields.len() > SHOWN {
            said.push(format!("and {} more", fields.len() - SHOWN));
        }
        Err(refused(format!("cannot be used: {}", said.join("; ")))
            .advise("The section \"Job template\" of `?abba_submit_k8s_job_local` says what a template may have; its default is the option `abba.k8s.job.template`."))
    }

    /// Reads the JSON of a partial Job.
    ///
    /// Errors: as [`Self::from_value`]; it is no JSON.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim_start_matches('\u{feff}');
        match unique_json::read(text.as_bytes()) {
            Ok(template) => Self::from_value(&template),
            Err(error) => Err(refused(format!("is no JSON: {error}"))),
        }
    }

    /// Whether it says how much of the node's disk the program may fill.
    pub fn limits_disk(&self) -> bool {
        let containers = self.0["spec"]["template"]["spec"]["containers"].as_array();
        containers.into_iter().flatten().any(|container| {
            container["name"] == PROGRAM_CONTAINER && !container["resources"]["limits"][manifest::DISK].is_null()
        })
    }

    /// The bytes of the annotations that it gives to the pod, which have a common bound with the program that a pod carries.
    pub fn pod_annotation_bytes(&self) -> usize {
        let annotations = &self.0["spec"]["template"]["metadata"]["annotations"];
        let bytes = |(name, value): (&String, &Value)| name.len() + value.as_str().map_or(0, str::len);
        annotations.as_object().map_or(0, |all| all.iter().map(bytes).sum())
    }

    /// What of it can change what a program makes: all but labels and annotations, and what only says where and when a pod
    /// runs. Where nobody asks for a node, a program may run on any, too. `None`: nothing of it.
    pub fn that_matters(&self) -> Option<Value> {
        let mut template = self.0.clone();
        let mut forget = |path: &str, names: &[&str]| {
            if let Some(fields) = template.pointer_mut(path).and_then(Value::as_object_mut) {
                fields.retain(|name, _| !names.contains(&name.as_str()));
            }
        };
        forget("", &["metadata"]);
        forget("/spec/template", &["metadata"]);
        forget("/spec/template/spec", &OF_PLACE_AND_TIME);
        for containers in ["containers", "initContainers"] {
            let path = format!("/spec/template/spec/{containers}");
            if let Some(containers) = template.pointer_mut(&path).and_then(Value::as_array_mut) {
                containers.retain_mut(|container| {
                    if let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) {
                        resources.remove("requests");
                    }
                    let rest = without_empty(container.clone());
                    rest.as_ref()
                        .and_then(Value::as_object)
                        .is_some_and(|rest| rest.keys().any(|name| name != "name"))
                });
            }
        }
        without_empty(template)
    }

    /// The volumes that it adds, and where they appear in the program's container.
    pub fn mounts(&self) -> Mounts {
        let pod = &self.0["spec"]["template"]["spec"];
        let objects = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let program = objects(&pod["containers"])
            .into_iter()
            .find(|container| container["name"] == PROGRAM_CONTAINER);
        Mounts {
            volumes: objects(&pod["volumes"]),
            volume_mounts: program
                .map(|container| objects(&container["volumeMounts"]))
                .unwrap_or_default(),
        }
    }

    /// The user's mounts and the template's together.
    ///
    /// Errors: both have a volume of one name, or mount something at one place.
    pub fn with_mounts(&self, users: &Mounts) -> Result<Mounts, Error> {
        let mut all = users.clone();
        let own = self.mounts();
        for (of_all, of_template, key, what) in [
            (&mut all.volumes, own.volumes, "name", "a volume"),
            (&mut all.volume_mounts, own.volume_mounts, "mountPath", "something at"),
        ] {
            for object in of_template {
                let place = |object: &Value| {
                    let text = object[key].as_str().unwrap_or_default();
                    paths::normalise(text).unwrap_or_else(|| text.to_string())
                };
                let name = place(&object);
                if of_all.iter().any(|other| place(other) == name) {
                    return Err(Error::input(format!(
                        "`mounts` and the job template both have {what} {}.",
                        quote_shortened(&name)
                    ))
                    .advise("Choose another one in `mounts`, or leave it to the template."));
                }
                of_all.push(object);
            }
        }
        Ok(all)
    }

    /// A Job with the template in it.
    #[must_use]
    pub fn merged_into(&self, mut job: Value, wins: Precedence<'_>) -> Value {
        let mut patch = self.0.clone();
        // The labels of the Job itself are abba's own, or come from an argument, such as that of a queue.
        if let (Some(labels), Some(of_job)) = (
            patch.pointer_mut("/metadata/labels").and_then(Value::as_object_mut),
            job["metadata"]["labels"].as_object(),
        ) {
            labels.retain(|name, _| !of_job.contains_key(name));
        }
        if wins.account {
            remove(patch.pointer_mut("/spec/template/spec/securityContext"), &IDENTITY);
        }
        let containers = patch
            .pointer_mut("/spec/template/spec/containers")
            .and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if container["name"] != PROGRAM_CONTAINER {
                continue;
            }
            if wins.account {
                remove(container.get_mut("securityContext"), &IDENTITY);
            }
            if wins.disk {
                for of in ["limits", "requests"] {
                    remove(container.pointer_mut(&format!("/resources/{of}")), &[manifest::DISK]);
                }
            }
            if let Some(variables) = container.get_mut("env").and_then(Value::as_array_mut) {
                variables.retain(|variable| !wins.variables.iter().any(|name| variable["name"] == *name));
            }
        }
        merge(&mut job, &patch, "");
        job
    }
}

/// Whom a process runs as: fields of a pod's and of a container's `securityContext`.
const IDENTITY: [&str; 4] = ["runAsUser", "runAsGroup", "runAsNonRoot", "supplementalGroups"];

fn remove(object: Option<&mut Value>, fields: &[&str]) {
    if let Some(Value::Object(object)) = object {
        object.retain(|name, _| !fields.contains(&name.as_str()));
    }
}

fn refused(what: String) -> Error {
    Error::input(format!("`job_template` {what}."))
}

fn is_deeper_than(value: &Value, levels: usize) -> bool {
    let Some(left) = levels.checked_sub(1) else {
        return true;
    };
    match value {
        Value::Array(values) => values.iter().any(|value| is_deeper_than(value, left)),
        Value::Object(values) => values.values().any(|value| is_deeper_than(value, left)),
        _ => false,
    }
}

/// Merges a patch into an object; `field` is the name of the field that holds both.
fn merge(object: &mut Value, patch: &Value, field: &str) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    object.remove(name);
                } else if let Some(old) = object.get_mut(name) {
                    merge(old, value, name);
                } else {
                    object.insert(name.clone(), without_nulls(value));
                }
            }
        }
        (Value::Array(elements), Value::Array(patch)) => match merge_key(field) {
            Some(key) => {
                for new in patch {
                    let beside = BESIDE_KEY.iter().find(|(of, _)| *of == key).map(|(_, name)| *name);
                    let is_same = |old: &Value| {
                        old.get(key) == new.get(key) && beside.is_none_or(|name| old.get(name) == new.get(name))
                    };
                    match elements.iter_mut().find(|old| is_same(old)) {
                        Some(old) => {
                            if VALUE_OF_VARIABLE.iter().any(|name| new.get(name).is_some()) {
                                // A variable has one of them only.
                                remove(Some(old), &VALUE_OF_VARIABLE);
                            }
                            merge(old, new, "");
                        }
                        None => elements.push(without_nulls(new)),
                    }
                }
            }
            None => *elements = patch.clone(),
        },
        (object, patch) => *object = without_nulls(patch),
    }
}

/// The fields of a variable that say what it holds.
const VALUE_OF_VARIABLE: [&str; 2] = ["value", "valueFrom"];

/// The fields of a pod that say where and when it runs, and how its images are got.
const OF_PLACE_AND_TIME: [&str; 11] = [
    "affinity",
    "imagePullSecrets",
    "nodeName",
    "nodeSelector",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "schedulerName",
    "schedulingGates",
    "tolerations",
    "topologySpreadConstraints",
];

/// The value without maps and lists that have nothing in them. A field that is taken away, by `null`, says something.
fn without_empty(value: Value) -> Option<Value> {
    let value: Value = match value {
        Value::Object(fields) => {
            let fields = fields
                .into_iter()
                .filter_map(|(name, value)| Some((name, without_empty(value)?)));
            Value::Object(fields.collect())
        }
        Value::Array(elements) => elements.into_iter().filter_map(without_empty).collect(),
        other => return Some(other),
    };
    let says_nothing = match &value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    };
    (!says_nothing).then_some(value)
}

/// What a field has that was not there: nothing can be taken away from it.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(elements) => elements.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flag,
    Number,
    Text,
    Quantity,
    Object,
    MapOfText,
    MapOfQuantities,
    ObjectOrList,
    List,
    ListOfText,
    ListOfNumbers,
    ListOfObjects(Option<&'static str>),
}

/// What the field of this name holds; `None` where that is not known.
fn kind(field: &str) -> Option<Kind> {
    let (heading, _) = include_str!("job_fields.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .find(|(_, names)| names.split(' ').any(|name| name == field))?;
    Some(match heading {
        "flag" => Kind::Flag,
        "number" => Kind::Number,
        "text" => Kind::Text,
        "quantity" => Kind::Quantity,
        "object" => Kind::Object,
        "map of text" => Kind::MapOfText,
        "map of quantities" => Kind::MapOfQuantities,
        "object or list" => Kind::ObjectOrList,
        "list" => Kind::List,
        "list of text" => Kind::ListOfText,
        "list of numbers" => Kind::ListOfNumbers,
        other => Kind::ListOfObjects(other.strip_prefix("list of objects by ")),
    })
}

/// The field by which Kubernetes merges the elements of a list.
fn merge_key(field: &str) -> Option<&'static str> {
    match kind(field) {
        Some(Kind::ListOfObjects(key)) => key,
        _ => None,
    }
}

/// Where in a Job a field stands, as far as abba owns something there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Job,
    Metadata,
    Labels,
    Annotations,
    JobSpec,
    PodTemplate,
    PodSpec,
    Volume,
    /// The program's container.
    Program,
    ProgramVariable,
    ProgramMount,
    ProgramResources,
    ProgramLimits,
    /// A container that the template adds beside the program's.
    Container,
    /// One that runs before the program, or begins before it.
    InitContainer,
    /// What must not be taken away as a whole.
    SecurityContext,
    /// Nothing there is abba's.
    Elsewhere,
}

impl Place {
    /// The place of what a field holds; of a list, that of its elements.
    fn of(self, field: &str) -> Self {
        match (self, field) {
            (Self::Job | Self::PodTemplate, "metadata") => Self::Metadata,
            (Self::Job, "spec") => Self::JobSpec,
            (Self::Metadata, "labels") => Self::Labels,
            (Self::Metadata, "annotations") => Self::Annotations,
            (Self::JobSpec, "template") => Self::PodTemplate,
            (Self::PodTemplate, "spec") => Self::PodSpec,
            (Self::PodSpec, "containers") => Self::Container,
            (Self::PodSpec, "initContainers") => Self::InitContainer,
            (Self::PodSpec, "volumes") => Self::Volume,
            (Self::PodSpec | Self::Program, "securityContext") => Self::SecurityContext,
            (Self::Program, "env") => Self::ProgramVariable,
            (Self::Program, "volumeMounts") => Self::ProgramMount,
            (Self::Program, "resources") => Self::ProgramResources,
            (Self::ProgramResources, "limits") => Self::ProgramLimits,
            _ => Self::Elsewhere,
        }
    }

    /// Why a field here is refused whatever it holds; `None`: it is not.
    fn rule(self, field: &str) -> Option<&'static str> {
        const ONCE: &str = "belongs to abba: a program runs once";
        if field.starts_with('$') {
            return Some("is an instruction of a patch, and a template is a part of a Job: a map is merged by its keys, and null takes a field away");
        }
        Some(match (self, field) {
            (Self::Job, "apiVersion" | "kind" | "metadata" | "spec") => return None,
            (Self::Job, "status") => "belongs to Kubernetes",
            (Self::Job, _) => "is no field of a Job: what is a pod's stands in spec.template.spec",
            (Self::Metadata, "labels" | "annotations") => return None,
            (Self::Metadata, "name" | "generateName") => "belongs to abba, which knows a job by its name",
            (Self::Metadata, "namespace") => "comes from the argument `namespace`",
            (Self::Metadata, _) => "belongs to Kubernetes: a template has labels and annotations",
            (Self::Labels, labels::MANAGED_BY) => "belongs to abba, which knows its jobs by it",
            (Self::Labels | Self::Annotations, name) if name.starts_with("abba/") => {
                "belongs to abba, which knows its jobs by it"
            }
            (Self::Labels, "job-name" | "controller-uid") => "belongs to Kubernetes, which knows a job's pods by it",
            (Self::Labels | Self::Annotations, name) if name.starts_with("batch.kubernetes.io/") => {
                "belongs to Kubernetes, which knows a job's pods by it"
            }
            (Self::JobSpec, "template") => return None,
            (
                Self::JobSpec,
                "backoffLimit" | "backoffLimitPerIndex" | "completionMode" | "completions" | "maxFailedIndexes"
                | "parallelism" | "podFailurePolicy" | "podReplacementPolicy" | "successPolicy",
            ) => ONCE,
            (Self::JobSpec, "suspend") => "belongs to the queue that holds a job back",
            (Self::JobSpec, "selector" | "manualSelector") => "belongs to Kubernetes, which finds a job's pods by it",
            (Self::JobSpec, "ttlSecondsAfterFinished") => "belongs to abba: how long a job is kept is said by `keep_days`",
            (Self::JobSpec, "activeDeadlineSeconds") => {
                "belongs to abba: it would delete the log; the argument `time_limit_seconds` ends a program and keeps it"
            }
            (Self::JobSpec, "managedBy") => "belongs to Kubernetes' own Job controller",
            (Self::JobSpec, _) => "is no field of a Job's spec: what is a pod's stands in spec.template.spec",
            (Self::PodTemplate, "metadata" | "spec") => return None,
            (Self::PodTemplate, _) => "is no field of a pod template: what is a pod's stands in spec.template.spec",
            (Self::PodSpec, "restartPolicy") => ONCE,
            (Self::PodSpec, "activeDeadlineSeconds") => "comes from the argument `time_limit_seconds`",
            (Self::PodSpec, "shareProcessNamespace") => "belongs to abba: without it R could not be ended at once",
            (Self::PodSpec, "ephemeralContainers") => "belongs to a pod that runs already",
            (Self::Program, "image") => "comes from the argument `container`",
            (Self::Program, "command" | "args") => "belongs to abba: it starts R",
            (Self::Program, "workingDir") => "belongs to abba: a program begins in its own folder",
            (Self::Program, "restartPolicy") => ONCE,
            (Self::Program | Self::Container | Self::InitContainer, "restartPolicyRules") => ONCE,
            (Self::ProgramLimits, "cpu") => "comes from the argument `cpu_limit`",
            (Self::ProgramLimits, "memory") => "comes from the argument `memory_limit`",
            _ => return None,
        })
    }

    /// Whether `null` would take away what is abba's.
    fn is_needed(self) -> bool {
        !matches!(self, Self::Elsewhere)
    }
}

/// All fields of a template that a Job cannot get; empty maps become lists where lists are wanted.
pub fn refused_fields(template: &mut Value) -> Vec<RefusedField> {
    let mut check = Check { refused: Vec::new() };
    if let Some(fields) = template.as_object_mut() {
        check.object(fields, "", Place::Job);
    }
    check.refused
}

struct Check {
    refused: Vec<RefusedField>,
}

impl Check {
    fn refuse(&mut self, path: &str, rule: impl Into<String>) {
        self.refused.push(RefusedField {
            path: path.into(),
            rule: rule.into(),
        });
    }

    fn object(&mut self, fields: &mut Map<String, Value>, path: &str, place: Place) {
        for (name, value) in fields.iter_mut() {
            let path = match (path, place) {
                ("", _) => name.clone(),
                (_, Place::Labels | Place::Annotations) => format!("{path}[{name}]"),
                _ => format!("{path}.{name}"),
            };
            match place.rule(name) {
                Some(rule) => self.refuse(&path, rule),
                None => self.field(name, value, &path, place),
            }
        }
        match place {
            Place::Job => {
                for (field, only) in [("apiVersion", "batch/v1"), ("kind", "Job")] {
                    if fields.get(field).is_some_and(|value| value != only) {
                        self.refuse(field, format!("must be {only}"));
                    }
                }
            }
            Place::Volume if text(fields, "name").is_some_and(|name| name.starts_with("abba-")) => {
                self.refuse(
                    &format!("{path}.name"),
                    "belongs to abba: its own volumes begin with \"abba-\"",
                );
            }
            Place::ProgramVariable if text(fields, "name").is_some_and(|name| OWN_VARIABLES.contains(&name)) => {
                self.refuse(&format!("{path}.name"), "belongs to abba");
            }
            Place::ProgramMount => {
                let folder = text(fields, "mountPath").and_then(paths::normalise);
                if folder.is_some_and(|folder| paths::is_in(&folder, "/abba")) {
                    self.refuse(
                        &format!("{path}.mountPath"),
                        "belongs to abba: its own files are in /abba",
                    );
                }
            }
            Place::InitContainer if text(fields, "name") == Some(PROGRAM_CONTAINER) => {
                self.refuse(
                    &format!("{path}.name"),
                    "is that of the program's container, in `containers`",
                );
            }
            Place::Container | Place::InitContainer if text(fields, "image").is_none_or(str::is_empty) => {
                self.refuse(
                    path,
                    format!("needs an `image`, as every further container; the program's own is named \"{PROGRAM_CONTAINER}\", in `containers`"),
                );
            }
            _ => {}
        }
    }

    fn field(&mut self, name: &str, value: &mut Value, path: &str, place: Place) {
        let inner = place.of(name);
        if value.is_null() {
            if inner.is_needed() {
                self.refuse(path, "holds what belongs to abba, and cannot be taken away");
            }
            return;
        }
        match place {
            Place::Labels | Place::Annotations => return self.scalar(Kind::Text, value, path),
            Place::ProgramLimits => return self.scalar(Kind::Quantity, value, path),
            _ => {}
        }
        let Some(kind) = kind(name) else {
            // The server's to say.
            return;
        };
        match (kind, &mut *value) {
            (Kind::Object | Kind::ObjectOrList, Value::Object(fields)) => self.object(fields, path, inner),
            (Kind::MapOfText, Value::Object(fields)) => self.map(fields, Kind::Text, path, inner),
            (Kind::MapOfQuantities, Value::Object(fields)) => {
                // As the server keeps them.
                for value in fields.values_mut().filter(|value| value.is_number()) {
                    *value = Value::String(value.to_string());
                }
                self.map(fields, Kind::Quantity, path, inner);
            }
            (Kind::Object | Kind::MapOfText | Kind::MapOfQuantities, _) => {
                self.refuse(path, "must be a map of names and values");
            }
            (Kind::Flag | Kind::Number | Kind::Text | Kind::Quantity, value) => self.scalar(kind, value, path),
            (_, Value::Array(elements)) => self.list(kind, elements, path, inner),
            (_, Value::Object(fields)) if fields.is_empty() => *value = Value::Array(Vec::new()),
            _ => self.refuse(
                path,
                "must be a list, also of one: list(...) around it in R, a dash before it in YAML",
            ),
        }
    }

    fn map(&mut self, fields: &mut Map<String, Value>, kind: Kind, path: &str, place: Place) {
        if place != Place::Elsewhere {
            return self.object(fields, path, place);
        }
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            self.scalar(kind, value, &format!("{path}[{name}]"));
        }
    }

    fn scalar(&mut self, kind: Kind, value: &Value, path: &str) {
        let (is_right, rule) = match kind {
            Kind::Flag => (value.is_boolean(), "must be true or false, without quotes"),
            Kind::Number => (
                value.is_i64() || value.is_u64(),
                "must be a whole number, without quotes",
            ),
            Kind::Quantity => (
                value.is_string() || value.is_number(),
                "must be an amount such as 1 or \"1Gi\"",
            ),
            _ => (value.is_string(), "must be text, in quotes"),
        };
        if !is_right {
            self.refuse(path, rule);
        }
    }

    fn list(&mut self, kind: Kind, elements: &mut [Value], path: &str, place: Place) {
        let mut keys: Vec<[Value; 2]> = Vec::new();
        for (index, element) in elements.iter_mut().enumerate() {
            let path = format!("{path}[{index}]");
            match (kind, element) {
                (Kind::ListOfText, element) => self.scalar(Kind::Text, element, &path),
                (Kind::ListOfNumbers, element) => self.scalar(Kind::Number, element, &path),
                (Kind::List, element) => {
                    if !element.is_string() && !element.is_number() {
                        self.refuse(&path, "must be text or a number");
                    }
                }
                (Kind::ListOfObjects(key), Value::Object(fields)) => {
                    if let Some(key) = key {
                        match fields.get(key) {
                            None | Some(Value::Null) => self.refuse(&path, format!("needs a `{key}`")),
                            Some(value) => {
                                let beside = BESIDE_KEY.iter().find(|(of, _)| *of == key);
                                let beside = beside.and_then(|(_, name)| fields.get(*name)).cloned();
                                let whole = [value.clone(), beside.unwrap_or_default()];
                                if keys.contains(&whole) {
                                    self.refuse(&format!("{path}.{key}"), format!("is {value} a second time"));
                                }
                                keys.push(whole);
                            }
                        }
                    }
                    let is_program = place == Place::Container && text(fields, "name") == Some(PROGRAM_CONTAINER);
                    self.object(fields, &path, if is_program { Place::Program } else { place });
                }
                (_, Value::Object(fields)) => self.object(fields, &path, place),
                (_, _) => self.refuse(&path, "must be a map of names and values"),
            }
        }
    }
}

/// What tells elements of a list apart beside their merge key, and is in no patch: a port may be open for TCP and UDP, and a
/// topology have a rule that must hold and one that should.
const BESIDE_KEY: [(&str, &str); 2] = [("containerPort", "protocol"), ("topologyKey", "whenUnsatisfiable")];

/// Variables of the program's container that are abba's own.
const OWN_VARIABLES: [&str; 3] = ["ABBA_JOB_ID", "ABBA_BATCH_ID", "OPTIND"];

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A template of a pod's fields.
    fn of_pod(pod: Value) -> Value {
        json!({"spec": {"template": {"spec": pod}}})
    }

    /// A template of fields of the program's container.
    fn of_program(mut container: Value) -> Value {
        container["name"] = json!("program");
        of_pod(json!({"containers": [container]}))
    }

    fn job() -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "a-1", "labels": {"abba/job-id": "a-1"}},
            "spec": {"backoffLimit": 0, "template": {
                "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 5},
                    "containers": [{
                        "name": "program", "image": "r", "command": ["sh"],
                        "env": [{"name": "ABBA_JOB_ID", "value": "a-1"}, {"name": "MC_CORES", "value": "1"}],
                        "resources": {"limits": {"cpu": "1", "memory": "1G"}},
                        "volumeMounts": [{"name": "abba-work", "mountPath": "/abba/work"}],
                    }],
                    "volumes": [{"name": "abba-work", "emptyDir": {}}],
                },
            }},
        })
    }

    fn merged_with(template: &Value, wins: Precedence<'_>) -> Value {
        JobTemplate::from_value(template).unwrap().merged_into(job(), wins)
    }

    fn merged(template: &Value) -> Value {
        merged_with(template, Precedence::default())
    }

    fn pod(job: &Value) -> &Value {
        &job["spec"]["template"]["spec"]
    }

    /// What is refused, as "PATH RULE".
    fn refusals(template: &Value) -> Vec<String> {
        refused_fields(&mut template.clone())
            .into_iter()
            .map(|field| format!("{} {}", field.path, field.rule))
            .collect()
    }

    #[test]
    fn labels_and_where_a_pod_runs_do_not_matter_to_what_a_program_makes() {
        let of_pod = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
        let matters = |template: Value| JobTemplate::from_value(&template).unwrap().that_matters();
        let labels = json!({"labels": {"cost": "1"}, "annotations": {"a": "b"}});
        for template in [
            json!({}),
            json!({"metadata": labels, "spec": {"template": {"metadata": labels}}}),
            of_pod(json!({
                "nodeSelector": {"pool": "a"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "low",
                "imagePullSecrets": [{"name": "registry"}], "affinity": {"nodeAffinity": {}},
            })),
            of_pod(json!({"containers": [{"name": "program", "resources": {"requests": {"cpu": "1m"}}}]})),
        ] {
            assert_eq!(matters(template.clone()), None, "{template}");
        }
        let of_program = |field: &str, value: Value| of_pod(json!({"containers": [{"name": "program", field: value}]}));
        for template in [
            of_program("env", json!([{"name": "A", "value": "1"}])),
            of_program("envFrom", json!([{"secretRef": {"name": "database"}}])),
            of_program("volumeMounts", json!([{"name": "d", "mountPath": "/d"}])),
            of_program("securityContext", json!({"allowPrivilegeEscalation": null})),
            of_pod(json!({"serviceAccountName": "stats"})),
            of_pod(json!({"securityContext": {"runAsUser": 7}})),
        ] {
            let mut with_labels = template.clone();
            with_labels["metadata"] = labels.clone();
            assert_eq!(matters(with_labels), Some(template));
        }
    }

    #[test]
    fn a_template_of_nothing_changes_nothing() {
        for template in [
            json!({}),
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": {"template": {"spec": {}}}}),
            of_pod(json!({"containers": {}, "volumes": [], "tolerations": {}, "nodeSelector": {}})),
        ] {
            let mut expected = job();
            for (name, value) in pod(&merged(&template)).as_object().unwrap() {
                expected["spec"]["template"]["spec"][name] = value.clone();
            }
            assert_eq!(merged(&template), expected);
            assert_eq!(pod(&merged(&template))["containers"], pod(&job())["containers"]);
        }
    }

    #[test]
    fn the_job_gets_all_that_a_cluster_may_need() {
        let template = json!({
            "metadata": {"labels": {"cost-centre": "42", "kueue.x-k8s.io/queue-name": "night"}},
            "spec": {"template": {
                "metadata": {"labels": {"cost-centre": "42"}, "annotations": {"linkerd.io/inject": "enabled"}},
                "spec": {
                    "imagePullSecrets": [{"name": "registry"}],
                    "nodeSelector": {"disk": "ssd"},
                    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}],
                    "priorityClassName": "low",
                    "serviceAccountName": "reader",
                    "automountServiceAccountToken": true,
                    "containers": [{
                        "name": "program",
                        "resources": {"limits": {"nvidia.com/gpu": 1}, "requests": {"cpu": "100m"}},
                        "env": [{"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                        "envFrom": [{"secretRef": {"name": "s"}}],
                    }, {"name": "second", "image": "b"}],
                    "initContainers": [{"name": "proxy", "image": "p", "restartPolicy": "Always"}],
                },
            }},
        });
        let job = merged(&template);
        assert_eq!(
            job["metadata"]["labels"],
            json!({"abba/job-id": "a-1", "cost-centre": "42", "kueue.x-k8s.io/queue-name": "night"})
        );
        let of_template = &template["spec"]["template"];
        assert_eq!(
            job["spec"]["template"]["metadata"]["annotations"],
            json!({"sidecar.istio.io/inject": "false", "linkerd.io/inject": "enabled"})
        );
        for field in [
            "imagePullSecrets",
            "nodeSelector",
            "tolerations",
            "priorityClassName",
            "serviceAccountName",
            "automountServiceAccountToken",
            "initContainers",
        ] {
            assert_eq!(pod(&job)[field], of_template["spec"][field], "{field}");
        }
        assert_eq!(pod(&job)["restartPolicy"], "Never");
        let program = &pod(&job)["containers"][0];
        assert_eq!((&program["image"], &program["command"]), (&json!("r"), &json!(["sh"])));
        assert_eq!(
            program["resources"],
            json!({"limits": {"cpu": "1", "memory": "1G", "nvidia.com/gpu": "1"}, "requests": {"cpu": "100m"}})
        );
        assert_eq!(program["env"].as_array().unwrap().len(), 3);
        assert_eq!(program["envFrom"], json!([{"secretRef": {"name": "s"}}]));
        assert_eq!(pod(&job)["containers"][1], json!({"name": "second", "image": "b"}));
    }

    /// The example of Kubernetes' page on strategic merge patches, but for the order of the containers.
    #[test]
    fn lists_are_merged_as_kubernetes_documents() {
        let mut object = json!({"spec": {
            "containers": [{"name": "patch-demo-ctr", "image": "nginx"}],
            "tolerations": [{"effect": "NoSchedule", "key": "dedicated", "value": "test-team"}],
        }});
        let patch = json!({"spec": {
            "containers": [{"name": "patch-demo-ctr-2", "image": "redis"}],
            "tolerations": [{"effect": "NoSchedule", "key": "disktype", "value": "ssd"}],
        }});
        merge(&mut object, &patch, "");
        assert_eq!(
            object["spec"]["containers"],
            json!([{"name": "patch-demo-ctr", "image": "nginx"}, {"name": "patch-demo-ctr-2", "image": "redis"}])
        );
        assert_eq!(object["spec"]["tolerations"], patch["spec"]["tolerations"]);
    }

    #[test]
    fn each_list_with_a_merge_key_is_merged_by_it() {
        for (list, key) in [
            ("containers", "name"),
            ("initContainers", "name"),
            ("volumes", "name"),
            ("imagePullSecrets", "name"),
            ("schedulingGates", "name"),
            ("resourceClaims", "name"),
            ("env", "name"),
            ("hostAliases", "ip"),
            ("topologySpreadConstraints", "topologyKey"),
            ("ports", "containerPort"),
            ("volumeMounts", "mountPath"),
            ("volumeDevices", "devicePath"),
        ] {
            let mut object = json!({list: [{key: 1, "a": 1, "b": 1}, {key: 2}]});
            merge(
                &mut object,
                &json!({list: [{key: 3, "c": null}, {key: 1, "b": 2, "a": null}]}),
                "",
            );
            assert_eq!(object, json!({list: [{key: 1, "b": 2}, {key: 2}, {key: 3}]}), "{list}");
        }
        for list in ["tolerations", "envFrom", "args", "readinessGates", "unknown"] {
            let mut object = json!({list: [{"name": 1}]});
            merge(&mut object, &json!({list: [{"name": 2}]}), "");
            assert_eq!(object, json!({list: [{"name": 2}]}), "{list}");
        }
    }

    #[test]
    fn null_takes_away_what_is_no_abbas() {
        let job = merged(&json!({"spec": {"template": {
            "metadata": {"annotations": {"sidecar.istio.io/inject": null, "not-there": null}},
            "spec": {
                "automountServiceAccountToken": null,
                "nodeSelector": {"a": null, "b": "c"},
                "securityContext": {"seccompProfile": null},
            },
        }}}));
        assert_eq!(job["spec"]["template"]["metadata"]["annotations"], json!({}));
        assert_eq!(pod(&job).get("automountServiceAccountToken"), None);
        assert_eq!(pod(&job)["nodeSelector"], json!({"b": "c"}));
        assert_eq!(pod(&job)["securityContext"], json!({"runAsUser": 5}));
        for path in [
            "/metadata",
            "/metadata/labels",
            "/spec",
            "/spec/template",
            "/spec/template/metadata/annotations",
            "/spec/template/spec/containers",
            "/spec/template/spec/volumes",
            "/spec/template/spec/securityContext",
            "/spec/template/spec/containers/0/env",
            "/spec/template/spec/containers/0/volumeMounts",
            "/spec/template/spec/containers/0/resources/limits",
        ] {
            let mut template = of_program(json!({"env": [], "volumeMounts": [], "resources": {"limits": {}}}));
            template["metadata"] = json!({"labels": {}});
            template["spec"]["template"]["metadata"] = json!({"annotations": {}});
            template["spec"]["template"]["spec"]["volumes"] = json!([]);
            template["spec"]["template"]["spec"]["securityContext"] = json!({});
            assert_eq!(refusals(&template), [""; 0]);
            *template.pointer_mut(path).unwrap() = Value::Null;
            assert_eq!(refusals(&template).len(), 1, "{path}");
        }
    }

    #[test]
    fn a_variable_has_one_value() {
        let secret = json!({"secretKeyRef": {"name": "s", "key": "k"}});
        let job = merged(&of_program(json!({"env": [{"name": "MC_CORES", "valueFrom": secret}]})));
        assert_eq!(
            pod(&job)["containers"][0]["env"][1],
            json!({"name": "MC_CORES", "valueFrom": secret})
        );
    }

    #[test]
    fn the_users_own_arguments_win() {
        let template = json!({"spec": {"template": {"spec": {
            "securityContext": {"runAsUser": 7, "runAsGroup": 7, "supplementalGroups": [7], "fsGroup": 8,
                "supplementalGroupsPolicy": "Strict"},
            "containers": [
                {
                    "name": "program",
                    "securityContext": {"runAsUser": 9, "runAsNonRoot": false, "privileged": false},
                    "env": [{"name": "TZ", "value": "UTC"}, {"name": "LANG", "value": "C"}],
                },
                {"name": "second", "image": "b", "securityContext": {"runAsUser": 9}, "env": [{"name": "TZ", "value": "UTC"}]},
            ],
        }}}});
        let wins = Precedence {
            variables: &["TZ"],
            account: true,
            disk: false,
        };
        let job = merged_with(&template, wins);
        assert_eq!(
            pod(&job)["securityContext"],
            json!({"seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 5, "fsGroup": 8,
                "supplementalGroupsPolicy": "Strict"})
        );
        let [program, second] = &pod(&job)["containers"].as_array().unwrap()[..] else {
            panic!("{job}");
        };
        assert_eq!(program["securityContext"], json!({"privileged": false}));
        assert_eq!(program["env"][2], json!({"name": "LANG", "value": "C"}));
        assert_eq!(*second, template["spec"]["template"]["spec"]["containers"][1]);
        assert_eq!(pod(&merged(&template))["securityContext"]["runAsUser"], 7);
    }

    #[test]
    fn a_label_that_the_job_has_from_an_argument_stays() {
        let template = json!({"metadata": {"labels": {"queue": "of-template", "cost": "1"}}});
        let mut job = job();
        job["metadata"]["labels"]["queue"] = json!("of-argument");
        let job = JobTemplate::from_value(&template)
            .unwrap()
            .merged_into(job, Precedence::default());
        assert_eq!(
            job["metadata"]["labels"],
            json!({"abba/job-id": "a-1", "queue": "of-argument", "cost": "1"})
        );
    }

    #[test]
    fn what_abba_owns_is_refused_by_its_path_with_the_rule() {
        for (template, refusal) in [
            (
                of_pod(json!({"restartPolicy": "Never"})),
                "spec.template.spec.restartPolicy belongs to abba: a program runs once",
            ),
            (
                of_pod(json!({"activeDeadlineSeconds": 5})),
                "spec.template.spec.activeDeadlineSeconds comes from the argument `time_limit_seconds`",
            ),
            (
                of_pod(json!({"shareProcessNamespace": false})),
                "spec.template.spec.shareProcessNamespace belongs to abba",
            ),
            (
                of_pod(json!({"ephemeralContainers": []})),
                "spec.template.spec.ephemeralContainers ",
            ),
            (
                of_program(json!({"image": "x"})),
                "spec.template.spec.containers[0].image comes from the argument `container`",
            ),
            (
                of_program(json!({"command": ["x"]})),
                "spec.template.spec.containers[0].command belongs to abba: it starts R",
            ),
            (
                of_program(json!({"args": ["x"]})),
                "spec.template.spec.containers[0].args belongs to abba",
            ),
            (
                of_program(json!({"workingDir": "/"})),
                "spec.template.spec.containers[0].workingDir belongs to abba",
            ),
            (
                of_program(json!({"restartPolicy": "Always"})),
                "spec.template.spec.containers[0].restartPolicy belongs to abba: a program runs once",
            ),
            (
                of_program(json!({"restartPolicyRules": []})),
                "spec.template.spec.containers[0].restartPolicyRules belongs",
            ),
            (
                of_program(json!({"resources": {"limits": {"cpu": 1}}})),
                "spec.template.spec.containers[0].resources.limits.cpu comes from the argument `cpu_limit`",
            ),
            (
                of_program(json!({"resources": {"limits": {"memory": null}}})),
                "spec.template.spec.containers[0].resources.limits.memory comes from",
            ),
            (
                of_program(json!({"env": [{"name": "ABBA_JOB_ID", "value": "x"}]})),
                "spec.template.spec.containers[0].env[0].name belongs to abba",
            ),
            (
                of_program(json!({"volumeMounts": [{"name": "d", "mountPath": "/abba//work/"}]})),
                "spec.template.spec.containers[0].volumeMounts[0].mountPath belongs to abba",
            ),
            (
                of_pod(json!({"volumes": [{"name": "abba-work", "emptyDir": {}}]})),
                "spec.template.spec.volumes[0].name belongs to abba",
            ),
            (
                of_pod(json!({"initContainers": [{"name": "program", "image": "x"}]})),
                "spec.template.spec.initContainers[0].name is that of the program's",
            ),
            (json!({"metadata": {"name": "x"}}), "metadata.name belongs to abba"),
            (
                json!({"metadata": {"namespace": "x"}}),
                "metadata.namespace comes from the argument `namespace`",
            ),
            (
                json!({"metadata": {"ownerReferences": []}}),
                "metadata.ownerReferences belongs to Kubernetes",
            ),
            (
                json!({"metadata": {"labels": {"abba/job-id": "x"}}}),
                "metadata.labels[abba/job-id] belongs to abba",
            ),
            (
                json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "x"}}}),
                "metadata.labels[app.kubernetes.io/managed-by] belongs to abba",
            ),
            (
                json!({"metadata": {"annotations": {"abba/arguments": null}}}),
                "metadata.annotations[abba/arguments] belongs to abba",
            ),
            (
                json!({"spec": {"template": {"metadata": {"labels": {"batch.kubernetes.io/job-name": "x"}}}}}),
                "spec.template.metadata.labels[batch.kubernetes.io/job-name] belongs to Kubernetes",
            ),
            (
                json!({"spec": {"template": {"metadata": {"name": "x"}}}}),
                "spec.template.metadata.name belongs to abba",
            ),
            (json!({"status": {}}), "status belongs to Kubernetes"),
            (
                json!({"nodeSelector": {}}),
                "nodeSelector is no field of a Job: what is a pod's stands in spec.template.spec",
            ),
            (
                json!({"spec": {"nodeSelector": {}}}),
                "spec.nodeSelector is no field of a Job's spec",
            ),
            (
                json!({"spec": {"template": {"nodeSelector": {}}}}),
                "spec.template.nodeSelector is no field of a pod template",
            ),
            (json!({"kind": "Pod"}), "kind must be Job"),
            (json!({"apiVersion": "v1"}), "apiVersion must be batch/v1"),
            (
                of_pod(json!({"containers": [{"$patch": "delete", "name": "program"}]})),
                "spec.template.spec.containers[0].$patch is an instruction of a patch",
            ),
        ] {
            let said = refusals(&template);
            assert!(said.len() == 1 && said[0].starts_with(refusal), "{said:?}");
        }
        for field in [
            "backoffLimit",
            "backoffLimitPerIndex",
            "completionMode",
            "completions",
            "maxFailedIndexes",
            "parallelism",
            "podFailurePolicy",
            "podReplacementPolicy",
            "successPolicy",
            "suspend",
            "selector",
            "manualSelector",
            "ttlSecondsAfterFinished",
            "activeDeadlineSeconds",
            "managedBy",
        ] {
            let said = refusals(&json!({"spec": {field: null}}));
            assert!(
                said.len() == 1 && said[0].starts_with(&format!("spec.{field} belongs to ")),
                "{said:?}"
            );
        }
    }

    #[test]
    fn values_that_are_obviously_wrong_are_refused() {
        for (template, path, rule) in [
            (json!({"spec": []}), "spec", "map"),
            (
                json!({"metadata": {"labels": {"cost": 1}}}),
                "metadata.labels[cost]",
                "text",
            ),
            (json!({"metadata": {"labels": ["a"]}}), "metadata.labels", "map"),
            (
                of_pod(json!({"nodeSelector": {"ssd": true}})),
                "spec.template.spec.nodeSelector[ssd]",
                "text",
            ),
            (
                of_pod(json!({"tolerations": {"key": "a"}})),
                "spec.template.spec.tolerations",
                "list(...)",
            ),
            (
                of_pod(json!({"tolerations": ["a"]})),
                "spec.template.spec.tolerations[0]",
                "map",
            ),
            (
                of_pod(json!({"imagePullSecrets": "a"})),
                "spec.template.spec.imagePullSecrets",
                "list",
            ),
            (
                of_pod(json!({"imagePullSecrets": [{"Name": "a"}]})),
                "spec.template.spec.imagePullSecrets[0]",
                "`name`",
            ),
            (
                of_pod(json!({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]})),
                "spec.template.spec.imagePullSecrets[1].name",
                "second time",
            ),
            (
                of_pod(json!({"serviceAccountName": 1})),
                "spec.template.spec.serviceAccountName",
                "text",
            ),
            (
                of_pod(json!({"hostNetwork": "yes"})),
                "spec.template.spec.hostNetwork",
                "true or false",
            ),
            (
                of_pod(json!({"terminationGracePeriodSeconds": 1.5})),
                "spec.template.spec.terminationGracePeriodSeconds",
                "whole",
            ),
            (
                of_pod(json!({"containers": [{"name": "abba"}]})),
                "spec.template.spec.containers[0]",
                "\"program\"",
            ),
            (
                of_pod(json!({"initContainers": [{"name": "a"}]})),
                "spec.template.spec.initContainers[0]",
                "`image`",
            ),
            (
                of_program(json!({"env": {"A": "b"}})),
                "spec.template.spec.containers[0].env",
                "list",
            ),
            (
                of_program(json!({"env": [{"name": "A", "value": 8080}]})),
                "spec.template.spec.containers[0].env[0].value",
                "text, in quotes",
            ),
            (
                of_program(json!({"resources": {"requests": {"cpu": true}}})),
                "spec.template.spec.containers[0].resources.requests[cpu]",
                "amount",
            ),
            (
                of_program(json!({"securityContext": {"capabilities": {"drop": "ALL"}}})),
                "spec.template.spec.containers[0].securityContext.capabilities.drop",
                "list",
            ),
            (
                of_pod(
                    json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": "a"}]}}}),
                ),
                "spec.template.spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespaces",
                "list",
            ),
        ] {
            let said = refusals(&template);
            assert!(
                said.len() == 1 && said[0].starts_with(&format!("{path} ")) && said[0].contains(rule),
                "{said:?}"
            );
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_told_and_no_part_is_lost() {
        for text in [
            r#"{"metadata": {"labels": {"a": "b", "a": "c"}}}"#,
            r#"{"metadata": {}, "spec": {}, "metadata": {"labels": {}}}"#,
            r#"{"spec": {"template": {"spec": {"tolerations": [{"key": "a", "key": "b"}]}}}}"#,
        ] {
            let error = JobTemplate::parse(text).unwrap_err();
            assert!(error.message.contains("stands twice"), "{}", error.message);
        }
        let all = r#"{"metadata": {"annotations": {"a": null, "b": "é"}},
            "spec": {"template": {"spec": {"hostNetwork": true, "priority": -1, "terminationGracePeriodSeconds": 30}}}}"#;
        assert_eq!(
            json!(JobTemplate::parse(all).unwrap()),
            serde_json::from_str::<Value>(all).unwrap()
        );
    }

    #[test]
    fn what_differs_beside_the_merge_key_is_not_the_same_twice() {
        let ports =
            json!({"ports": [{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]});
        let spread = json!([
            {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"},
            {"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "ScheduleAnyway"},
        ]);
        let ports_of = of_program(ports.clone());
        assert_eq!(pod(&merged(&ports_of))["containers"][0]["ports"], ports["ports"]);
        let spread_of = of_pod(json!({"topologySpreadConstraints": spread}));
        assert_eq!(pod(&merged(&spread_of))["topologySpreadConstraints"], spread);
    }

    #[test]
    fn what_is_not_known_is_left_to_the_server() {
        let of_later = json!({"newField": [1, {"readOnly": "x"}], "flexVolumes": {"options": {"readOnly": "true"}}});
        let template = of_pod(of_later.clone());
        assert_eq!(refusals(&template), [""; 0]);
        assert_eq!(pod(&merged(&template))["newField"], of_later["newField"]);
    }

    #[test]
    fn a_template_is_a_map_of_bounded_size_and_depth() {
        for template in [json!("x"), json!([]), json!(null), json!(1)] {
            assert!(JobTemplate::from_value(&template)
                .unwrap_err()
                .message
                .contains("part of a Job"));
        }
        let mut deep = json!({});
        for _ in 0..DEEPEST {
            deep = json!({"spec": deep});
        }
        assert!(JobTemplate::from_value(&deep)
            .unwrap_err()
            .message
            .contains("50 levels"));
        let large = json!({"metadata": {"annotations": {"a": "x".repeat(MOST_BYTES)}}});
        assert!(JobTemplate::from_value(&large)
            .unwrap_err()
            .message
            .contains("16384 bytes"));
    }

    #[test]
    fn all_that_is_refused_is_named_at_once_up_to_ten() {
        let labels: Map<String, Value> = (0..12).map(|i| (format!("abba/{i:02}"), json!("x"))).collect();
        let error = JobTemplate::from_value(&json!({"metadata": {"labels": labels}, "status": {}})).unwrap_err();
        assert_eq!(error.class, crate::ErrorClass::Input);
        assert!(error
            .message
            .starts_with("`job_template` cannot be used: metadata.labels[abba/00] belongs to abba"));
        assert!(error.message.contains("metadata.labels[abba/09]") && error.message.ends_with("; and 3 more."));
    }

    #[test]
    fn storage_of_a_template_may_hold_a_program() {
        let mut template = of_program(json!({"volumeMounts": [{"name": "s", "mountPath": "/studies"}]}));
        template["spec"]["template"]["spec"]["volumes"] =
            json!([{"name": "s", "nfs": {"server": "192.0.2.1", "path": "/s"}}]);
        let template = JobTemplate::from_value(&template).unwrap();
        assert!(template.mounts().cover("/studies/a.R"));
        let users = |name: &str, folder: &str| {
            Mounts::from_value(&json!({
                "volumes": [{"name": name, "nfs": {"server": "192.0.2.2", "path": "/x"}}],
                "volumeMounts": [{"name": name, "mountPath": folder}],
            }))
            .unwrap()
        };
        let all = template.with_mounts(&users("d", "/data")).unwrap();
        assert!(all.cover("/studies/a.R") && all.cover("/data/a.R"));
        let same_name = template.with_mounts(&users("s", "/data")).unwrap_err();
        assert!(same_name.message.contains("a volume \"s\""), "{}", same_name.message);
        let same_place = template.with_mounts(&users("d", "//studies/")).unwrap_err();
        assert!(
            same_place.message.contains("something at \"/studies\""),
            "{}",
            same_place.message
        );
    }

    #[test]
    fn each_name_in_the_table_of_fields_stands_once_under_a_known_heading() {
        let lines = include_str!("job_fields.txt")
            .lines()
            .filter(|line| !line.starts_with('#'));
        let mut names: Vec<&str> = Vec::new();
        for line in lines {
            let (heading, fields) = line.split_once(": ").unwrap();
            for field in fields.split(' ') {
                let is_list_of_objects = matches!(kind(field), Some(Kind::ListOfObjects(_)));
                assert_eq!(is_list_of_objects, heading.starts_with("list of objects"), "{field}");
                names.push(field);
            }
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
