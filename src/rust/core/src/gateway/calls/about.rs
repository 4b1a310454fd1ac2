//! What the server says of itself and of its caller.

use serde_json::json;

use super::super::answer::{ApiError, Reply};
#[cfg(test)]
use super::super::description::{Description, Schema, OF_SERVER};
use super::{Answers, Call};
#[cfg(test)]
use crate::gateway::metrics;
use crate::gateway::metrics::Readers;
use crate::gateway::server::WithConnection;
use crate::gateway::Gateway;
use crate::{Error, ErrorClass};

pub(super) const WHOAMI: Call = Call {
    name: "whoami",
    methods: &["GET"],
    arguments: &[],
    answers: Answers::Callers(|_, asked| {
        Ok(json!({"user": asked.caller.name, "operator": asked.caller.is_operator}).into())
    }),
    #[cfg(test)]
    description: Description {
        id: "whoAmI",
        summary: "Who am I",
        answer: Schema::One("Caller"),
        answer_text: "Who you are to the server.",
        examples: &[("user", "A user", r#"{"user": "mike", "operator": false}"#)],
        ..OF_SERVER
    },
};

pub(super) const PERMITTED_CONTAINERS: Call = Call {
    name: "permitted-containers",
    methods: &["GET"],
    arguments: &[],
    answers: Answers::Callers(|gateway, asked| {
        Ok(json!(gateway.permissions(asked.caller)?.permitted_containers).into())
    }),
    #[cfg(test)]
    description: Description {
        id: "listPermittedContainers",
        summary: "The containers that programs may run in",
        answer: Schema::Strings,
        answer_text: "The container images, the default first unless the administrator ordered them otherwise.",
        examples: &[(
            "one",
            "One container",
            r#"["registry.example.com/openval_4.2.1_focal:2023.09.0.02"]"#,
        )],
        ..OF_SERVER
    },
};

pub(super) const PERMITTED_TEMPLATES: Call = Call {
    name: "permitted-templates",
    methods: &["GET"],
    arguments: &[],
    answers: Answers::Callers(|gateway, asked| {
        Ok(json!(gateway
            .permissions(asked.caller)?
            .permitted_templates
            .keys()
            .collect::<Vec<_>>())
        .into())
    }),
    #[cfg(test)]
    description: Description {
        id: "listPermittedTemplates",
        summary: "The Job templates that programs may have",
        answer: Schema::Strings,
        answer_text: "Their names; the one named `default` is that of a program for which none is named.",
        examples: &[("two", "Two templates", r#"["default", "gpu"]"#)],
        ..OF_SERVER
    },
};

/// For monitoring: it needs no login, and tells nothing of any user.
pub(super) const HEALTH: Call = Call {
    name: "health",
    methods: &["GET"],
    arguments: &[],
    answers: Answers::Anybody(health),
    #[cfg(test)]
    description: Description {
        id: "health",
        summary: "Is the server well",
        text: "For programs that watch over the server. It needs no key; with one it tells the versions, too.",
        answer: Schema::One("Health"),
        answer_text: "The server is well and reaches the cluster.",
        examples: &[(
            "well",
            "All is well",
            r#"{"alive": true, "cluster": true, "versions": {"abba": "0.1.0", "kubernetes": "v1.34.4"}}"#,
        )],
        errors: &[400, 403],
        ..OF_SERVER
    },
};

/// For what starts the server anew where it hangs: nothing else is asked.
pub(super) const LIVE: Call = Call {
    name: "live",
    methods: &["GET"],
    arguments: &[],
    answers: Answers::Anybody(|_, _, _| Ok(json!({"alive": true}).into())),
    #[cfg(test)]
    description: Description {
        id: "live",
        summary: "Does the server answer",
        text: "For programs that start the server anew where it does not (Kubernetes' liveness probe). It needs no key, and does not ask the cluster.",
        answer: Schema::One("Live"),
        answer_text: "The server answers.",
        examples: &[("live", "It answers", r#"{"alive": true}"#)],
        errors: &[400, 403],
        ..OF_SERVER
    },
};

/// For what sends requests to the server, or to another one.
pub(super) const READY: Call = Call {
    name: "ready",
    methods: &["GET"],
    arguments: &[],
    answers: Answers::Anybody(ready),
    #[cfg(test)]
    description: Description {
        id: "ready",
        summary: "Can the server do its work",
        text: "For programs that send requests to a server that can (Kubernetes' readiness probe). It needs no key. The server is ready when it reaches the cluster, can read its API keys, and can write its log of decisions where it must.",
        answer: Schema::One("Ready"),
        answer_text: "The server is ready.",
        examples: &[("ready", "It is ready", r#"{"ready": true, "cluster": true, "keys": true, "log": true}"#)],
        errors: &[400, 403],
        ..OF_SERVER
    },
};

/// For Prometheus.
pub(super) const METRICS: Call = Call {
    name: "metrics",
    methods: &["GET"],
    arguments: &[],
    answers: Answers::Callers(|gateway, asked| {
        if gateway.policy.metrics == Readers::Operators && !asked.caller.is_operator {
            let error = Error::new(ErrorClass::Forbidden, "The metrics of this abba server are for its operators.");
            return Err(error.meaning("Nothing was done.").into());
        }
        Ok(gateway.metrics())
    }),
    #[cfg(test)]
    description: Description {
        id: "metrics",
        summary: "Figures for Prometheus",
        text: "Requests, refusals, how long answers took, the cluster's too, and how many jobs there are, in Prometheus' text format. For callers that are known, unless the administrator has set it otherwise. Nothing in it is about a single user.",
        answer: Schema::Text(metrics::MEDIA_TYPE),
        answer_text: "The figures.",
        ..OF_SERVER
    },
};

fn ready(gateway: &Gateway, with_connection: WithConnection<'_>, _: bool) -> Result<Reply, ApiError> {
    let cluster = gateway.cluster_version(with_connection).is_some();
    let (keys, log) = (gateway.keys_are_readable(), gateway.log_is_writable());
    let body = json!({"ready": cluster && keys && log, "cluster": cluster, "keys": keys, "log": log});
    if body["ready"] == true {
        return Ok(body.into());
    }
    Err(ApiError {
        reason: format!("The server is not ready: {body}."),
        detail: Some(("readiness", body)),
        ..ApiError::new(
            503,
            Error::new(ErrorClass::Unavailable, "The abba server is not ready."),
        )
    })
}

/// Which faults a version has is public, so strangers do not learn it.
fn health(gateway: &Gateway, with_connection: WithConnection<'_>, is_known: bool) -> Result<Reply, ApiError> {
    let version = gateway.cluster_version(with_connection);
    let mut body = json!({"alive": true, "cluster": version.is_some()});
    if is_known {
        body["versions"] = json!({"abba": gateway.abba_version, "kubernetes": version});
    }
    match version {
        Some(_) => Ok(body.into()),
        None => Err(ApiError {
            detail: Some(("health", body)),
            ..ApiError::new(
                503,
                Error::new(ErrorClass::Unavailable, "The abba server cannot reach the cluster."),
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiError, Reply};
    use crate::gateway::fake_cluster::{self, program, server, server_with};
    use crate::gateway::metrics::Readers;
    use crate::gateway::policy::ProfileSettings;
    use crate::operations::Connection;
    use crate::transport::FailureKind;
    use serde_json::{json, Value};

    #[test]
    fn what_is_permitted_is_told_as_it_is_for_the_caller() {
        let server = server_with(|settings| {
            let mut own = settings.clone();
            own.permitted_templates.clear();
            own.default_container = Some("registry.example.com/r:9".into());
            own.permitted_containers.clear();
            own.cpu_limit = "4".into();
            settings.profiles = vec![ProfileSettings {
                name: "own".into(),
                groups: vec!["daemon".into()],
                settings: own,
            }];
        });
        let containers = |user| server.get(user, "permitted-containers").1;
        assert_eq!(containers("daemon"), json!(["registry.example.com/r:9"]));
        assert_eq!(containers("bin").as_array().unwrap().len(), 3);
        assert_eq!(server.get("daemon", "permitted-templates").1, json!([]));
        assert_eq!(server.get("bin", "permitted-templates").1, json!(["default", "gpu"]));
        let mut program = program("a.R");
        program["cpu_limit"] = json!(4);
        assert_eq!(server.post("daemon", "submit-job", &program, None).0, 200);
        assert_eq!(server.post("bin", "submit-job", &program, None).0, 403);
    }

    #[test]
    fn health_is_asked_once_for_many_and_tells_of_a_cluster_that_is_away() {
        let server = server();
        for _ in 0..10 {
            // Strangers do not learn which faults the versions have.
            assert_eq!(server.get("", "health"), (200, json!({"alive": true, "cluster": true})));
            let (status, body) = server.get("daemon", "health");
            assert_eq!((status, &body["cluster"]), (200, &json!(true)));
            assert_eq!(body["versions"], json!({"abba": "0.1.0", "kubernetes": "v1.34.4"}));
        }
        assert_eq!(server.cluster.count("/version"), 1);
        let server = fake_cluster::server();
        server.cluster.fails("/version", FailureKind::Timeout);
        let (status, body) = server.get("", "health");
        assert_eq!((status, &body["health"]["cluster"]), (503, &json!(false)));
        assert_eq!(body["health"].get("versions"), None);
    }

    #[test]
    fn a_panic_while_the_cluster_is_asked_does_not_keep_it_from_being_asked_again() {
        let server = server();
        let panics = |_: &mut dyn FnMut(&Connection<'_>) -> Result<Reply, ApiError>| panic!("for the test");
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.gateway.cluster_version(&panics)));
        assert!(asked.is_err());
        assert_eq!(server.get("", "health").1["cluster"], true);
    }

    #[test]
    fn a_server_lives_without_its_cluster_and_is_not_ready() {
        let server = server();
        assert_eq!(server.get("", "live"), (200, json!({"alive": true})));
        assert_eq!(server.cluster.calls.lock().unwrap().len(), 0);
        let ready = json!({"ready": true, "cluster": true, "keys": true, "log": true});
        assert_eq!(server.get("", "ready"), (200, ready));

        let server = server_with(|settings| {
            settings.log.file = Some("/dev/full".into());
            settings.log.required = true;
        });
        server.cluster.fails("/version", FailureKind::Timeout);
        assert_eq!(server.get("", "live").0, 200);
        let (status, body) = server.get("", "ready");
        assert_eq!((status, &body["readiness"]["cluster"]), (503, &json!(false)));
    }

    #[test]
    fn the_metrics_are_for_whom_the_administrator_has_named() {
        for (readers, stranger, caller, operator) in [
            (Readers::Callers, 401, 200, 200),
            (Readers::Operators, 401, 403, 200),
            (Readers::Anybody, 200, 200, 200),
        ] {
            let server = server_with(|settings| settings.metrics = readers);
            let ask = |user: &str| server.send(user, "GET", "metrics", &Value::Null, None);
            let statuses = ["", "daemon", "sys"].map(|user| ask(user).status);
            assert_eq!(statuses, [stranger, caller, operator], "{readers:?}");
        }
        let server = server();
        server.submit("daemon", "b");
        server.get("daemon", "jobs");
        server.get("", "jobs");
        let text = server.send("daemon", "GET", "metrics", &Value::Null, None).body;
        for line in [
            "abba_requests_total{call=\"jobs\",status=\"401\"} 1",
            "abba_refusals_total{class=\"unauthorized\"} 1",
            "abba_cluster_request_duration_seconds_count{method=\"POST\"} 1",
            "abba_open_jobs 1",
            "abba_kept_jobs 1",
            "abba_requests_in_progress 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(!text.contains("daemon"), "{text}");
    }
}
