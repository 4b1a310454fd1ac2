//! The states of jobs.

use super::super::answer::{self, ApiError, Reply};
#[cfg(test)]
use super::super::description::{Description, Schema, OF_JOBS};
use super::{Answers, Asked, Call, BATCH_ID, EVERYBODY, JOB_IDS};
use crate::domain::job_status::by_status;
use crate::domain::restarts;
use crate::gateway::Gateway;
use crate::operations::{ArchivedJob, JobSelector};

pub(super) const JOB_STATUS: Call = Call {
    name: "job-status",
    methods: &["GET", "POST"],
    arguments: &[&[JOB_IDS]],
    answers: Answers::Callers(|gateway, mut asked| {
        let which = asked.arguments.jobs()?;
        status(gateway, asked, &which)
    }),
    #[cfg(test)]
    description: Description {
        id: "getJobStatus",
        summary: "The status of jobs",
        text: "Where a program was started more than once, the header `Abba-Warnings` says so: a job was suspended and resumed, by a queue or by somebody.",
        requests: &[(
            "two",
            "Two jobs",
            r#"{"job_id": ["t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44", "t-sex-90c4a7d3-61be-4a0f-b7d1-2f83c5e9d016"]}"#,
        )],
        answer: Schema::One("StatusGroups"),
        answer_text: "The jobs by their state.",
        headers: &["Abba-Warnings"],
        examples: &[
            (
                "one",
                "One job that has succeeded",
                r#"{"Succeeded": {"Jobs": [{"id": "test-program-fbc3131d-a850-4081-8224-c06ef32821da-2dbr8", "path": "/home/mike/repos/abba/test_programs/test_program.R"}], "Description": "All containers in the Pod have terminated in success, and will not be restarted."}}"#,
            ),
            (
                "several",
                "Two jobs, one of which has not started",
                r#"{"Pending": {"Jobs": [{"id": "t-sex-90c4a7d3-61be-4a0f-b7d1-2f83c5e9d016", "path": "/studies/s1/t_sex.R"}], "Description": "The Pod has been accepted by the Kubernetes cluster, but one or more of the containers has not been set up and made ready to run. This includes time a Pod spends waiting to be scheduled as well as the time spent downloading container images over the network."}, "Failed": {"Jobs": [{"id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44-x7k2p", "path": "/studies/s1/t_age.R"}], "Description": "All containers in the Pod have terminated, and at least one container has terminated in failure. That is, the container either exited with non-zero status or was terminated by the system."}}"#,
            ),
        ],
        ..OF_JOBS
    },
};

pub(super) const BATCH_STATUS: Call = Call {
    name: "batch-status",
    methods: &["GET"],
    arguments: &[&[BATCH_ID, EVERYBODY]],
    answers: Answers::Callers(|gateway, mut asked| {
        let which = asked.arguments.batch()?;
        status(gateway, asked, &which)
    }),
    #[cfg(test)]
    description: Description {
        id: "getBatchStatus",
        tag: "Batches",
        summary: "The status of a batch",
        requests: &[],
        answer_text: "The jobs of the batch by their state.",
        examples: &[(
            "several",
            "Two jobs, one of which has not started",
            r#"{"Pending": {"Jobs": [{"id": "t-sex-90c4a7d3-61be-4a0f-b7d1-2f83c5e9d016", "path": "/studies/s1/t_sex.R"}], "Description": "The Pod has been accepted by the Kubernetes cluster, but one or more of the containers has not been set up and made ready to run. This includes time a Pod spends waiting to be scheduled as well as the time spent downloading container images over the network."}, "Failed": {"Jobs": [{"id": "t-age-5b0ff1a2-3c9d-4e51-8d57-0a6c2f1e7b44-x7k2p", "path": "/studies/s1/t_age.R"}], "Description": "All containers in the Pod have terminated, and at least one container has terminated in failure. That is, the container either exited with non-zero status or was terminated by the system."}}"#,
        )],
        ..JOB_STATUS.description
    },
};

fn status(gateway: &Gateway, mut asked: Asked<'_>, which: &JobSelector) -> Result<Reply, ApiError> {
    let everybody = asked.everybody()?;
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        let found = asked.found(gateway, connection, which, everybody)?;
        let starts = found.jobs.iter().map(|job| (job.record.job_id.as_str(), job.starts));
        let headers = match restarts::warnings(starts) {
            none if none.is_empty() => Vec::new(),
            some => vec![("Abba-Warnings", answer::warnings(&some))],
        };
        Ok(Reply {
            body: answer::json(&by_status(found.each(
                which,
                |job| job.status.clone(),
                ArchivedJob::status,
            )))?,
            headers,
            job_ids: found.ids(which),
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::gateway::fake_cluster::{server, JOBS};
    use serde_json::{json, Value};

    #[test]
    fn a_program_that_was_started_again_is_told_in_a_header_of_status_and_log() {
        let server = server();
        let (again, once) = (server.submit("daemon", "b"), server.submit("daemon", "b"));
        for (id, generation) in [(&again, 3), (&once, 2)] {
            server.cluster.ends(id, "x\n");
            let mut objects = server.cluster.objects.lock().unwrap();
            let job = objects.get_mut(&format!("{JOBS}/{id}")).unwrap();
            job["metadata"]["generation"] = json!(generation);
            job["status"] = json!({"conditions": [{"type": "Suspended", "status": "False", "reason": "JobResumed"}]});
        }
        for target in [
            "batch-status?batch_id=b".to_string(),
            format!("job-log?job_id={again},{once}"),
        ] {
            let answer = server.send("daemon", "GET", &target, &Value::Null, None);
            assert_eq!(answer.status, 200, "{}", answer.body);
            let told = answer
                .headers
                .iter()
                .find(|(name, _)| *name == "Abba-Warnings")
                .unwrap();
            let warnings: Value = serde_json::from_str(&told.1).unwrap();
            assert_eq!(warnings.as_array().unwrap().len(), 1, "{warnings}");
            assert_eq!(
                (&warnings[0]["class"], &warnings[0]["job_id"]),
                (&json!("started_again"), &json!([again]))
            );
        }
        let answer = server.send(
            "daemon",
            "GET",
            &format!("job-status?job_id={once}"),
            &Value::Null,
            None,
        );
        assert!(answer.headers.is_empty(), "{:?}", answer.headers);
    }
}
