//! From a failed call to an error in words for a statistician.

use crate::domain::quantity::is_beyond_quota;
use crate::error::{Error, ErrorClass, KubectlReport};
use crate::kubernetes::Api;
use crate::transport::{is_page, missing_login_helper, Failure, FailureKind, Patience};

/// The error for a failure of `api`, as of [`error()`]. Where something else than the cluster answers, it says at which
/// address, if kubectl knows that.
pub fn error_at(api: &Api<'_>, failure: &Failure, doing: &str, patience: &Patience<'_>) -> Error {
    let mut error = error(failure, doing, api.namespace(), patience);
    let is_anothers = matches!(
        failure.kind,
        FailureKind::Page | FailureKind::NoTls | FailureKind::Stranger | FailureKind::Certificate
    ) || (failure.kind == FailureKind::Unauthorized && is_page(&failure.words));
    if let Some(server) = is_anothers
        .then(|| api.transport().server(&patience.deadline()))
        .flatten()
    {
        let at = format!("`server` in kubectl's configuration is {server}.");
        error.details = Some(match error.details {
            Some(details) => format!("{at} {details}"),
            None => at,
        });
    }
    error
}

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
        FailureKind::Forbidden if is_beyond_quota(&failure.words) => (
            ErrorClass::QuotaExceeded,
            format!("The quota{place} is smaller than what this job asks for."),
            "Ask for smaller limits, or ask the cluster's administrator for a larger quota.".into(),
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
        FailureKind::RuleRefused => (
            ErrorClass::RuleRefused,
            format!("A rule of the cluster refuses to {doing}{place}."),
            "The rule's words say what it asks for; where you cannot do that, show them to the cluster's administrator.".into(),
        ),
        FailureKind::RuleNotChecked => (
            ErrorClass::Unavailable,
            format!("A rule of the cluster cannot be checked, so the cluster refuses to {doing}{place}."),
            "Show this to the cluster's administrator: the webhook that kubectl's words name does not answer as it should.".into(),
        ),
        FailureKind::NamespaceEnds => (
            ErrorClass::RuleRefused,
            format!("The cluster takes nothing new{place}, because it is being terminated."),
            "Somebody is deleting this namespace with all that is in it. Use another one: argument `namespace`, option `abba.k8s.namespace`.".into(),
        ),
        FailureKind::Unauthorized if is_page(&failure.words) => (
            ErrorClass::Unauthorized,
            format!("{SOMETHING_ELSE} It asks for a login."),
            LOOK_AT_ADDRESS.into(),
        ),
        FailureKind::Unauthorized => (
            ErrorClass::Unauthorized,
            "The cluster does not accept your login.".into(),
            "Log in again the way you do for kubectl, then repeat the call.".into(),
        ),
        FailureKind::LoginRefused => (
            ErrorClass::LoginWanted,
            "The cluster does not accept your login.".into(),
            "Log in again the way you do for kubectl, then repeat the call.".into(),
        ),
        FailureKind::LoginHelperMissing => (
            ErrorClass::LoginWanted,
            match missing_login_helper(&failure.words) {
                Some(helper) => format!("The login helper \"{helper}\" is not on R's PATH, and kubectl needs it to log in."),
                None => "kubectl does not find its login helper.".into(),
            },
            "Install it, or put its folder on R's PATH: Sys.setenv(PATH = ...), or in the file ~/.Renviron. A terminal may have another PATH than R.".into(),
        ),
        // client-go: `plugin/pkg/client/auth/exec/exec.go`
        FailureKind::LoginHelperFailed if failure.words.contains("cannot support interactive mode") => (
            ErrorClass::LoginWanted,
            "kubectl's login helper wants a terminal, which R cannot give it.".into(),
            "In kubectl's configuration set `interactiveMode` of the helper (`exec`) to IfAvailable, and log in once in a terminal; or ask the cluster's administrator for a login that needs none.".into(),
        ),
        FailureKind::LoginHelperFailed => (
            ErrorClass::LoginWanted,
            "Your login for the cluster failed: kubectl's login helper gave none.".into(),
            "Do what its words below say, or log in again the way you do for kubectl (`kubectl get --raw /version` in a terminal), then repeat the call.".into(),
        ),
        FailureKind::LoginPending => (
            ErrorClass::LoginWanted,
            format!("Your login for the cluster waits for you: it was not finished within {}.", seconds(patience)),
            "Log in first: run `kubectl get --raw /version` in a terminal and do what it says, then repeat the call. Or allow more time with the option `abba.k8s.request.timeout`.".into(),
        ),
        // What stands before the cluster takes no request that is so large (413), or so long a line (414, 431).
        FailureKind::Invalid if ["HTTP status 4", "the status code 4"].iter().any(|sign| failure.words.contains(sign)) => (
            ErrorClass::Invalid,
            format!("A proxy or load balancer before the cluster refuses to {doing}{place}: the request is too large for it."),
            "Put the program and what it needs into a mount (see `mounts`), or show this to the cluster's administrator.".into(),
        ),
        FailureKind::Invalid | FailureKind::AlreadyExists => (
            ErrorClass::Invalid,
            format!("The cluster refuses to {doing}{place}: the request is not valid."),
            match doing {
                "create jobs" => "kubectl's words name the field; `mounts` and `job_template` are passed on as they were given.".into(),
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
        FailureKind::Certificate => (
            ErrorClass::Unavailable,
            certificate(&failure.words).into(),
            "It does not heal by itself. Ask the cluster's administrator for a new kubectl configuration (its `certificate-authority`); where a company's proxy or the clock of this machine may be the reason, look at those.".into(),
        ),
        FailureKind::Proxy => (
            ErrorClass::Unavailable,
            "The cluster cannot be reached: the proxy on the way refuses, or is not there.".into(),
            PROXY_ADVICE.into(),
        ),
        FailureKind::Page | FailureKind::NoTls => (
            ErrorClass::NotConfigured,
            SOMETHING_ELSE.into(),
            LOOK_AT_ADDRESS.into(),
        ),
        FailureKind::Stranger => (
            ErrorClass::Unavailable,
            SOMETHING_ELSE.into(),
            format!("Repeat the call in a minute. {LOOK_AT_ADDRESS}"),
        ),
        FailureKind::NotSent => (
            ErrorClass::Unavailable,
            "This machine lacks something that abba needs to speak to kubectl.".into(),
            "Repeat the call; if it happens again, too many files may be open in R, or there is no room for temporary files.".into(),
        ),
        FailureKind::Refused | FailureKind::Unreachable if has_proxy() => (
            ErrorClass::Unavailable,
            "The cluster cannot be reached.".into(),
            PROXY_ADVICE.into(),
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
            "Is the program on the PATH really kubectl, and `server` in its configuration the address of a cluster? Try `kubectl version` in a terminal.".into(),
        ),
        FailureKind::Interrupted => (ErrorClass::Interrupted, "Stopped.".into(), String::new()),
        FailureKind::Other if failure.words.starts_with("Error from server") => (
            ErrorClass::Kubectl,
            format!("The cluster refuses to {doing}{place}."),
            "kubectl's words say why; where they do not help you, show them to the cluster's administrator.".into(),
        ),
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

const SOMETHING_ELSE: &str =
    "Something else answers at the cluster's address: a login page, a proxy or a load balancer, not the cluster itself.";

const LOOK_AT_ADDRESS: &str =
    "Look at `server` in kubectl's configuration, and whether you have to log in to the network (VPN, proxy) first.";

const PROXY_ADVICE: &str = "Check the environment variables HTTPS_PROXY and NO_PROXY of R, and `proxy-url` in kubectl's configuration: is the proxy up, does it ask for a password, should the cluster be reached without it?";

/// Whether R's environment names a proxy, through which kubectl then goes.
fn has_proxy() -> bool {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    ["HTTPS_PROXY", "https_proxy"].iter().any(is_set)
}

/// What is wrong with a certificate, by Go's words (`crypto/x509/verify.go`).
fn certificate(words: &str) -> &'static str {
    let says = |text: &str| words.contains(text);
    if says("has expired or is not yet valid") {
        "The cluster cannot be reached: its certificate has expired, or is not valid yet."
    } else if says("certificate is valid for")
        || says("cannot validate certificate for")
        || says("not valid for any names")
    {
        "The cluster cannot be reached: the certificate that answers is another server's (its name does not match)."
    } else {
        "The cluster cannot be reached: its certificate is not trusted."
    }
}

fn seconds(patience: &Patience<'_>) -> String {
    let seconds = (patience.limit().as_secs_f64() * 10.0).round() / 10.0;
    let unit = if seconds == 1.0 { "second" } else { "seconds" };
    format!("{seconds} {unit}")
}
