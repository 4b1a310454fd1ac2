//! The volumes of a job: what the user gave, and the user's home.

use std::collections::HashSet;

use serde_json::{json, Value};

use crate::domain::paths;
use crate::error::quote_shortened;
use crate::Error;

/// The kinds of volumes that are made for a pod, empty or with what Kubernetes puts there: none holds a user's program.
const BORN_WITH_THE_POD: [&str; 8] = [
    "emptyDir",
    "configMap",
    "secret",
    "downwardAPI",
    "projected",
    "ephemeral",
    "gitRepo",
    "image",
];

/// What a program may do in storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write, as far as the storage's own rights go.
    Write,
}

/// Volumes of a program, at most, and volume mounts: each is a mount on the node.
pub const MOST_MOUNTS: usize = 32;

/// Folders that a container needs, each with all that is below it.
const OF_THE_CONTAINER: [&str; 14] = [
    "/abba",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/sbin",
];
/// Folders that it needs, below which a home may lie: `/usr/games`, `/var/home/mike`, `/usr/local/home/mike`.
const AROUND_HOMES: [&str; 14] = [
    "/usr",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/share",
    "/opt",
    "/tmp",
    "/var",
    "/var/lib",
    "/var/tmp",
];

/// Folders of the container that no volume may be mounted at: neither the shell nor R would be there any more.
const NO_PLACE_FOR_VOLUMES: [&str; 12] = [
    "/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr", "/usr/bin", "/usr/lib",
];

/// The path of a home folder that may be mounted, normalised: a record of an account may say anything.
///
/// Errors: it is not absolute, has a `..`, or would hide a folder that the container needs.
pub fn check_home(home: &str) -> Result<String, Error> {
    let hides = |home: &str| {
        OF_THE_CONTAINER
            .iter()
            .any(|folder| paths::is_in(home, folder) || paths::is_in(folder, home))
            || AROUND_HOMES.iter().any(|folder| paths::is_in(folder, home))
    };
    match paths::normalise(home) {
        Some(home) if !hides(&home) => Ok(home),
        normalised => Err(Error::input(format!(
            "The home folder {} of the account cannot be mounted: {}.",
            quote_shortened(home),
            match normalised {
                Some(_) => "it would hide what the container needs in its place",
                None => "it is no absolute path without `..`",
            }
        ))
        .meaning("No job was created.")
        .advise("Leave `auto_mount_home` out, or have the account's home folder corrected.")),
    }
}

/// Volumes and where they appear in the container: Kubernetes' own objects, passed through as they were given. The API
/// server checks them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mounts {
    /// `pod.spec.volumes`
    pub volumes: Vec<Value>,
    /// `pod.spec.containers[].volumeMounts`
    pub volume_mounts: Vec<Value>,
}

impl Mounts {
    /// Reads an object with the elements `volumes` and `volumeMounts`, each a list of objects.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        let refuse = |what: String| {
            Err(Error::input(what).advise(
                "`mounts` is list(volumes = list(...), volumeMounts = list(...)), each a list of Kubernetes' own objects; see `?abba_submit_k8s_job_local`.",
            ))
        };
        let Value::Object(elements) = value else {
            return refuse("`mounts` must be a list with the elements `volumes` and `volumeMounts`.".into());
        };
        let mut mounts = Self::default();
        for (name, objects) in elements {
            let target = match name.as_str() {
                "volumes" => &mut mounts.volumes,
                "volumeMounts" => &mut mounts.volume_mounts,
                _ => return refuse(format!("`mounts` has an element \"{name}\", which means nothing here.")),
            };
            match objects {
                Value::Array(objects) if objects.iter().all(Value::is_object) => target.clone_from(objects),
                // An empty R list says nothing of its kind.
                Value::Object(object) if object.is_empty() => {}
                _ => {
                    return refuse(format!(
                        "`mounts${name}` must be a list of lists with names, such as list(list(name = \"data\", ...))."
                    ))
                }
            }
        }
        mounts.check_count(MOST_MOUNTS)?;
        let names: HashSet<&str> = mounts
            .volumes
            .iter()
            .filter_map(|volume| volume["name"].as_str())
            .collect();
        for mount in &mounts.volume_mounts {
            let Some(name) = mount["name"].as_str() else {
                return refuse("A volume mount in `mounts$volumeMounts` has no `name`.".into());
            };
            if !names.contains(name) {
                return refuse(format!(
                    "`mounts$volumeMounts` names the volume \"{name}\", which is not in `mounts$volumes`."
                ));
            }
            let Some(path) = mount["mountPath"].as_str().filter(|path| path.starts_with('/')) else {
                return refuse(format!(
                    "The volume mount \"{name}\" needs a `mountPath` that begins with '/'."
                ));
            };
            let folder = paths::normalise(path).unwrap_or_default();
            if NO_PLACE_FOR_VOLUMES.contains(&folder.as_str()) || paths::is_in(&folder, "/abba") {
                return refuse(format!(
                    "The volume mount \"{name}\" would hide {}: mount the volume at a folder of its own, such as \"/data\".",
                    match folder.as_str() {
                        "/" => "the whole container".to_string(),
                        _ => format!("what the container needs in {}", quote_shortened(path)),
                    }
                ));
            }
        }
        Ok(mounts)
    }

    /// Checks that there are at most `most` volumes, and as many volume mounts.
    pub fn check_count(&self, most: usize) -> Result<(), Error> {
        for (name, objects) in [("volumes", &self.volumes), ("volumeMounts", &self.volume_mounts)] {
            if objects.len() > most {
                return Err(Error::input(format!(
                    "`mounts${name}` must hold at most {most} elements, and holds {}.",
                    objects.len()
                ))
                .advise("Mount a folder that holds the others, once."));
            }
        }
        Ok(())
    }

    /// Adds a user's home folder from an NFS server, under its own path.
    pub fn add_home(&mut self, home: &str, nfs_server: &str) {
        self.volumes
            .push(json!({"name": "home", "nfs": {"server": nfs_server, "path": home}}));
        self.volume_mounts.push(json!({"name": "home", "mountPath": home}));
    }

    /// The mounts so that equal ones are equal, however they are written; `None` where there are none. Whether they may be
    /// written makes no difference to what is read, and an abba server adds it.
    pub fn that_matter(&self) -> Option<Value> {
        let normal = |objects: &[Value]| {
            let mut objects = objects.to_vec();
            for object in &mut objects {
                simplify(object);
            }
            objects.sort_by_key(Value::to_string);
            objects
        };
        let (volumes, mounts) = (normal(&self.volumes), normal(&self.volume_mounts));
        (!volumes.is_empty() || !mounts.is_empty()).then(|| json!([volumes, mounts]))
    }

    /// Whether `path` (absolute, without `..`) lies in storage that is mounted, so that the container sees it there. Of
    /// nested mounts the innermost counts, which hides what lies under it.
    pub fn cover(&self, path: &str) -> bool {
        self.access(path).is_some()
    }

    /// The same, and what may be done there.
    pub fn access(&self, path: &str) -> Option<Access> {
        self.folders()
            .filter(|(folder, _)| path != folder && paths::is_in(path, folder))
            .max_by_key(|(folder, _)| folder.len())
            .and_then(|(_, access)| access)
    }

    /// The folders where storage is mounted that may hold a program.
    pub fn storage_folders(&self) -> impl Iterator<Item = String> + '_ {
        self.folders()
            .filter(|(_, access)| access.is_some())
            .map(|(folder, _)| folder)
    }

    /// Each mount's folder, and what may be done there; `None` where its volume holds no files that were there before the
    /// job.
    fn folders(&self) -> impl Iterator<Item = (String, Option<Access>)> + '_ {
        self.volume_mounts.iter().filter_map(|mount| {
            let folder = paths::normalise(mount["mountPath"].as_str()?)?;
            let volume = self.volumes.iter().find(|volume| volume["name"] == mount["name"])?;
            let holds_files = !BORN_WITH_THE_POD.iter().any(|kind| volume.get(kind).is_some());
            // Each kind of volume that can be read-only says so in a field of this name.
            let mut kinds = volume.as_object().into_iter().flat_map(|fields| fields.values());
            let read_only = mount["readOnly"] == true || kinds.any(|kind| kind["readOnly"] == true);
            let access = if read_only { Access::Read } else { Access::Write };
            Some((folder, holds_files.then_some(access)))
        })
    }
}

/// Takes from a volume or a volume mount what says nothing: absent values, `readOnly`, and in paths what can be left out.
fn simplify(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "readOnly" && !value.is_null());
            for (name, value) in fields {
                match value
                    .as_str()
                    .filter(|_| ["path", "mountPath", "subPath"].contains(&name.as_str()))
                {
                    Some(path) if path.starts_with('/') => {
                        *value = paths::normalise(path).unwrap_or_else(|| path.into()).into()
                    }
                    Some(path) => {
                        let normal = paths::normalise(&format!("/{path}"));
                        *value = normal.map_or_else(|| path.into(), |path| path[1..].to_string()).into();
                    }
                    None => simplify(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(simplify),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_mount() -> Mounts {
        Mounts::from_value(&json!({
            "volumes": [{"name": "data", "hostPath": {"path": "/srv/data"}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data/"}],
        }))
        .unwrap()
    }

    #[test]
    fn a_mount_covers_what_is_in_its_folder_only() {
        let mounts = data_mount();
        assert!(mounts.cover("/data/a.R"));
        assert!(mounts.cover("/data/sub/a.R"));
        assert!(!mounts.cover("/data2/a.R"));
        assert!(!mounts.cover("/data"));
        assert!(!Mounts::default().cover("/data/a.R"));
    }

    #[test]
    fn storage_is_read_only_where_its_mount_or_its_volume_says_so() {
        for (volume, mount, access) in [
            (json!({"nfs": {"path": "/x"}}), json!({}), Access::Write),
            (
                json!({"nfs": {"readOnly": false}}),
                json!({"readOnly": false}),
                Access::Write,
            ),
            (json!({"nfs": {"readOnly": true}}), json!({}), Access::Read),
            (
                json!({"persistentVolumeClaim": {"claimName": "c"}}),
                json!({"readOnly": true}),
                Access::Read,
            ),
        ] {
            let (mut volume, mut mount) = (volume, mount);
            (volume["name"], mount["name"], mount["mountPath"]) = (json!("d"), json!("d"), json!("/d"));
            let mounts = Mounts::from_value(&json!({"volumes": [volume], "volumeMounts": [mount]})).unwrap();
            assert_eq!(mounts.access("/d/a.Rmd"), Some(access));
        }
    }

    #[test]
    fn mounts_are_the_same_however_they_are_written() {
        let mounts = |volume: Value, mount: Value| {
            let read = Mounts::from_value(&json!({"volumes": [volume], "volumeMounts": [mount]}));
            read.unwrap().that_matter()
        };
        let nfs = |path: &str| json!({"name": "d", "nfs": {"server": "s", "path": path}});
        let at = |path: &str| json!({"name": "d", "mountPath": path});
        let one = mounts(nfs("/x"), at("/data"));
        assert_eq!(mounts(nfs("/x//"), at("/data/./")), one);
        let read_only = json!({"name": "d", "nfs": {"server": "s", "path": "/x", "readOnly": true}});
        let with_null = json!({"name": "d", "mountPath": "/data", "readOnly": false, "subPath": null});
        assert_eq!(mounts(read_only, with_null), one);
        assert_ne!(mounts(nfs("/x/y"), at("/data")), one);
        assert_ne!(mounts(nfs("/x"), at("/data/y")), one);
        assert_ne!(
            mounts(nfs("/x"), json!({"name": "d", "mountPath": "/data", "subPath": "y"})),
            one
        );
        assert_eq!(Mounts::default().that_matter(), None);
    }

    #[test]
    fn a_volume_that_is_made_for_the_pod_holds_no_program() {
        for kind in BORN_WITH_THE_POD {
            let mounts = Mounts::from_value(&json!({
                "volumes": [{"name": "d", kind: {}}],
                "volumeMounts": [{"name": "d", "mountPath": "/tmp"}],
            }))
            .unwrap();
            assert!(!mounts.cover("/tmp/a.R"), "{kind}");
        }
    }

    #[test]
    fn the_innermost_mount_decides_however_its_folder_is_written() {
        for folder in ["/data/scratch", "/data//scratch/", "/data/./scratch"] {
            let mounts = Mounts::from_value(&json!({
                "volumes": [{"name": "data", "nfs": {}}, {"name": "empty", "emptyDir": {}}],
                "volumeMounts": [
                    {"name": "data", "mountPath": "/data"},
                    {"name": "empty", "mountPath": folder},
                    {"name": "data", "mountPath": "/data/scratch/kept", "subPath": "kept"},
                ],
            }))
            .unwrap();
            assert!(mounts.cover("/data/a.R"));
            assert!(!mounts.cover("/data/scratch/a.R"), "{folder}");
            assert!(mounts.cover("/data/scratch/kept/a.R"));
        }
    }

    #[test]
    fn a_volume_that_would_hide_what_the_container_needs_is_refused() {
        let mounted = |path: &str| {
            Mounts::from_value(&json!({
                "volumes": [{"name": "d", "nfs": {}}],
                "volumeMounts": [{"name": "d", "mountPath": path}],
            }))
        };
        for path in ["/", "//", "/.", "/usr", "/usr/", "/etc", "/abba", "/abba/work", "/proc"] {
            let error = mounted(path).unwrap_err();
            assert!(error.message.contains("would hide"), "{path}: {}", error.message);
        }
        for path in [
            "/data",
            "/tmp",
            "/opt",
            "/run",
            "/home",
            "/etc/passwd",
            "/usr/local",
            "/usr/lib/R",
            "/dev/shm",
            "/abbas",
        ] {
            mounted(path).unwrap();
        }
    }

    #[test]
    fn a_home_that_would_hide_what_the_container_needs_is_none() {
        for (home, normalised) in [
            ("/home/mike", "/home/mike"),
            ("//home/./mike/", "/home/mike"),
            ("/root", "/root"),
            ("/usr/games", "/usr/games"),
            ("/nonexistent", "/nonexistent"),
            ("/var/home/mike", "/var/home/mike"),
            ("/usr/local/home/mike", "/usr/local/home/mike"),
            ("/abbas/mike", "/abbas/mike"),
        ] {
            assert_eq!(check_home(home).unwrap(), normalised);
        }
        for home in [
            "",
            "/",
            "//",
            "/.",
            "home/mike",
            "/home/../etc",
            "/home/..",
            "/home/a\0b",
            "/abba",
            "/abba/work",
            "/bin",
            "/usr",
            "/usr/",
            "/usr/sbin",
            "/usr/lib",
            "/etc",
            "/etc/x",
            "/dev",
            "/dev/shm",
            "/proc/1",
            "/sys",
            "/run/x",
            "/opt",
            "/tmp",
            "/var",
            "/var/lib",
            "/lib64/x",
        ] {
            let error = check_home(home).unwrap_err();
            assert_eq!(error.class, crate::ErrorClass::Input, "{home:?}");
            assert_eq!(error.consequence.as_deref(), Some("No job was created."));
        }
    }

    #[test]
    fn the_home_is_mounted_where_it_is() {
        let mut mounts = data_mount();
        mounts.add_home("/home/mike", "192.0.2.1");
        assert!(mounts.cover("/home/mike/a.R"));
        assert_eq!(mounts.volumes[1]["nfs"]["server"], "192.0.2.1");
    }

    #[test]
    fn a_program_has_some_mounts_and_not_thousands() {
        let mounts = |volumes: usize, volume_mounts: usize| {
            let volumes: Vec<Value> = (0..volumes)
                .map(|k| json!({"name": format!("v{k}"), "nfs": {}}))
                .collect();
            let mount = |k: usize| json!({"name": "v0", "mountPath": format!("/m{k}")});
            let volume_mounts: Vec<Value> = (0..volume_mounts).map(mount).collect();
            Mounts::from_value(&json!({"volumes": volumes, "volumeMounts": volume_mounts}))
        };
        assert!(mounts(MOST_MOUNTS, MOST_MOUNTS).is_ok());
        for (volumes, volume_mounts, name) in [(MOST_MOUNTS + 1, 1, "volumes"), (1, 100_000, "volumeMounts")] {
            let error = mounts(volumes, volume_mounts).unwrap_err();
            assert!(error.message.contains(&format!("`mounts${name}`")), "{}", error.message);
            assert!(error.message.contains(&MOST_MOUNTS.to_string()), "{}", error.message);
        }
    }

    #[test]
    fn what_is_no_mount_is_refused_with_what_is_wrong() {
        for (value, word) in [
            (json!("x"), "must be a list"),
            (json!({"volume": []}), "\"volume\""),
            (json!({"volumes": [1]}), "volumes"),
            (json!({"volumeMounts": [{"mountPath": "/x"}]}), "no `name`"),
            (json!({"volumeMounts": [{"name": "a", "mountPath": "/x"}]}), "\"a\""),
            (
                json!({"volumes": [{"name": "a"}], "volumeMounts": [{"name": "a", "mountPath": "x"}]}),
                "mountPath",
            ),
        ] {
            let error = Mounts::from_value(&value).unwrap_err();
            assert!(error.message.contains(word), "{}", error.message);
        }
    }
}
