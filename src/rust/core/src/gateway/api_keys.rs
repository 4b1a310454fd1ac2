//! Keys by which callers are known.
//!
//! A key is made of 244 random bits, so it cannot be guessed, and a plain SHA-256 of it can be kept: the slow hashes that
//! passwords need would bring nothing.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::quote_shortened;
use crate::Error;

/// What every key begins with, so that people and scanners for leaked secrets recognise one.
const PREFIX: &str = "abba_";

/// A new key, and the line to keep of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// For the caller, who alone has it: `abba_` and 64 hexadecimal digits.
    pub key: String,
    /// For the file of keys.
    pub line: String,
}

/// Makes a key for `user`. Errors: the name is none that an account can have.
pub fn create(user: &str) -> Result<NewKey, Error> {
    let legal = !user.is_empty()
        && user.len() <= 256
        && !user.starts_with('#')
        && user.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != ':');
    if !legal {
        return Err(Error::input(format!(
            "`user` must be the name of a user's account, without spaces and colons, not {}.",
            quote_shortened(user)
        )));
    }
    let key = format!("{PREFIX}{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let line = format!("{user}:{}", hash(&key));
    Ok(NewKey { key, line })
}

/// The keys of a file: lines of `user:hash`, empty lines, and comments that begin with `#`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeys {
    keys: Vec<(String, String)>,
}

impl ApiKeys {
    /// Reads the text of a file of keys. Errors: a line is neither; it is named by its number alone, since it may hold what
    /// nobody should read in a log.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = line.rsplit_once(':').filter(|(user, hash)| {
                !user.is_empty() && hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit())
            });
            let Some((user, hash)) = entry else {
                return Err(Error::input(format!(
                    "Line {} of the file of API keys is no user and hash.",
                    index + 1
                ))
                .advise("Add keys with abba_api_key_create() only."));
            };
            keys.push((user.to_string(), hash.to_ascii_lowercase()));
        }
        Ok(Self { keys })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose key it is. Takes the same time for every wrong key: each kept hash is compared, and each whole.
    pub fn user_of(&self, key: &str) -> Option<&str> {
        let given = hash(key);
        let mut found = None;
        for (user, kept) in &self.keys {
            if equal_in_constant_time(kept.as_bytes(), given.as_bytes()) {
                found = Some(user.as_str());
            }
        }
        found
    }
}

fn hash(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Looks at all bytes, wherever the first difference is.
pub(super) fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_alone() {
        let (alice, bob) = (create("alice").unwrap(), create("bob").unwrap());
        assert_ne!(alice.key, create("alice").unwrap().key);
        assert!(alice.key.starts_with("abba_") && alice.key.len() == 69);
        assert!(!alice.line.contains(&alice.key));
        let text = format!("# keys\n\n{}\n{}\r\n", alice.line, bob.line);
        let keys = ApiKeys::parse(&text).unwrap();
        assert_eq!(keys.user_of(&alice.key), Some("alice"));
        assert_eq!(keys.user_of(&bob.key), Some("bob"));
        let hash = alice.line.split_once(':').unwrap().1;
        for wrong in [
            "",
            "abba_",
            hash,
            &alice.key[..68],
            &format!("{}0", alice.key),
            &alice.key.to_uppercase(),
        ] {
            assert_eq!(keys.user_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_broken_file_is_refused_without_showing_it() {
        for text in ["alice", "alice:", ":0123", "alice:secret", "alice:zz"] {
            let error = ApiKeys::parse(text).unwrap_err();
            assert!(error.message.contains("Line 1"), "{}", error.message);
            assert!(!error.message.contains("secret"));
        }
        assert!(ApiKeys::parse("\n# none\n").unwrap().is_empty());
    }

    #[test]
    fn names_that_would_break_the_file_are_refused() {
        for user in ["", "a:b", "a b", "a\nb", "#a", "a\tb"] {
            assert!(create(user).is_err(), "{user:?}");
        }
    }
}
