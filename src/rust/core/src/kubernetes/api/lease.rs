//! The Lease by which those who start waiting jobs show that they are there.
//!
//! <https://kubernetes.io/docs/concepts/architecture/leases/>

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{json, Value};

use super::Api;
use crate::kubernetes::{labels, time};
use crate::transport::{Backoff, Call, Deadline, Failure, FailureKind};

/// Its name: one a namespace.
const NAME: &str = "abba-controller";

/// For how many seconds it holds after each renewal.
pub const LEASE_SECONDS: i64 = 30;

/// A Lease whose holder has ended has run out after so long.
const RUN_OUT: Duration = Duration::from_secs(if cfg!(test) {
    0
} else {
    LEASE_SECONDS.unsigned_abs() + 1
});

/// How often, and after which pauses, it is looked whether there is another holder.
const LOOKS: usize = 20;
const PAUSE_OF_LOOKS: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 3 });

/// How often a renewal is tried at once, where the Lease is changed meanwhile.
const RENEWALS: usize = 5;

/// The pauses before the Lease is read anew that somebody else has changed.
const FIRST_PAUSE_OF_CHANGE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE_OF_CHANGE: Duration = Duration::from_millis(200);

/// Who holds the Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// The one who renewed it last.
    pub holder: String,
    /// Whether that was so short ago that it still holds.
    pub is_held: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LeaseSpec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<i64>,
    renew_time: Option<String>,
}

impl Lease {
    fn of_object(object: &Value, now: Timestamp) -> Self {
        let spec = LeaseSpec::deserialize(&object["spec"]).unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        let renewed = spec.renew_time.and_then(time::parse);
        let seconds = spec.lease_duration_seconds.unwrap_or(0);
        Self {
            is_held: !holder.is_empty()
                && renewed.is_some_and(|renewed| now.as_second().saturating_sub(renewed.as_second()) < seconds),
            holder,
        }
    }
}

impl Api<'_> {
    fn leases(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    /// Who holds the Lease; `None` where nobody ever did.
    pub fn get_lease(&self) -> Result<Option<Lease>, Failure> {
        match self.read::<Value>(&Call::get(format!("{}/{NAME}", self.leases()))) {
            Ok(object) => Ok(Some(Lease::of_object(&object, Timestamp::now()))),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Who holds the Lease in place of `holder`, who tries to, and is there: somebody who has ended holds it until it runs out.
    /// Takes up to a minute. `None`: nobody, as far as that can be seen.
    pub fn other_holder(&self, holder: &str) -> Option<String> {
        let mut seen: Option<(String, Instant)> = None;
        for _ in 0..LOOKS {
            let lease = self.get_lease();
            match (lease, seen.take()) {
                (Ok(Some(lease)), _) if lease.is_held && lease.holder == holder => return None,
                (Ok(Some(lease)), Some((other, since))) if lease.is_held && lease.holder == other => {
                    if since.elapsed() >= RUN_OUT {
                        return Some(other);
                    }
                    seen = Some((other, since));
                }
                (Ok(Some(lease)), _) if lease.is_held => seen = Some((lease.holder, Instant::now())),
                (Err(failure), _) if failure.kind == FailureKind::Forbidden => return None,
                (Ok(_), _) => {}
                (Err(_), before) => seen = before,
            }
            if !self.patience.sleep(PAUSE_OF_LOOKS) {
                return None;
            }
        }
        None
    }

    /// The Lease as it is, or as it is made where there is none.
    fn read_lease(&self, deadline: &Deadline<'_>) -> Result<Value, Failure> {
        match self
            .transport
            .send(&Call::get(format!("{}/{NAME}", self.leases())), deadline)
        {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Failure::new(FailureKind::MalformedResponse, format!("JSON: {error}"))),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": NAME, "labels": {labels::MANAGED_BY: labels::MANAGED_BY_ABBA}},
            })),
            Err(failure) => Err(failure),
        }
    }

    /// Writes what [`Self::read_lease`] gave, with changes. `false`: another one was faster.
    fn write_lease(&self, object: &Value, deadline: &Deadline<'_>) -> Result<bool, Failure> {
        let call = match object["metadata"]["resourceVersion"].is_null() {
            true => Call::create(self.leases(), object),
            false => Call::replace(format!("{}/{NAME}", self.leases()), object),
        };
        match self.transport.send(&call, deadline) {
            Ok(_) => Ok(true),
            Err(failure) if matches!(failure.kind, FailureKind::Conflict | FailureKind::AlreadyExists) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Changes what the servers of the namespace have written for each other, an annotation of the Lease: `change` gets it, and
    /// gives what is to stand there instead; again where another one was faster, as long as there is time. `None`: it stays.
    pub fn change_bookings(&self, change: &mut dyn FnMut(&str) -> Option<String>) -> Result<(), Failure> {
        let deadline = self.patience.deadline();
        let mut pauses = Backoff::new(FIRST_PAUSE_OF_CHANGE, LONGEST_PAUSE_OF_CHANGE);
        loop {
            let mut object = self.read_lease(&deadline)?;
            let text = object["metadata"]["annotations"][labels::BOOKINGS]
                .as_str()
                .unwrap_or_default();
            let Some(text) = change(text) else { return Ok(()) };
            object["metadata"]["annotations"][labels::BOOKINGS] = json!(text);
            if self.write_lease(&object, &deadline)? {
                return Ok(());
            }
            if !deadline.sleep(pauses.pause()) {
                return Err(Failure::new(FailureKind::Conflict, "The Lease changes all the time."));
            }
        }
    }

    /// Renews the Lease as `holder`, unless another one holds it. Tries once.
    pub fn renew_lease(&self, holder: &str) -> Result<(), Failure> {
        let deadline = self.patience.deadline();
        // Servers write their bookings there all the time.
        for _ in 0..RENEWALS {
            if self.try_to_renew(holder, &deadline)? {
                break;
            }
        }
        Ok(())
    }

    /// `false`: it was changed meanwhile.
    fn try_to_renew(&self, holder: &str, deadline: &Deadline<'_>) -> Result<bool, Failure> {
        let now = Timestamp::now();
        // Kubernetes wants six digits.
        let text = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let mut object = self.read_lease(deadline)?;
        let known = Lease::of_object(&object, now);
        if known.is_held && known.holder != holder {
            return Ok(true);
        }
        if known.holder != holder {
            object["spec"]["acquireTime"] = json!(text);
        }
        object["spec"]["holderIdentity"] = json!(holder);
        object["spec"]["leaseDurationSeconds"] = json!(LEASE_SECONDS);
        object["spec"]["renewTime"] = json!(text);
        self.write_lease(&object, deadline)
    }

    /// Gives the Lease back, so that nobody counts on a `holder` who goes. Tries once, and leaves one that is another's.
    pub fn give_lease_back(&self, holder: &str) -> Result<(), Failure> {
        let deadline = self.patience.deadline();
        let path = format!("{}/{NAME}", self.leases());
        let bytes = self.transport.send(&Call::get(&path), &deadline)?;
        let Ok(mut object) = serde_json::from_slice::<Value>(&bytes) else {
            return Ok(());
        };
        if object["spec"]["holderIdentity"] != json!(holder) {
            return Ok(());
        }
        object["spec"]["holderIdentity"] = Value::Null;
        self.transport.send(&Call::replace(path, &object), &deadline).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{api, failure, Script};
    use super::*;
    use crate::transport::Verb;

    fn held(by: &str, seconds_ago: i64) -> Value {
        let then = Timestamp::from_second(Timestamp::now().as_second() - seconds_ago).unwrap();
        json!({
            "metadata": {"name": NAME, "resourceVersion": "7"},
            "spec": {"holderIdentity": by, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": then.to_string()},
        })
    }

    fn answer(value: &Value) -> Result<Vec<u8>, Failure> {
        Ok(value.to_string().into_bytes())
    }

    #[test]
    fn a_lease_holds_for_a_while_after_its_renewal() {
        for (object, is_held) in [
            (held("a", 0), true),
            (held("a", LEASE_SECONDS - 5), true),
            (held("a", LEASE_SECONDS + 5), false),
            (held("", 0), false),
            (json!({"spec": {"holderIdentity": null}}), false),
            (json!({}), false),
        ] {
            let script = Script::new([answer(&object)]);
            assert_eq!(api(&script).get_lease().unwrap().unwrap().is_held, is_held, "{object}");
        }
        let none = Script::new([failure(FailureKind::NotFound)]);
        assert_eq!(api(&none).get_lease().unwrap(), None);
    }

    #[test]
    fn one_that_another_holds_is_left_and_one_that_nobody_holds_is_taken() {
        let verbs = |object: Result<Vec<u8>, Failure>| {
            let script = Script::new([object, answer(&json!({}))]);
            api(&script).renew_lease("me").unwrap();
            script.verbs()
        };
        assert_eq!(verbs(answer(&held("other", 1))), [Verb::Get]);
        assert_eq!(verbs(answer(&held("me", 1))), [Verb::Get, Verb::Replace]);
        assert_eq!(
            verbs(answer(&held("other", 2 * LEASE_SECONDS))),
            [Verb::Get, Verb::Replace]
        );
        assert_eq!(verbs(failure(FailureKind::NotFound)), [Verb::Get, Verb::Create]);
    }

    #[test]
    fn another_holder_is_one_who_goes_on_holding_it() {
        let (other, third, none) = (held("other", 1), held("third", 1), held("other", 2 * LEASE_SECONDS));
        for (answers, holder) in [
            (vec![&other, &other], Some("other")),
            (vec![&none, &third, &other, &other], Some("other")),
            (vec![&other, &held("me", 1)], None),
            // It has ended, and its Lease has run out.
            (vec![&other, &none, &held("me", 1)], None),
        ] {
            let script = Script::new(answers.into_iter().map(answer).collect::<Vec<_>>());
            assert_eq!(api(&script).other_holder("me").as_deref(), holder);
        }
        let forbidden = Script::new([failure(FailureKind::Forbidden)]);
        assert_eq!(api(&forbidden).other_holder("me"), None);
    }

    #[test]
    fn who_goes_gives_back_what_is_theirs() {
        for (holder, count) in [("me", 2), ("other", 1)] {
            let script = Script::new([answer(&held(holder, 1)), answer(&json!({}))]);
            api(&script).give_lease_back("me").unwrap();
            assert_eq!(script.verbs().len(), count);
        }
    }
}
