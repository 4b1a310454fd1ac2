//! What the administrator permits.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::bounds::Bounds;
use super::permissions::Permissions;
use super::{audit_log, metrics};
use crate::domain::identity::Identity;
use crate::domain::paths;
use crate::domain::submission::check_keep_days;
use crate::error::quote_shortened;
use crate::gateway::api_keys::equal_in_constant_time;
use crate::local::accounts;
use crate::Error;

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
    /// The time limit of a program that names none, in seconds; `None`: the largest one.
    #[serde(default)]
    pub default_time_limit: Option<f64>,
    /// The largest `time_limit_seconds`; `None`: there is none.
    #[serde(default)]
    pub time_limit: Option<f64>,
    /// The limit of disk of a program that names none; `None`: the largest one.
    #[serde(default)]
    pub default_disk_limit: Option<String>,
    /// The largest `disk_limit`; `None`: there is none.
    #[serde(default)]
    pub disk_limit: Option<String>,
    /// NFS folders that callers may mount.
    #[serde(default)]
    pub permitted_mounts: Vec<PermittedMountSetting>,
    /// Job templates by their names, each as JSON.
    #[serde(default)]
    pub permitted_templates: BTreeMap<String, String>,
    /// The NFS server of the home folders; `None`: they cannot be mounted.
    pub home_nfs_ip_address: Option<String>,
    /// The folders below which homes lie; `None`: below `/home`, and on a local server anywhere.
    #[serde(default)]
    pub home_path: Option<Vec<String>>,
    /// The least user number that programs run as; `None`: the machine's own for people.
    #[serde(default)]
    pub least_uid: Option<u32>,
    /// The least group number; `None`: `least_uid`.
    #[serde(default)]
    pub least_gid: Option<u32>,
    /// For how many days a job is kept after its end; `None`: as without a server.
    #[serde(default)]
    pub keep_days: Option<f64>,
    /// What members of groups have in place of the settings above.
    #[serde(default)]
    pub profiles: Vec<ProfileSettings>,
    /// Callers who may see and cancel everybody's jobs.
    pub operators: Vec<String>,
    /// Requests a minute for each caller.
    pub requests_per_minute: u32,
    /// Jobs a minute that each caller may submit.
    pub jobs_per_minute: u32,
    /// Jobs of a caller that are not ended, at most.
    pub open_jobs: usize,
    /// The sum of their limits of processor cores, at most; `None`: any.
    #[serde(default)]
    pub open_cpu: Option<String>,
    /// The sum of their limits of memory, at most; `None`: any.
    #[serde(default)]
    pub open_memory: Option<String>,
    /// Jobs of a caller that the cluster keeps, ended ones too, at most.
    pub kept_jobs: u64,
    /// Bytes of the programs that they carry, at most.
    pub kept_program_bytes: u64,
    /// Bytes of the lines of one page of logs, about.
    pub log_page_bytes: usize,
    /// For how many seconds what was seen of the jobs is good enough for the next caller.
    pub snapshot_seconds: f64,
    /// How much of the server a caller may take.
    #[serde(default)]
    pub bounds: Bounds,
    /// The log of decisions.
    #[serde(default)]
    pub log: audit_log::Settings,
    /// Who may read the metrics.
    #[serde(default)]
    pub metrics: metrics::Readers,
    /// Whether accounts whose shell is none are refused.
    #[serde(default)]
    pub refuse_nologin: bool,
}

/// An element of the option `abba.api.profiles`.
#[derive(Clone, Debug, Deserialize)]
pub struct ProfileSettings {
    /// Its name.
    pub name: String,
    /// The names of the groups whose members have it.
    pub groups: Vec<String>,
    /// All settings as they are for its members; of these, what is permitted to callers holds.
    pub settings: Settings,
}

/// An element of the option `abba.permitted.mounts`.
#[derive(Clone, Debug, Deserialize)]
pub struct PermittedMountSetting {
    /// The NFS server.
    pub server: String,
    /// A folder on it.
    pub path: String,
    /// Whether it may be read and not written.
    #[serde(default, rename = "readOnly")]
    pub read_only: bool,
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

names!(IdentityMode { Keys = "keys", Connect = "connect", Proxy = "proxy", Local = "local" });

/// Says of an error which option it is about.
pub(super) fn of_option(name: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.after(format_args!("The option `{name}` cannot be used:"))
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
    /// What is permitted to callers who have no profile.
    permissions: Permissions,
    /// What is permitted to members of groups, by the numbers of these.
    profiles: Vec<(Vec<u32>, Permissions)>,
    /// The NFS server of the home folders.
    pub home_nfs_ip_address: Option<String>,
    /// The folders below which homes lie; `None`: anywhere.
    pub home_path: Option<Vec<String>>,
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
    /// Jobs a minute that each caller may submit.
    pub jobs_per_minute: u32,
    /// Bytes of the lines of one page of logs, about.
    pub log_page_bytes: usize,
    /// For how long what was seen of the jobs is good enough for the next caller.
    pub snapshot_age: std::time::Duration,
    /// How much of the server a caller may take.
    pub bounds: Bounds,
    /// The log of decisions.
    pub log: audit_log::Settings,
    /// Whether the server listens on a Unix socket, which a web server before it alone reaches.
    pub on_socket: bool,
    /// Who may read the metrics.
    pub metrics: metrics::Readers,
    /// Whether accounts whose shell is none are refused.
    pub refuse_nologin: bool,
}

impl Policy {
    /// Requests a minute that this server answers to each caller, where there are several.
    pub fn requests_per_minute_of_each_server(&self) -> u32 {
        self.of_each_server(self.requests_per_minute)
    }

    /// Jobs a minute that this server takes of each caller, where there are several.
    pub fn jobs_per_minute_of_each_server(&self) -> u32 {
        self.of_each_server(self.jobs_per_minute)
    }

    fn of_each_server(&self, of_all: u32) -> u32 {
        let all = usize::try_from(of_all).unwrap_or(usize::MAX);
        u32::try_from(self.bounds.of_each_server(all)).unwrap_or(u32::MAX)
    }

    /// Checks the administrator's settings. Errors name the option that is wrong.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let proxy_header = check_identity(&settings)?;
        let permissions = Permissions::new(&settings)?;
        let profiles = settings.profiles.iter().map(profile).collect::<Result<_, _>>()?;
        let counts = [settings.requests_per_minute, settings.jobs_per_minute];
        if counts.contains(&0) || settings.open_jobs == 0 || settings.log_page_bytes == 0 {
            return Err(Error::input(
                "The options `abba.api.requests.per.minute`, `abba.api.jobs.per.minute`, `abba.api.open.jobs` and \
                 `abba.api.log.page.bytes` must be at least 1.",
            ));
        }
        let snapshot_age = std::time::Duration::try_from_secs_f64(settings.snapshot_seconds)
            .map_err(|_| Error::input("The option `abba.api.snapshot.seconds` must be a number of seconds."))?;
        if let Some(days) = settings.keep_days {
            check_keep_days(days).map_err(of_option("abba.k8s.keep.days"))?;
        }
        settings.bounds.check()?;
        let home_path = match (settings.home_path, settings.identity) {
            (None, IdentityMode::Local) => None,
            (given, _) => Some(home_path(given.unwrap_or_else(|| vec!["/home".into()]))?),
        };
        let least_uid = settings.least_uid.unwrap_or_else(accounts::least_uid);
        Ok(Self {
            least_uid,
            least_gid: settings.least_gid.unwrap_or(least_uid),
            identity: settings.identity,
            secret: settings.secret.map(Secret),
            proxy_header,
            permissions,
            profiles,
            home_nfs_ip_address: settings.home_nfs_ip_address,
            home_path,
            keep_days: settings.keep_days,
            operators: settings.operators,
            requests_per_minute: settings.requests_per_minute,
            jobs_per_minute: settings.jobs_per_minute,
            log_page_bytes: settings.log_page_bytes,
            snapshot_age,
            bounds: settings.bounds,
            log: settings.log,
            on_socket: settings.on_socket,
            metrics: settings.metrics,
            refuse_nologin: settings.refuse_nologin,
        })
    }
}

impl Policy {
    /// Whether there are profiles, so that it depends on an account what is permitted.
    pub fn has_profiles(&self) -> bool {
        !self.profiles.is_empty()
    }

    /// What is permitted to a caller with this account: what their profiles permit together, or, where they have none, what is
    /// permitted to all.
    pub fn permissions(&self, account: Option<&Identity>) -> Cow<'_, Permissions> {
        let is_member = |groups: &[u32]| {
            account.is_some_and(|account| {
                groups.contains(&account.gid) || groups.iter().any(|gid| account.groups.contains(gid))
            })
        };
        let own = self.profiles.iter().filter(|(groups, _)| is_member(groups));
        let mut own = own.map(|(_, permissions)| permissions);
        match own.next() {
            None => Cow::Borrowed(&self.permissions),
            Some(first) => own.fold(Cow::Borrowed(first), |all, next| Cow::Owned(all.and(next))),
        }
    }
}

/// A profile, with the numbers of its groups.
fn profile(profile: &ProfileSettings) -> Result<(Vec<u32>, Permissions), Error> {
    let refuse = |what: String| {
        Error::input(format!(
            "The option `abba.api.profiles` cannot be used: the profile {} {what}.",
            quote_shortened(&profile.name)
        ))
    };
    if profile.groups.is_empty() {
        return Err(refuse("names no group".into()));
    }
    let number = |name: &String| {
        let shown = quote_shortened(name);
        match accounts::group(name) {
            Ok(Some(number)) => Ok(number),
            Ok(None) => Err(refuse(format!(
                "names the group {shown}, which this machine does not know"
            ))),
            Err(reason) => Err(refuse(format!(
                "names the group {shown}, which cannot be looked up: {reason}"
            ))),
        }
    };
    let groups = profile.groups.iter().map(number).collect::<Result<_, _>>()?;
    let permissions = Permissions::new(&profile.settings).map_err(|error| Error {
        message: refuse(format!("is wrong. {}", error.message)).message,
        ..error
    })?;
    Ok((groups, permissions))
}

/// Checks the folders below which homes lie.
fn home_path(given: Vec<String>) -> Result<Vec<String>, Error> {
    let folders: Option<Vec<String>> = given
        .iter()
        .map(|folder| paths::normalise(folder).filter(|folder| folder != "/"))
        .collect();
    folders.filter(|folders| !folders.is_empty()).ok_or_else(|| {
        Error::input("The option `abba.home.path` must hold absolute paths, without `..`, of folders other than `/`.")
    })
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
    let stated = settings.identity.name();
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

#[cfg(test)]
pub(super) mod tests {
    use super::super::permitted_mounts;
    use super::*;
    use crate::domain::quantity::{ByteLimit, CpuLimit};
    use serde_json::json;

    pub fn settings() -> Settings {
        serde_json::from_value(json!({
            "identity": "keys",
            "permitted_containers": ["registry.example.com/r:4.2", "registry.example.com/r:4.3"],
            "default_container": "registry.example.com/r:4.1",
            "lower_cpu_limit": "0.001",
            "cpu_limit": "2",
            "lower_memory_limit": "128M",
            "memory_limit": "1G",
            "permitted_mounts": [{"server": "192.0.2.1", "path": "/studies"}],
            "permitted_templates": {
                "default": r#"{"spec": {"template": {"spec": {"imagePullSecrets": [{"name": "registry"}]}}}}"#,
                "gpu": r#"{"spec": {"template": {"spec": {"nodeSelector": {"gpu": "yes"}}}}}"#,
            },
            // Accounts that every machine has.
            "least_uid": 1,
            "least_gid": 1,
            "operators": ["olga"],
            "requests_per_minute": 300,
            "jobs_per_minute": 3000,
            "open_jobs": 100,
            "kept_jobs": 1000,
            "kept_program_bytes": 1 << 30,
            "log_page_bytes": 4_000_000,
            "snapshot_seconds": 1.0,
        }))
        .unwrap()
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
                read_only: false,
            }],
            ..settings()
        };
        assert!(Policy::new(escaping)
            .unwrap_err()
            .message
            .contains("abba.permitted.mounts"));
    }

    fn profile_of(name: &str, groups: &[&str], change: impl FnOnce(&mut Settings)) -> ProfileSettings {
        let mut settings = settings();
        change(&mut settings);
        ProfileSettings {
            name: name.into(),
            groups: groups.iter().map(ToString::to_string).collect(),
            settings,
        }
    }

    #[test]
    fn members_of_groups_have_what_their_profiles_permit_together_and_others_what_all_have() {
        let policy = Policy::new(Settings {
            profiles: vec![
                profile_of("large", &["daemon"], |settings| {
                    settings.cpu_limit = "16".into();
                    settings.lower_memory_limit = "256M".into();
                    settings.default_container = Some("registry.example.com/r:9".into());
                    settings.permitted_containers = Vec::new();
                    settings.time_limit = Some(60.0);
                    settings.permitted_mounts[0].path = "/locked".into();
                    settings.permitted_mounts[0].read_only = true;
                    settings.open_jobs = 7;
                }),
                profile_of("small", &["sys", "bin"], |settings| {
                    settings.cpu_limit = "1".into();
                    settings.memory_limit = "8G".into();
                    settings.time_limit = Some(30.0);
                    settings.permitted_templates = BTreeMap::from([("night".into(), "{}".into())]);
                    settings.permitted_mounts[0].path = "/locked".into();
                    settings.kept_jobs = 5;
                }),
            ],
            ..settings()
        })
        .unwrap();
        let of = |gid: u32, groups: &[u32]| {
            let account = Identity {
                name: "x".into(),
                uid: 5000,
                gid,
                groups: groups.to_vec(),
                home: "/home/x".into(),
            };
            policy.permissions(Some(&account))
        };
        let cpu =
            |permissions: &Permissions, text| permissions.check_cpu_limit(&CpuLimit::parse(text).unwrap()).is_ok();
        let memory = |permissions: &Permissions, text| {
            permissions
                .check_memory_limit(&ByteLimit::of_memory(text).unwrap())
                .is_ok()
        };
        for none in [policy.permissions(None), of(5000, &[5001])] {
            assert!(cpu(&none, "2") && !cpu(&none, "3"));
            assert_eq!(none.time_limit(None).unwrap(), None);
        }
        // The primary group counts as each other.
        for large in [of(1, &[]), of(5000, &[4, 1])] {
            assert!(cpu(&large, "16") && memory(&large, "1G") && !memory(&large, "128M") && !memory(&large, "8G"));
            assert_eq!(large.permitted_containers, ["registry.example.com/r:9"]);
            assert_eq!(large.open_jobs, 7);
            assert!(large.template(Some("gpu")).is_ok() && large.template(Some("night")).is_err());
        }
        // Less than all have.
        for small in [of(2, &[]), of(3, &[])] {
            assert!(!cpu(&small, "2") && small.template(Some("gpu")).is_err());
            assert_eq!(small.holdings.kept_jobs, 5);
        }
        let both = of(2, &[1]);
        assert!(cpu(&both, "16") && memory(&both, "128M") && memory(&both, "8G"));
        assert_eq!(both.time_limit(None).unwrap(), Some(60));
        assert_eq!(both.container(None).unwrap(), "registry.example.com/r:9");
        assert_eq!(both.permitted_containers.len(), 4);
        assert!(both.template(Some("gpu")).is_ok() && both.template(Some("night")).is_ok());
        assert_eq!((both.open_jobs, both.holdings.kept_jobs), (100, 1000));
        // Read alone by the one, written by the other.
        let mount = |permissions: &Permissions| {
            let mounts = crate::domain::mounts::Mounts {
                volumes: vec![json!({"name": "a", "nfs": {"server": "192.0.2.1", "path": "/locked"}})],
                volume_mounts: vec![json!({"name": "a", "mountPath": "/x"})],
            };
            permitted_mounts::check(&mounts, &permissions.permitted_mounts)
                .map(|all| all.volume_mounts[0]["readOnly"] == true)
        };
        assert!(mount(&of(1, &[])).unwrap() && !mount(&both).unwrap());
        assert!(mount(&policy.permissions(None)).is_err());
    }

    #[test]
    fn a_profile_that_cannot_be_used_keeps_the_server_from_starting() {
        for (profile, words) in [
            (profile_of("p", &[], |_| ()), "\"p\" names no group"),
            (
                profile_of("p", &["no-such-group-here"], |_| ()),
                "\"no-such-group-here\", which this machine",
            ),
            (
                profile_of("p", &["daemon"], |settings| settings.cpu_limit = "lots".into()),
                "\"p\" is wrong. The option `abba.cpu.limit`",
            ),
        ] {
            let error = Policy::new(Settings {
                profiles: vec![profile],
                ..settings()
            })
            .unwrap_err();
            assert!(
                error.message.contains("abba.api.profiles") && error.message.contains(words),
                "{}",
                error.message
            );
        }
    }

    #[test]
    fn homes_lie_below_a_folder_that_is_not_the_root() {
        let of = |folders: Option<&[&str]>, identity| {
            let home_path = folders.map(|folders| folders.iter().map(ToString::to_string).collect());
            Policy::new(Settings {
                home_path,
                identity,
                ..settings()
            })
            .map(|policy| policy.home_path)
        };
        assert_eq!(of(None, IdentityMode::Keys).unwrap(), Some(vec!["/home".into()]));
        assert_eq!(of(None, IdentityMode::Local).unwrap(), None);
        let two = of(Some(&["/users/", "/home"]), IdentityMode::Local).unwrap();
        assert_eq!(two, Some(vec!["/users".into(), "/home".into()]));
        for wrong in [&[][..], &["/"], &["//."], &["home"], &["/home/.."], &["/home", ""]] {
            let error = of(Some(wrong), IdentityMode::Keys).unwrap_err();
            assert!(error.message.contains("abba.home.path"), "{}", error.message);
        }
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
