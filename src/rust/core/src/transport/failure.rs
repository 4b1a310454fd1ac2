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
    /// The server does not accept the login, or none could be obtained.
    Unauthorized,
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
    /// No answer within the time limit.
    Timeout,
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
            "InternalError" | "ServerTimeout" | "Timeout" | "ServiceUnavailable" => Self::Server,
            _ => return None,
        })
    }

    /// Whether the same call may succeed in a moment.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::TooManyRequests | Self::Server | Self::Refused | Self::Unreachable
        )
    }

    /// Whether a create that failed so may have been carried out all the same.
    pub fn leaves_outcome_open(self) -> bool {
        matches!(
            self,
            Self::Server
                | Self::Unreachable
                | Self::Timeout
                | Self::KubectlDied
                | Self::MalformedResponse
                | Self::Other
                | Self::Interrupted
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
