//! Removing.

use std::collections::{HashMap, HashSet};

use super::super::answer::{ApiError, Reply};
use super::super::audit_log::AuditedJob;
use super::super::caller::Caller;
#[cfg(test)]
use super::super::description::{Description, Schema, OF_JOBS};
use super::{logged_ids, owner_or_user, told_of_each, Answers, Argument, Asked, Call, EVERYBODY, JOBS_OR_BATCH};
use crate::gateway::Gateway;
use crate::operations::{self, Connection, JobSelector, Removed, Submitter};
use crate::{Error, ErrorClass};

pub(super) const REMOVE_JOB: Call = Call {
    name: "remove-job",
    methods: &["POST"],
    arguments: &[
        JOBS_OR_BATCH,
        &[Argument {
            doc: "For operators: jobs of others, too. Left out, they mean their own alone, also where they name others.",
            ..EVERYBODY
        }],
    ],
    answers: Answers::Callers(remove),
    #[cfg(test)]
    description: Description {
        id: "removeJob",
        summary: "Remove jobs that have ended, or a batch",
        text: "Removes jobs with their logs: read the logs first. Where one of them has not ended, none is removed. To repeat the call is safe: what is not there any more is `gone`. Either `job_id` or `batch_id` is given.",
        requests: &[("job", "A job", r#"{"job_id": "test-program-fbc3131d-a850-4081-8224-c06ef32821da"}"#), ("batch", "A batch", r#"{"batch_id": "t_age-0d8f1c6e-7a52-4b39-9e04-c1d2b3a4f567"}"#)],
        answer: Schema::Many("RemoveRow"),
        answer_text: "What was done.",
        examples: &[("one", "A job was removed", r#"[{"job_id": "test-program-fbc3131d-a850-4081-8224-c06ef32821da", "done": "removed"}]"#)],
        errors: &[409, 502, 504],
        ..OF_JOBS
    },
};

fn remove(gateway: &Gateway, mut asked: Asked<'_>) -> Result<Reply, ApiError> {
    let everybody = asked.everybody()?;
    let which = asked.arguments.jobs_or_batch()?;
    let caller = match everybody {
        true => asked.caller.clone(),
        false => asked.caller.as_anybody(),
    };
    gateway.with_cluster(asked.with_connection, &mut |connection| {
        let job_ids = match &which {
            JobSelector::Jobs(ids) => ids.clone(),
            JobSelector::Batch(_) => match gateway.seen(connection, &caller, &which) {
                Ok(jobs) => logged_ids(&jobs),
                Err(error) if error.class == ErrorClass::NotFound => Vec::new(),
                Err(error) => return Err(error.into()),
            },
        };
        let there = those_there(gateway, connection, &caller, &job_ids)?;
        if asked.caller.is_operator && !everybody {
            refuse_others(gateway, connection, asked.caller, &job_ids, &there)?;
        }
        let own = Connection {
            owner: caller.owner(),
            ..*connection
        };
        let seen = match there.is_empty() {
            true => Vec::new(),
            false => gateway.seen(connection, &caller, &JobSelector::Jobs(there.clone()))?,
        };
        asked
            .audit
            .intend(seen.iter().map(|job| AuditedJob::seen(job, asked.caller)))?;
        let outcomes = match there.is_empty() {
            true => Vec::new(),
            false => operations::remove(&own, &JobSelector::Jobs(there.clone()), Submitter::Anybody)?,
        };
        gateway.snapshots.removed(&caller.name, &outcomes);
        gateway.unbook(connection, &there);
        let done: HashMap<String, Result<Removed, Error>> = outcomes
            .into_iter()
            .map(|outcome| (outcome.job_id, outcome.done))
            .collect();
        let outcomes = job_ids.into_iter().map(|job_id| {
            let done = done.get(&job_id).cloned().unwrap_or(Ok(Removed::Gone));
            (job_id, done.map(Removed::name))
        });
        told_of_each(asked.audit, outcomes, there)
    })
}

/// Those of the jobs that a caller has. What is not there, or somebody else's, is left out.
fn those_there(
    gateway: &Gateway,
    connection: &Connection<'_>,
    caller: &Caller,
    job_ids: &[String],
) -> Result<Vec<String>, Error> {
    let mut there = job_ids.to_vec();
    while !there.is_empty() {
        match gateway.seen(connection, caller, &JobSelector::Jobs(there.clone())) {
            Ok(_) => break,
            Err(error) if error.class == ErrorClass::NotFound && !error.job_ids.is_empty() => {
                let missing: HashSet<String> = error.job_ids.into_iter().collect();
                there.retain(|id| !missing.contains(id));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(there)
}

/// An operator who names somebody else's job is told how to say that they mean it; to others it is as none.
fn refuse_others(
    gateway: &Gateway,
    connection: &Connection<'_>,
    operator: &Caller,
    job_ids: &[String],
    there: &[String],
) -> Result<(), Error> {
    let there: HashSet<&String> = there.iter().collect();
    let missing: Vec<String> = job_ids.iter().filter(|id| !there.contains(id)).cloned().collect();
    let others = those_there(gateway, connection, operator, &missing)?;
    match others.is_empty() {
        true => Ok(()),
        false => {
            let jobs = gateway.seen(connection, operator, &JobSelector::Jobs(others.clone()))?;
            let user = jobs.first().map(owner_or_user).unwrap_or_default().to_string();
            Err(operations::of_others(others, &user))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::gateway::fake_cluster::{program, server, server_with, JOBS};
    use crate::transport::FailureKind;
    use serde_json::{json, Value};

    #[test]
    fn a_job_that_was_removed_makes_room_at_once() {
        let server = server_with(|settings| settings.kept_jobs = 1);
        let id = server.submit("daemon", "b");
        server.cluster.ends(&id, "");
        assert_eq!(server.post("daemon", "submit-job", &program("a.R"), None).0, 429);
        let removed = server.post("daemon", "remove-job", &json!({"job_id": id}), None);
        assert_eq!(removed.0, 200, "{}", removed.1);
        let again = server.post("daemon", "submit-job", &program("a.R"), None);
        assert_eq!(again.0, 200, "{}", again.1);
    }

    #[test]
    fn ones_own_ended_jobs_are_removed_and_to_repeat_it_is_no_error() {
        let server = server();
        let ids: Vec<String> = (0..3).map(|_| server.submit("daemon", "b")).collect();
        for id in &ids {
            server.cluster.ends(id, "x\n");
        }
        let (one, rest) = (json!({"job_id": ids[0]}), json!({"batch_id": "b"}));
        for done in ["removed", "gone"] {
            assert_eq!(
                server.post("daemon", "remove-job", &one, None),
                (200, json!([{"job_id": ids[0], "done": done}]))
            );
        }
        let (_, jobs) = server.get("daemon", "jobs");
        assert_eq!(jobs.as_array().unwrap().len(), 2);
        let (status, done) = server.post("daemon", "remove-job", &rest, None);
        assert_eq!((status, done.as_array().unwrap().len()), (200, 2));
        assert_eq!(server.post("daemon", "remove-job", &rest, None), (200, json!([])));
        assert_eq!(server.get("daemon", "jobs"), (200, json!([])));
        assert!(server.cluster.objects.lock().unwrap().is_empty());
        assert_eq!(server.cluster.count(&format!("DELETE {JOBS}/")), 3);
        for body in [
            json!({"job_id": ids[0], "batch_id": "b"}),
            json!({}),
            json!({"job_id": []}),
        ] {
            assert_eq!(server.post("daemon", "remove-job", &body, None).0, 400, "{body}");
        }
    }

    #[test]
    fn what_has_not_ended_keeps_all_from_being_removed() {
        let server = server();
        let (ended, open) = (server.submit("daemon", "b"), server.submit("daemon", "b"));
        server.cluster.ends(&ended, "x\n");
        server.cluster.start(&open);
        for body in [json!({"job_id": [ended, open]}), json!({"batch_id": "b"})] {
            let (status, refusal) = server.post("daemon", "remove-job", &body, None);
            assert_eq!((status, &refusal["class"]), (409, &json!("not_ended")), "{refusal}");
            assert_eq!(refusal["job_id"], json!([open]));
            assert!(refusal["advice"].as_str().unwrap().starts_with("Cancel"), "{refusal}");
        }
        assert_eq!(server.cluster.count("DELETE"), 0);
    }

    #[test]
    fn somebody_elses_job_is_as_none_and_stays() {
        let server = server();
        let (theirs, mine) = (server.submit("bin", "b"), server.submit("daemon", "b"));
        server.cluster.ends(&theirs, "x\n");
        server.cluster.ends(&mine, "x\n");
        let none = theirs.replace(|c: char| c.is_ascii_digit(), "0");
        let of = |id: &str| {
            let (status, body) = server.post("daemon", "remove-job", &json!({"job_id": [id]}), None);
            (status, body.to_string().replace(id, "ID"))
        };
        assert_eq!(of(&theirs), of(&none));
        assert_eq!(
            server.post("daemon", "remove-job", &json!({"batch_id": "b"}), None),
            (200, json!([{"job_id": mine, "done": "removed"}]))
        );
        let (status, _) = server.post(
            "daemon",
            "remove-job",
            &json!({"job_id": theirs, "everybody": true}),
            None,
        );
        assert_eq!(status, 403);
        assert!(server.cluster.count(&format!("DELETE {JOBS}/{theirs}")) == 0);
    }

    #[test]
    fn a_job_of_that_name_that_somebody_else_has_made_since_stays() {
        let server = server();
        let id = server.submit("daemon", "b");
        server.cluster.ends(&id, "x\n");
        assert_eq!(server.get("daemon", &format!("job-status?job_id={id}")).0, 200);
        // The server's view is of the moment before.
        let mut job = server.cluster.job(&id);
        job["metadata"]["annotations"]["abba/owner"] = "bin".into();
        job["metadata"]["uid"] = "00000000-0000-4000-8000-999999999999".into();
        server
            .cluster
            .objects
            .lock()
            .unwrap()
            .insert(format!("{JOBS}/{id}"), job);
        assert_eq!(
            server.post("daemon", "remove-job", &json!({"job_id": id}), None),
            (200, json!([{"job_id": id, "done": "gone"}]))
        );
        assert_eq!(server.cluster.count("DELETE"), 0);
    }

    #[test]
    fn an_operator_removes_jobs_of_others_on_demand_alone() {
        let server = server();
        let (theirs, mine) = (server.submit("bin", "b"), server.submit("sys", "b"));
        server.cluster.ends(&theirs, "x\n");
        server.cluster.ends(&mine, "x\n");
        let remove = |body: &Value| server.post("sys", "remove-job", body, None);
        let (status, refusal) = remove(&json!({"job_id": [mine, theirs]}));
        assert_eq!((status, &refusal["job_id"]), (400, &json!([theirs])), "{refusal}");
        assert!(refusal["message"].as_str().unwrap().contains("\"bin\""), "{refusal}");
        assert_eq!(server.cluster.count("DELETE"), 0);
        assert_eq!(
            remove(&json!({"batch_id": "b"})),
            (200, json!([{"job_id": mine, "done": "removed"}]))
        );
        assert_eq!(
            remove(&json!({"job_id": theirs, "everybody": true})),
            (200, json!([{"job_id": theirs, "done": "removed"}]))
        );
    }

    #[test]
    fn what_could_not_be_removed_is_told_with_what_could() {
        let server = server();
        let (first, second) = (server.submit("daemon", "b"), server.submit("daemon", "b"));
        server.cluster.ends(&first, "x\n");
        server.cluster.ends(&second, "x\n");
        server
            .cluster
            .fails(&format!("DELETE {JOBS}/{second}"), FailureKind::Forbidden);
        let (status, body) = server.post("daemon", "remove-job", &json!({"batch_id": "b"}), None);
        assert_eq!(status, 502);
        assert_eq!(
            body["done"],
            json!([{"job_id": first, "done": "removed"}, {"job_id": second, "done": null}])
        );
        assert_eq!(body["message"], "The abba server lacks a right in the cluster.");
    }
}
