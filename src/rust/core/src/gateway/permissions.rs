//! What a caller's programs may be and have.

use std::collections::BTreeMap;

use super::holdings::Holdings;
use super::permitted_mounts::PermittedMount;
use super::policy::{of_option, Settings};
use crate::domain::container::check_container;
use crate::domain::job_template::JobTemplate;
use crate::domain::quantity::{ByteLimit, CpuLimit};
use crate::domain::submission::check_time_limit;
use crate::error::quote_shortened;
use crate::kubernetes::labels::{check_queue_name, is_label_value, RULE};
use crate::{Error, ErrorClass};

/// What is permitted to a caller.
#[derive(Clone, Debug)]
pub struct Permissions {
    /// The image of a request that names none.
    default_container: Option<String>,
    /// Images that callers may run.
    pub permitted_containers: Vec<String>,
    permitted_queues: Vec<String>,
    cpu: (CpuLimit, CpuLimit),
    memory: (ByteLimit, ByteLimit),
    /// That of a program that names none, and the largest.
    time: (Option<u64>, Option<u64>),
    disk: (Option<ByteLimit>, Option<ByteLimit>),
    /// NFS folders that callers may mount: what any of these lists permits.
    pub permitted_mounts: Vec<Vec<PermittedMount>>,
    /// Job templates that callers may name.
    pub permitted_templates: BTreeMap<String, JobTemplate>,
    /// Jobs of a caller that are not ended, at most.
    pub open_jobs: usize,
    /// What the jobs of a caller may take up together.
    pub holdings: Holdings,
}

impl Permissions {
    /// Checks the administrator's settings. Errors name the option that is wrong.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let mut permitted_containers = settings.permitted_containers.clone();
        for container in &permitted_containers {
            check_container(container).map_err(of_option("abba.permitted.containers"))?;
        }
        if let Some(container) = &settings.default_container {
            check_container(container).map_err(of_option("abba.default.container"))?;
            if !permitted_containers.contains(container) {
                permitted_containers.insert(0, container.clone());
            }
        }
        for queue in &settings.permitted_queues {
            check_queue_name("queue", queue).map_err(of_option("abba.permitted.queues"))?;
        }
        let cpu = (
            CpuLimit::parse(&settings.lower_cpu_limit).map_err(of_option("abba.lower.cpu.limit"))?,
            CpuLimit::parse(&settings.cpu_limit).map_err(of_option("abba.cpu.limit"))?,
        );
        let memory = (
            ByteLimit::of_memory(&settings.lower_memory_limit).map_err(of_option("abba.lower.memory.limit"))?,
            ByteLimit::of_memory(&settings.memory_limit).map_err(of_option("abba.memory.limit"))?,
        );
        let largest = |smaller: &str, larger: &str| {
            Err(Error::input(format!(
                "The option `{smaller}` is larger than `{larger}`."
            )))
        };
        if cpu.0.cores() > cpu.1.cores() {
            return largest("abba.lower.cpu.limit", "abba.cpu.limit");
        }
        if memory.0.bytes() > memory.1.bytes() {
            return largest("abba.lower.memory.limit", "abba.memory.limit");
        }
        let seconds = |limit: Option<f64>, name| limit.map(check_time_limit).transpose().map_err(of_option(name));
        let most_time = seconds(settings.time_limit, "abba.api.time.limit")?;
        let time = seconds(settings.default_time_limit, "abba.api.default.time.limit")?.or(most_time);
        if time > most_time && most_time.is_some() {
            return largest("abba.api.default.time.limit", "abba.api.time.limit");
        }
        let amount = |limit: &Option<String>, name| {
            let limit = limit.as_deref().map(ByteLimit::of_disk);
            limit.transpose().map_err(of_option(name))
        };
        let most_disk = amount(&settings.disk_limit, "abba.api.disk.limit")?;
        let disk = amount(&settings.default_disk_limit, "abba.api.default.disk.limit")?.or_else(|| most_disk.clone());
        if let (Some(disk), Some(most)) = (&disk, &most_disk) {
            if disk.bytes() > most.bytes() {
                return largest("abba.api.default.disk.limit", "abba.api.disk.limit");
            }
        }
        Ok(Self {
            default_container: settings.default_container.clone(),
            permitted_containers,
            permitted_queues: settings.permitted_queues.clone(),
            cpu,
            memory,
            time: (time, most_time),
            disk: (disk, most_disk),
            permitted_mounts: vec![settings
                .permitted_mounts
                .iter()
                .map(|mount| PermittedMount::new(&mount.server, &mount.path, mount.read_only))
                .collect::<Result<_, _>>()?],
            permitted_templates: settings
                .permitted_templates
                .iter()
                .map(|(name, text)| template(name, text).map(|template| (name.clone(), template)))
                .collect::<Result<_, _>>()?,
            open_jobs: settings.open_jobs,
            holdings: Holdings::most(settings)?,
        })
    }

    /// What this and another permit together: what one of them permits, and the larger of two bounds. Of two defaults, and of
    /// two templates of one name, it is the first.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        fn larger<T: Clone>(one: &Option<T>, other: &Option<T>, amount: impl Fn(&T) -> f64) -> Option<T> {
            // None is no bound.
            match (one.as_ref()?, other.as_ref()?) {
                (one, other) if amount(one) >= amount(other) => Some(one.clone()),
                (_, other) => Some(other.clone()),
            }
        }
        let united = |one: &[String], other: &[String]| {
            let mut all = one.to_vec();
            all.extend(other.iter().filter(|text| !one.contains(text)).cloned());
            all
        };
        let lower_cpu = self.cpu.0.cores() <= other.cpu.0.cores();
        let upper_cpu = self.cpu.1.cores() >= other.cpu.1.cores();
        let lower_memory = self.memory.0.bytes() <= other.memory.0.bytes();
        let upper_memory = self.memory.1.bytes() >= other.memory.1.bytes();
        let of = |is_first: bool| if is_first { self } else { other };
        let mut permitted_templates = other.permitted_templates.clone();
        permitted_templates.extend(self.permitted_templates.clone());
        let most_time = larger(&self.time.1, &other.time.1, |seconds| *seconds as f64);
        let most_disk = larger(&self.disk.1, &other.disk.1, ByteLimit::bytes);
        Self {
            default_container: self
                .default_container
                .clone()
                .or_else(|| other.default_container.clone()),
            permitted_containers: united(&self.permitted_containers, &other.permitted_containers),
            permitted_queues: united(&self.permitted_queues, &other.permitted_queues),
            cpu: (of(lower_cpu).cpu.0.clone(), of(upper_cpu).cpu.1.clone()),
            memory: (of(lower_memory).memory.0.clone(), of(upper_memory).memory.1.clone()),
            time: (self.time.0.or(other.time.0), most_time),
            disk: (self.disk.0.clone().or_else(|| other.disk.0.clone()), most_disk),
            permitted_mounts: [self.permitted_mounts.as_slice(), &other.permitted_mounts].concat(),
            permitted_templates,
            open_jobs: self.open_jobs.max(other.open_jobs),
            holdings: self.holdings.or_more(&other.holdings),
        }
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
        let message = format!("The container {} is not permitted here.", quote_shortened(container));
        Err(not_permitted(message, ASK_FOR_CONTAINERS))
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
        let message = format!("The queue {} is not permitted here.", quote_shortened(&queue));
        Err(not_permitted(message, advice))
    }

    /// The Job template for a request: the one of this name, which must be permitted, or the default one where there is one.
    pub fn template(&self, wanted: Option<&str>) -> Result<Option<JobTemplate>, Error> {
        let Some(name) = wanted else {
            return Ok(self.permitted_templates.get(DEFAULT_TEMPLATE).cloned());
        };
        self.permitted_templates.get(name).cloned().map(Some).ok_or_else(|| {
            let message = format!("The Job template {} is not permitted here.", quote_shortened(name));
            not_permitted(message, "abba_permitted_templates() lists those that are permitted.")
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
    pub fn check_memory_limit(&self, limit: &ByteLimit) -> Result<(), Error> {
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

    /// The time limit for a request, in seconds: the one asked for, which must be within the bound, or the default one.
    pub fn time_limit(&self, wanted: Option<u64>) -> Result<Option<u64>, Error> {
        let (usual, most) = self.time;
        match (wanted, most) {
            (Some(given), Some(most)) if given > most => Err(out_of_bounds(
                "time_limit_seconds",
                &given.to_string(),
                "1",
                &most.to_string(),
            )),
            (wanted, _) => Ok(wanted.or(usual)),
        }
    }

    /// The limit of disk for a request: the one asked for, which must be within the bound; or that of the template, which is
    /// `None` here; or the default one.
    pub fn disk_limit(
        &self,
        wanted: Option<&ByteLimit>,
        template: Option<&JobTemplate>,
    ) -> Result<Option<String>, Error> {
        let (usual, most) = &self.disk;
        match (wanted, most) {
            (Some(given), Some(most)) if given.bytes() > most.bytes() => {
                Err(out_of_bounds("disk_limit", given.quantity(), "1Mi", most.quantity()))
            }
            (None, _) if template.is_some_and(JobTemplate::limits_disk) => Ok(None),
            (wanted, _) => Ok(wanted.or(usual.as_ref()).map(|limit| limit.quantity().to_string())),
        }
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
    JobTemplate::parse(text).map_err(|error| error.after(format_args!("{option} of \"{name}\",")))
}

const ASK_FOR_CONTAINERS: &str = "abba_permitted_containers() lists those that are permitted.";

fn out_of_bounds(argument: &str, given: &str, lower: &str, upper: &str) -> Error {
    let given = quote_shortened(given);
    let message = format!("`{argument}` must be from {lower} to {upper} here, not {given}.");
    not_permitted(message, "Ask the administrator of the abba server if you need more.")
}

/// The refusal of a submission that the administrator does not permit.
pub(super) fn not_permitted(message: impl Into<String>, advice: impl Into<String>) -> Error {
    Error::new(ErrorClass::Forbidden, message)
        .meaning("No job was created.")
        .advise(advice)
}

#[cfg(test)]
mod tests {
    use super::super::policy::tests::settings;
    use super::*;

    fn permissions(change: impl FnOnce(&mut Settings)) -> Result<Permissions, Error> {
        let mut settings = settings();
        change(&mut settings);
        Permissions::new(&settings)
    }

    #[test]
    fn only_containers_that_are_named_word_for_word() {
        let policy = permissions(|_| ()).unwrap();
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
            Permissions::new(&Settings {
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
        let policy = permissions(|_| ()).unwrap();
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
        let none = Permissions::new(&Settings {
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
            let message = Permissions::new(&settings).unwrap_err().message;
            assert!(
                message.starts_with("The option `abba.permitted.templates` cannot be used:") && message.contains(words),
                "{message}"
            );
        }
    }

    #[test]
    fn limits_within_the_bounds() {
        let policy = permissions(|_| ()).unwrap();
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
            policy.check_memory_limit(&ByteLimit::of_memory(text).unwrap()).unwrap();
        }
        for text in ["127M", "1Gi", "1001M", "1T"] {
            let error = policy
                .check_memory_limit(&ByteLimit::of_memory(text).unwrap())
                .unwrap_err();
            assert!(error.message.contains("from 128M to 1G"), "{}", error.message);
        }
    }

    #[test]
    fn a_time_limit_has_a_default_and_a_bound() {
        let of = |usual, most| {
            permissions(|settings| {
                (settings.default_time_limit, settings.time_limit) = (usual, most);
            })
        };
        let none = of(None, None).unwrap();
        assert_eq!(
            (none.time_limit(None).unwrap(), none.time_limit(Some(9)).unwrap()),
            (None, Some(9))
        );
        let bound = of(None, Some(60.0)).unwrap();
        assert_eq!(bound.time_limit(None).unwrap(), Some(60));
        assert_eq!(bound.time_limit(Some(60)).unwrap(), Some(60));
        let error = bound.time_limit(Some(61)).unwrap_err();
        assert_eq!(error.class, ErrorClass::Forbidden);
        assert!(error.message.contains("from 1 to 60 here, not"), "{}", error.message);
        let both = of(Some(30.0), Some(60.0)).unwrap();
        assert_eq!(both.time_limit(None).unwrap(), Some(30));
        assert_eq!(of(Some(30.0), None).unwrap().time_limit(Some(99)).unwrap(), Some(99));
        for (usual, most, option) in [
            (Some(61.0), Some(60.0), "abba.api.default.time.limit"),
            (Some(0.5), None, "abba.api.default.time.limit"),
            (None, Some(0.0), "abba.api.time.limit"),
        ] {
            let message = of(usual, most).unwrap_err().message;
            assert!(message.contains(option), "{message}");
        }
    }

    #[test]
    fn a_limit_of_disk_has_a_default_and_a_bound_and_a_template_may_have_its_own() {
        let of = |usual: Option<&str>, most: Option<&str>| {
            permissions(|settings| {
                settings.default_disk_limit = usual.map(String::from);
                settings.disk_limit = most.map(String::from);
            })
        };
        let ask = |permissions: &Permissions, wanted: Option<&str>, template: Option<&JobTemplate>| {
            let wanted = wanted.map(|text| ByteLimit::of_disk(text).unwrap());
            permissions.disk_limit(wanted.as_ref(), template)
        };
        let none = of(None, None).unwrap();
        assert_eq!(ask(&none, None, None).unwrap(), None);
        assert_eq!(ask(&none, Some("9T"), None).unwrap().as_deref(), Some("9T"));
        let both = of(Some("1G"), Some("2G")).unwrap();
        assert_eq!(ask(&both, None, None).unwrap().as_deref(), Some("1G"));
        assert_eq!(ask(&both, Some("2000M"), None).unwrap().as_deref(), Some("2000M"));
        let error = ask(&both, Some("2Gi"), None).unwrap_err();
        assert!(error.class == ErrorClass::Forbidden && error.message.contains("to 2G here"));
        assert_eq!(
            ask(&of(None, Some("2G")).unwrap(), None, None).unwrap().as_deref(),
            Some("2G")
        );
        let template = JobTemplate::parse(
            r#"{"spec": {"template": {"spec": {"containers": [
                {"name": "program", "resources": {"limits": {"ephemeral-storage": "9G"}}}]}}}}"#,
        )
        .unwrap();
        assert_eq!(ask(&both, None, Some(&template)).unwrap(), None);
        assert_eq!(ask(&both, Some("1G"), Some(&template)).unwrap().as_deref(), Some("1G"));
        assert!(ask(&both, Some("3G"), Some(&template)).is_err());
        for (usual, most, option) in [
            (Some("3G"), Some("2G"), "abba.api.default.disk.limit"),
            (Some("x"), None, "abba.api.default.disk.limit"),
            (None, Some("2"), "abba.api.disk.limit"),
        ] {
            let message = of(usual, most).unwrap_err().message;
            assert!(message.contains(option), "{message}");
        }
    }
}
