//! Who asks.

use serde_json::{Map, Value};

use super::headers::Headers;
use super::policy::{IdentityMode, Policy};
use crate::domain::identity::Identity;
use crate::gateway::api_keys::{self, ApiKeys, Scope};
use crate::operations::{JobSnapshot, Owner};
use crate::{Error, ErrorClass};

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of their account.
    pub name: String,
    /// Whether they may see and cancel everybody's jobs.
    pub is_operator: bool,
    /// What they may do.
    pub scope: Scope,
    /// The id of the key that they came with.
    pub key_id: Option<String>,
    /// The number of their account; `None`: they have none, or the server is for it alone.
    pub uid: Option<u32>,
    /// Their account, where they submit something; `None`: they do not, or have none.
    pub account: Option<Identity>,
}

impl Caller {
    /// The same person, who asks as no operator does.
    pub fn as_anybody(&self) -> Self {
        Self {
            is_operator: false,
            ..self.clone()
        }
    }

    /// Whether a job is their own. A name may get a new owner, whose number is another: what the one before has left is not
    /// theirs. Where one of the two numbers is not known, the name decides.
    pub fn owns(&self, job: &JobSnapshot) -> bool {
        self.is_owner(job.owner.as_deref(), job.uid)
    }

    /// The same of a job of this owner, with this account.
    pub fn is_owner(&self, owner: Option<&str>, uid: Option<u32>) -> bool {
        owner == Some(self.name.as_str()) && self.may_be(uid)
    }

    /// Whose jobs an operation may look at for them: their own, or, for an operator, everybody's. What is known of a job may be
    /// a second old, and another may have its id by now.
    pub fn owner(&self) -> Option<Owner<'_>> {
        (!self.is_operator).then_some(Owner {
            name: &self.name,
            uid: self.uid,
        })
    }

    /// Whether the number of an account may be theirs.
    pub fn may_be(&self, uid: Option<u32>) -> bool {
        self.uid.zip(uid).is_none_or(|(own, other)| own == other)
    }
}

/// What a request says of who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The name, as it came.
    pub name: String,
    /// What they may do.
    pub scope: Scope,
    /// The id of their key, where they have one.
    pub key_id: Option<String>,
}

impl Stated {
    /// Somebody whom a program before the server names.
    fn by_name(name: String) -> Self {
        Self {
            name,
            scope: Scope::Submit,
            key_id: None,
        }
    }
}

/// The header with the secret that plumber's host gives to the process, so that no other program of its machine can pass for
/// it: <https://www.rplumber.io/reference/options_plumber.html>, `plumber.sharedSecret`.
const SECRET: &str = "plumber-shared-secret";

/// The header that Posit Connect sets, JSON: <https://docs.posit.co/connect/user/plumber/#user-account-for-plumber>
const CONNECT: &str = "rstudio-connect-credentials";

/// Refuses a request that does not come from the program that is to stand before the server, where one is.
///
/// Errors ([`ErrorClass::Forbidden`]): it lacks the secret.
pub fn check_host(headers: &Headers, policy: &Policy) -> Result<(), Error> {
    let Some(secret) = &policy.secret else {
        return Ok(());
    };
    if headers.get(SECRET).is_some_and(|given| secret.is(given)) {
        return Ok(());
    }
    Err(
        Error::new(ErrorClass::Forbidden, "The abba server answers to its host alone.")
            .advise("Tell the administrator of the abba server; its log says more."),
    )
}

/// Whether a request says at all who sends it.
pub fn says_who(headers: &Headers, policy: &Policy) -> bool {
    match policy.identity {
        IdentityMode::Keys | IdentityMode::Local => headers.get("authorization").is_some(),
        IdentityMode::Connect => headers.get(CONNECT).is_some(),
        IdentityMode::Proxy => user_of_proxy(headers, policy).is_ok(),
    }
}

/// Finds out who asks, and what they may do. `keys` are those that are known; `peer` is the address that the request comes from.
///
/// Errors ([`ErrorClass::Unauthorized`], [`ErrorClass::Forbidden`], [`ErrorClass::Input`]): it is not known, a header that
/// says it is there twice, or a page of another site asks in the name of a person who only looks at it.
pub fn identify(headers: &Headers, peer: &str, policy: &Policy, keys: &ApiKeys) -> Result<Stated, Error> {
    check_site(headers)?;
    match policy.identity {
        IdentityMode::Keys => user_of_key(headers, keys),
        IdentityMode::Connect => user_of_connect(headers).map(Stated::by_name),
        IdentityMode::Proxy => user_of_proxy(headers, policy).map(Stated::by_name),
        IdentityMode::Local => {
            check_is_local(headers, peer)?;
            user_of_key(headers, keys).map_err(|error| match error.class {
                ErrorClass::Unauthorized => error.advise(
                    "Open the address that the server printed when it was started, or set the environment variable \
                     ABBA_API_KEY to the key in it.",
                ),
                _ => error,
            })
        }
    }
}

fn user_of_key(headers: &Headers, keys: &ApiKeys) -> Result<Stated, Error> {
    let authorization = headers
        .single("authorization")?
        .ok_or_else(|| unknown("The abba server needs your API key, and the request has none."))?;
    let key = key_of(authorization).ok_or_else(not_a_key)?;
    let kept = keys
        .find(key)
        .ok_or_else(|| unknown("The abba server does not know your API key."))?;
    match kept.expires {
        Some(last) if kept.is_expired(api_keys::today()) => Err(Error::new(
            ErrorClass::Unauthorized,
            format!("Your API key has ended: it was good until {last}."),
        )
        .advise("Ask the administrator of the abba server for a new one, and set the environment variable ABBA_API_KEY to it.")),
        _ => Ok(Stated {
            name: kept.user.clone(),
            scope: kept.scope,
            key_id: Some(kept.id.clone()),
        }),
    }
}

/// The key of `Key <key>`; the scheme's case says nothing (RFC 9110, 11.1).
fn key_of(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("key") && !key.is_empty()).then_some(key)
}

fn user_of_connect(headers: &Headers) -> Result<String, Error> {
    headers.get(CONNECT).and_then(user_in_credentials).ok_or_else(|| {
        Error::new(ErrorClass::Unauthorized, "Posit Connect does not say who you are.").advise(
            "Set the environment variable ABBA_API_KEY to an API key that you made on Posit Connect. If it is one \
             already, ask the administrator to give the content the access \"login required\".",
        )
    })
}

/// The user of Connect's header. It has no object in an object: two such headers, with a comma between them, may be one
/// legal JSON text with one in the other.
fn user_in_credentials(text: &str) -> Option<String> {
    fn is_nested(value: &Value) -> bool {
        match value {
            Value::Object(_) => true,
            Value::Array(values) => values.iter().any(is_nested),
            _ => false,
        }
    }
    // Of two elements of one name a map keeps the last.
    let is_doubled = text.matches("\"user\"").count() > 1;
    let credentials: Map<String, Value> = serde_json::from_str(text).ok()?;
    let user = credentials.get("user")?.as_str()?;
    (!is_doubled && !user.is_empty() && !credentials.values().any(is_nested)).then(|| user.to_string())
}

fn user_of_proxy(headers: &Headers, policy: &Policy) -> Result<String, Error> {
    let name = policy.proxy_header.as_deref().unwrap_or_default();
    let user = headers.single(name)?.map(str::trim);
    // Apache writes so what it does not know.
    user.filter(|user| !user.is_empty() && *user != "(null)")
        .map(String::from)
        .ok_or_else(|| {
            Error::new(
                ErrorClass::Unauthorized,
                "The proxy before the abba server does not say who you are.",
            )
            .advise("Open the address of the abba server in a browser and log in.")
        })
}

/// A browser sends what it keeps for a server (Connect's cookie, a login of the network) along with what a page of any
/// other site makes it send. It says so in one of two headers, which no page can set: `Sec-Fetch-Site`, to addresses with
/// https and those of the own machine, <https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>; and `Origin`.
fn check_site(headers: &Headers) -> Result<(), Error> {
    let refuse = || {
        Err(Error::new(
            ErrorClass::Forbidden,
            "The abba server answers to its own page, not to pages of other sites.",
        )
        .advise(
            "Open the page of the abba server itself. If you have, its administrator must let the web server before it pass \
             on the header `Host`.",
        ))
    };
    let fetch_site = headers.single("sec-fetch-site")?;
    if !matches!(fetch_site, None | Some("same-origin" | "none")) {
        return refuse();
    }
    let Some(origin) = headers.single("origin")? else {
        return Ok(());
    };
    let hosts = [headers.single("host")?, headers.get("x-forwarded-host")];
    if hosts.into_iter().flatten().any(|host| is_origin_of(origin, host)) {
        return Ok(());
    }
    match fetch_site {
        // A browser says that the page is the server's own, and a web server before this one has changed `Host`.
        Some("same-origin") if origin.starts_with("https://") => Ok(()),
        _ => refuse(),
    }
}

/// Whether a page of this origin comes from this host, which lacks its port where that is the usual one.
fn is_origin_of(origin: &str, host: &str) -> bool {
    let (authority, usual) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
        (Some(authority), _) => (authority, ":443"),
        (_, Some(authority)) => (authority, ":80"),
        _ => return false,
    };
    let with_port = |text: &str| {
        let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        format!("{}{}", text.to_ascii_lowercase(), if has_port { "" } else { usual })
    };
    !authority.is_empty() && with_port(authority) == with_port(host)
}

/// A server for this machine alone: a page on the web reaches it, too, through the browser of a person on this machine: by
/// a name that it makes point to this machine.
fn check_is_local(headers: &Headers, peer: &str) -> Result<(), Error> {
    let host_is_local = headers.single("host")?.is_some_and(is_loopback);
    // A proxy on this machine would make the whole network look like this machine.
    let peer_is_local = is_loopback(peer) && !headers.is_forwarded();
    if host_is_local && peer_is_local {
        return Ok(());
    }
    Err(Error::new(
        ErrorClass::Forbidden,
        "This abba server answers to programs and pages of its own machine only.",
    )
    .advise("Ask it as http://127.0.0.1 with its port."))
}

/// Whether a host with or without a port is this machine.
fn is_loopback(host: &str) -> bool {
    let name = match (host.strip_prefix('['), host.split_once(':')) {
        (Some(rest), _) => rest.split_once(']').map_or("", |(name, _)| name),
        // Of an IPv6 address without brackets it is no port.
        (None, Some((name, rest))) if !rest.contains(':') => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn unknown(message: &str) -> Error {
    Error::new(ErrorClass::Unauthorized, message).advise(
        "Set the environment variable ABBA_API_KEY to the key that the administrator of the abba server gave you.",
    )
}

/// Whoever writes the header by hand easily leaves the first word out. What they sent may be a key, so it is not shown.
fn not_a_key() -> Error {
    Error::new(
        ErrorClass::Unauthorized,
        "The abba server needs your API key, and the header \"Authorization\" of the request is none: it has to be the word \
         Key, a space, and the key.",
    )
    .advise("Send \"Authorization: Key \" and the key that the administrator of the abba server gave you.")
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::headers;
    use super::super::policy::tests::settings;
    use super::super::policy::Settings;
    use super::*;
    use crate::gateway::api_keys::tests::key_of as new_key;

    const SECRET_TEXT: &str = "a-secret-of-the-host";

    fn policy(identity: IdentityMode) -> Policy {
        Policy::new(Settings {
            identity,
            secret: Some(SECRET_TEXT.into()),
            proxy_header: (identity == IdentityMode::Proxy).then(|| "X-Forwarded-User".into()),
            ..settings()
        })
        .unwrap()
    }

    fn ask(identity: IdentityMode, fields: &[(&str, &str)]) -> Result<String, Error> {
        identify(&headers(fields), "127.0.0.1", &policy(identity), &ApiKeys::default()).map(|stated| stated.name)
    }

    #[test]
    fn a_key_says_who() {
        let new = new_key("olga");
        let keys = ApiKeys::one(new.kept.clone());
        let ask = |authorization: Option<&str>| {
            // Nobody but Connect itself is believed, nor a proxy that the administrator has not named.
            let mut fields = vec![
                ("RStudio-Connect-Credentials", r#"{"user": "mike"}"#),
                ("X-Forwarded-User", "mike"),
            ];
            fields.extend(authorization.map(|value| ("Authorization", value)));
            identify(&headers(&fields), "192.0.2.1", &policy(IdentityMode::Keys), &keys).map(|stated| stated.name)
        };
        assert_eq!(ask(Some(&format!("Key {}", new.key))).unwrap(), "olga");
        assert!(ask(Some(&format!("key  {}", new.key))).is_ok());
        for wrong in [
            None,
            Some(String::new()),
            Some("Key".into()),
            Some("Key ".into()),
            Some(new.key.clone()),
            Some(format!("Bearer {}", new.key)),
            Some(format!("Key {}x", new.key)),
        ] {
            let error = ask(wrong.as_deref()).unwrap_err();
            assert_eq!(error.class, ErrorClass::Unauthorized, "{wrong:?}");
            assert!(!format!("{error:?}").contains(&new.key));
        }
        assert!(ask(None).unwrap_err().message.contains("has none"));
        let without_scheme = ask(Some(&new.key)).unwrap_err();
        assert!(without_scheme.message.contains("the word Key, a space, and the key"));
        let of_another = ask(Some(&format!("Key {}x", new.key))).unwrap_err();
        assert!(of_another.message.contains("does not know your API key"));
        // httpuv makes one header of two.
        let twice = ask(Some(&format!("Key {0},Key {0}", new.key))).unwrap_err();
        assert_eq!(twice.class, ErrorClass::Input);
    }

    #[test]
    fn a_key_that_has_ended_says_so_to_who_has_it() {
        let mut new = new_key("olga");
        let ask = |kept: &api_keys::KeptKey| {
            let authorization = format!("Key {}", new.key);
            let fields = headers(&[("Authorization", &authorization)]);
            identify(
                &fields,
                "192.0.2.1",
                &policy(IdentityMode::Keys),
                &ApiKeys::one(kept.clone()),
            )
        };
        let mut kept = new.kept.clone();
        kept.expires = Some(api_keys::today());
        let stated = ask(&kept).unwrap();
        assert_eq!(
            (stated.name.as_str(), stated.scope, stated.key_id),
            ("olga", Scope::Submit, Some(kept.id.clone()))
        );
        kept.expires = Some(api_keys::today().yesterday().unwrap());
        let error = ask(&kept).unwrap_err();
        assert_eq!(error.class, ErrorClass::Unauthorized);
        assert!(error.message.contains("has ended"), "{}", error.message);
        new.key.push('x');
        let message = format!("Key {}", new.key);
        let unknown = identify(
            &headers(&[("Authorization", &message)]),
            "",
            &policy(IdentityMode::Keys),
            &ApiKeys::one(kept),
        );
        assert!(unknown.unwrap_err().message.contains("does not know"));
    }

    #[test]
    fn connect_says_who_in_its_header() {
        let ask = |text: &str| ask(IdentityMode::Connect, &[("RStudio-Connect-Credentials", text)]);
        assert_eq!(ask(r#"{"user": "mike", "groups": ["a"]}"#).unwrap(), "mike");
        for wrong in [
            "",
            "mike",
            "{}",
            r#"{"user": ""}"#,
            r#"{"user": 1}"#,
            // Sent twice, before or after Connect's, in one JSON text or not.
            r#"{"user": "mike"},{"user": "olga"}"#,
            r#"{"user": "olga", "groups": [1,{"user": "mike"}]}"#,
            r#"{"user": "olga", "x": ",{"user": "mike"}"#,
            r#"{"user": "mike", "user": "olga"}"#,
        ] {
            let error = ask(wrong).unwrap_err();
            assert_eq!(error.class, ErrorClass::Unauthorized, "{wrong}");
            assert!(error.advice.unwrap().contains("made on Posit Connect"));
        }
    }

    #[test]
    fn a_proxy_says_who_in_the_header_that_was_named() {
        let ask = |fields: &[(&str, &str)]| ask(IdentityMode::Proxy, fields);
        assert_eq!(ask(&[("x-forwarded-user", " mike ")]).unwrap(), "mike");
        for (fields, class) in [
            (&[("X-Remote-User", "mike")][..], ErrorClass::Unauthorized),
            (&[("X-Forwarded-User", "")], ErrorClass::Unauthorized),
            (&[("X-Forwarded-User", "(null)")], ErrorClass::Unauthorized),
            (&[("X-Forwarded-User", "mike,olga")], ErrorClass::Input),
            (
                &[("X-Forwarded-User", "mike"), ("x-forwarded-user", "olga")],
                ErrorClass::Input,
            ),
        ] {
            assert_eq!(ask(fields).unwrap_err().class, class, "{fields:?}");
        }
    }

    #[test]
    fn a_program_that_does_not_know_the_secret_is_not_the_host() {
        let policy = policy(IdentityMode::Connect);
        check_host(&headers(&[("Plumber-Shared-Secret", SECRET_TEXT)]), &policy).unwrap();
        for fields in [
            &[][..],
            &[("Plumber-Shared-Secret", "")],
            &[("Plumber-Shared-Secret", "a-secret-of-the-hosts")],
            &[("Plumber-Shared-Secret", "a-secret-of-the-host,a-secret-of-the-host")],
            &[("Plumber_Shared_Secret", SECRET_TEXT)],
        ] {
            let error = check_host(&headers(fields), &policy).unwrap_err();
            assert_eq!(error.class, ErrorClass::Forbidden, "{fields:?}");
            assert!(!format!("{error:?} {policy:?}").contains(SECRET_TEXT));
        }
    }

    #[test]
    fn a_page_of_another_site_does_not_speak_for_who_looks_at_it() {
        for identity in [IdentityMode::Connect, IdentityMode::Proxy] {
            let ask = |fields: &[(&str, &str)]| {
                let who = [
                    ("RStudio-Connect-Credentials", r#"{"user": "mike"}"#),
                    ("X-Forwarded-User", "mike"),
                    ("Host", "abba.example.com"),
                ];
                ask(identity, &[&who[..], fields].concat())
            };
            let own = ("Origin", "https://abba.example.com");
            for fields in [
                &[][..],
                &[("Sec-Fetch-Site", "same-origin")],
                &[("Sec-Fetch-Site", "none")],
                &[own],
                &[own, ("Sec-Fetch-Site", "same-origin")],
                &[("Origin", "http://ABBA.example.com")],
                &[("Origin", "https://abba.example.com:443")],
                // What a web server before this one says of its own name.
                &[
                    ("Origin", "http://outside.example.com"),
                    ("X-Forwarded-Host", "outside.example.com"),
                ],
                &[
                    ("Origin", "https://outside.example.com"),
                    ("Sec-Fetch-Site", "same-origin"),
                ],
            ] {
                assert!(ask(fields).is_ok(), "{fields:?}");
            }
            for fields in [
                &[("Sec-Fetch-Site", "cross-site")][..],
                &[("Sec-Fetch-Site", "same-site")],
                &[("Sec-Fetch-Site", "")],
                &[("Sec-Fetch-Site", "cross-site"), own],
                &[("Origin", "https://evil.example")],
                &[("Origin", "http://evil.example"), ("Sec-Fetch-Site", "none")],
                &[("Origin", "https://abba.example.com.evil.example")],
                // Another server of the same machine is another origin.
                &[("Origin", "https://abba.example.com:8443")],
                &[("Origin", "http://abba.example.com:443")],
                &[("Origin", "null")],
                &[("Origin", "abba.example.com")],
                &[("Origin", "")],
            ] {
                assert_eq!(ask(fields).unwrap_err().class, ErrorClass::Forbidden, "{fields:?}");
            }
        }
    }

    #[test]
    fn a_local_server_answers_this_machine_alone_and_only_with_its_key() {
        let new = new_key("server");
        let keys = ApiKeys::one(new.kept.clone());
        let key = format!("Key {}", new.key);
        let ask_from = |peer: &str, fields: &[(&str, &str)]| {
            identify(&headers(fields), peer, &policy(IdentityMode::Local), &keys).map(|stated| stated.name)
        };
        let ask = |host: &str, origin: Option<&str>| {
            let mut fields = vec![("Host", host), ("Authorization", key.as_str())];
            fields.extend(origin.map(|origin| ("Origin", origin)));
            ask_from("127.0.0.1", &fields)
        };
        for host in [
            "127.0.0.1:8000",
            "localhost:8000",
            "LOCALHOST",
            "[::1]:8000",
            "127.1.2.3",
        ] {
            assert_eq!(ask(host, None).unwrap(), "server");
            let without = ask_from("127.0.0.1", &[("Host", host)]).unwrap_err();
            assert_eq!(without.class, ErrorClass::Unauthorized);
        }
        assert!(ask("127.0.0.1:8000", Some("http://127.0.0.1:8000")).is_ok());
        for (host, origin) in [
            ("", None),
            ("evil.example", None),
            ("127.0.0.1.evil.example", None),
            ("192.0.2.1:8000", None),
            ("evil.example:8000", Some("http://evil.example:8000")),
            ("127.0.0.1:8000", Some("https://evil.example")),
            ("127.0.0.1:8000", Some("null")),
            ("127.0.0.1:8000", Some("http://127.0.0.1:9000")),
        ] {
            assert!(ask(host, origin).is_err(), "{host:?} {origin:?}");
        }
        let known = [("Host", "127.0.0.1:8000"), ("Authorization", key.as_str())];
        assert!(ask_from("127.0.0.1", &known).is_ok() && ask_from("::1", &known).is_ok());
        assert!(ask_from("192.0.2.7", &known).is_err() && ask_from("", &known).is_err());
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Server",
            "Via",
            "X-Real-IP",
        ] {
            assert!(
                ask_from("127.0.0.1", &[&known[..], &[(name, "x")]].concat()).is_err(),
                "{name}"
            );
        }
    }
}
