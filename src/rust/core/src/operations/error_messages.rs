//! From a failed call to an error in words for a statistician.

use crate::error::{Error, ErrorClass, KubectlReport};
use crate::transport::{Failure, FailureKind, Patience};

/// The error for a failure. `doing` completes "You are not allowed to ..." and "kubectl could not ...", as "create jobs";
/// `namespace` may be empty where none is involved.
pub fn error(failure: &Failure, doing: &str, namespace: &str, patience: &Patience<'_>) -> Error {
    let place = match namespace {
        "" => String::new(),
        namespace => format!(" in the namespace \"{namespace}\""),
    };
    let (class, message, advice) = match failure.kind {
        FailureKind::NotFound => (
            ErrorClass::NotFound,
            format!("The cluster could not {doing}{place}: something that is needed for it does not exist."),
            "Check the namespace: argument `namespace`, option `abba.k8s.namespace`.".to_string(),
        ),
        FailureKind::Forbidden if failure.words.contains("exceeded quota") => (
            ErrorClass::QuotaExceeded,
            format!("The quota{place} does not allow another job."),
            "Wait until other jobs have ended or are removed, or ask the cluster's administrator for a larger quota.".into(),
        ),
        FailureKind::Forbidden => (
            ErrorClass::Forbidden,
            format!("You are not allowed to {doing}{place}."),
            "Ask the cluster's administrator for this right; abba's README has the Role that is needed.".into(),
        ),
        FailureKind::Unauthorized => (
            ErrorClass::Unauthorized,
            "The cluster does not accept your login.".into(),
            "Log in again the way you do for kubectl, then repeat the call.".into(),
        ),
        FailureKind::Invalid | FailureKind::AlreadyExists => (
            ErrorClass::Invalid,
            format!("The cluster refuses to {doing}{place}: the request is not valid."),
            match doing {
                "create jobs" => "kubectl's words name the field; `mounts` is passed on as you gave it.".into(),
                _ => "kubectl's words say why.".into(),
            },
        ),
        FailureKind::Conflict => (
            ErrorClass::Unavailable,
            format!("The cluster could not {doing}{place}: somebody else changed it at the same time."),
            "Repeat the call.".into(),
        ),
        FailureKind::TooManyRequests => (
            ErrorClass::Unavailable,
            "The cluster is too busy to answer.".into(),
            "Repeat the call in a minute.".into(),
        ),
        FailureKind::Server => (
            ErrorClass::Unavailable,
            format!("The cluster failed to {doing}{place}."),
            "Repeat the call in a minute; if it does not heal, show this to the cluster's administrator.".into(),
        ),
        FailureKind::Refused | FailureKind::Unreachable => (
            ErrorClass::Unavailable,
            "The cluster cannot be reached.".into(),
            "Check the network (VPN) and kubectl's configuration: does `kubectl get --raw /version` answer?".into(),
        ),
        FailureKind::Timeout => (
            ErrorClass::Timeout,
            format!("The cluster did not answer within {}.", seconds(patience)),
            "Repeat the call later, or allow more time with the option `abba.k8s.request.timeout`.".into(),
        ),
        FailureKind::KubectlMissing => (
            ErrorClass::KubectlMissing,
            "There is no kubectl program, and abba reaches the cluster through it alone.".into(),
            "Install kubectl and put it on the PATH, or name it with options(abba.kubectl = \"/path/to/kubectl\").".into(),
        ),
        FailureKind::NotConfigured => (
            ErrorClass::NotConfigured,
            "kubectl does not know which cluster to speak to.".into(),
            "Set up kubectl with the file that the cluster's administrator gave you (~/.kube/config, or the environment variable KUBECONFIG).".into(),
        ),
        FailureKind::ConfigurationBroken => (
            ErrorClass::NotConfigured,
            "kubectl cannot use its configuration.".into(),
            "Mend it: it is ~/.kube/config, or the file in the environment variable KUBECONFIG.".into(),
        ),
        FailureKind::KubectlDied => (
            ErrorClass::Kubectl,
            "kubectl broke down.".into(),
            "Repeat the call; if it happens again, run `kubectl version` in a terminal to see whether kubectl itself works.".into(),
        ),
        FailureKind::MalformedResponse => (
            ErrorClass::Kubectl,
            "kubectl's answer makes no sense.".into(),
            "Is the program on the PATH really kubectl? Try `kubectl version` in a terminal.".into(),
        ),
        FailureKind::Interrupted => (ErrorClass::Interrupted, "Stopped.".into(), String::new()),
        FailureKind::Other => (
            ErrorClass::Kubectl,
            format!("kubectl could not {doing}{place}."),
            "Try `kubectl version` in a terminal to see whether kubectl itself works.".into(),
        ),
    };
    let mut error = Error::new(class, message);
    if !advice.is_empty() {
        error = error.advise(advice);
    }
    error.details.clone_from(&failure.details);
    error.kubectl = failure.report.clone().map(|report| KubectlReport {
        stderr: failure.words.clone(),
        ..report
    });
    error
}

fn seconds(patience: &Patience<'_>) -> String {
    let seconds = (patience.limit().as_secs_f64() * 10.0).round() / 10.0;
    let unit = if seconds == 1.0 { "second" } else { "seconds" };
    format!("{seconds} {unit}")
}
