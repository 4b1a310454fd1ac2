//! Why a call did not succeed.

use std::time::Duration;

use crate::error::KubectlReport;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The server has no such thing.
    NotFound,
    /// There is an object of this name already.
    AlreadyExists,
    /// The object has changed since it was read (409).
    Conflict,
    /// The user may not do this, or a quota forbids it.
    Forbidden,
    /// The server does not accept the login.
    Unauthorized,
    /// The server does not accept the login that a login helper has just given.
    LoginRefused,
    /// kubectl does not find its login helper. Nothing was sent.
    LoginHelperMissing,
    /// The login helper failed. Nothing was sent.
    LoginHelperFailed,
    /// The login helper was still at work when the time was over: it waits for a person. Nothing was sent.
    LoginPending,
    /// A rule of the cluster (an admission webhook or policy) refuses the object.
    RuleRefused,
    /// A rule of the cluster could not be checked, so the cluster has refused.
    RuleNotChecked,
    /// The namespace takes no new objects: it is being deleted.
    NamespaceEnds,
    /// The server refuses the object or the request.
    Invalid,
    /// The server asks to come back later (429).
    TooManyRequests,
    /// The server, or the node behind it, failed (5xx).
    Server,
    /// The connection was refused: nothing was delivered.
    Refused,
    /// The connection could not be made or broke.
    Unreachable,
    /// The server's certificate is not trusted: nothing was delivered.
    Certificate,
    /// The proxy on the way to the server cannot be reached, or refuses: nothing was delivered.
    Proxy,
    /// Something that is not the API server refuses in its place, perhaps for a moment.
    Stranger,
    /// A page for people comes where the API server should answer, or the caller is sent elsewhere. A filter may have put
    /// it in the place of an answer.
    Page,
    /// What listens at the API server's address speaks no HTTPS: nothing was delivered.
    NoTls,
    /// No answer within the time limit.
    Timeout,
    /// Nothing could be handed to kubectl: this machine lacks something.
    NotSent,
    /// There is no kubectl.
    KubectlMissing,
    /// kubectl is there, but nothing tells it which cluster to speak to.
    NotConfigured,
    /// kubectl's configuration cannot be read.
    ConfigurationBroken,
    /// kubectl was ended by a signal.
    KubectlDied,
    /// kubectl succeeded, and its answer makes no sense.
    MalformedResponse,
    /// The user pressed Ctrl-C.
    Interrupted,
    /// kubectl failed with words unknown to abba.
    Other,
}

impl FailureKind {
    /// What the API server means by the reason in its answer; `None` where it is not known or there is none.
    ///
    /// Reasons: `k8s.io/apimachinery/pkg/apis/meta/v1/types.go`, `StatusReason`.
    pub(super) fn of_reason(reason: &str) -> Option<Self> {
        Some(match reason {
            "NotFound" => Self::NotFound,
            "AlreadyExists" => Self::AlreadyExists,
            "Conflict" => Self::Conflict,
            "Forbidden" => Self::Forbidden,
            "Unauthorized" => Self::Unauthorized,
            "Invalid"
            | "BadRequest"
            | "RequestEntityTooLarge"
            | "MethodNotAllowed"
            | "NotAcceptable"
            | "UnsupportedMediaType" => Self::Invalid,
            "TooManyRequests" => Self::TooManyRequests,
            "InternalError" | "ServerTimeout" | "Timeout" | "ServiceUnavailable" | "StoreReadError" => Self::Server,
            _ => return None,
        })
    }

    /// Whether the same call may succeed in a moment.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::TooManyRequests
                | Self::Server
                | Self::Refused
                | Self::NotSent
                | Self::Unreachable
                | Self::Stranger
                | Self::RuleNotChecked
        )
    }

    /// Whether a create that failed so may have been carried out all the same.
    pub fn leaves_outcome_open(self) -> bool {
        matches!(
            self,
            Self::Server
                | Self::Unreachable
                | Self::Stranger
                | Self::Page
                | Self::Timeout
                | Self::KubectlDied
                | Self::MalformedResponse
                | Self::Other
                | Self::Interrupted
        )
    }

    /// Whether a login is wanted that a person has to give.
    pub fn wants_login(self) -> bool {
        matches!(
            self,
            Self::LoginRefused | Self::LoginHelperMissing | Self::LoginHelperFailed | Self::LoginPending
        )
    }
}

/// A call that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// kubectl's own words, without its debugging lines; empty where it had none.
    pub words: String,
    /// What is known beside those words.
    pub details: Option<String>,
    /// What kubectl did; `None` where it never ran.
    pub report: Option<KubectlReport>,
    /// How long a server that is busy asks to wait before the next attempt.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Whether a create that failed so may still be under way in the server: nobody has said how it ended.
    pub fn may_still_arrive(&self) -> bool {
        let says = |text: &str| self.words.contains(text);
        match self.kind {
            FailureKind::Timeout | FailureKind::Unreachable | FailureKind::KubectlDied | FailureKind::Interrupted => {
                true
            }
            // "The server was unable to return a response in the time allotted, but may still be processing the request",
            // "Timeout: request did not complete within the allotted timeout", "etcdserver: request timed out"
            FailureKind::Server | FailureKind::Stranger => ["504", "imeout", "timed out", "may still be processing"]
                .into_iter()
                .any(says),
            _ => false,
        }
    }

    /// A failure without any words of kubectl's, told in ours.
    pub fn new(kind: FailureKind, details: impl Into<String>) -> Self {
        Self {
            kind,
            words: String::new(),
            details: Some(details.into()).filter(|details: &String| !details.is_empty()),
            report: None,
            retry_after: None,
        }
    }
}
