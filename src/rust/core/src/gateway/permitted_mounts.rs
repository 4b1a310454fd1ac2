//! Which storage a caller may mount.

use serde_json::{json, Map, Value};

use super::permissions;
use crate::domain::mounts::Mounts;
use crate::domain::paths;
use crate::error::quote_shortened;
use crate::Error;

/// A folder of an NFS server that callers may mount, with all that is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermittedMount {
    /// The server, as volumes must name it.
    pub server: String,
    /// The folder on the server, absolute and without `.` and `..`.
    pub path: String,
    /// Whether it may be read and not written.
    pub read_only: bool,
}

impl PermittedMount {
    /// Errors: the path is not absolute, or has a `..`.
    pub fn new(server: &str, path: &str, read_only: bool) -> Result<Self, Error> {
        match paths::normalise(path) {
            Some(path) if !server.is_empty() => Ok(Self {
                server: server.to_string(),
                path,
                read_only,
            }),
            _ => Err(Error::input(format!(
                "`abba.permitted.mounts` must hold NFS servers with absolute paths, not {} with {}.",
                quote_shortened(server),
                quote_shortened(path)
            ))),
        }
    }

    fn permits(&self, server: &str, path: &str) -> bool {
        server == self.server && paths::is_in(path, &self.path)
    }
}

/// Whether a folder may be mounted, and then whether to be read alone: as the innermost permitted folder says that holds it,
/// and where a folder below it may only be read. `None`: it may not be mounted.
fn read_only(server: &str, path: &str, permitted: &[PermittedMount]) -> Option<bool> {
    let holding = || permitted.iter().filter(|one| one.permits(server, path));
    let innermost = holding().map(|one| one.path.len()).max()?;
    let may_write = holding().any(|one| one.path.len() == innermost && !one.read_only);
    let is_writable = |folder: &str| {
        permitted
            .iter()
            .any(|one| one.server == server && one.path == folder && !one.read_only)
    };
    let hides_read_only = permitted
        .iter()
        .any(|one| one.server == server && one.read_only && paths::is_in(&one.path, path) && !is_writable(&one.path));
    Some(!may_write || hides_read_only)
}

/// Folders of the container that a caller's mount must not hide: abba's own.
const OWN_FOLDER: &str = "/abba";

/// Checks what a caller wants to mount, and gives back mounts that hold nothing but what was checked: of a volume its name
/// and its NFS folder, of a volume mount its name, its path, a sub-path and whether it is read-only.
///
/// `permitted`: lists of folders; what one of them permits is permitted.
///
/// Errors (for a caller): anything else is in there, or a folder is not permitted.
pub fn check(mounts: &Mounts, permitted: &[Vec<PermittedMount>]) -> Result<Mounts, Error> {
    let volumes = mounts.volumes.iter().map(|volume| check_volume(volume, permitted));
    let volumes = volumes.collect::<Result<Vec<_>, _>>()?;
    let mut volume_mounts = mounts.volume_mounts.iter().map(check_volume_mount);
    let mut volume_mounts = volume_mounts.by_ref().collect::<Result<Vec<_>, _>>()?;
    // Of the volume and of each place where it appears: either alone would do.
    for mount in &mut volume_mounts {
        let is_read_only = |volume: &&Value| volume["nfs"]["readOnly"] == true && volume["name"] == mount["name"];
        if volumes.iter().any(|volume| is_read_only(&volume)) {
            if mount["readOnly"] == false {
                return Err(to_be_read_alone(mount["name"].as_str().unwrap_or_default()));
            }
            mount["readOnly"] = json!(true);
        }
    }
    Ok(Mounts { volumes, volume_mounts })
}

fn to_be_read_alone(name: &str) -> Error {
    not_permitted(format!(
        "The volume {} is permitted to be read alone, and is asked for with `readOnly: false`.",
        quote_shortened(name)
    ))
}

fn check_volume(volume: &Value, permitted: &[Vec<PermittedMount>]) -> Result<Value, Error> {
    let name = text(volume, "name", "volumes")?;
    if let Some(kind) = other_key(volume, &["name", "nfs"]) {
        return Err(not_permitted(format!(
            "The volume {} is of the kind {}; only `nfs` is permitted here.",
            quote_shortened(name),
            quote_shortened(kind)
        )));
    }
    let nfs = &volume["nfs"];
    if other_key(nfs, &["server", "path", "readOnly"]).is_some() {
        return Err(not_permitted(format!(
            "The volume {} may have `server`, `path` and `readOnly` only.",
            quote_shortened(name)
        )));
    }
    let server = text(nfs, "server", "volumes[].nfs")?;
    let given = text(nfs, "path", "volumes[].nfs")?;
    let (path, must_be_read_only) = paths::normalise(given)
        .and_then(|path| {
            // Where one list permits it to be written, it may be.
            let read_only = permitted.iter().filter_map(|list| read_only(server, &path, list)).min();
            read_only.map(|read_only| (path, read_only))
        })
        .ok_or_else(|| {
            not_permitted(format!(
                "The folder {} of the server {} is not permitted here.",
                quote_shortened(given),
                quote_shortened(server)
            ))
        })?;
    let mut checked = json!({"name": name, "nfs": {"server": server, "path": path}});
    match flag(nfs, "readOnly")? {
        Some(false) if must_be_read_only => return Err(to_be_read_alone(name)),
        None if must_be_read_only => checked["nfs"]["readOnly"] = json!(true),
        Some(read_only) => checked["nfs"]["readOnly"] = json!(read_only),
        None => {}
    }
    Ok(checked)
}

fn check_volume_mount(mount: &Value) -> Result<Value, Error> {
    let name = text(mount, "name", "volumeMounts")?;
    if let Some(key) = other_key(mount, &["name", "mountPath", "subPath", "readOnly"]) {
        return Err(not_permitted(format!(
            "The volume mount {} has {}, which is not permitted here.",
            quote_shortened(name),
            quote_shortened(key)
        )));
    }
    let given = text(mount, "mountPath", "volumeMounts")?;
    let mount_path = paths::normalise(given)
        .filter(|path| path != "/" && !paths::is_in(path, OWN_FOLDER))
        .ok_or_else(|| {
            not_permitted(format!(
                "The volume {} cannot be mounted at {}.",
                quote_shortened(name),
                quote_shortened(given)
            ))
        })?;
    let mut checked = json!({"name": name, "mountPath": mount_path});
    if mount.get("subPath").is_some_and(|sub_path| !sub_path.is_null()) {
        let sub_path = text(mount, "subPath", "volumeMounts")?;
        // Kubernetes resolves links in it and refuses those that lead out of the volume.
        let legal = !sub_path.starts_with('/') && paths::normalise(&format!("/{sub_path}")).is_some();
        if !legal {
            return Err(not_permitted(format!(
                "The `subPath` {} is not permitted here.",
                quote_shortened(sub_path)
            )));
        }
        checked["subPath"] = json!(sub_path);
    }
    if let Some(read_only) = flag(mount, "readOnly")? {
        checked["readOnly"] = json!(read_only);
    }
    Ok(checked)
}

fn not_permitted(message: String) -> Error {
    let advice = "Ask the administrator of the abba server which storage is permitted.";
    permissions::not_permitted(message, advice)
}

/// A key of an object that is not among `known`.
fn other_key<'a>(value: &'a Value, known: &[&str]) -> Option<&'a str> {
    let keys = value.as_object().map(Map::keys);
    keys.into_iter()
        .flatten()
        .map(String::as_str)
        .find(|key| !known.contains(key))
}

fn text<'a>(value: &'a Value, key: &str, place: &str) -> Result<&'a str, Error> {
    value[key]
        .as_str()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Error::input(format!("`mounts`: each of `{place}` needs a `{key}`, a string.")))
}

fn flag(value: &Value, key: &str) -> Result<Option<bool>, Error> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Error::input(format!("`mounts`: `{key}` must be true or false."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permitted() -> [Vec<PermittedMount>; 1] {
        [vec![
            PermittedMount::new("192.0.2.1", "/studies/public/", false).unwrap(),
            PermittedMount::new("nfs.example.com", "/data", false).unwrap(),
        ]]
    }

    fn mounts(volume: Value, mount: Value) -> Mounts {
        Mounts {
            volumes: vec![volume],
            volume_mounts: vec![mount],
        }
    }

    fn with_nfs(server: &str, path: &str) -> Mounts {
        mounts(
            json!({"name": "a", "nfs": {"server": server, "path": path}}),
            json!({"name": "a", "mountPath": "/studies"}),
        )
    }

    #[test]
    fn permitted_folders_and_what_is_below_them() {
        for path in [
            "/studies/public",
            "/studies/public/",
            "//studies/./public/s1",
            "/studies/public/..data",
        ] {
            let checked = check(&with_nfs("192.0.2.1", path), &permitted()).unwrap();
            assert!(checked.volumes[0]["nfs"]["path"]
                .as_str()
                .unwrap()
                .starts_with("/studies/public"));
        }
    }

    #[test]
    fn what_is_checked_is_still_what_the_caller_meant() {
        let permitted = [vec![PermittedMount::new("192.0.2.1", "/lib", true).unwrap()]];
        let given = with_nfs("192.0.2.1", "/lib//r/");
        let checked = check(&given, &permitted).unwrap();
        assert_ne!(checked, given);
        assert_eq!(checked.that_matter(), given.that_matter());
    }

    #[test]
    fn a_folder_that_may_be_read_alone_is_mounted_so_also_through_the_folder_above_it() {
        let of = |path: &str, read_only| PermittedMount::new("192.0.2.1", path, read_only).unwrap();
        let permitted = [vec![
            of("/studies", false),
            of("/studies/locked", true),
            of("/studies/locked/notes", false),
            of("/lib", true),
            of("/both", true),
            of("/both", false),
        ]];
        for (path, expected) in [
            ("/studies/s1", Value::Null),
            ("/studies/locked", json!(true)),
            ("/studies/locked/s1", json!(true)),
            ("/studies/locked/notes/a", Value::Null),
            ("/studies/lockedx", Value::Null),
            // Through it the locked one could be written.
            ("/studies", json!(true)),
            ("/lib/r", json!(true)),
            ("/both", Value::Null),
        ] {
            let checked = check(&with_nfs("192.0.2.1", path), &permitted).unwrap();
            assert_eq!(checked.volumes[0]["nfs"]["readOnly"], expected, "{path}");
            assert_eq!(checked.volume_mounts[0]["readOnly"], expected, "{path}");
        }
        // Another server's folder of that name is another.
        assert!(check(&with_nfs("192.0.2.2", "/lib"), &permitted).is_err());
        for (in_volume, in_mount) in [(Some(false), None), (None, Some(false)), (Some(true), Some(false))] {
            let mut wanted = with_nfs("192.0.2.1", "/lib");
            if let Some(flag) = in_volume {
                wanted.volumes[0]["nfs"]["readOnly"] = json!(flag);
            }
            if let Some(flag) = in_mount {
                wanted.volume_mounts[0]["readOnly"] = json!(flag);
            }
            let error = check(&wanted, &permitted).unwrap_err();
            assert!(error.message.contains("to be read alone"), "{}", error.message);
        }
    }

    #[test]
    fn nothing_beside_them() {
        for (server, path) in [
            ("192.0.2.1", "/studies"),
            ("192.0.2.1", "/"),
            ("192.0.2.1", "/studies/publicity"),
            ("192.0.2.1", "/studies/public/../secret"),
            ("192.0.2.1", "/studies/public/s1/../../secret"),
            ("192.0.2.1", "studies/public"),
            ("192.0.2.1", "/data"),
            ("192.0.2.10", "/studies/public"),
            ("nfs.example.com.evil.example", "/data"),
            ("nfs.example.com", "/data\0/x"),
        ] {
            let error = check(&with_nfs(server, path), &permitted()).unwrap_err();
            assert_eq!(error.class, crate::ErrorClass::Forbidden, "{server} {path}");
        }
    }

    #[test]
    fn no_other_kind_of_volume() {
        for volume in [
            json!({"name": "a", "hostPath": {"path": "/"}}),
            json!({"name": "a", "nfs": {"server": "192.0.2.1", "path": "/studies/public"}, "hostPath": {"path": "/"}}),
            json!({"name": "a", "secret": {"secretName": "s"}}),
            json!({"name": "a", "configMap": {"name": "s"}}),
            json!({"name": "a", "projected": {"sources": []}}),
            json!({"name": "a", "persistentVolumeClaim": {"claimName": "c"}}),
            json!({"name": "a", "nfs": {"server": "192.0.2.1", "path": "/studies/public", "x": 1}}),
        ] {
            let wanted = mounts(volume.clone(), json!({"name": "a", "mountPath": "/x"}));
            assert!(check(&wanted, &permitted()).is_err(), "{volume}");
        }
    }

    #[test]
    fn no_mount_over_what_abba_needs() {
        let volume = json!({"name": "a", "nfs": {"server": "192.0.2.1", "path": "/studies/public"}});
        for mount in [
            json!({"name": "a", "mountPath": "/"}),
            json!({"name": "a", "mountPath": "//"}),
            json!({"name": "a", "mountPath": "/abba/program"}),
            json!({"name": "a", "mountPath": "/x/../abba"}),
            json!({"name": "a", "mountPath": "/x", "subPath": "../y"}),
            json!({"name": "a", "mountPath": "/x", "subPath": "/y"}),
            json!({"name": "a", "mountPath": "/x", "subPathExpr": "$(HOME)"}),
            json!({"name": "a", "mountPath": "/x", "mountPropagation": "Bidirectional"}),
        ] {
            assert!(
                check(&mounts(volume.clone(), mount.clone()), &permitted()).is_err(),
                "{mount}"
            );
        }
        let mount = json!({"name": "a", "mountPath": "/abba2", "subPath": "s1", "readOnly": true});
        assert_eq!(
            check(&mounts(volume, mount.clone()), &permitted())
                .unwrap()
                .volume_mounts,
            [mount]
        );
    }
}
