//! Keys by which callers are known.
//!
//! A key is made of 244 random bits, so it cannot be guessed, and a plain SHA-256 of it can be kept: the slow hashes that
//! passwords need would bring nothing.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::program::hexadecimal;
use crate::error::quote_shortened;
use crate::Error;

/// What every key begins with, so that people and scanners for leaked secrets recognise one.
const PREFIX: &str = "abba_";

/// The length of an id, which is the beginning of the key's hash.
const ID_LENGTH: usize = 8;

/// The longest note, in characters.
const LONGEST_NOTE: usize = 200;

/// The longest life of a key, in days: a hundred years.
const MOST_DAYS: u32 = 36_500;

/// What stands for the end of a key that has none.
const NEVER: &str = "never";

/// What a key is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To look at jobs.
    Read,
    /// For everything.
    #[default]
    Submit,
}

names!(Scope { Read = "read", Submit = "submit" });

/// A new key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// For the caller, who alone has it: `abba_` and 64 hexadecimal digits.
    pub key: String,
    /// What is kept of it.
    pub kept: KeptKey,
}

/// What is kept of a key: a line of the file of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptKey {
    /// Whose it is.
    pub user: String,
    /// What it is called.
    pub id: String,
    #[serde(skip)]
    hash: String,
    /// On which day it was made, in UTC; `None`: before that was kept.
    #[serde(serialize_with = "as_text")]
    pub created: Option<Date>,
    /// The last day on which it is good, in UTC; `None`: it has no end.
    #[serde(serialize_with = "as_text")]
    pub expires: Option<Date>,
    /// What it is good for.
    pub scope: Scope,
    /// What its maker has noted.
    pub note: String,
}

/// A day as text.
pub(super) fn as_text<S: serde::Serializer>(day: &Option<Date>, serializer: S) -> Result<S::Ok, S::Error> {
    match day {
        Some(day) => serializer.collect_str(day),
        None => serializer.serialize_none(),
    }
}

/// Today, in UTC.
pub fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// Makes a key for `user` that is good for so many days after today; `None`: for ever.
///
/// Errors: the name is none that an account can have, or another argument cannot stand in the file.
pub fn create(user: &str, days: Option<u32>, scope: Scope, note: &str) -> Result<NewKey, Error> {
    check_user(user)?;
    if !is_note(note) {
        return Err(Error::input(format!(
            "`note` must be one line of at most {LONGEST_NOTE} characters without colons, not {}.",
            quote_shortened(note)
        )));
    }
    if days.is_some_and(|days| !(1..=MOST_DAYS).contains(&days)) {
        return Err(Error::input(format!(
            "`expires_days` must be from 1 to {MOST_DAYS}, or Inf for a key without an end."
        )));
    }
    let today = today();
    let key = format!("{PREFIX}{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let hash = hash(&key);
    let kept = KeptKey {
        user: user.into(),
        id: hash[..ID_LENGTH].into(),
        hash,
        created: Some(today),
        expires: days.map(|days| today.saturating_add(i64::from(days).days())),
        scope,
        note: note.into(),
    };
    Ok(NewKey { key, kept })
}

fn check_user(user: &str) -> Result<(), Error> {
    let is_legal = !user.is_empty()
        && user.len() <= 256
        && !user.starts_with('#')
        && user.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != ':');
    if is_legal {
        return Ok(());
    }
    Err(Error::input(format!(
        "`user` must be the name of a user's account, without spaces and colons, not {}.",
        quote_shortened(user)
    )))
}

fn is_note(note: &str) -> bool {
    note.chars().count() <= LONGEST_NOTE && note.chars().all(|c| !c.is_control() && c != ':')
}

impl KeptKey {
    /// The line of the file of keys: `user:id:hash:created:expires:scope:note`.
    pub fn line(&self) -> String {
        let day = |day: Option<Date>| day.map_or_else(|| NEVER.to_string(), |day| day.to_string());
        [
            self.user.as_str(),
            &self.id,
            &self.hash,
            &self.created.map_or_else(String::new, |day| day.to_string()),
            &day(self.expires),
            self.scope.name(),
            &self.note,
        ]
        .join(":")
    }

    /// What a line says. A line `user:hash` is of a key that was made before keys had ends: it holds.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let kept = match *fields.as_slice() {
            [user, hash] => Self {
                user: user.into(),
                id: hash.get(..ID_LENGTH)?.to_ascii_lowercase(),
                hash: hash.to_ascii_lowercase(),
                created: None,
                expires: None,
                scope: Scope::Submit,
                note: String::new(),
            },
            [user, id, hash, created, expires, scope, note] => Self {
                user: user.into(),
                id: id.into(),
                hash: hash.to_ascii_lowercase(),
                created: match created {
                    "" => None,
                    day => Some(day.parse().ok()?),
                },
                expires: match expires {
                    NEVER => None,
                    day => Some(day.parse().ok()?),
                },
                scope: Scope::of_name(scope)?,
                note: note.into(),
            },
            _ => return None,
        };
        let is_id = !kept.id.is_empty() && kept.id.len() <= 64 && kept.id.bytes().all(|b| b.is_ascii_alphanumeric());
        let is_hash = kept.hash.len() == 64 && kept.hash.bytes().all(|b| b.is_ascii_hexdigit());
        (check_user(&kept.user).is_ok() && is_id && is_hash && is_note(&kept.note)).then_some(kept)
    }

    /// Whether its end has come.
    pub fn is_expired(&self, today: Date) -> bool {
        self.expires.is_some_and(|last| last < today)
    }
}

/// The keys of a file: a line each, beside empty lines, and comments that begin with `#`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeys {
    keys: Vec<KeptKey>,
}

impl ApiKeys {
    /// Reads the text of a file of keys. Errors: a line is neither; it is named by its number alone, since it may hold what
    /// nobody should read in a log.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if !is_key_line(line) {
                continue;
            }
            let Some(key) = KeptKey::parse(line.trim()) else {
                return Err(
                    Error::input(format!("Line {} of the file of API keys is no key.", index + 1)).advise(
                        "Make keys with abba_api_key_create() only, and take them back with abba_api_key_revoke().",
                    ),
                );
            };
            keys.push(key);
        }
        Ok(Self { keys })
    }

    /// Those of one key.
    pub fn one(key: KeptKey) -> Self {
        Self { keys: vec![key] }
    }

    /// What is kept of each.
    pub fn kept(&self) -> &[KeptKey] {
        &self.keys
    }

    /// What is kept of a key. Takes the same time for every wrong key: each kept hash is compared, and each whole.
    pub fn find(&self, key: &str) -> Option<&KeptKey> {
        let given = hash(key);
        let mut found = None;
        for kept in &self.keys {
            if equal_in_constant_time(kept.hash.as_bytes(), given.as_bytes()) {
                found = Some(kept);
            }
        }
        found
    }
}

fn is_key_line(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

/// The text of a file of keys without the line of this id; `None`: it has none. `text` is a legal one.
pub fn without(text: &str, id: &str) -> Option<String> {
    let is_it = |line: &&str| is_key_line(line) && KeptKey::parse(line.trim()).is_some_and(|key| key.id == id);
    text.lines().any(|line| is_it(&line)).then(|| {
        let others = text.lines().filter(|line| !is_it(line));
        others.map(|line| format!("{line}\n")).collect()
    })
}

fn hash(key: &str) -> String {
    hexadecimal(&Sha256::digest(key))
}

/// Looks at all bytes, wherever the first difference is.
pub(super) fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn key_of(user: &str) -> NewKey {
        create(user, Some(90), Scope::Submit, "").unwrap()
    }

    fn user_of<'a>(keys: &'a ApiKeys, key: &str) -> Option<&'a str> {
        keys.find(key).map(|kept| kept.user.as_str())
    }

    #[test]
    fn a_key_is_known_by_its_hash_alone() {
        let (alice, bob) = (key_of("alice"), key_of("bob"));
        assert_ne!(alice.key, key_of("alice").key);
        assert!(alice.key.starts_with("abba_") && alice.key.len() == 69);
        assert!(!alice.kept.line().contains(&alice.key));
        let text = format!("# keys\n\n{}\n{}\r\n", alice.kept.line(), bob.kept.line());
        let keys = ApiKeys::parse(&text).unwrap();
        assert_eq!(user_of(&keys, &alice.key), Some("alice"));
        assert_eq!(user_of(&keys, &bob.key), Some("bob"));
        for wrong in [
            "",
            "abba_",
            alice.kept.hash.as_str(),
            &alice.key[..68],
            &format!("{}0", alice.key),
            &alice.key.to_uppercase(),
        ] {
            assert_eq!(user_of(&keys, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_line_says_all_that_is_kept_and_one_of_before_still_holds() {
        let new = create("alice", Some(7), Scope::Read, "the laptop, \u{fc}").unwrap();
        let keys = ApiKeys::parse(&new.kept.line()).unwrap();
        assert_eq!(keys.kept(), std::slice::from_ref(&new.kept));
        let last = new.kept.expires.unwrap();
        assert_eq!(last, today().saturating_add(7.days()));
        assert!(!new.kept.is_expired(last) && new.kept.is_expired(last.tomorrow().unwrap()));
        let old = ApiKeys::parse(&format!("alice:{}", new.kept.hash.to_uppercase())).unwrap();
        let kept = old.find(&new.key).unwrap();
        assert_eq!((kept.scope, kept.expires, kept.created), (Scope::Submit, None, None));
        assert_eq!(kept.id, new.kept.id);
        assert!(!kept.is_expired(Date::MAX));
        let endless = create("alice", None, Scope::Submit, "").unwrap().kept;
        assert_eq!(ApiKeys::parse(&endless.line()).unwrap().kept(), [endless]);
    }

    #[test]
    fn a_broken_file_is_refused_without_showing_it() {
        let line = key_of("alice").kept.line();
        let hash = "0".repeat(64);
        for text in [
            "alice",
            "alice:",
            ":0123",
            "alice:secret",
            "alice:zz",
            // What abba_api_key_create() would not make.
            &format!(":{hash}"),
            &format!("a:b:{hash}"),
            &format!("a b:{hash}"),
            // Half a line, two lines in one.
            &line[..line.len() - 10],
            &format!("{line}{line}"),
            &line.replace(":submit:", ":secret:"),
        ] {
            let error = ApiKeys::parse(text).unwrap_err();
            assert!(error.message.contains("Line 1"), "{}", error.message);
            assert!(!error.message.contains("secret"));
        }
        assert!(ApiKeys::parse("\n# none\n").unwrap().kept().is_empty());
    }

    #[test]
    fn what_would_break_the_file_is_refused() {
        for user in ["", "a:b", "a b", "a\nb", "#a", "a\tb"] {
            assert!(create(user, None, Scope::Submit, "").is_err(), "{user:?}");
        }
        for note in ["a:b", "a\nb", &"x".repeat(201)] {
            assert!(create("a", None, Scope::Submit, note).is_err(), "{note:?}");
        }
        for days in [0, MOST_DAYS + 1] {
            assert!(create("a", Some(days), Scope::Submit, "").is_err(), "{days}");
        }
    }

    #[test]
    fn a_key_is_taken_out_by_its_id_and_the_rest_stays() {
        let (alice, bob) = (key_of("alice"), key_of("bob"));
        let text = format!("# keys\n{}\n\n{}", alice.kept.line(), bob.kept.line());
        assert_eq!(
            without(&text, &bob.kept.id).unwrap(),
            format!("# keys\n{}\n\n", alice.kept.line())
        );
        assert_eq!(without(&text, "0"), None);
    }
}
