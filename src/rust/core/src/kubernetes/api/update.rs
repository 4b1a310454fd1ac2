//! Changing an object that others change, too.

use std::time::Duration;

use serde_json::Value;

use super::attempts::Attempts;
use super::Api;
use crate::transport::{Call, Failure, FailureKind};

/// The longest one before an object that somebody else has changed is read anew.
const LONGEST_PAUSE_OF_UPDATE: Duration = Duration::from_millis(if cfg!(test) { 4 } else { 500 });

/// What [`Api::update`] changes.
#[derive(Clone, Copy, Debug)]
pub enum Resource {
    /// A Job.
    Job,
    /// A pod.
    Pod,
}

impl Api<'_> {
    /// Changes a Job or a pod: reads it, has `change` change it, and writes it back; again where somebody else was faster.
    /// `resource` is `Job` or `Pod`. `false` where `change` says, by `false`, that there is nothing to change: then
    /// nothing is written. What is written is what `change` saw with its changes and nothing else.
    pub fn update(&self, resource: Resource, name: &str, change: &dyn Fn(&mut Value) -> bool) -> Result<bool, Failure> {
        let path = match resource {
            Resource::Job => format!("{}/{name}", self.jobs()),
            Resource::Pod => format!("{}/{name}", self.pods()),
        };
        let deadline = self.patience.deadline();
        let mut attempts = Attempts::new(self.transport, deadline, LONGEST_PAUSE_OF_UPDATE);
        loop {
            let mut object: Value = self.read(&Call::get(&path))?;
            if !change(&mut object) {
                return Ok(false);
            }
            match self.transport.send(&Call::replace(&path, &object), &deadline) {
                Ok(_) => return Ok(true),
                // The change may have been made all the same; making it again does no harm.
                Err(failure) if failure.kind == FailureKind::Conflict || failure.kind.is_transient() => {
                    attempts.wait_after(failure)?;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{api, failure, Script};
    use super::*;
    use crate::transport::Verb;
    use serde_json::json;

    #[test]
    fn a_change_is_made_on_what_is_there_now_and_given_up_where_it_is_refused() {
        let object = || Ok(br#"{"spec": {}}"#.to_vec());
        let change = |value: &mut Value| {
            value["spec"]["x"] = json!(1);
            true
        };
        let script = Script::new([
            object(),
            failure(FailureKind::Conflict),
            object(),
            failure(FailureKind::Unreachable),
            object(),
            object(),
        ]);
        api(&script).update(Resource::Pod, "a-p", &change).unwrap();
        let verbs = script.verbs();
        assert_eq!(verbs.iter().filter(|verb| **verb == Verb::Replace).count(), 3);
        let script = Script::new([object(), failure(FailureKind::Forbidden)]);
        let failed = api(&script).update(Resource::Job, "a", &change).unwrap_err();
        assert_eq!(failed.kind, FailureKind::Forbidden);
    }
}
