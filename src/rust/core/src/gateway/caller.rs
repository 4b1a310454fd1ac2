//! Who asks.

use serde::Deserialize;

use super::policy::{IdentityMode, Policy};
use crate::gateway::api_keys::ApiKeys;
use crate::{Error, ErrorClass};

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of their account.
    pub name: String,
    /// Whether they may see and cancel everybody's jobs.
    pub is_operator: bool,
}

/// What a request says of who sent it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// The header `Authorization`.
    pub authorization: Option<&'a str>,
    /// The header `RStudio-Connect-Credentials`.
    pub connect_credentials: Option<&'a str>,
    /// The header `Host`.
    pub host: Option<&'a str>,
    /// The header `Sec-Fetch-Site`: browsers set it on every request, and no page can.
    /// <https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>
    pub fetch_site: Option<&'a str>,
    /// The header `Origin`: browsers set it on requests that a page makes.
    pub origin: Option<&'a str>,
    /// The address that the request comes from.
    pub peer: &'a str,
    /// Whether a header says that a proxy has passed it on (`Forwarded`, `X-Forwarded-For`, ...).
    pub is_forwarded: bool,
}

/// The header that Posit Connect sets, JSON: <https://docs.posit.co/connect/user/plumber/#user-account-for-plumber>
#[derive(Deserialize)]
struct ConnectCredentials {
    user: String,
}

/// Finds out who asks. `own_name` is the account that runs the server.
///
/// Errors ([`ErrorClass::Unauthorized`], [`ErrorClass::Forbidden`]): it is not known, or a page of another site asks in
/// the name of a person who only looks at it.
pub fn identify(
    credentials: Credentials<'_>,
    policy: &Policy,
    keys: &ApiKeys,
    own_name: &str,
) -> Result<Caller, Error> {
    check_site(credentials)?;
    let name = match policy.identity {
        IdentityMode::Keys => {
            let authorization = credentials
                .authorization
                .ok_or_else(|| unknown("The abba server needs your API key, and the request has none."))?;
            let key = key_of(authorization).ok_or_else(not_a_key)?;
            keys.user_of(key)
                .ok_or_else(|| unknown("The abba server does not know your API key."))?
                .to_string()
        }
        IdentityMode::Connect => credentials
            .connect_credentials
            .and_then(|text| serde_json::from_str::<ConnectCredentials>(text).ok())
            .map(|credentials| credentials.user)
            .filter(|user| !user.is_empty())
            .ok_or_else(|| {
                Error::new(ErrorClass::Unauthorized, "Posit Connect does not say who you are.").advise(
                    "Set the environment variable ABBA_API_KEY to an API key that you made on Posit Connect. If it is one \
                     already, ask the administrator to give the content the access \"login required\".",
                )
            })?,
        IdentityMode::Nobody => {
            check_is_local(credentials)?;
            own_name.to_string()
        }
    };
    let is_operator = policy.operators.contains(&name) || policy.identity == IdentityMode::Nobody;
    Ok(Caller { name, is_operator })
}

/// The key of `Key <key>`; the scheme's case says nothing (RFC 9110, 11.1).
fn key_of(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("key") && !key.is_empty()).then_some(key)
}

/// A browser sends what it keeps for a server (Connect's cookie, a login of the network) along with what a page of any
/// other site makes it send.
fn check_site(credentials: Credentials<'_>) -> Result<(), Error> {
    match credentials.fetch_site {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => Err(Error::new(
            ErrorClass::Forbidden,
            "The abba server answers to its own page, not to pages of other sites.",
        )
        .advise("Open the page of the abba server itself.")),
    }
}

/// Without keys a server trusts whoever reaches it on this machine. A page on the web reaches it, too, through the browser
/// of a person on this machine: by a name that it makes point to this machine, or from its own origin.
fn check_is_local(credentials: Credentials<'_>) -> Result<(), Error> {
    let host_is_local = credentials.host.is_some_and(is_loopback);
    let origin_is_local = credentials.origin.is_none_or(|origin| {
        origin
            .strip_prefix("http://")
            .is_some_and(|origin| Some(origin) == credentials.host && is_loopback(origin))
    });
    // A proxy on this machine would make the whole network look like this machine.
    let peer_is_local = is_loopback(credentials.peer) && !credentials.is_forwarded;
    if host_is_local && origin_is_local && peer_is_local {
        return Ok(());
    }
    Err(Error::new(
        ErrorClass::Forbidden,
        "An abba server without API keys answers to programs and pages of its own machine only.",
    )
    .advise("Ask it as http://127.0.0.1 with its port."))
}

/// Whether a host with or without a port is this machine.
fn is_loopback(host: &str) -> bool {
    if host
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback())
    {
        return true;
    }
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
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
    use super::super::policy::tests::settings;
    use super::super::policy::Settings;
    use super::*;
    use crate::gateway::api_keys;

    fn policy(identity: IdentityMode) -> Policy {
        Policy::new(Settings { identity, ..settings() }).unwrap()
    }

    fn connect(text: &str) -> Credentials<'_> {
        Credentials {
            connect_credentials: Some(text),
            ..Default::default()
        }
    }

    #[test]
    fn a_key_says_who() {
        let new = api_keys::create("olga").unwrap();
        let keys = ApiKeys::parse(&new.line).unwrap();
        let ask = |authorization: Option<&str>| {
            let credentials = Credentials {
                authorization,
                // Nobody but Connect itself is believed.
                connect_credentials: Some(r#"{"user": "mike"}"#),
                ..Default::default()
            };
            identify(credentials, &policy(IdentityMode::Keys), &keys, "server")
        };
        let caller = ask(Some(&format!("Key {}", new.key))).unwrap();
        assert_eq!((caller.name.as_str(), caller.is_operator), ("olga", true));
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
    }

    #[test]
    fn connect_is_believed_where_the_server_runs_there() {
        let ask = |text: &str| {
            identify(
                connect(text),
                &policy(IdentityMode::Connect),
                &ApiKeys::default(),
                "server",
            )
        };
        let caller = ask(r#"{"user": "mike", "groups": ["a"]}"#).unwrap();
        assert_eq!((caller.name.as_str(), caller.is_operator), ("mike", false));
        for wrong in ["", "mike", "{}", r#"{"user": ""}"#, r#"{"user": 1}"#] {
            let error = ask(wrong).unwrap_err();
            assert_eq!(error.class, ErrorClass::Unauthorized, "{wrong}");
            assert!(error.advice.unwrap().contains("made on Posit Connect"));
        }
    }

    #[test]
    fn a_page_of_another_site_does_not_speak_for_who_looks_at_it() {
        let ask = |fetch_site| {
            let credentials = Credentials {
                fetch_site,
                ..connect(r#"{"user": "mike"}"#)
            };
            identify(
                credentials,
                &policy(IdentityMode::Connect),
                &ApiKeys::default(),
                "server",
            )
        };
        for site in [None, Some("same-origin"), Some("none")] {
            assert!(ask(site).is_ok(), "{site:?}");
        }
        for site in [Some("cross-site"), Some("same-site"), Some(""), Some("x")] {
            assert_eq!(ask(site).unwrap_err().class, ErrorClass::Forbidden, "{site:?}");
        }
    }

    #[test]
    fn without_keys_this_machine_alone_is_answered() {
        let ask = |host: Option<&str>, origin: Option<&str>| {
            let credentials = Credentials {
                host,
                origin,
                peer: "127.0.0.1",
                ..Default::default()
            };
            identify(
                credentials,
                &policy(IdentityMode::Nobody),
                &ApiKeys::default(),
                "server",
            )
        };
        for host in [
            "127.0.0.1:8000",
            "localhost:8000",
            "LOCALHOST",
            "[::1]:8000",
            "127.1.2.3",
        ] {
            assert_eq!(ask(Some(host), None).unwrap().name, "server");
        }
        assert!(ask(Some("127.0.0.1:8000"), Some("http://127.0.0.1:8000")).is_ok());
        for (host, origin) in [
            (None, None),
            (Some("evil.example"), None),
            (Some("127.0.0.1.evil.example"), None),
            (Some("192.0.2.1:8000"), None),
            (Some("127.0.0.1:8000"), Some("https://evil.example")),
            (Some("127.0.0.1:8000"), Some("null")),
            (Some("127.0.0.1:8000"), Some("http://127.0.0.1:9000")),
        ] {
            assert!(ask(host, origin).is_err(), "{host:?} {origin:?}");
        }
        let of_peer = |peer, is_forwarded| {
            let credentials = Credentials {
                host: Some("127.0.0.1:8000"),
                peer,
                is_forwarded,
                ..Default::default()
            };
            identify(
                credentials,
                &policy(IdentityMode::Nobody),
                &ApiKeys::default(),
                "server",
            )
        };
        assert!(of_peer("127.0.0.1", false).is_ok() && of_peer("::1", false).is_ok());
        assert!(
            of_peer("192.0.2.7", false).is_err() && of_peer("127.0.0.1", true).is_err() && of_peer("", false).is_err()
        );
    }
}
