//! What the administrator permits.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bounds::Bounds;
use super::permitted_mounts::PermittedMount;
use crate::domain::container::check_container;
use crate::domain::job_template::JobTemplate;
use crate::domain::quantity::{CpuLimit, MemoryLimit};
use crate::domain::submission::check_keep_days;
use crate::error::quote_shortened;
use crate::gateway::api_keys::equal_in_constant_time;
use crate::kubernetes::labels::{check_queue_name, is_label_value, RULE};
use crate::local::accounts;
use crate::{Error, ErrorClass};

/// The administrator's settings as R hands them over, unchecked.
#[derive(Clone, Debug, Deserialize)]
pub struct Settings {
    /// How callers are known: `keys`, `connect`, `proxy` or `local`.
    pub identity: IdentityMode,
    /// The secret that the program before the server sends along with each request (plumber's `sharedSecret`).
    pub secret: Option<String>,
    /// The header in which a proxy says who the caller is.
    pub proxy_header: Option<String>,
    /// Whether the server listens on a Unix socket, which the proxy alone reaches.
    #[serde(default)]
    pub on_socket: bool,
    /// Images that callers may run; the default one is permitted without being named.
    pub permitted_containers: Vec<String>,
    /// The image of a request that names none.
    pub default_container: Option<String>,
    /// Queues that callers may use; the first is that of a request that names none.
    #[serde(default)]
    pub permitted_queues: Vec<String>,
    /// The least `cpu_limit`.
    pub lower_cpu_limit: String,
    /// The largest `cpu_limit`.
    pub cpu_limit: String,
    /// The least `memory_limit`.
    pub lower_memory_limit: String,
    /// The largest `memory_limit`.
    pub memory_limit: String,
    /// NFS folders that callers may mount.
    #[serde(default)]
    pub permitted_mounts: Vec<PermittedMountSetting>,
    /// Job templates by their names, each as JSON.
    #[serde(default)]
    pub permitted_templates: BTreeMap<String, String>,
    /// The NFS server of the home folders; `None`: they cannot be mounted.
    pub home_nfs_ip_address: Option<String>,
    /// The least user number that programs run as; `None`: the machine's own for people.
    #[serde(default)]
    pub least_uid: Option<u32>,
    /// The least group number; `None`: `least_uid`.
    #[serde(default)]
    pub least_gid: Option<u32>,
    /// For how many days a job is kept after its end; `None`: as without a server.
    #[serde(default)]
    pub keep_days: Option<f64>,
    /// Callers who may see and cancel everybody's jobs.
    pub operators: Vec<String>,
    /// Requests a minute for each caller.
    pub requests_per_minute: u32,
    /// Jobs of a caller that are not ended, at most.
    pub open_jobs: usize,
    /// Bytes of the lines of one page of logs, about.
    pub log_page_bytes: usize,
    /// For how many seconds what was seen of the jobs is good enough for the next caller.
    pub snapshot_seconds: f64,
    /// How much of the server a caller may take.
    #[serde(default)]
    pub bounds: Bounds,
}

/// An element of the option `abba.permitted.mounts`.
#[derive(Clone, Debug, Deserialize)]
pub struct PermittedMountSetting {
    /// The NFS server.
    pub server: String,
    /// A folder on it.
    pub path: String,
}

/// How callers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityMode {
    /// By API keys.
    Keys,
    /// By the header that Posit Connect sets.
    Connect,
    /// By a header that a proxy sets, which people log in to.
    Proxy,
    /// By a key that is made at the start and shown to whoever starts the server: the account that runs it. On loopback only.
    Local,
}

/// What a program before the server knows and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Whether a text is it. Takes the same time for every wrong text of its length.
    pub fn is(&self, given: &str) -> bool {
        equal_in_constant_time(self.0.as_bytes(), given.as_bytes())
    }
}

/// It is not shown.
impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}

/// The same, checked.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How callers are known.
    pub identity: IdentityMode,
    /// What each request must have with it, where the server has a program before it that knows it.
    pub secret: Option<Secret>,
    /// The header in which a proxy says who the caller is, in lower case; where that is how callers are known.
    pub proxy_header: Option<String>,
    /// The image of a request that names none.
    pub default_container: Option<String>,
    /// Images that callers may run.
    pub permitted_containers: Vec<String>,
    permitted_queues: Vec<String>,
    cpu: (CpuLimit, CpuLimit),
    memory: (MemoryLimit, MemoryLimit),
    /// NFS folders that callers may mount.
    pub permitted_mounts: Vec<PermittedMount>,
    /// Job templates that callers may name.
    pub permitted_templates: BTreeMap<String, JobTemplate>,
    /// The NFS server of the home folders.
    pub home_nfs_ip_address: Option<String>,
    /// The least user number that programs run as.
    pub least_uid: u32,
    /// The least group number that they run with.
    pub least_gid: u32,
    /// For how many days a job is kept after its end; `None`: as without a server.
    pub keep_days: Option<f64>,
    /// Callers who may see and cancel everybody's jobs.
    pub operators: Vec<String>,
    /// Requests a minute for each caller.
    pub requests_per_minute: u32,
    /// Jobs of a caller that are not ended, at most.
    pub open_jobs: usize,
    /// Bytes of the lines of one page of logs, about.
    pub log_page_bytes: usize,
    /// For how long what was seen of the jobs is good enough for the next caller.
    pub snapshot_age: std::time::Duration,
    /// How much of the server a caller may take.
    pub bounds: Bounds,
}

impl Policy {
    /// Checks the administrator's settings. Errors name the option that is wrong.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let option = |name: &'static str| {
            move |error: Error| {
                let message = format!("The option `{name}` cannot be used: {}", error.message);
                Error { message, ..error }
            }
        };
        let proxy_header = check_identity(&settings)?;
        let mut permitted_containers = settings.permitted_containers;
        for container in &permitted_containers {
            check_container(container).map_err(option("abba.permitted.containers"))?;
        }
        if let Some(container) = &settings.default_container {
            check_container(container).map_err(option("abba.default.container"))?;
            if !permitted_containers.contains(container) {
                permitted_containers.insert(0, container.clone());
            }
        }
        for queue in &settings.permitted_queues {
            check_queue_name("queue", queue).map_err(option("abba.permitted.queues"))?;
        }
        let cpu = (
            CpuLimit::parse(&settings.lower_cpu_limit).map_err(option("abba.lower.cpu.limit"))?,
            CpuLimit::parse(&settings.cpu_limit).map_err(option("abba.cpu.limit"))?,
        );
        let memory = (
            MemoryLimit::parse(&settings.lower_memory_limit).map_err(option("abba.lower.memory.limit"))?,
            MemoryLimit::parse(&settings.memory_limit).map_err(option("abba.memory.limit"))?,
        );
        if cpu.0.cores() > cpu.1.cores() {
            return Err(Error::input(
                "The option `abba.lower.cpu.limit` is larger than `abba.cpu.limit`.",
            ));
        }
        if memory.0.bytes() > memory.1.bytes() {
            return Err(Error::input(
                "The option `abba.lower.memory.limit` is larger than `abba.memory.limit`.",
            ));
        }
        if settings.requests_per_minute == 0 || settings.open_jobs == 0 || settings.log_page_bytes == 0 {
            return Err(Error::input(
                "The options `abba.api.requests.per.minute`, `abba.api.open.jobs` and `abba.api.log.page.bytes` must be at least 1.",
            ));
        }
        let snapshot_age = std::time::Duration::try_from_secs_f64(settings.snapshot_seconds)
            .map_err(|_| Error::input("The option `abba.api.snapshot.seconds` must be a number of seconds."))?;
        if let Some(days) = settings.keep_days {
            check_keep_days(days).map_err(option("abba.k8s.keep.days"))?;
        }
        settings.bounds.check()?;
        let least_uid = settings.least_uid.unwrap_or_else(accounts::least_uid);
        Ok(Self {
            least_uid,
            least_gid: settings.least_gid.unwrap_or(least_uid),
            identity: settings.identity,
            secret: settings.secret.map(Secret),
            proxy_header,
            default_container: settings.default_container,
            permitted_containers,
            permitted_queues: settings.permitted_queues,
            cpu,
            memory,
            permitted_mounts: settings
                .permitted_mounts
                .iter()
                .map(|mount| PermittedMount::new(&mount.server, &mount.path))
                .collect::<Result<_, _>>()?,
            permitted_templates: settings
                .permitted_templates
                .into_iter()
                .map(|(name, text)| template(&name, &text).map(|template| (name, template)))
                .collect::<Result<_, _>>()?,
            home_nfs_ip_address: settings.home_nfs_ip_address,
            keep_days: settings.keep_days,
            operators: settings.operators,
            requests_per_minute: settings.requests_per_minute,
            open_jobs: settings.open_jobs,
            log_page_bytes: settings.log_page_bytes,
            snapshot_age,
            bounds: settings.bounds,
        })
    }

    /// The image for a request: the one asked for, which must be permitted word for word, or the default one.
    pub fn container(&self, wanted: Option<&str>) -> Result<String, Error> {
        let Some(container) = wanted.or(self.default_container.as_deref()) else {
            return Err(
                Error::input("`container` is missing, and the server has no default.").advise(ASK_FOR_CONTAINERS)
            );
        };
        check_container(container)?;
        if self.permitted_containers.iter().any(|permitted| permitted == container) {
            return Ok(container.to_string());
        }
        Err(Error::new(
            ErrorClass::Forbidden,
            format!("The container {} is not permitted here.", quote_shortened(container)),
        )
        .meaning("No job was created.")
        .advise(ASK_FOR_CONTAINERS))
    }

    /// The queue for a request: the one asked for, which must be permitted, or the first that is.
    ///
    /// Errors: it is not permitted.
    pub fn queue(&self, wanted: Option<String>) -> Result<Option<String>, Error> {
        let Some(queue) = wanted else {
            return Ok(self.permitted_queues.first().cloned());
        };
        check_queue_name("queue", &queue)?;
        if self.permitted_queues.contains(&queue) {
            return Ok(Some(queue));
        }
        let advice = match self.permitted_queues.as_slice() {
            [] => "Leave `queue` out: programs go through no queue here.".to_string(),
            permitted => format!("Those that are permitted: {}.", permitted.join(", ")),
        };
        Err(Error::new(
            ErrorClass::Forbidden,
            format!("The queue {} is not permitted here.", quote_shortened(&queue)),
        )
        .meaning("No job was created.")
        .advise(advice))
    }

    /// The Job template for a request: the one of this name, which must be permitted, or the default one where there is one.
    pub fn template(&self, wanted: Option<&str>) -> Result<Option<JobTemplate>, Error> {
        let Some(name) = wanted else {
            return Ok(self.permitted_templates.get(DEFAULT_TEMPLATE).cloned());
        };
        self.permitted_templates.get(name).cloned().map(Some).ok_or_else(|| {
            Error::new(
                ErrorClass::Forbidden,
                format!("The Job template {} is not permitted here.", quote_shortened(name)),
            )
            .meaning("No job was created.")
            .advise("abba_permitted_templates() lists those that are permitted.")
        })
    }

    /// Checks that a `cpu_limit` is within the bounds.
    pub fn check_cpu_limit(&self, limit: &CpuLimit) -> Result<(), Error> {
        let (lower, upper) = &self.cpu;
        if (lower.cores()..=upper.cores()).contains(&limit.cores()) {
            return Ok(());
        }
        Err(out_of_bounds(
            "cpu_limit",
            limit.quantity(),
            lower.quantity(),
            upper.quantity(),
        ))
    }

    /// Checks that a `memory_limit` is within the bounds.
    pub fn check_memory_limit(&self, limit: &MemoryLimit) -> Result<(), Error> {
        let (lower, upper) = &self.memory;
        if (lower.bytes()..=upper.bytes()).contains(&limit.bytes()) {
            return Ok(());
        }
        Err(out_of_bounds(
            "memory_limit",
            limit.quantity(),
            lower.quantity(),
            upper.quantity(),
        ))
    }
}

/// The least length of a secret that a person has made, in bytes.
const LEAST_SECRET: usize = 16;

/// Headers that say something else.
const NO_PROXY_HEADERS: &[&str] = &[
    "authorization",
    "connection",
    "cookie",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "origin",
    "plumber-shared-secret",
    "sec-fetch-site",
    "transfer-encoding",
];

/// Checks that callers can be known as the administrator has stated; the header in which a proxy says who they are.
fn check_identity(settings: &Settings) -> Result<Option<String>, Error> {
    let stated = match settings.identity {
        IdentityMode::Keys => "keys",
        IdentityMode::Connect => "connect",
        IdentityMode::Proxy => "proxy",
        IdentityMode::Local => "local",
    };
    let refuse = |what: &str, advice: &str| {
        Err(
            Error::input(format!("The option `abba.api.identity` is \"{stated}\", and {what}."))
                .meaning("The server is not started.")
                .advise(advice),
        )
    };
    let secret = settings.secret.as_deref().unwrap_or_default();
    match (settings.identity, &settings.proxy_header) {
        (IdentityMode::Connect, _) if secret.is_empty() => refuse(
            "there is no secret by which the server would know Posit Connect",
            "Posit Connect gives its content a secret (the option `plumber.sharedSecret`). Where the server does not run \
             there, set `abba.api.identity` to \"keys\", \"proxy\" or \"local\".",
        ),
        (IdentityMode::Local, _) if settings.on_socket => refuse(
            "the server is to listen on a Unix socket, which no browser opens",
            "Leave `socket` out, or let callers be known by keys or a proxy.",
        ),
        (IdentityMode::Proxy, _) if !settings.on_socket && secret.len() < LEAST_SECRET => refuse(
            &format!("there is no secret of at least {LEAST_SECRET} characters by which the server would know the proxy"),
            "Set the environment variable PLUMBER_SHAREDSECRET to a random text, and let the proxy send it with each request, \
             in the header `Plumber-Shared-Secret`; or let the server listen on a Unix socket that the proxy alone reaches.",
        ),
        (IdentityMode::Proxy, None) => refuse(
            "no header is named in which the proxy says who the caller is",
            "Name it with the option `abba.api.proxy.header`, such as \"X-Forwarded-User\"; the proxy must set it in each \
             request, and drop what the caller sends by that name.",
        ),
        (IdentityMode::Proxy, Some(header)) => {
            let header = header.to_ascii_lowercase();
            let is_name = !header.is_empty() && header.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if is_name && !NO_PROXY_HEADERS.contains(&header.as_str()) {
                return Ok(Some(header));
            }
            Err(Error::input(format!(
                "The option `abba.api.proxy.header` must be the name of a header, of letters, digits and `-`, that says \
                 nothing else, not {}.",
                quote_shortened(&header)
            ))
            .meaning("The server is not started."))
        }
        (_, Some(_)) => refuse(
            "the option `abba.api.proxy.header` names a header that would not be read",
            "Take `abba.api.proxy.header` out, or set `abba.api.identity` to \"proxy\".",
        ),
        (_, None) => Ok(None),
    }
}

/// The template of a request that names none.
const DEFAULT_TEMPLATE: &str = "default";

/// A template of the option `abba.permitted.templates`.
fn template(name: &str, text: &str) -> Result<JobTemplate, Error> {
    let option = "The option `abba.permitted.templates` cannot be used:";
    if !is_label_value(name) {
        return Err(
            Error::input(format!("{option} {} is no name of a template.", quote_shortened(name)))
                .advise(format!("A name has {RULE}.")),
        );
    }
    JobTemplate::parse(text).map_err(|error| Error {
        message: format!("{option} of \"{name}\", {}", error.message),
        ..error
    })
}

const ASK_FOR_CONTAINERS: &str = "abba_permitted_containers() lists those that are permitted.";

fn out_of_bounds(argument: &str, given: &str, lower: &str, upper: &str) -> Error {
    Error::new(
        ErrorClass::Forbidden,
        format!(
            "`{argument}` must be from {lower} to {upper} here, not {}.",
            quote_shortened(given)
        ),
    )
    .meaning("No job was created.")
    .advise("Ask the administrator of the abba server if you need more.")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn settings() -> Settings {
        Settings {
            identity: IdentityMode::Keys,
            secret: None,
            proxy_header: None,
            on_socket: false,
            permitted_containers: vec!["registry.example.com/r:4.2".into(), "registry.example.com/r:4.3".into()],
            default_container: Some("registry.example.com/r:4.1".into()),
            permitted_queues: Vec::new(),
            lower_cpu_limit: "0.001".into(),
            cpu_limit: "2".into(),
            lower_memory_limit: "128M".into(),
            memory_limit: "1G".into(),
            permitted_mounts: vec![PermittedMountSetting {
                server: "192.0.2.1".into(),
                path: "/studies".into(),
            }],
            permitted_templates: BTreeMap::from([
                (
                    "default".into(),
                    r#"{"spec": {"template": {"spec": {"imagePullSecrets": [{"name": "registry"}]}}}}"#.into(),
                ),
                (
                    "gpu".into(),
                    r#"{"spec": {"template": {"spec": {"nodeSelector": {"gpu": "yes"}}}}}"#.into(),
                ),
            ]),
            home_nfs_ip_address: None,
            // Accounts that every machine has.
            least_uid: Some(1),
            least_gid: Some(1),
            keep_days: None,
            operators: vec!["olga".into()],
            requests_per_minute: 300,
            open_jobs: 100,
            log_page_bytes: 4_000_000,
            snapshot_seconds: 1.0,
            bounds: Bounds::default(),
        }
    }

    #[test]
    fn only_containers_that_are_named_word_for_word() {
        let policy = Policy::new(settings()).unwrap();
        assert_eq!(policy.container(None).unwrap(), "registry.example.com/r:4.1");
        assert_eq!(
            policy.container(Some("registry.example.com/r:4.3")).unwrap(),
            "registry.example.com/r:4.3"
        );
        for name in [
            "registry.example.com/r:4.30",
            "registry.example.com/r",
            "registry.example.com/r:4.3.evil",
            "registry.example.com/r:4.3@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "registry.example.com.evil.example/r:4.3",
            "evil.example/registry.example.com/r:4.3",
        ] {
            let error = policy.container(Some(name)).unwrap_err();
            assert_eq!(error.class, ErrorClass::Forbidden, "{name}");
        }
        assert_eq!(policy.container(Some("r 4.3")).unwrap_err().class, ErrorClass::Input);
    }

    #[test]
    fn only_queues_that_are_permitted_and_the_first_where_none_is_named() {
        let permitting = |queues: &[&str]| {
            Policy::new(Settings {
                permitted_queues: queues.iter().map(|name| (*name).to_string()).collect(),
                ..settings()
            })
        };
        let two = permitting(&["day", "night"]).unwrap();
        assert_eq!(two.queue(None).unwrap().as_deref(), Some("day"));
        assert_eq!(two.queue(Some("night".into())).unwrap().as_deref(), Some("night"));
        let error = two.queue(Some("other".into())).unwrap_err();
        assert_eq!(error.class, ErrorClass::Forbidden);
        assert!(error.advice.unwrap().contains("day, night"));
        assert_eq!(two.queue(Some("Day".into())).unwrap_err().class, ErrorClass::Input);
        let none = permitting(&[]).unwrap();
        assert_eq!(none.queue(None).unwrap(), None);
        assert_eq!(none.queue(Some("day".into())).unwrap_err().class, ErrorClass::Forbidden);
        let error = permitting(&["A b"]).unwrap_err();
        assert!(error.message.contains("abba.permitted.queues"), "{}", error.message);
    }

    #[test]
    fn a_template_is_one_of_those_that_are_permitted_or_the_default_one() {
        let policy = Policy::new(settings()).unwrap();
        assert_eq!(
            policy.template(None).unwrap().as_ref(),
            policy.permitted_templates.get("default")
        );
        assert_eq!(
            policy.template(Some("gpu")).unwrap().as_ref(),
            policy.permitted_templates.get("gpu")
        );
        for name in ["", "GPU", "gpu.yaml", "{}"] {
            assert_eq!(policy.template(Some(name)).unwrap_err().class, ErrorClass::Forbidden);
        }
        let none = Policy::new(Settings {
            permitted_templates: BTreeMap::new(),
            ..settings()
        });
        assert_eq!(none.unwrap().template(None).unwrap(), None);
    }

    #[test]
    fn a_template_that_cannot_be_used_keeps_the_server_from_starting() {
        for (name, text, words) in [
            ("a b", "{}", "\"a b\""),
            ("gpu", "{", "\"gpu\", `job_template` is no JSON"),
            (
                "gpu",
                r#"{"spec": {"suspend": true}}"#,
                "\"gpu\", `job_template` cannot be used: spec.suspend",
            ),
        ] {
            let settings = Settings {
                permitted_templates: BTreeMap::from([(name.into(), text.into())]),
                ..settings()
            };
            let message = Policy::new(settings).unwrap_err().message;
            assert!(
                message.starts_with("The option `abba.permitted.templates` cannot be used:") && message.contains(words),
                "{message}"
            );
        }
    }

    #[test]
    fn limits_within_the_bounds() {
        let policy = Policy::new(settings()).unwrap();
        for text in ["2", "2000m", "0.001", "1m"] {
            policy.check_cpu_limit(&CpuLimit::parse(text).unwrap()).unwrap();
        }
        for text in ["2.001", "2001m", "3", "1k"] {
            assert!(
                policy.check_cpu_limit(&CpuLimit::parse(text).unwrap()).is_err(),
                "{text}"
            );
        }
        for text in ["128M", "1G", "1000M", "900Mi"] {
            policy.check_memory_limit(&MemoryLimit::parse(text).unwrap()).unwrap();
        }
        for text in ["127M", "1Gi", "1001M", "1T"] {
            let error = policy
                .check_memory_limit(&MemoryLimit::parse(text).unwrap())
                .unwrap_err();
            assert!(error.message.contains("from 128M to 1G"), "{}", error.message);
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let crossed = Settings {
            lower_cpu_limit: "3".into(),
            ..settings()
        };
        assert!(Policy::new(crossed)
            .unwrap_err()
            .message
            .contains("abba.lower.cpu.limit"));
        let broken = Settings {
            memory_limit: "lots".into(),
            ..settings()
        };
        assert!(Policy::new(broken).unwrap_err().message.contains("abba.memory.limit"));
        let escaping = Settings {
            permitted_mounts: vec![PermittedMountSetting {
                server: "192.0.2.1".into(),
                path: "/studies/../etc".into(),
            }],
            ..settings()
        };
        assert!(Policy::new(escaping)
            .unwrap_err()
            .message
            .contains("abba.permitted.mounts"));
    }

    #[test]
    fn a_proxy_that_alone_reaches_a_socket_needs_no_secret() {
        let on_socket = |identity, header: Option<&str>| {
            Policy::new(Settings {
                identity,
                proxy_header: header.map(String::from),
                on_socket: true,
                ..settings()
            })
        };
        on_socket(IdentityMode::Proxy, Some("X-User")).unwrap();
        on_socket(IdentityMode::Keys, None).unwrap();
        assert!(on_socket(IdentityMode::Proxy, None).is_err());
        assert!(on_socket(IdentityMode::Connect, None).is_err());
        assert!(on_socket(IdentityMode::Local, None)
            .unwrap_err()
            .message
            .contains("socket"));
    }

    #[test]
    fn an_identity_that_does_not_fit_is_refused_with_the_way_out() {
        let with = |identity, secret: &str, header: &str| {
            Policy::new(Settings {
                identity,
                secret: Some(secret).filter(|text| !text.is_empty()).map(String::from),
                proxy_header: Some(header).filter(|text| !text.is_empty()).map(String::from),
                ..settings()
            })
        };
        use IdentityMode::{Connect, Keys, Local, Proxy};
        const SECRET: &str = "0123456789abcdef";
        for (identity, secret, header) in [
            (Keys, "", ""),
            (Local, "", ""),
            (Connect, "x", ""),
            (Proxy, SECRET, "X-Forwarded-User"),
        ] {
            with(identity, secret, header).unwrap();
        }
        for (identity, secret, header, words) in [
            (Connect, "", "", "plumber.sharedSecret"),
            (Connect, SECRET, "X-User", "Take `abba.api.proxy.header` out"),
            (Keys, "", "X-User", "Take `abba.api.proxy.header` out"),
            (Local, "", "X-User", "Take `abba.api.proxy.header` out"),
            (Proxy, "", "X-User", "PLUMBER_SHAREDSECRET"),
            (Proxy, "short", "X-User", "16 characters"),
            (Proxy, SECRET, "", "abba.api.proxy.header"),
            (Proxy, SECRET, "X_User", "abba.api.proxy.header"),
            (Proxy, SECRET, "X User", "abba.api.proxy.header"),
            (Proxy, SECRET, "Host", "abba.api.proxy.header"),
            (Proxy, SECRET, "Plumber-Shared-Secret", "abba.api.proxy.header"),
        ] {
            let error = with(identity, secret, header).unwrap_err();
            assert_eq!(error.consequence.as_deref(), Some("The server is not started."));
            let text = error.to_string();
            assert!(text.contains(words), "{identity:?} {header}: {text}");
        }
    }
}
