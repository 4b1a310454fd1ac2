//! From a run to its files, their check, and what has to run again.

use std::fs;
use std::path::Path;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use serde_json::{json, Value};
use sha2::{Digest, Sha256};

use super::{outdated, save_records, verify, CheckResult, Outdated, OutdatedArguments, SaveArguments, SavedJob};
use crate::domain::program::hexadecimal;
use crate::domain::record::tests::check_by_specification;
use crate::test_folder::Folder;

/// The keys of RFC 8410, section 10, and of test 1 of RFC 8032.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
/// The private key of OTHER_PUBLIC.
const OTHER_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
const OTHER_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// A study in a folder of its own.
struct Study(Folder);

impl Study {
    fn new() -> Self {
        Self(Folder::new())
    }

    fn path(&self, name: &str) -> String {
        self.0.path(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// The record of a run that began long ago and ended in the far future, so that files of today are its own.
    fn record(&self, id: &str, program: &str, log: &[u8]) -> Value {
        let text = fs::read(self.0.join(program)).unwrap_or_default();
        let digest = |bytes: &[u8]| json!({"sha256": hexadecimal(&Sha256::digest(bytes))});
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": format!("{id}.log"), "digest": digest(log), "annotations": {"abba_role": "log"}}],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "https://example.com/x",
                    "externalParameters": {"file_path": program, "container": "r:1", "cpu_limit": 1.0},
                    "resolvedDependencies": [{
                        "name": program, "digest": digest(&text), "uri": format!("file://{}", self.path(program)),
                        "annotations": {"abba_role": "program", "abba_path": self.path(program)},
                    }],
                },
                "runDetails": {
                    "builder": {"id": "https://example.com/x"},
                    "metadata": {
                        "invocationId": id, "finishedOn": "2100-01-01T00:00:00Z",
                        "abba_run": {"batch_id": "b", "status": "Succeeded", "submitted": "2026-01-01T00:00:00Z",
                            "attempts": 1, "events": []},
                    },
                },
            },
        })
    }

    fn save(&self, jobs: &[Value], key: Option<&str>) -> Vec<SavedJob> {
        let arguments: SaveArguments = serde_json::from_value(json!({
            "folder": self.path("logs"), "study_folder": self.path(""), "jobs": jobs, "key": key,
        }))
        .unwrap();
        save_records(&arguments).unwrap()
    }

    /// What the check says of files that are not as they should be, and of records.
    fn found(&self, keys: &[&str]) -> Vec<(String, CheckResult)> {
        let keys: Vec<String> = keys.iter().map(|key| self.path(key)).collect();
        let rows = verify(&self.path("logs"), &keys).unwrap();
        rows.into_iter()
            .filter(|row| row.role == "record" || row.result != CheckResult::Ok)
            .map(|row| (row.file, row.result))
            .collect()
    }

    fn outdated(&self, programs: Value) -> Vec<Outdated> {
        let arguments: OutdatedArguments = serde_json::from_value(json!({
            "records": self.path("logs"), "study_folder": self.path(""), "programs": programs,
        }))
        .unwrap();
        outdated(&arguments).unwrap()
    }
}

/// A job to be saved.
fn to_save(record: &Value, log: &[u8], outputs: &[&str], inputs: &[&str]) -> Value {
    json!({"record": record.to_string(), "log": [STANDARD.encode(log)], "outputs": outputs, "inputs": inputs})
}

/// A program of a plan, as `run()` has run it.
fn planned(study: &Study, name: &str, inputs: &[&str], outputs: &[&str], after: &[&str]) -> Value {
    let path = format!("{name}.R");
    json!({"name": name, "inputs": inputs, "outputs": outputs, "after": after, "arguments": {
        "given_path": path, "expanded_path": study.path(&path), "container": "r:1"}})
}

fn changed(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A study of one program, saved.
fn run(key: Option<&str>) -> Study {
    let study = Study::new();
    study.write("key.pem", PRIVATE);
    study.write("key.pub.pem", PUBLIC);
    study.write("other.pub.pem", OTHER_PUBLIC);
    study.write("t_ae.R", "1");
    study.write("adam/adae.rds", "in");
    study.write("out/t_ae.rtf", "out");
    let record = study.record("j-1", "t_ae.R", b"log\n");
    let key = key.map(|key| study.path(key));
    let saved = study.save(&[to_save(&record, b"log\n", &["out/*.rtf"], &["adam"])], key.as_deref());
    assert_eq!(saved[0].notes, Vec::<String>::new());
    study
}

#[test]
fn a_changed_byte_of_any_file_is_found() {
    let study = run(None);
    let record: Value = serde_json::from_str(&study.read("logs/t_ae.json")).unwrap();
    check_by_specification(&record);
    let unsigned = ("t_ae.json".to_string(), CheckResult::Unsigned);
    assert_eq!(study.found(&[]), std::slice::from_ref(&unsigned));
    for file in ["t_ae.log", "../out/t_ae.rtf", "../adam/adae.rds", "../t_ae.R"] {
        let path = study.0.join("logs").join(file);
        let before = fs::read(&path).unwrap();
        changed(&path);
        assert_eq!(
            study.found(&[]),
            [unsigned.clone(), (file.into(), CheckResult::Changed)]
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(
            study.found(&[]),
            [unsigned.clone(), (file.into(), CheckResult::Missing)]
        );
        fs::write(&path, before).unwrap();
    }
    assert_eq!(study.found(&[]), [unsigned]);
    // A study that moves as a whole is still whole.
    let moved = Study::new();
    fs::remove_dir(&*moved.0).unwrap();
    fs::rename(&*study.0, &*moved.0).unwrap();
    assert_eq!(moved.found(&[]).len(), 1);
}

#[test]
fn a_signature_is_good_wrong_anothers_or_not_there() {
    let study = run(Some("key.pem"));
    let of_record = |keys: &[&str]| study.found(keys)[0].1;
    assert_eq!(of_record(&["key.pub.pem"]), CheckResult::Ok);
    assert_eq!(of_record(&["other.pub.pem", "key.pub.pem"]), CheckResult::Ok);
    assert_eq!(of_record(&["other.pub.pem"]), CheckResult::OtherKey);
    assert_eq!(of_record(&[]), CheckResult::NotChecked);
    // A file is found to be changed also where the record was changed with it.
    let signed: Value = serde_json::from_str(&study.read("logs/t_ae.json")).unwrap();
    let body = String::from_utf8(STANDARD.decode(signed["payload"].as_str().unwrap()).unwrap()).unwrap();
    check_by_specification(&serde_json::from_str(&body).unwrap());
    let mut forged = signed.clone();
    forged["payload"] = STANDARD.encode(body.replace("Succeeded", "succeeded")).into();
    study.write("logs/t_ae.json", &forged.to_string());
    assert_eq!(of_record(&["key.pub.pem"]), CheckResult::SignatureWrong);
    study.write("logs/t_ae.json", &body);
    assert_eq!(of_record(&["key.pub.pem"]), CheckResult::Unsigned);
    for broken in ["", "{}", "[1", &body[..body.len() / 2]] {
        study.write("logs/t_ae.json", broken);
        assert_eq!(of_record(&["key.pub.pem"]), CheckResult::Changed, "{broken}");
    }
    fs::remove_file(study.0.join("logs/t_ae.json")).unwrap();
    assert_eq!(study.found(&[]), [("t_ae.json".to_string(), CheckResult::Missing)]);
    // The record of another log, put in its place.
    study.write("logs/t_dm.json", &signed.to_string());
    assert_eq!(study.found(&["key.pub.pem"])[0].1, CheckResult::Changed);
    for (key, words) in [("none.pem", "cannot be read"), ("t_ae.R", "is no ed25519 key")] {
        let error = verify(&study.path("logs"), &[study.path(key)]).unwrap_err();
        assert!(error.message.contains(words), "{}", error.message);
    }
    let error = verify(&study.path("adam"), &[]).unwrap_err();
    assert!(error.message.contains("has none"), "{}", error.message);
}

#[test]
fn saved_again_nothing_changes_and_what_was_recorded_stays() {
    let study = run(Some("key.pem"));
    let key = study.path("key.pem");
    let before = study.read("logs/t_ae.json");
    let record = study.record("j-1", "t_ae.R", b"log\n");
    let again = |record: &Value, log: &[u8]| study.save(&[to_save(record, log, &["out/*.rtf"], &["adam"])], Some(&key));
    again(&record, b"log\n");
    assert_eq!(study.read("logs/t_ae.json"), before);
    // Without what a plan says, too.
    study.save(&[to_save(&record, b"log\n", &[], &[])], Some(&key));
    assert_eq!(study.read("logs/t_ae.json"), before);
    // An output that was changed since is not taken for the run's.
    changed(&study.0.join("out/t_ae.rtf"));
    again(&record, b"log\n");
    assert_eq!(study.read("logs/t_ae.json"), before);
    // The log is mended, and a log that the node has lost meanwhile takes nothing away.
    changed(&study.0.join("logs/t_ae.log"));
    again(&record, b"log\n");
    assert_eq!(study.read("logs/t_ae.log"), "log\n");
    let mut lost = study.record("j-1", "t_ae.R", b"");
    lost["subject"][0]["annotations"]["abba_notes"] = json!(["The log is lost."]);
    again(&lost, b"");
    assert_eq!(
        (study.read("logs/t_ae.log").as_str(), study.read("logs/t_ae.json")),
        ("log\n", before)
    );
    let left: Vec<_> = fs::read_dir(study.0.join("logs")).unwrap().collect();
    assert_eq!(left.len(), 2);
}

#[test]
fn a_log_of_which_a_part_was_saved_does_not_give_way_to_less() {
    let study = Study::new();
    study.write("t.R", "1");
    let save = |log: &[u8], note: &str| {
        let mut record = study.record("j-1", "t.R", log);
        record["subject"][0]["annotations"]["abba_notes"] = json!([note]);
        record["subject"][0]["annotations"]["abba_bytes"] = log.len().into();
        study.save(&[to_save(&record, log, &[], &[])], None);
        (study.read("logs/t.log"), study.read("logs/t.json"))
    };
    let part = save(b"the end\n", "Its beginning is missing.");
    assert_eq!(save(b"", "Its pod is gone."), part);
    assert_eq!(save(b"less\n", "Its end is missing."), part);
    let (log, record) = save(b"more than the end\n", "Its beginning is missing.");
    assert_eq!((log.as_str(), record == part.1), ("more than the end\n", false));
}

#[test]
fn how_a_job_went_stays_in_the_record_when_its_pod_is_gone() {
    let study = Study::new();
    study.write("t.R", "1");
    let save = |status: &str, pod: Option<&str>, log: &[u8]| {
        let mut record = study.record("j-1", "t.R", log);
        let run = &mut record["predicate"]["runDetails"]["metadata"]["abba_run"];
        run["status"] = status.into();
        if let Some(pod) = pod {
            run["pod_id"] = pod.into();
            run["node"] = "node-1".into();
        } else {
            record["subject"][0]["annotations"]["abba_notes"] = json!(["Its pod is gone."]);
        }
        let status = study.save(&[to_save(&record, log, &[], &[])], None)[0].status.clone();
        (status, study.read("logs/t.log"), study.read("logs/t.json"))
    };
    // A helper beside the program ran into the pod's limit, so the Job failed.
    let before = save("Succeeded", Some("p-1"), b"log\n");
    assert_eq!(save("Failed", None, b""), before);
    // It was started again: its log is another one.
    let again = save("Failed", Some("p-2"), b"no\n");
    assert_eq!((again.0.as_str(), again.1.as_str()), ("Failed", "no\n"));
    assert_eq!(save("Failed", None, b""), again);
    // Whatever has succeeded was not that pod.
    let other = save("Succeeded", None, b"");
    assert_eq!((other.0.as_str(), other.1.as_str()), ("Succeeded", ""));
}

#[test]
fn two_programs_of_one_name_have_files_of_their_own_and_a_later_run_those_of_an_earlier() {
    let study = Study::new();
    for (path, text) in [("a/t.R", "1"), ("b/t.R", "2")] {
        study.write(path, text);
    }
    let job = |id: &str, program: &str, batch: &str, second: u32, status: &str| {
        let mut record = study.record(id, program, id.as_bytes());
        let run = &mut record["predicate"]["runDetails"]["metadata"]["abba_run"];
        run["batch_id"] = batch.into();
        run["submitted"] = format!("2026-01-01T00:00:{second:02}Z").into();
        run["status"] = status.into();
        to_save(&record, id.as_bytes(), &[], &[])
    };
    let names = |jobs: &[Value]| -> Vec<Option<String>> {
        let saved = study.save(jobs, None);
        let name = |path: String| path.rsplit('/').next().unwrap().to_string();
        saved.into_iter().map(|saved| saved.log.map(name)).collect()
    };
    let name = |name: &str| Some(name.to_string());
    let first = [
        job("j-1", "a/t.R", "b1", 1, "Succeeded"),
        job("j-2", "b/t.R", "b1", 2, "Succeeded"),
    ];
    for _ in 0..2 {
        assert_eq!(names(&first), [name("t.log"), name("t-2.log")]);
    }
    // The same program twice in one batch.
    let twice = [
        job("j-3", "a/t.R", "b2", 3, "Succeeded"),
        job("j-4", "a/t.R", "b2", 4, "Succeeded"),
        job("j-5", "b/t.R", "b2", 5, "Failed"),
    ];
    for _ in 0..2 {
        assert_eq!(names(&twice), [name("t.log"), name("t-3.log"), name("t-2.log")]);
    }
    assert_eq!(
        (study.read("logs/t.log"), study.read("logs/t-2.log")),
        ("j-3".into(), "j-5".into())
    );
    // An earlier run does not come back; in one batch a run that failed gives way to the one that mended it.
    assert_eq!(names(&first), [None, None]);
    assert_eq!(names(&[job("j-6", "b/t.R", "b2", 6, "Succeeded")]), [name("t-2.log")]);
    assert_eq!(names(&twice)[2], None);
    assert!(study.save(&first, None)[0].notes[0].contains("a later run of the same program"));
    assert_eq!(names(&[job("j-7", "a/t.R", "b3", 7, "Running")]), [None]);
    // Somebody's own files are not written over, unless the log was written and its record could not be.
    study.write("c.R", "3");
    study.write("logs/c.log", "mine");
    study.write("logs/c-2.json", "{}");
    study.write("logs/c-3.log", "j-8");
    assert_eq!(names(&[job("j-8", "c.R", "b4", 8, "Succeeded")]), [name("c-3.log")]);
    assert_eq!(
        (study.read("logs/c.log"), study.read("logs/c-2.json")),
        ("mine".into(), "{}".into())
    );
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let study = Study::new();
    for (given, name) in [
        ("../../t", "_.._.._t.log"),
        ("/etc/x", "_etc_x.log"),
        ("a\\b:c\n", "a_b_c_.log"),
        ("", "job.log"),
        ("..", "job.log"),
        ("nul", "_nul.log"),
        (&"\u{e9}".repeat(300), &format!("{}.log", "\u{e9}".repeat(100))),
    ] {
        let mut job = to_save(&study.record(&format!("j-{}", name.len()), "t.R", b""), b"", &[], &[]);
        job["name"] = given.into();
        let log = study.save(&[job], None)[0].log.clone().unwrap();
        let expected = study.path("logs").replace("../", "") + "/" + name;
        assert!(log == expected || log.starts_with(&study.path("logs/job")), "{log}");
        assert_eq!(Path::new(&log).parent().unwrap(), study.0.join("logs"));
    }
}

#[test]
fn what_cannot_be_of_the_run_is_said() {
    let study = run(None);
    let mut record = study.record("j-2", "t_ae.R", b"");
    let metadata = &mut record["predicate"]["runDetails"]["metadata"];
    metadata["startedOn"] = "2001-01-01T00:00:00Z".into();
    metadata["finishedOn"] = "2001-01-02T00:00:00Z".into();
    metadata["abba_run"]["batch_id"] = "b2".into();
    metadata["abba_run"]["submitted"] = "2026-01-02T00:00:00Z".into();
    let notes = study.save(&[to_save(&record, b"", &["out/*", "none/*"], &["adam/adae.rds"])], None)[0]
        .notes
        .join("\n");
    for words in [
        "t_ae.rtf: It was changed after the program had ended.",
        "adae.rds: It was changed after the program had started",
        "none/*: This output was not there.",
    ] {
        assert!(notes.contains(words), "{notes}");
    }
    let rows = verify(&study.path("logs"), &[]).unwrap();
    assert!(rows
        .iter()
        .any(|row| row.file == "none/*" && row.result == CheckResult::Missing));
    record["predicate"]["runDetails"]["metadata"]["invocationId"] = "j-3".into();
    record["predicate"]["runDetails"]["metadata"]["startedOn"] = "2100-01-01T00:00:00Z".into();
    record["predicate"]["runDetails"]["metadata"]["abba_run"]["batch_id"] = "b3".into();
    let notes = study.save(&[to_save(&record, b"", &["out/*"], &[])], None)[0]
        .notes
        .join("\n");
    assert!(notes.contains("It is older than the run"), "{notes}");
}

#[test]
fn what_r_noted_stays_in_the_record_when_its_pod_is_gone() {
    let study = Study::new();
    study.write("t.R", "1");
    let saved = |record: &Value| {
        study.save(&[to_save(record, b"log\n", &[], &[])], None);
        let saved: Value = serde_json::from_str(&study.read("logs/t.json")).unwrap();
        check_by_specification(&saved);
        let predicate = &saved["predicate"];
        let run = &predicate["runDetails"];
        let dependencies = predicate["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
        let packages: Vec<Value> = dependencies
            .iter()
            .filter(|one| one["annotations"]["abba_role"] == "package")
            .map(|one| one["uri"].clone())
            .collect();
        json!([run["metadata"]["abba_session"], run["builder"]["version"], packages])
    };
    let mut gone = study.record("j-1", "t.R", b"log\n");
    let mut known = gone.clone();
    gone["predicate"]["runDetails"]["metadata"]["abba_session"] = json!({"missing": "It is gone."});
    known["predicate"]["runDetails"]["metadata"]["abba_session"] =
        json!({"R": "R version 4.2.2", "attached": ["dplyr"]});
    known["predicate"]["runDetails"]["builder"]["version"] = json!({"R": "4.2.2"});
    let package = json!({"name": "dplyr", "uri": "pkg:cran/dplyr@1.1.4", "annotations": {"abba_role": "package"}});
    let dependencies = &mut known["predicate"]["buildDefinition"]["resolvedDependencies"];
    dependencies.as_array_mut().unwrap().push(package);
    assert_eq!(saved(&gone), json!([{"missing": "It is gone."}, {}, []]));
    let expected = json!([{"R": "R version 4.2.2", "attached": ["dplyr"]}, {"R": "4.2.2"}, ["pkg:cran/dplyr@1.1.4"]]);
    assert_eq!(saved(&known), expected);
    assert_eq!(saved(&gone), expected);
    assert_eq!(saved(&gone), expected);
}

#[test]
fn a_program_runs_again_where_something_has_changed_and_says_what() {
    let study = run(None);
    study.write("report.R", "2");
    let report = study.record("j-2", "report.R", b"r\n");
    study.save(&[to_save(&report, b"r\n", &[], &["out/t_ae.rtf"])], None);
    let plan = || {
        json!([
            planned(&study, "report", &["out/t_ae.rtf"], &[], &["t_ae"]),
            planned(&study, "t_ae", &["adam"], &["out/*.rtf"], &[]),
        ])
    };
    let nothing = Outdated {
        outdated: false,
        why: Vec::new(),
    };
    assert_eq!(study.outdated(plan()), [nothing.clone(), nothing.clone()]);
    let why = |plan: Value| {
        let rows = study.outdated(plan);
        // Whatever the reason, what comes after runs, too.
        assert!(
            rows[0].outdated && rows[0].why.contains(&"\"t_ae\" runs before it.".to_string()),
            "{rows:?}"
        );
        rows[1].why.join(" ")
    };
    for (file, words) in [
        ("t_ae.R", "The program was changed."),
        ("adam/adae.rds", "The input \"adae.rds\" was changed."),
        ("out/t_ae.rtf", "The output \"t_ae.rtf\" is not as recorded."),
        ("logs/t_ae.log", "The log \"t_ae.log\" is not as recorded."),
    ] {
        let path = study.0.join(file);
        let before = fs::read(&path).unwrap();
        changed(&path);
        assert_eq!(why(plan()), words);
        fs::remove_file(&path).unwrap();
        let gone = why(plan());
        assert!(
            gone.contains("is not there") || gone.contains("cannot be read here"),
            "{gone}"
        );
        fs::write(&path, before).unwrap();
    }
    study.write("adam/new.rds", "");
    assert_eq!(why(plan()), "The input \"new.rds\" is not in its record.");
    fs::remove_file(study.0.join("adam/new.rds")).unwrap();
    let with_node = json!({"spec": {"template": {"spec": {"nodeSelector": {"pool": "a"}}}}});
    let with_variable = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "program", "env": [{"name": "A", "value": "1"}]},
    ]}}}});
    for (name, value, is_other) in [
        ("container", json!("r:2"), true),
        ("container", json!(""), false),
        ("cpu_limit", json!("1000m"), false),
        ("cpu_limit", json!(2), true),
        ("memory_limit", json!("4G"), false),
        ("arguments", json!(["x"]), true),
        ("environment", json!({"A": "1"}), true),
        ("vanilla", json!(true), true),
        ("queue", json!("q"), false),
        ("job_template", json!(with_node), false),
        ("job_template", json!(with_variable), true),
        ("job_template", json!(with_variable.to_string()), true),
        ("job_template", json!("gpu"), true),
    ] {
        let mut plan = plan();
        plan[1]["arguments"][name] = value;
        match is_other {
            true => assert_eq!(why(plan), format!("`{name}` is another one.")),
            false => assert_eq!(study.outdated(plan), [nothing.clone(), nothing.clone()], "{name}"),
        }
    }
    let mut unseen = plan();
    unseen[1]["inputs"] = json!(["/only/in/the/cluster.rds", "adam"]);
    assert!(why(unseen).contains("cannot be seen here"));
    let mut failed = study.record("j-9", "t_ae.R", b"");
    failed["predicate"]["runDetails"]["metadata"]["abba_run"]["status"] = "Failed".into();
    failed["predicate"]["runDetails"]["metadata"]["abba_run"]["submitted"] = "2026-02-01T00:00:00Z".into();
    failed["predicate"]["runDetails"]["metadata"]["abba_run"]["batch_id"] = "later".into();
    study.save(&[to_save(&failed, b"", &["out/*.rtf"], &["adam"])], None);
    assert_eq!(why(plan()), "Its last run is Failed.");
    fs::remove_dir_all(study.0.join("logs")).unwrap();
    assert_eq!(why(plan()), "It has no record.");
}

#[test]
fn one_program_that_a_plan_has_twice_is_known_by_its_names() {
    let study = Study::new();
    study.write("t.R", "1");
    let job = |name: &str, id: &str| {
        let mut job = to_save(&study.record(id, "t.R", id.as_bytes()), id.as_bytes(), &[], &[]);
        job["name"] = name.into();
        job
    };
    let plan = || {
        let mut rows = [
            planned(&study, "all", &[], &[], &[]),
            planned(&study, "serious", &[], &[], &[]),
        ];
        for row in &mut rows {
            row["arguments"]["expanded_path"] = study.path("t.R").into();
        }
        json!(rows)
    };
    study.save(&[job("all", "j-1")], None);
    let outdated: Vec<bool> = study.outdated(plan()).iter().map(|row| row.outdated).collect();
    assert_eq!(outdated, [false, true]);
    study.save(&[job("serious", "j-2")], None);
    assert!(study.outdated(plan()).iter().all(|row| !row.outdated));
    // A name with a number at its end is that of another step.
    study.save(&[job("all2", "j-3")], None);
    changed(&study.0.join("logs/all2.log"));
    assert!(study.outdated(plan()).iter().all(|row| !row.outdated));
}

/// The Statement of a record that is signed.
fn signed_statement(record: &str) -> Value {
    let envelope: Value = serde_json::from_str(record).unwrap();
    serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
}

#[test]
fn nothing_of_a_record_that_was_not_signed_with_the_key_is_signed() {
    let study = run(Some("key.pem"));
    let key = study.path("key.pem");
    let with_pod = || {
        let mut record = study.record("j-1", "t_ae.R", b"log\n");
        let run = &mut record["predicate"]["runDetails"]["metadata"]["abba_run"];
        run["pod_id"] = "p-1".into();
        run["node"] = "node-1".into();
        record
    };
    let save = |record: &Value, log: &[u8]| {
        let saved = study.save(&[to_save(record, log, &["out/*.rtf"], &["adam"])], Some(&key));
        (saved[0].notes.join(" "), saved[0].record.is_some())
    };
    assert_eq!(save(&with_pod(), b"log\n"), (String::new(), true));
    let good = study.read("logs/t_ae.json");
    let honest = signed_statement(&good);
    let mut gone = study.record("j-1", "t_ae.R", b"");
    gone["subject"][0]["annotations"]["abba_notes"] = json!(["There is no log."]);
    // A table is changed, as if it never had been, and the record with it.
    let table = study.0.join("out/t_ae.rtf");
    let time = fs::metadata(&table).unwrap().modified().unwrap();
    changed(&table);
    fs::File::options()
        .write(true)
        .open(&table)
        .unwrap()
        .set_modified(time)
        .unwrap();
    let forged = {
        let mut forged = honest.clone();
        let digest = hexadecimal(&Sha256::digest(fs::read(&table).unwrap()));
        forged["subject"][1]["digest"]["sha256"] = digest.into();
        forged["predicate"]["runDetails"]["metadata"]["abba_run"]["user"] = "nobody".into();
        forged
    };
    let badly_signed = {
        let mut envelope: Value = serde_json::from_str(&good).unwrap();
        envelope["payload"] = STANDARD.encode(forged.to_string()).into();
        envelope.to_string()
    };
    for (there, result, words) in [
        (forged.to_string(), CheckResult::Unsigned, "is not signed"),
        (badly_signed, CheckResult::SignatureWrong, "is not as it was signed"),
    ] {
        study.write("logs/t_ae.json", &there);
        // The pod is gone: nobody knows any more how it was, and the log stays with what there is.
        let (notes, is_saved) = save(&gone, b"");
        assert!(
            !is_saved && notes.contains(words) && notes.contains("cannot be found out again"),
            "{notes}"
        );
        assert_eq!(
            (study.read("logs/t_ae.json"), study.read("logs/t_ae.log")),
            (there.clone(), "log\n".into())
        );
        assert_eq!(study.found(&["key.pub.pem"])[0].1, result);
        // It says of a file what is so no more.
        let mut other_digest = forged.clone();
        other_digest["subject"][1]["digest"]["sha256"] = "0a".repeat(32).into();
        study.write("logs/t_ae.json", &other_digest.to_string());
        assert!(!save(&with_pod(), b"log\n").1);
        assert_eq!(study.read("logs/t_ae.json"), other_digest.to_string());
        // Cluster and files still tell all: it is found out anew.
        study.write("logs/t_ae.json", &there);
        let (notes, is_saved) = save(&with_pod(), b"log\n");
        assert!(is_saved && notes.contains("made anew"), "{notes}");
        let anew = signed_statement(&study.read("logs/t_ae.json"));
        assert_eq!(anew["predicate"]["runDetails"]["metadata"]["abba_run"]["user"], "");
        assert_eq!(
            study.found(&["key.pub.pem"]),
            [("t_ae.json".to_string(), CheckResult::Ok)]
        );
    }
    // Without a key all is as it was.
    study.write("logs/t_ae.json", &forged.to_string());
    let saved = study.save(&[to_save(&gone, b"", &["out/*.rtf"], &["adam"])], None);
    assert_eq!(saved[0].notes, Vec::<String>::new());
    assert_eq!(study.read("logs/t_ae.json"), forged.to_string());
}

#[test]
fn what_a_colleague_has_signed_stays_and_is_believed_by_a_known_key() {
    let study = run(Some("key.pem"));
    study.write("other.pem", OTHER_PRIVATE);
    let before = study.read("logs/t_ae.json");
    let record = study.record("j-1", "t_ae.R", b"log\n");
    let save = |public_keys: &[&str], outputs: &[&str]| {
        let keys: Vec<String> = public_keys.iter().map(|key| study.path(key)).collect();
        let arguments: SaveArguments = serde_json::from_value(json!({
            "folder": study.path("logs"), "study_folder": study.path(""), "key": study.path("other.pem"),
            "public_keys": keys, "jobs": [to_save(&record, b"log\n", outputs, &["adam"])],
        }))
        .unwrap();
        save_records(&arguments).map(|saved| saved[0].notes.join(" "))
    };
    let notes = save(&[], &["out/*.rtf", "t_ae.R"]).unwrap();
    assert!(notes.contains("signed with another key"), "{notes}");
    assert_eq!(study.read("logs/t_ae.json"), before);
    assert_eq!(save(&["key.pub.pem"], &["out/*.rtf"]).unwrap(), "");
    assert_eq!(study.read("logs/t_ae.json"), before);
    changed(&study.0.join("out/t_ae.rtf"));
    study.write("out/more.rtf", "more");
    assert_eq!(save(&["key.pub.pem"], &["out/*.rtf"]).unwrap(), "");
    // What was recorded of the first table stays, and both are signed now.
    let subject = &signed_statement(&study.read("logs/t_ae.json"))["subject"];
    assert_eq!(subject.as_array().unwrap().len(), 3);
    assert_eq!(
        study.found(&["other.pub.pem"])[1],
        ("../out/t_ae.rtf".to_string(), CheckResult::Changed)
    );
    let error = save(&["t_ae.R"], &[]).unwrap_err();
    assert!(error.message.contains("abba.record.public.key"), "{}", error.message);
}

#[cfg(unix)]
#[test]
fn what_cannot_be_read_for_a_moment_does_not_give_way() {
    let study = run(None);
    let mut gone = study.record("j-1", "t_ae.R", b"");
    gone["subject"][0]["annotations"]["abba_notes"] = json!(["There is no log."]);
    let save = || {
        let arguments: SaveArguments = serde_json::from_value(json!({
            "folder": study.path("logs"), "study_folder": study.path(""), "jobs": [to_save(&gone, b"", &[], &[])],
        }))
        .unwrap();
        save_records(&arguments)
    };
    let files = || {
        let mut names: Vec<_> = fs::read_dir(study.0.join("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let before = ["t_ae.log", "t_ae.json"].map(|name| study.read(&format!("logs/{name}")));
    for name in ["t_ae.json", "t_ae.log"] {
        let path = study.0.join("logs").join(name);
        let aside = study.0.join("aside");
        fs::rename(&path, &aside).unwrap();
        // Whoever reads it gets an error that is not that it is missing.
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let error = save().unwrap_err();
        assert!(
            error.message.contains(name) && error.message.contains("can be read"),
            "{}",
            error.message
        );
        assert_eq!(files(), ["t_ae.json", "t_ae.log"]);
        fs::rename(&aside, &path).unwrap();
    }
    save().unwrap();
    assert_eq!(
        ["t_ae.log", "t_ae.json"].map(|name| study.read(&format!("logs/{name}"))),
        before
    );
    // A log that has one changed byte is not what was recorded, and yet more than nothing.
    changed(&study.0.join("logs/t_ae.log"));
    let saved = save().unwrap();
    assert!(
        saved[0].notes[0].contains("is not as it was recorded"),
        "{:?}",
        saved[0].notes
    );
    assert_eq!(
        (study.read("logs/t_ae.log").len(), &study.read("logs/t_ae.json")),
        (4, &before[1])
    );
}

#[test]
fn a_program_with_a_byte_order_mark_is_as_recorded() {
    let study = Study::new();
    study.write("t.R", "1");
    // It was sent without the mark.
    let record = study.record("j-1", "t.R", b"log\n");
    study.write("t.R", "\u{feff}1");
    study.write("in.rds", "\u{feff}in");
    study.save(&[to_save(&record, b"log\n", &[], &["in.rds"])], None);
    let unsigned = ("t.json".to_string(), CheckResult::Unsigned);
    let is_outdated = || study.outdated(json!([planned(&study, "t", &["in.rds"], &[], &[])]))[0].outdated;
    assert_eq!(study.found(&[]), std::slice::from_ref(&unsigned));
    assert!(!is_outdated());
    study.write("t.R", "\u{feff}2");
    assert_eq!(
        study.found(&[]),
        [unsigned.clone(), ("../t.R".to_string(), CheckResult::Changed)]
    );
    assert!(is_outdated());
    // Of other files each byte counts.
    study.write("t.R", "1");
    study.write("in.rds", "in");
    assert_eq!(
        study.found(&[]),
        [unsigned, ("../in.rds".to_string(), CheckResult::Changed)]
    );
}

#[test]
fn mounts_as_an_abba_server_writes_them_are_those_that_were_given() {
    let study = Study::new();
    study.write("t.R", "1");
    let mounts = |path: &str, at: &str, read_only: Value| {
        json!({
            "volumes": [{"name": "d", "nfs": {"server": "s", "path": path, "readOnly": read_only}}],
            "volumeMounts": [{"name": "d", "mountPath": at, "readOnly": read_only}],
        })
    };
    let mut record = study.record("j-1", "t.R", b"");
    record["predicate"]["buildDefinition"]["externalParameters"]["mounts"] = mounts("/data", "/data", json!(true));
    study.save(&[to_save(&record, b"", &[], &[])], None);
    for (given, why) in [
        (mounts("/data/", "/data//", Value::Null), ""),
        (mounts("/data/new", "/data", json!(true)), "`mounts` is another one."),
        (json!({"volumes": {}, "volumeMounts": {}}), "`mounts` is another one."),
    ] {
        let mut plan = json!([planned(&study, "t", &[], &[], &[])]);
        plan[0]["arguments"]["mounts"] = given;
        assert_eq!(study.outdated(plan)[0].why.join(" "), why);
    }
}

#[cfg(unix)]
#[test]
fn what_cannot_be_looked_at_is_said_and_counts_as_changed() {
    use std::os::unix::fs::symlink;
    let study = Study::new();
    study.write("t.R", "1");
    study.write("adam/adae.rds", "in");
    study.write("adam/.nfs0001", "in");
    fs::create_dir(study.0.join("none")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(study.0.join("adam/socket")).unwrap();
    let record = study.record("j-1", "t.R", b"");
    let save = || {
        study.save(&[to_save(&record, b"", &[], &["adam", "none"])], None)[0]
            .notes
            .join(" ")
    };
    let why = || {
        study.outdated(json!([planned(&study, "t", &["adam", "none"], &[], &[])]))[0]
            .why
            .join(" ")
    };
    // Neither an empty folder nor what is no data makes it run again.
    assert_eq!((save(), why()), (String::new(), String::new()));
    fs::write(study.0.join("adam/.~lock.adae.rds#"), "").unwrap();
    assert_eq!(why(), "");
    // A folder in which a link leads to itself cannot be read: for root no other folder is so.
    symlink("sub", study.0.join("adam/sub")).unwrap();
    let now = why();
    assert!(
        now.starts_with("The input \"sub\" cannot be read here: ") && !now.contains("record"),
        "{now}"
    );
    fs::remove_file(study.0.join("logs/t.json")).unwrap();
    fs::remove_file(study.0.join("adam/sub")).unwrap();
    symlink("gone.rds", study.0.join("adam/link.rds")).unwrap();
    assert_eq!(
        save(),
        "adam/link.rds: This input could not be looked at: it is a link that leads nowhere."
    );
    assert_eq!(
        why(),
        "The input \"link.rds\" cannot be read here: it is a link that leads nowhere."
    );
    let rows = verify(&study.path("logs"), &[]).unwrap();
    let row = rows.iter().find(|row| row.file == "adam/link.rds").unwrap();
    assert!(
        row.what.contains("could not be looked at") && row.result == CheckResult::Missing,
        "{row:?}"
    );
}

#[cfg(unix)]
#[test]
fn a_program_is_known_by_whatever_links_its_path_has() {
    use std::os::unix::fs::symlink;
    let study = Study::new();
    study.write("study/programs/t.R", "1");
    study.write("study/adam/adae.rds", "in");
    symlink("study", study.0.join("link")).unwrap();
    symlink("adam", study.0.join("study/data")).unwrap();
    let job = |id: &str, program: &str, batch: &str, input: &str| {
        let mut record = study.record(id, program, id.as_bytes());
        record["predicate"]["runDetails"]["metadata"]["abba_run"]["batch_id"] = batch.into();
        record["predicate"]["runDetails"]["metadata"]["abba_run"]["submitted"] =
            format!("2026-01-0{}T00:00:00Z", batch.len()).into();
        to_save(&record, id.as_bytes(), &["none.rtf"], &[input])
    };
    let save = |base: &str, job: Value| {
        let arguments: SaveArguments = serde_json::from_value(json!({
            "folder": format!("{base}/logs"), "study_folder": base, "jobs": [job],
        }))
        .unwrap();
        save_records(&arguments).unwrap()[0].log.clone().unwrap()
    };
    let why = |base: &str, program: &str, input: &str| {
        let mut plan = planned(&study, "t", &[input], &[], &[]);
        plan["arguments"]["expanded_path"] = program.into();
        let arguments: OutdatedArguments = serde_json::from_value(json!({
            "records": format!("{base}/logs"), "study_folder": base, "programs": [plan],
        }))
        .unwrap();
        outdated(&arguments).unwrap()[0].why.join(" ")
    };
    let base = study.path("study");
    // The Job has the path through the link, R has it without.
    save(&base, job("j-1", "link/programs/t.R", "b", "data/adae.rds"));
    assert_eq!(why(&base, &study.path("study/programs/t.R"), "adam/*"), "");
    assert_eq!(why(&base, &study.path("link/programs/t.R"), "data"), "");
    // A later run takes the place of the earlier one, whichever way its program was named.
    let log = save(&base, job("j-2", "study/programs/t.R", "bb", "adam"));
    assert!(log.ends_with("/logs/t.log"), "{log}");
    save(&base, job("j-3", "link/programs/t.R", "bbb", "data"));
    assert_eq!(fs::read_dir(study.0.join("study/logs")).unwrap().count(), 2);
    assert_eq!(study.read("study/logs/t.log"), "j-3");
    // So does that in a study that has moved.
    fs::rename(study.0.join("study"), study.0.join("moved")).unwrap();
    fs::remove_file(study.0.join("link")).unwrap();
    let moved = study.path("moved");
    assert_eq!(why(&moved, &study.path("moved/programs/t.R"), "adam"), "");
    save(&moved, job("j-4", "moved/programs/t.R", "bbbb", "adam"));
    assert_eq!(study.read("moved/logs/t.log"), "j-4");
    // And saved again after a move, each file is in the record once.
    fs::rename(study.0.join("moved"), study.0.join("again")).unwrap();
    let again = study.path("again");
    save(&again, job("j-4", "again/programs/t.R", "bbbb", "adam"));
    let record: Value = serde_json::from_str(&study.read("again/logs/t.json")).unwrap();
    check_by_specification(&record);
    let dependencies = record["predicate"]["buildDefinition"]["resolvedDependencies"]
        .as_array()
        .unwrap();
    assert_eq!(dependencies.len(), 2, "{dependencies:?}");
}

/// A study of one program that ran at this time, on a day that is long over; its input and its output are as old as that.
fn of_old_files() -> (Study, Value) {
    let study = Study::new();
    study.write("t.R", "1");
    for (name, second) in [("in.rds", 0), ("out.rtf", 2)] {
        study.write(name, "x");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000 + second);
        fs::File::options()
            .write(true)
            .open(study.0.join(name))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    let mut record = study.record("j-1", "t.R", b"");
    record["predicate"]["runDetails"]["metadata"]["startedOn"] = "2001-09-09T01:46:41Z".into();
    record["predicate"]["runDetails"]["metadata"]["finishedOn"] = "2001-09-09T01:46:43Z".into();
    (study, record)
}

#[cfg(unix)]
#[test]
fn an_input_that_was_put_there_since_with_an_older_time_is_noted() {
    let (study, record) = of_old_files();
    let saved = study.save(&[to_save(&record, b"", &["out.rtf"], &["in.rds"])], None);
    assert!(
        saved[0].notes[0].starts_with("in.rds: It was put there"),
        "{:?}",
        saved[0].notes
    );
    // Of an output that is only locked nothing is said.
    assert_eq!(saved[0].notes.len(), 1);
    let why = study.outdated(json!([planned(&study, "t", &["in.rds"], &["out.rtf"], &[])]))[0]
        .why
        .join(" ");
    assert_eq!(
        why,
        "The input \"in.rds\" may have been another file: its status was changed after the program had started."
    );
}

#[test]
fn an_output_that_was_changed_after_the_end_makes_its_program_run_again() {
    let (study, record) = of_old_files();
    let why = || {
        study.outdated(json!([planned(&study, "t", &[], &["out.rtf"], &[])]))[0]
            .why
            .join(" ")
    };
    study.save(&[to_save(&record, b"", &["out.rtf"], &[])], None);
    assert_eq!(why(), "");
    fs::remove_dir_all(study.0.join("logs")).unwrap();
    study.write("out.rtf", "by hand");
    study.save(&[to_save(&record, b"", &["out.rtf"], &[])], None);
    assert_eq!(why(), "The output \"out.rtf\" was changed after the program had ended.");
}

#[test]
fn an_output_of_a_file_server_whose_clock_is_ahead_is_the_programs_own() {
    let (study, record) = of_old_files();
    for (seconds, is_outdated) in [(2, false), (60, false), (61, true)] {
        // The program ended three seconds after the whole thousand million.
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_003 + seconds);
        let output = fs::File::options().write(true).open(study.0.join("out.rtf")).unwrap();
        output.set_modified(time).unwrap();
        let saved = study.save(&[to_save(&record, b"", &["out.rtf"], &[])], None);
        assert_eq!(saved[0].notes, ["out.rtf: It was changed after the program had ended."]);
        let row = &study.outdated(json!([planned(&study, "t", &[], &["out.rtf"], &[])]))[0];
        assert_eq!(row.outdated, is_outdated, "{seconds}: {:?}", row.why);
        fs::remove_dir_all(study.0.join("logs")).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn an_input_link_that_leads_elsewhere_since_makes_its_program_run_again() {
    use std::os::unix::fs::symlink;
    let study = Study::new();
    study.write("t.R", "1");
    for (name, text) in [
        ("v1/x", "1"),
        ("v1/y", "1"),
        ("v2/x", "2"),
        ("v2/y", "1"),
        ("v3/x", "1"),
    ] {
        fs::create_dir_all(study.0.join("adam").join(name).parent().unwrap()).unwrap();
        study.write(&format!("adam/{name}"), text);
    }
    study.write("adam/v1.rds", "1");
    study.write("adam/v2.rds", "2");
    let link = |to: &str, name: &str| {
        let at = study.0.join("adam").join(name);
        let _ = fs::remove_file(&at);
        symlink(to, at).unwrap();
    };
    link("v1", "current");
    link("v1.rds", "current.rds");
    let record = study.record("j-1", "t.R", b"");
    study.save(&[to_save(&record, b"", &[], &["adam"])], None);
    let why = |adam: &str| {
        study.outdated(json!([planned(&study, "t", &[adam], &[], &[])]))[0]
            .why
            .join(" ")
    };
    // The same files by other paths are the same.
    symlink("adam", study.0.join("data")).unwrap();
    assert_eq!((why("adam"), why("data")), (String::new(), String::new()));
    for (to, name, before, words) in [
        ("v2", "current", "v1", "The input \"x\" was changed."),
        (
            "v3",
            "current",
            "v1",
            "The input \"y\" is not there any more, or not one.",
        ),
        (
            "v2.rds",
            "current.rds",
            "v1.rds",
            "The input \"current.rds\" was changed.",
        ),
    ] {
        link(to, name);
        assert_eq!((why("adam").as_str(), why("data").is_empty()), (words, false), "{to}");
        link(before, name);
        assert_eq!(why("adam"), "");
    }
    // One that has more files than before.
    link("v3", "current");
    fs::remove_dir_all(study.0.join("logs")).unwrap();
    study.save(&[to_save(&record, b"", &[], &["adam"])], None);
    assert_eq!(why("adam"), "");
    link("v1", "current");
    assert_eq!(why("adam"), "The input \"y\" is not in its record.");
}
