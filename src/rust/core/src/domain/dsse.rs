//! Signed envelopes (DSSE), with keys of ed25519.
//!
//! <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>

use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use base64::Engine;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::program::hexadecimal;

/// The type of what an envelope of abba's holds.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// An envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What is signed, in base64.
    pub payload: String,
    /// What kind of thing that is.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// Each is enough.
    pub signatures: Vec<SignatureOfKey>,
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureOfKey {
    /// A hint at the key, which nobody vouches for.
    #[serde(default)]
    pub keyid: String,
    /// The signature, in base64.
    pub sig: String,
}

/// What is known of an envelope's signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// One of them is of one of the keys.
    Good,
    /// They claim to be of none of the keys.
    OtherKey,
    /// They claim to be of one of the keys, and are not, or cannot be read.
    Wrong,
}

/// What is signed: the type and the bytes, each with its length.
pub fn pre_authentication_encoding(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Text in base64, of either alphabet.
fn decoded(base64: &str) -> Option<Vec<u8>> {
    STANDARD.decode(base64).or_else(|_| URL_SAFE.decode(base64)).ok()
}

impl Envelope {
    /// Signs a Statement.
    pub fn sign(body: &[u8], key: &SigningKey) -> Self {
        let signature = key.sign(&pre_authentication_encoding(PAYLOAD_TYPE, body));
        Self {
            payload: STANDARD.encode(body),
            payload_type: PAYLOAD_TYPE.into(),
            signatures: vec![SignatureOfKey {
                keyid: key_id(&key.verifying_key()),
                sig: STANDARD.encode(signature.to_bytes()),
            }],
        }
    }

    /// Reads an envelope; `None` where the JSON is something else.
    pub fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The Statement in it; `None` where it holds none, or cannot be read.
    pub fn body(&self) -> Option<Vec<u8>> {
        (self.payload_type == PAYLOAD_TYPE)
            .then(|| decoded(&self.payload))
            .flatten()
    }

    /// Whether it was signed with one of the keys. Which key a signature claims to be of decides nothing but the words for
    /// one that is of none.
    pub fn verify(&self, keys: &[VerifyingKey]) -> Verified {
        let Some(body) = self.body() else {
            return Verified::Wrong;
        };
        let message = pre_authentication_encoding(&self.payload_type, &body);
        let is_good = |key: &VerifyingKey| {
            self.signatures.iter().any(|signature| {
                decoded(&signature.sig)
                    .and_then(|bytes| Signature::from_slice(&bytes).ok())
                    .is_some_and(|signature| key.verify_strict(&message, &signature).is_ok())
            })
        };
        if keys.iter().any(is_good) {
            return Verified::Good;
        }
        let ids: Vec<String> = keys.iter().map(key_id).collect();
        let is_of_others = |signature: &SignatureOfKey| !signature.keyid.is_empty() && !ids.contains(&signature.keyid);
        match !self.signatures.is_empty() && self.signatures.iter().all(is_of_others) {
            true => Verified::OtherKey,
            false => Verified::Wrong,
        }
    }
}

/// The bytes before a private key of ed25519 in PKCS #8, and before a public one as X.509 has it: RFC 8410, sections 7 and 4.
/// openssl writes these and no others.
const PRIVATE_KEY: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const PUBLIC_KEY: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The name of a key: the SHA-256 of the public key as openssl writes it in DER.
pub fn key_id(key: &VerifyingKey) -> String {
    hexadecimal(&Sha256::digest([&PUBLIC_KEY[..], key.as_bytes()].concat()))
}

/// Reads a private key of ed25519 in openssl's PEM form.
///
/// Errors: what the text is instead.
pub fn private_key(pem: &str) -> Result<SigningKey, &'static str> {
    if pem.contains("ENCRYPTED PRIVATE KEY") {
        return Err("is protected by a password, which abba does not ask for");
    }
    key_bytes(pem, "PRIVATE KEY", &PRIVATE_KEY).map(|bytes| SigningKey::from_bytes(&bytes))
}

/// Reads the public keys of ed25519 in a text in openssl's PEM form, one or several. That of a private key is taken, too.
///
/// Errors: what the text is instead.
pub fn public_keys(pem: &str) -> Result<Vec<VerifyingKey>, &'static str> {
    const END: &str = "-----END PUBLIC KEY-----";
    if pem.contains("PRIVATE KEY") {
        return private_key(pem).map(|key| vec![key.verifying_key()]);
    }
    let parts: Vec<&str> = pem.split_inclusive(END).filter(|part| part.contains(END)).collect();
    if parts.is_empty() {
        return Err(NO_KEY);
    }
    parts
        .into_iter()
        .map(|part| {
            let bytes = key_bytes(part, "PUBLIC KEY", &PUBLIC_KEY)?;
            VerifyingKey::from_bytes(&bytes).map_err(|_| NO_KEY)
        })
        .collect()
}

const NO_KEY: &str = "is no ed25519 key in PEM form";

fn key_bytes(pem: &str, kind: &str, before: &[u8]) -> Result<[u8; 32], &'static str> {
    let (begin, end) = (format!("-----BEGIN {kind}-----"), format!("-----END {kind}-----"));
    let text = pem.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
    let base64: String = text
        .map_or("", |(text, _)| text)
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    let der = STANDARD.decode(base64).map_err(|_| NO_KEY)?;
    let key = der.strip_prefix(before).ok_or(NO_KEY)?;
    <[u8; 32]>::try_from(key).map_err(|_| NO_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 8410, section 10.
    const PRIVATE_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    /// The key of test 1 of RFC 8032, section 7.1: its secret key and its public one.
    const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn seed_key() -> SigningKey {
        SigningKey::from_bytes(&STANDARD.decode(SEED).unwrap().try_into().unwrap())
    }

    #[test]
    fn what_is_signed_is_the_specifications_example() {
        assert_eq!(
            pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        // The length is that of the bytes.
        assert!(pre_authentication_encoding("\u{e9}", b"").starts_with(b"DSSEv1 2 "));
    }

    /// The DSSE project's `testvectors/vectors.json`, "single-signature", "payload-type-swapped" and "url-safe-base64": signatures
    /// of ed25519 are the same whoever makes them.
    #[test]
    fn signatures_are_those_of_the_dsse_projects_test_vectors() {
        const SIG: &str = "2WAfaHm5jluo0w+0rk8uVkluELJYWjSmU9x7EUzx+AyteDGJ4/nqyJXfmAUVFIAoQafWm7AxBZNw5M9ixNHiCA==";
        let key = seed_key();
        assert_eq!(STANDARD.encode(key.verifying_key().as_bytes()), PUBLIC);
        let body = br#"{"_type":"https://in-toto.io/Statement/v1"}"#;
        let signed = Envelope::sign(body, &key);
        assert_eq!(
            signed.payload,
            "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEifQ=="
        );
        assert_eq!(signed.signatures[0].sig, SIG);
        let swapped = Envelope {
            payload_type: "application/vnd.example.other+json".into(),
            ..signed
        };
        assert_eq!(swapped.verify(&[key.verifying_key()]), Verified::Wrong);
        let url_safe = Envelope::read(
            br#"{"payload": "-_-_Pj8=", "payloadType": "application/vnd.in-toto+json", "signatures": [{"keyid": "A",
            "sig": "P-_KHICeR7tI6S_YyejJTRtrXhcQyQ2LYPaL8h90KjC9qN8HU_svOQ6TuDOT1HIrsGW886DbWNWcCmX5twLrAw=="}]}"#,
        )
        .unwrap();
        assert_eq!(url_safe.verify(&[key.verifying_key()]), Verified::Good);
    }

    #[test]
    fn changed_unsigned_and_signed_by_others_are_told_apart() {
        let (key, other) = (seed_key(), private_key(PRIVATE_PEM).unwrap());
        let envelope = Envelope::sign(b"{}", &key);
        let keys = |key: &SigningKey| vec![key.verifying_key()];
        assert_eq!(envelope.verify(&keys(&key)), Verified::Good);
        assert_eq!(envelope.verify(&[keys(&other), keys(&key)].concat()), Verified::Good);
        assert_eq!(envelope.verify(&keys(&other)), Verified::OtherKey);
        let mut changed = envelope.clone();
        changed.payload = STANDARD.encode(b"[]");
        assert_eq!(changed.verify(&keys(&key)), Verified::Wrong);
        // Whoever signs with a key of their own cannot say that it was another.
        let mut forged = Envelope::sign(b"{}", &other);
        forged.signatures[0].keyid.clone_from(&envelope.signatures[0].keyid);
        assert_eq!(forged.verify(&keys(&key)), Verified::Wrong);
        // And a wrong hint does no harm.
        forged.signatures[0].keyid = "x".into();
        assert_eq!(forged.verify(&keys(&other)), Verified::Good);
        for signatures in [
            vec![],
            vec![SignatureOfKey {
                keyid: String::new(),
                sig: "!".into(),
            }],
        ] {
            let none = Envelope {
                signatures,
                ..envelope.clone()
            };
            assert_eq!(none.verify(&keys(&key)), Verified::Wrong);
        }
        let two = Envelope {
            signatures: [Envelope::sign(b"{}", &other).signatures, envelope.signatures.clone()].concat(),
            ..envelope
        };
        assert_eq!(two.verify(&keys(&key)), Verified::Good);
    }

    #[test]
    fn keys_are_read_as_openssl_writes_them() {
        let key = private_key(PRIVATE_PEM).unwrap();
        let public = public_keys(PUBLIC_PEM).unwrap();
        assert_eq!(public, [key.verifying_key()]);
        assert_eq!(public_keys(PRIVATE_PEM).unwrap(), public);
        assert_eq!(
            public_keys(&format!("{PUBLIC_PEM}words\n{PUBLIC_PEM}")).unwrap().len(),
            2
        );
        assert_eq!(private_key(&PRIVATE_PEM.replace('\n', "\r\n")).unwrap(), key);
        for text in [
            "",
            "MC4CAQAwBQYDK2VwBCIEIA==",
            PUBLIC_PEM,
            &PRIVATE_PEM.replace("INTu", "INT"),
        ] {
            assert_eq!(private_key(text).unwrap_err(), NO_KEY, "{text}");
        }
        assert!(private_key("-----BEGIN ENCRYPTED PRIVATE KEY-----")
            .unwrap_err()
            .contains("password"));
        assert_eq!(public_keys("").unwrap_err(), NO_KEY);
    }
}
