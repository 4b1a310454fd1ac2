//! What the server says of itself and of its caller.

use serde_json::json;

use super::super::answer::{ApiError, Reply};
#[cfg(test)]
use super::super::description::{Description, Schema};
use super::{Answers, Call};
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
        tag: "Server",
        summary: "Who am I",
        text: "",
        requests: &[],
        answer: Schema::One("Caller"),
        answer_text: "Who you are to the server.",
        headers: &[],
        examples: &[("user", "A user", r#"{"user": "mike", "operator": false}"#)],
        errors: &[],
    },
};

pub(super) const PERMITTED_CONTAINERS: Call = Call {
    name: "permitted-containers",
    methods: &["GET"],
    arguments: &[],
    answers: Answers::Callers(|gateway, _| Ok(json!(gateway.policy.permissions.permitted_containers).into())),
    #[cfg(test)]
    description: Description {
        id: "listPermittedContainers",
        tag: "Server",
        summary: "The containers that programs may run in",
        text: "",
        requests: &[],
        answer: Schema::Strings,
        answer_text: "The container images, the default first unless the administrator ordered them otherwise.",
        headers: &[],
        examples: &[(
            "one",
            "One container",
            r#"["registry.example.com/openval_4.2.1_focal:2023.09.0.02"]"#,
        )],
        errors: &[],
    },
};

pub(super) const PERMITTED_TEMPLATES: Call = Call {
    name: "permitted-templates",
    methods: &["GET"],
    arguments: &[],
    answers: Answers::Callers(|gateway, _| {
        Ok(json!(gateway
            .policy
            .permissions
            .permitted_templates
            .keys()
            .collect::<Vec<_>>())
        .into())
    }),
    #[cfg(test)]
    description: Description {
        id: "listPermittedTemplates",
        tag: "Server",
        summary: "The Job templates that programs may have",
        text: "",
        requests: &[],
        answer: Schema::Strings,
        answer_text: "Their names; the one named `default` is that of a program for which none is named.",
        headers: &[],
        examples: &[("two", "Two templates", r#"["default", "gpu"]"#)],
        errors: &[],
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
        tag: "Server",
        summary: "Is the server well",
        text: "For programs that watch over the server. It needs no key; with one it tells the versions, too.",
        requests: &[],
        answer: Schema::One("Health"),
        answer_text: "The server is well and reaches the cluster.",
        headers: &[],
        examples: &[(
            "well",
            "All is well",
            r#"{"alive": true, "cluster": true, "versions": {"abba": "0.1.0", "kubernetes": "v1.34.4"}}"#,
        )],
        errors: &[400, 403],
    },
};

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
    use crate::gateway::fake_cluster::{self, server};
    use crate::operations::Connection;
    use crate::transport::FailureKind;
    use serde_json::json;

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
}
