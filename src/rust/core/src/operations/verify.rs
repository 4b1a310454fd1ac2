//! Whether logs, outputs and inputs are still what their records say, without a cluster.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use ed25519_dalek::VerifyingKey;
use serde::Serialize;

use super::record_files::{self, RecordFile};
use crate::domain::dsse::{self, Verified};
use crate::domain::record::{Resource, Role};
use crate::error::quote_shortened;
use crate::local::files::{FileFacts, Looked};
use crate::Error;

/// A file that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedFile {
    /// The name of the record: its file without the ending.
    pub name: String,
    /// What the file is: `record`, or what it is to the program.
    pub role: &'static str,
    /// The path from the folder, or from the root.
    pub file: String,
    /// What was found.
    pub result: CheckResult,
    /// The same in a sentence.
    pub what: String,
}

/// What was found of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CheckResult {
    /// It is what the record says; a record is signed with one of the keys.
    #[serde(rename = "ok")]
    Ok,
    /// It is not what the record says.
    #[serde(rename = "changed")]
    Changed,
    /// It is not there, or cannot be read.
    #[serde(rename = "missing")]
    Missing,
    /// The record has no signature.
    #[serde(rename = "unsigned")]
    Unsigned,
    /// The record has one, and no key was given to check it.
    #[serde(rename = "not checked")]
    NotChecked,
    /// The record was signed with another key.
    #[serde(rename = "other key")]
    OtherKey,
    /// The record was changed after it was signed.
    #[serde(rename = "signature wrong")]
    SignatureWrong,
}

/// Checks all records of a folder, with the public keys in these PEM files; none: signatures are not checked.
///
/// Errors, of class `Input`: the folder or a key cannot be read, or the folder has no record.
pub fn verify(folder: &str, key_paths: &[String]) -> Result<Vec<CheckedFile>, Error> {
    let mut keys = Vec::new();
    for path in key_paths {
        keys.extend(read_public_keys(path, "public_key")?);
    }
    let refuse = |what: String| Error::input(format!("`folder` must be a folder with records of abba's, and {what}."));
    let shown = quote_shortened(folder);
    let at = Path::new(folder);
    let read_names =
        |ending| record_files::names(at, ending).map_err(|error| refuse(format!("{shown} cannot be read: {error}")));
    let (records, logs) = (read_names(".json")?, read_names(".log")?);
    let mut looked = Looked::default();
    let mut rows = Vec::new();
    for name in &records {
        match record_files::read(at, name) {
            Ok(Some(record)) => check_record(folder, &record, &keys, &mut looked, &mut rows),
            Ok(None) => {}
            // One without a log is somebody's own.
            Err(error) if logs.contains(name) => rows.push(CheckedFile {
                result: CheckResult::Changed,
                what: match error.kind() {
                    ErrorKind::InvalidData => "It is no record, or no longer one.".into(),
                    _ => format!("It cannot be read: {error}."),
                },
                ..row(name, "record", format!("{name}.json"))
            }),
            Err(_) => {}
        }
    }
    for name in logs.iter().filter(|name| !records.contains(name)) {
        rows.push(CheckedFile {
            result: CheckResult::Missing,
            what: "The log has no record.".into(),
            ..row(name, "record", format!("{name}.json"))
        });
    }
    match rows.is_empty() {
        true => Err(refuse(format!("{shown} has none"))),
        false => Ok(rows),
    }
}

/// Reads the public keys of a PEM file of this machine, which `argument` has named.
///
/// Errors, of class `Input`: it cannot be read, or has none.
pub(super) fn read_public_keys(path: &str, argument: &str) -> Result<Vec<VerifyingKey>, Error> {
    let refuse = |what: &str| {
        Error::input(format!(
            "`{argument}` must name files with public keys of ed25519, and {} {what}.",
            quote_shortened(path)
        ))
        .advise("`openssl pkey -in record-key.pem -pubout -out record-key.pub.pem` makes one of a private key.")
    };
    let pem = fs::read_to_string(path).map_err(|error| refuse(&format!("cannot be read: {error}")))?;
    dsse::public_keys(&pem).map_err(refuse)
}

fn row(name: &str, role: &'static str, file: String) -> CheckedFile {
    CheckedFile {
        name: name.to_string(),
        role,
        file,
        result: CheckResult::Ok,
        what: String::new(),
    }
}

fn check_record(
    folder: &str,
    record: &RecordFile,
    keys: &[VerifyingKey],
    looked: &mut Looked,
    rows: &mut Vec<CheckedFile>,
) {
    let log = &record.statement.subject[0];
    let (result, what) = match log.name.strip_suffix(".log") {
        Some(name) if name == record.name => signature(record, keys),
        _ => (
            CheckResult::Changed,
            format!(
                "It is the record of {}, under another name.",
                quote_shortened(&log.name)
            ),
        ),
    };
    rows.push(CheckedFile {
        result,
        what,
        ..row(&record.name, "record", format!("{}.json", record.name))
    });
    let is_file = |resource: &&Resource| {
        let role = resource.annotations.role;
        resource.sha256().is_some() && !matches!(role, Role::Image | Role::Other)
    };
    for resource in record.statement.resources().filter(is_file) {
        rows.push(check_file(folder, &record.name, resource, looked));
    }
    for missing in &record.statement.run().not_found {
        rows.push(CheckedFile {
            result: CheckResult::Missing,
            what: missing.what(),
            ..row(&record.name, missing.role.name(), missing.name.clone())
        });
    }
}

fn signature(record: &RecordFile, keys: &[VerifyingKey]) -> (CheckResult, String) {
    let Some(envelope) = &record.envelope else {
        return (
            CheckResult::Unsigned,
            "It has no signature: that it was not changed cannot be shown.".into(),
        );
    };
    if keys.is_empty() {
        return (
            CheckResult::NotChecked,
            "It is signed, and no public key was given to check that.".into(),
        );
    }
    match envelope.verify(keys) {
        Verified::Good => (CheckResult::Ok, "The signature is good.".into()),
        Verified::OtherKey => (
            CheckResult::OtherKey,
            "It says that it was signed with another key than those given.".into(),
        ),
        Verified::Wrong => (
            CheckResult::SignatureWrong,
            "It is not as it was signed: the record or its signature was changed.".into(),
        ),
    }
}

/// Whether a file is what a record says. A program is sent without a byte order mark, and its record has the digest of that.
pub(super) fn is_recorded(resource: &Resource, facts: &FileFacts) -> bool {
    let without_mark = facts.sha256_without_mark.as_deref();
    let is_sent = resource.annotations.role == Role::Program && without_mark.is_some();
    let recorded = resource.sha256();
    recorded == Some(&facts.sha256) || (is_sent && recorded == without_mark)
}

fn check_file(folder: &str, name: &str, resource: &Resource, looked: &mut Looked) -> CheckedFile {
    let path = record_files::path_of(folder, resource);
    let (result, what) = match looked.at(Path::new(&path)) {
        Ok(facts) if is_recorded(resource, &facts) => (CheckResult::Ok, "It is as recorded.".into()),
        Ok(facts) => {
            let bytes = resource.annotations.bytes;
            let size = match bytes.filter(|bytes| *bytes != facts.bytes) {
                Some(bytes) => format!(" It has {} bytes, and had {bytes}.", facts.bytes),
                None => String::new(),
            };
            (CheckResult::Changed, format!("It is not as recorded.{size}"))
        }
        Err(ErrorKind::NotFound | ErrorKind::NotADirectory) => (CheckResult::Missing, "It is not there.".into()),
        Err(kind) => (CheckResult::Missing, format!("It cannot be read: {kind}.")),
    };
    let notes: String = resource
        .annotations
        .notes
        .iter()
        .map(|note| format!(" {note}"))
        .collect();
    let shown = match &resource.annotations.path {
        Some(path) => path.clone(),
        None => resource.name.clone(),
    };
    CheckedFile {
        result,
        what: what + &notes,
        ..row(name, resource.annotations.role.name(), shown)
    }
}
