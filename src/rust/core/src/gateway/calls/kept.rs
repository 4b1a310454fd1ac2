//! What the jobs of a batch were submitted with.

use super::super::answer::{self, ApiError, Reply};
use super::super::archive;
#[cfg(test)]
use super::super::description::{Description, Schema, OF_JOBS};
use super::super::snapshot;
use super::{Answers, Argument, Asked, Call, BATCH_ID, STATUS};
use crate::gateway::Gateway;
use crate::operations::{self, JobSelector};
use crate::ErrorClass;

pub(super) const BATCH_ARGUMENTS: Call = Call {
    name: "batch-arguments",
    methods: &["GET"],
    arguments: &[&[
        BATCH_ID,
        Argument {
            doc: "Only jobs in this state; several separated by commas. `Failed` are those that failed or were cancelled, \
                  also where a cancelled one has not ended yet; a job that is `Unknown` may still be running.",
            ..STATUS
        },
    ]],
    answers: Answers::Callers(batch_arguments),
    #[cfg(test)]
    description: Description {
        id: "getBatchArguments",
        tag: "Batches",
        summary: "What the jobs of a batch were submitted with",
        text: "So that they can be submitted again: the elements have the names that a program of `/submit-batch` has. The programs themselves are not told. Only the caller's own jobs, an operator's like anybody's.",
        answer: Schema::Many("KeptSubmission"),
        answer_text: "The jobs, in the order of their submission.",
        examples: &[("several", "A program whose text was sent, and one that ran in place", r#"[{"job_id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44", "status": "Failed", "ending": false, "open_predecessors": [], "in_place": false, "file_path": "t_age.R", "absolute_path": "/home/mike/s1/t_age.R", "user_tag": "interim", "cpu_limit": 0.5, "memory_limit": "256M", "container": "registry.example.com/openval_4.2.1_focal:2023.09.0.02", "mounts": null, "auto_mount_home": false, "time_limit_seconds": 3600, "arguments": ["--cut-off", "2026-01-31"], "environment": {"STUDY": "s1"}}, {"job_id": "t-sex-90c4a7d3-61be-4a0f-b7d1-2f83c5e9d016", "status": "Failed", "ending": false, "open_predecessors": [], "in_place": true, "file_path": "/studies/s1/t_sex.R", "absolute_path": null, "user_tag": "", "cpu_limit": 1, "memory_limit": "512M", "container": "registry.example.com/openval_4.2.1_focal:2023.09.0.02", "mounts": {"volumes": [{"name": "studies", "nfs": {"server": "192.0.2.1", "path": "/studies"}}], "volumeMounts": [{"name": "studies", "mountPath": "/studies"}]}, "auto_mount_home": false, "time_limit_seconds": null}]"#), ("none", "None is in that state", r#"[]"#)],
        ..OF_JOBS
    },
};

/// An operator gets the arguments of their own jobs, like anybody: whoever submits again runs programs in their own name.
fn batch_arguments(gateway: &Gateway, mut asked: Asked<'_>) -> Result<Reply, ApiError> {
    let which = asked.arguments.batch()?;
    let JobSelector::Batch(batch_id) = &which else {
        return Ok(Reply::default());
    };
    let statuses = asked.arguments.statuses()?;
    // They may be as large as logs.
    asked.begin_to_read_logs()?;
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        // First, so that how long an answer takes tells nothing of a batch of this name that others have.
        let archived = asked.found(gateway, connection, &which, false)?.archived;
        let mut kept =
            operations::kept_submissions(connection, batch_id, Some(&asked.caller.name), &statuses, &archived)
                .map_err(|error| match error.class {
                    ErrorClass::NotFound => snapshot::no_batch(batch_id).into(),
                    _ => archive::of_file(error),
                })?;
        kept.retain(|one| asked.caller.may_be(one.uid));
        Ok(Reply {
            job_ids: kept.iter().map(|kept| kept.job_id.clone()).collect(),
            body: kept
                .iter()
                .map(answer::kept_submission)
                .collect::<Result<Vec<_>, _>>()?
                .into(),
            ..Default::default()
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::gateway::fake_cluster::server;
    use serde_json::{json, Value};

    #[test]
    fn what_is_to_be_submitted_again_of_a_batch_is_told_with_its_arguments() {
        let server = server();
        let submit = |body: Value| {
            let (status, answer) = server.post("daemon", "submit-job", &body, None);
            assert_eq!(status, 200, "{answer}");
            answer["job_id"].as_str().unwrap().to_string()
        };
        let mounts = json!({
            "volumes": [{"name": "s", "nfs": {"server": "192.0.2.1", "path": "/studies"}}],
            "volumeMounts": [{"name": "s", "mountPath": "/studies", "readOnly": true}],
        });
        let carried = submit(json!({
            "file_path": "a.R", "absolute_path": "C:\\programs\\a.R", "program_text": "1", "batch_group_id": "b",
            "user_tag": "t", "cpu_limit": 0.5, "memory_limit": "256M", "container": "registry.example.com/r:4.3",
            "mounts": mounts, "time_limit_seconds": 60, "arguments": ["a,b", ""],
            "environment": {"A": "$(B)"}, "vanilla": true, "r_command": "/opt/R/bin/R",
            "job_template": "gpu", "disk_limit": "2G",
        }));
        let in_place = submit(json!({"file_path": "/studies/b.R", "batch_group_id": "b", "mounts": mounts}));
        let good = submit(json!({"file_path": "c.R", "program_text": "1", "batch_group_id": "b"}));
        let failed = json!({"terminated": {"exitCode": 1}});
        server.cluster.runs(&carried, failed.clone());
        server.cluster.runs(&in_place, failed);
        server.cluster.ends(&good, "");
        let (status, rows) = server.get("daemon", "batch-arguments?batch_id=b&status=Failed,Unknown");
        assert_eq!(status, 200, "{rows}");
        assert_eq!(
            rows,
            json!([
                {
                    "job_id": carried, "status": "Failed", "ending": false, "open_predecessors": [], "in_place": false, "file_path": "a.R",
                    "after": {}, "on_failure": null, "absolute_path": "C:\\programs\\a.R", "user_tag": "t", "cpu_limit": 0.5, "memory_limit": "256M",
                    "container": "registry.example.com/r:4.3", "disk_limit": "2G", "mounts": mounts, "auto_mount_home": false,
                    "time_limit_seconds": 60.0, "arguments": ["a,b", ""], "environment": {"A": "$(B)"},
                    "vanilla": true, "r_command": "/opt/R/bin/R", "queue": null, "job_template": "gpu",
                },
                {
                    "job_id": in_place, "status": "Failed", "ending": false, "open_predecessors": [], "in_place": true, "file_path": "/studies/b.R",
                    "after": {}, "on_failure": null, "absolute_path": null, "user_tag": "", "cpu_limit": 1.0, "memory_limit": "512M",
                    "container": "registry.example.com/r:4.1", "disk_limit": null, "mounts": mounts, "auto_mount_home": false,
                    "time_limit_seconds": null, "arguments": [], "environment": {}, "vanilla": false,
                    "r_command": null, "queue": null, "job_template": null,
                },
            ])
        );
        // Whatever their state, where none is named.
        assert_eq!(
            server.get("daemon", "batch-arguments?id=b").1[2]["job_id"],
            good.as_str()
        );
        assert_eq!(
            server.get("daemon", "batch-arguments?batch_id=b&status=Unknown"),
            (200, json!([]))
        );
        for wrong in [
            "",
            "?batch_id=a%20b",
            "?batch_id=b&status=Done",
            "?batch_id=b&user=daemon",
        ] {
            assert_eq!(
                server.get("daemon", &format!("batch-arguments{wrong}")).0,
                400,
                "{wrong}"
            );
        }
    }

    #[test]
    fn nobody_is_told_the_arguments_of_somebody_elses_jobs() {
        let server = server();
        let (theirs, mine) = (server.submit("bin", "theirs"), server.submit("daemon", "shared"));
        let in_shared = server.submit("bin", "shared");
        let of = |user: &str, batch: &str| {
            let (status, body) = server.get(user, &format!("batch-arguments?batch_id={batch}"));
            (status, body.to_string().replace(batch, "ID"))
        };
        assert_eq!(of("daemon", "theirs"), of("daemon", "none"));
        assert_eq!(of("daemon", "theirs").0, 404);
        // An operator would run them in their own name.
        assert_eq!(of("sys", "theirs"), of("sys", "none"));
        let (_, shared) = of("daemon", "shared");
        assert!(shared.contains(&mine) && !shared.contains(&in_shared), "{shared}");
        assert!(of("bin", "theirs").1.contains(&theirs));
    }

    #[test]
    fn a_batch_of_others_is_not_even_read() {
        let server = server();
        server.submit("bin", "b");
        assert_eq!(server.get("daemon", "batch-arguments?batch_id=b").0, 404);
        assert_eq!(server.cluster.count("batch-id"), 0);
        assert_eq!(server.get("bin", "batch-arguments?batch_id=b").0, 200);
        assert!(server.cluster.count("batch-id") > 0);
    }
}
