//! All of abba's Jobs and pods of the namespace, or those of some batches, and what happens to them from there on.

use std::ops::ControlFlow;

use serde::de::DeserializeOwned;

use super::{encode, Api, LabelSelector};
use crate::kubernetes::objects::{Job, List, Named, Pod, WatchEvent};
use crate::transport::{Call, Failure, FailureKind, Patience};

/// How many objects are asked for at once, as controllers do (client-go: `tools/pager`).
const PAGE: u32 = 500;

/// After how many seconds the server ends a stream. It sends a bookmark shortly before, so that the next one begins at a
/// moment that it still knows; and a stream that is silent for longer is known to be dead.
pub const REFLECT_SECONDS: u32 = 30;

/// All of abba's objects.
pub const ALL: LabelSelector<'static> = LabelSelector::User(None);

/// A kind of object that is followed as a whole.
pub trait Reflected: DeserializeOwned {
    /// In the plural, as `list` and `watch` are told of it.
    const NAME: &'static str;

    /// Where its objects are.
    fn collection(api: &Api<'_>) -> String;
}

impl Reflected for Job {
    const NAME: &'static str = "jobs";

    fn collection(api: &Api<'_>) -> String {
        api.jobs()
    }
}

impl Reflected for Pod {
    const NAME: &'static str = "pods";

    fn collection(api: &Api<'_>) -> String {
        api.pods()
    }
}

impl Api<'_> {
    /// One LIST of the objects of a kind, in pages, which are handed over as they come. The moment of the LIST, for
    /// [`Self::reflect`]. `begin` is called before the first page, and again where the LIST has to begin anew: a server
    /// keeps a list for the pages after the first for some minutes only.
    ///
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>
    pub fn list_in_pages<T: Reflected>(
        &self,
        selection: &LabelSelector<'_>,
        begin: &mut dyn FnMut(),
        page: &mut dyn FnMut(Vec<T>),
    ) -> Result<String, Failure> {
        let whole = format!(
            "{}?labelSelector={}",
            T::collection(self),
            encode(&selection.one_selector())
        );
        let first = format!("{whole}&limit={PAGE}");
        let mut next = first.clone();
        begin();
        loop {
            let list: List<T> = match self.read_list(&Call::get(&next)) {
                // 410 Expired.
                Err(failure) if next != first && next != whole && failure.kind == FailureKind::Other => {
                    begin();
                    next.clone_from(&whole);
                    continue;
                }
                outcome => outcome?,
            };
            page(list.items);
            match list.metadata.continues_at.as_str() {
                "" => return Ok(list.metadata.resource_version),
                token => next = format!("{first}&continue={}", encode(token)),
            }
        }
    }

    /// Follows what happens to the objects of a kind, as [`Self::watch_pods`] does. `heard` is called with each part of the
    /// answer, and over the kept kubectl when it begins.
    pub fn reflect<T: Reflected>(
        &self,
        selection: &LabelSelector<'_>,
        resource_version: &str,
        patience: &Patience<'_>,
        heard: &mut dyn FnMut(),
        event: &mut dyn FnMut(WatchEvent<T>) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let from = (resource_version, REFLECT_SECONDS);
        self.watch(&T::collection(self), selection, from, patience, heard, event)
    }

    /// The moment at which the cluster is: asks for as little as shows that it answers, and that what it answers is of now.
    pub fn current_version(&self) -> Result<String, Failure> {
        let selector = encode(&ALL.one_selector());
        let call = Call::get_metadata(format!("{}?labelSelector={selector}&limit=1", self.jobs()));
        Ok(self.read_list::<Named>(&call)?.metadata.resource_version)
    }

    /// Whether there is a Job of this name.
    pub fn has_job(&self, name: &str) -> Result<bool, Failure> {
        match self.read::<Named>(&Call::get(format!("{}/{name}", self.jobs()))) {
            Ok(_) => Ok(true),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{api, paths, Script};
    use super::*;
    use serde_json::{json, Value};

    fn page(names: &[&str], token: &str) -> Result<Vec<u8>, Failure> {
        let items: Vec<Value> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
        let list = json!({"metadata": {"resourceVersion": "7", "continue": token}, "items": items});
        Ok(list.to_string().into_bytes())
    }

    fn listed(script: &Script) -> (Vec<String>, Result<String, Failure>) {
        let names = std::cell::RefCell::new(Vec::new());
        let outcome = api(script).list_in_pages::<Job>(&ALL, &mut || names.borrow_mut().clear(), &mut |jobs| {
            names.borrow_mut().extend(jobs.into_iter().map(|job| job.metadata.name));
        });
        (names.into_inner(), outcome)
    }

    #[test]
    fn a_list_comes_in_pages_of_one_moment() {
        let script = Script::new([page(&["a", "b"], "x=="), page(&["c"], "")]);
        let (names, moment) = listed(&script);
        assert_eq!(
            (names, moment.unwrap()),
            (vec!["a".into(), "b".into(), "c".into()], "7".into())
        );
        let all = "/apis/batch/v1/namespaces/n/jobs?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dabba&limit=500";
        assert_eq!(paths(&script), [all.to_string(), format!("{all}&continue=x%3D%3D")]);
    }

    #[test]
    fn a_list_whose_pages_have_expired_begins_anew_as_a_whole() {
        let expired = || {
            Err(Failure::new(
                FailureKind::Other,
                "The provided continue parameter is too old",
            ))
        };
        let script = Script::new([page(&["a", "b"], "x"), expired(), page(&["b", "c"], "")]);
        let (names, moment) = listed(&script);
        assert_eq!((names, moment.unwrap()), (vec!["b".into(), "c".into()], "7".into()));
        assert!(!paths(&script)[2].contains("limit"));
        // What is no such answer is told.
        let script = Script::new([expired()]);
        assert!(listed(&script).1.is_err());
    }
}
