//! What words mean, whichever way they came: in an error object of the API server, in kubectl's stderr, or in the plain text
//! of kubectl proxy.
//!
//! The texts are those of Kubernetes 1.34 and of Go's `net/http` and `crypto`, as seen.

use super::FailureKind;

/// What a refusal of a server means beyond its reason. `None`: its reason and its status say it.
///
/// Rules refuse with any reason and status that their authors like: a webhook of Gatekeeper puts its whole text where the
/// reason stands, a ValidatingAdmissionPolicy says `Invalid`, others give none.
pub fn of_refusal(message: &str) -> Option<FailureKind> {
    let says = |text: &str| message.contains(text);
    // `staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/errors/statuserror.go` and `.../util/webhook/error.go`
    if says("failed calling webhook") || says("failed to call webhook") || says("conversion webhook for ") {
        return Some(FailureKind::RuleNotChecked);
    }
    if is_page(message) {
        return Some(FailureKind::Stranger);
    }
    let denied = says("denied the request") || says("denied request") || says("without explanation");
    let is_rule = says("admission webhook \"") || says("AdmissionPolicy '");
    if (is_rule && denied)
        || says("violates PodSecurity")
        || says("unable to validate against any security context constraint")
    {
        return Some(FailureKind::RuleRefused);
    }
    if says("because it is being terminated") {
        return Some(FailureKind::NamespaceEnds);
    }
    // What admission says; the authorizer names the user: `jobs.batch is forbidden: User "mike" cannot create`.
    let (_, why) = message.split_once("\" is forbidden: ")?;
    let is_admission = !why.starts_with("User \"") && !why.contains("exceeded quota");
    is_admission.then_some(FailureKind::RuleRefused)
}

/// What a status means that comes without the API server's error object. `None`: what else came with it says more.
pub fn of_strangers_status(code: u16) -> Option<FailureKind> {
    Some(match code {
        401 => FailureKind::Unauthorized,
        407 => FailureKind::Proxy,
        413 | 414 | 431 => FailureKind::Invalid,
        429 => FailureKind::TooManyRequests,
        // What may be over in a moment; 403 and 404 because a load balancer that is set up anew says so.
        403 | 404 | 408 | 421 | 425 | 499 => FailureKind::Stranger,
        // 511: a network that wants a login first (RFC 6585).
        300..=499 | 511 => FailureKind::Page,
        _ => return None,
    })
}

/// What kept kubectl from speaking to the server. `None`: something else.
pub fn of_connection(words: &str) -> Option<FailureKind> {
    let says = |text: &str| words.contains(text);
    if missing_helper(words).is_some() {
        return Some(FailureKind::LoginHelperMissing);
    }
    // The last ones are those of the helper that is built into kubectl (client-go: `plugin/pkg/client/auth/oidc`).
    if [
        "getting credentials:",
        "no Auth Provider found",
        "auth plugin has been removed",
        "No valid id-token",
        "failed to refresh token",
        "did not contain an id_token",
        "/.well-known/openid-configuration",
        ": oidc: ",
    ]
    .iter()
    .any(|sign| says(sign))
        || words.starts_with("oidc: ")
    {
        return Some(FailureKind::LoginHelperFailed);
    }
    // What kubectl makes of its configuration, before it sends anything.
    if [
        "invalid 'proxy-url'",
        "more than one authentication method found",
        "exec plugin: invalid apiVersion",
        "must be specified for ",
        "host must be a URL",
        "unsupported protocol scheme",
        ": invalid port",
        "unable to load root certificates",
        "with the insecure flag is not allowed",
        "tls: private key does not match",
        "tls: failed to find any PEM data",
    ]
    .iter()
    .any(|sign| says(sign))
    {
        return Some(FailureKind::ConfigurationBroken);
    }
    // The server has looked at the certificate of the user.
    if says("remote error: tls: ") && (says("certificate") || says("unknown certificate authority")) {
        return Some(FailureKind::Unauthorized);
    }
    // It names the address as kubectl's own failure does, and is one of the proxy.
    if says("proxyconnect tcp") || says("Proxy Authentication Required") || says("socks connect") {
        return Some(FailureKind::Proxy);
    }
    if says("x509: ") || says("failed to verify certificate") {
        return Some(FailureKind::Certificate);
    }
    if says("tls: first record does not look like a TLS handshake")
        || says("server gave HTTP response to HTTPS client")
        || says("Client sent an HTTP request to an HTTPS server")
        || says("malformed HTTP response")
    {
        return Some(FailureKind::NoTls);
    }
    // The proxy's answer to CONNECT is told as its status alone.
    let last = words.rsplit(": ").next().unwrap_or_default().trim();
    let of_connect = [
        "Forbidden",
        "Bad Gateway",
        "Bad Request",
        "Found",
        "Gateway Time-out",
        "Gateway Timeout",
        "Moved Permanently",
        "Network Authentication Required",
        "Not Found",
        "Method Not Allowed",
        "Service Unavailable",
    ];
    let is_connect =
        !says("Error from server") && (of_connect.contains(&last) || says("Unsupported method ('CONNECT')"));
    is_connect.then_some(FailureKind::Proxy)
}

/// The login helper that kubectl could not find: `exec: executable NAME not found`, `exec: "NAME": executable file not found
/// in $PATH`, `fork/exec NAME: no such file or directory`.
pub fn missing_helper(words: &str) -> Option<&str> {
    let (_, about) = words.split_once("exec: ")?;
    if let Some(rest) = about.strip_prefix("executable ") {
        let (name, _) = rest.split_once(" not found")?;
        return (!name.contains('\n') && !name.contains(" failed with")).then_some(name);
    }
    if let Some(rest) = about.strip_prefix('"') {
        let (name, why) = rest.split_once("\": ")?;
        return (why.starts_with("executable file not found")
            || why.starts_with("stat ")
            || why.contains("no such file"))
        .then_some(name);
    }
    let rest = about.strip_prefix("fork/exec ")?;
    let (name, why) = rest.split_once(": ")?;
    why.starts_with("no such file").then_some(name)
}

/// Whether a text is a page for people's eyes, or holds one.
pub fn is_page(text: &str) -> bool {
    let beginning: String = text.chars().take(4000).collect::<String>().to_ascii_lowercase();
    let has = |tag: &str| beginning.contains(tag);
    has("<!doctype html") || (has("<html") && (has("<head") || has("<body") || has("<title")))
}

/// Whether an answer is a page from its beginning to its end: then it is all that was answered, and no API server's.
pub fn is_whole_page(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).trim().to_ascii_lowercase();
    text.starts_with('<') && is_page(&text) && text.contains("</html>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_refuses_is_known_by_its_words() {
        for words in [
            "admission webhook \"v.example.com\" denied the request: label team is missing",
            "[limits] container <program> has none): admission webhook \"v\" denied the request: [limits] x",
            "admission webhook \"v\" denied the request without explanation",
            "jobs.batch \"a\" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no",
            "The jobs \"a\" is invalid: : ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no",
            "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
            "pods \"a\" is forbidden: failed quota: q: must specify limits.cpu for: program",
            "jobs.batch \"a\" is forbidden: image policy webhook backend denied one or more images",
        ] {
            assert_eq!(of_refusal(words), Some(FailureKind::RuleRefused), "{words}");
        }
    }

    #[test]
    fn other_refusals_are_not_taken_for_rules() {
        for (words, kind) in [
            (
                "Internal error occurred: failed calling webhook \"v\": failed to call webhook: Post \"https://x\": x509: unknown",
                Some(FailureKind::RuleNotChecked),
            ),
            (
                "jobs.batch \"a\" is forbidden: unable to create new content in namespace n because it is being terminated",
                Some(FailureKind::NamespaceEnds),
            ),
            ("<!DOCTYPE html><html><body>403</body></html>", Some(FailureKind::Stranger)),
            ("jobs.batch is forbidden: User \"mike\" cannot create resource \"jobs\"", None),
            ("pods \"a\" is forbidden: User \"mike\" cannot get resource \"pods\"", None),
            ("jobs.batch \"x\" is forbidden: exceeded quota: small, requested: count/jobs.batch=1", None),
            ("etcdserver: request timed out", None),
        ] {
            assert_eq!(of_refusal(words), kind, "{words}");
        }
    }

    #[test]
    fn what_stands_in_the_way_is_known_by_its_words() {
        for (words, kind) in [
            (
                "getting credentials: exec: executable kubelogin not found\n\nIt looks like",
                Some(FailureKind::LoginHelperMissing),
            ),
            (
                "getting credentials: exec: \"aws\": executable file not found in $PATH",
                Some(FailureKind::LoginHelperMissing),
            ),
            (
                "getting credentials: exec: fork/exec /opt/x: no such file or directory",
                Some(FailureKind::LoginHelperMissing),
            ),
            (
                "getting credentials: exec: executable /x failed with exit code 255",
                Some(FailureKind::LoginHelperFailed),
            ),
            (
                "getting credentials: exec: fork/exec /opt/x: permission denied",
                Some(FailureKind::LoginHelperFailed),
            ),
            (
                "error: no Auth Provider found for name \"gcp\"",
                Some(FailureKind::LoginHelperFailed),
            ),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                Some(FailureKind::Certificate),
            ),
            (
                "x509: certificate has expired or is not yet valid",
                Some(FailureKind::Certificate),
            ),
            (
                "x509: certificate is valid for a, not b",
                Some(FailureKind::Certificate),
            ),
            ("remote error: tls: bad certificate", Some(FailureKind::Unauthorized)),
            (
                "proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused",
                Some(FailureKind::Proxy),
            ),
            (
                "Unable to connect to the server: Proxy Authentication Required",
                Some(FailureKind::Proxy),
            ),
            ("Unable to connect to the server: Forbidden", Some(FailureKind::Proxy)),
            ("Unable to connect to the server: Gateway Timeout", Some(FailureKind::Proxy)),
            (
                "Unable to connect to the server: No valid id-token, and cannot refresh without refresh-token",
                Some(FailureKind::LoginHelperFailed),
            ),
            (
                "Get \"https://127.0.0.1:9/.well-known/openid-configuration\": dial tcp 127.0.0.1:9: connect: connection refused",
                Some(FailureKind::LoginHelperFailed),
            ),
            (
                "Unable to connect to the server: oidc: discovery object doesn't contain a token_endpoint",
                Some(FailureKind::LoginHelperFailed),
            ),
            (
                "error: unable to load root certificates: unable to parse bytes as PEM block",
                Some(FailureKind::ConfigurationBroken),
            ),
            (
                "error: interactiveMode must be specified for u to use exec authentication plugin",
                Some(FailureKind::ConfigurationBroken),
            ),
            (
                "error: invalid 'proxy-url' \"127.0.0.1:9\" for cluster \"k\": could not parse: 127.0.0.1:9",
                Some(FailureKind::ConfigurationBroken),
            ),
            (
                "error: more than one authentication method found for u; found [token basicAuth], only one is allowed",
                Some(FailureKind::ConfigurationBroken),
            ),
            (
                "unsupported protocol scheme \"ftp\"",
                Some(FailureKind::ConfigurationBroken),
            ),
            (
                "tls: first record does not look like a TLS handshake",
                Some(FailureKind::NoTls),
            ),
            ("dial tcp: lookup x: no such host", None),
            ("net/http: TLS handshake timeout", None),
            ("", None),
        ] {
            assert_eq!(of_connection(words), kind, "{words}");
        }
        assert_eq!(
            missing_helper("exec: executable kubelogin not found"),
            Some("kubelogin")
        );
    }

    #[test]
    fn a_page_is_whole_or_it_is_not() {
        assert!(is_whole_page(b"\n<!DOCTYPE html><HTML><body>Log in</body></HTML>\n"));
        assert!(!is_whole_page(b"<html>"));
        assert!(!is_whole_page(b"{\"text\": \"<html></html>\"}"));
    }
}
