//! What others change in a Job as it is made: mutating webhooks and policies of the cluster.
//!
//! The API server answers a create with the Job as it has it, after all of those. Most of what they change is theirs to
//! say (another registry, tolerations, labels of their own). What is told here breaks a promise: that a program runs once, that
//! its log stays, that it is found again.

use serde_json::Value;

use crate::kubernetes::labels;
use crate::kubernetes::objects::PROGRAM_CONTAINER;

/// What was changed that abba counts on, and what comes of it: a sentence each. `sent` is the Job as it was sent, `created`
/// as the cluster has it. Of an answer without a spec nothing is said.
pub fn changes(sent: &Value, created: &Value) -> Vec<String> {
    let spec = &created["spec"];
    if !spec.is_object() {
        return Vec::new();
    }
    let all = [
        of_starts(&sent["spec"], spec),
        of_end(&sent["spec"], spec),
        of_container(&sent["spec"]["template"]["spec"], &spec["template"]["spec"]),
        of_names(sent, created),
    ];
    all.into_iter().flatten().collect()
}

/// What has a program started another time, several times, or too early.
fn of_starts(sent: &Value, created: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if created["backoffLimit"].as_u64() > sent["backoffLimit"].as_u64() {
        let limit = &created["backoffLimit"];
        found.push(format!(
            "`backoffLimit` is {limit}: a program that fails is started again."
        ));
    }
    let (policy, sent_policy) = (
        &created["template"]["spec"]["restartPolicy"],
        &sent["template"]["spec"]["restartPolicy"],
    );
    if policy != sent_policy {
        found.push(format!(
            "`restartPolicy` is {policy}: a program that ends is started again in the same place."
        ));
    }
    for name in ["parallelism", "completions"] {
        if let Some(times) = created[name].as_u64().filter(|times| *times > 1) {
            found.push(format!("`{name}` is {times}: the program is started {times} times."));
        }
    }
    if created["podFailurePolicy"].is_object() && sent["podFailurePolicy"].is_null() {
        found.push("it has a `podFailurePolicy`: a program that the cluster ends may be started again.".into());
    }
    if sent["suspend"] == true && created["suspend"] != true {
        found.push("it is not held back (`suspend`): the program starts before its turn.".into());
    }
    found
}

/// What ends a program, or removes its log, before its time.
fn of_end(sent: &Value, created: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(seconds) = created["activeDeadlineSeconds"].as_u64() {
        if sent["activeDeadlineSeconds"].as_u64() != Some(seconds) {
            found.push(format!(
                "`activeDeadlineSeconds` is {seconds}: after so many seconds the program is ended and its log removed."
            ));
        }
    }
    let kept = |spec: &Value| spec["ttlSecondsAfterFinished"].as_u64();
    if let (Some(seconds), Some(wanted)) = (kept(created), kept(sent)) {
        if seconds < wanted {
            found.push(format!(
                "`ttlSecondsAfterFinished` is {seconds}: so many seconds after its end the job is removed, with its log."
            ));
        }
    }
    found
}

/// What keeps abba from seeing the program, or has another one run.
fn of_container(sent: &Value, created: &Value) -> Vec<String> {
    fn program(pod: &Value) -> Option<&Value> {
        let mut containers = pod["containers"].as_array()?.iter();
        containers.find(|one| one["name"] == PROGRAM_CONTAINER)
    }
    match (program(sent), program(created)) {
        (Some(_), None) => vec![format!(
            "its container \"{PROGRAM_CONTAINER}\" has another name: neither the program's end nor its log can be seen."
        )],
        (Some(sent), Some(created)) if sent["command"] != created["command"] || sent["args"] != created["args"] => {
            vec!["the command of its container is another one: another program may run, or none.".into()]
        }
        _ => Vec::new(),
    }
}

/// What abba knows the job by.
fn of_names(sent: &Value, created: &Value) -> Vec<String> {
    let lost = |sent: &Value, created: &Value, part: &str| {
        let is_kept = |name: &str, value: &Value| created["metadata"][part].get(name) == Some(value);
        let is_abbas = |name: &str| name.starts_with("abba/") || name == labels::MANAGED_BY;
        let sent = sent["metadata"][part].as_object();
        let lost = sent
            .into_iter()
            .flatten()
            .filter(|(name, value)| is_abbas(name) && !is_kept(name, value));
        lost.map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let (of_pod, made_of_pod) = (&sent["spec"]["template"], &created["spec"]["template"]);
    let all = [
        (
            lost(sent, created, "labels"),
            "labels are missing: abba does not find the job again, so `kubectl delete job` alone can end it",
        ),
        (
            lost(of_pod, made_of_pod, "labels"),
            "labels of its pod are missing: the log cannot be read while the program runs, and its end is seen later",
        ),
        (
            lost(sent, created, "annotations"),
            "annotations are missing: the job cannot be explained or run again as it was submitted",
        ),
        (
            lost(of_pod, made_of_pod, "annotations"),
            "annotations of its pod are missing: the program may not be there when it starts",
        ),
    ];
    let told = all.into_iter().filter(|(names, _)| !names.is_empty());
    told.map(|(names, what)| format!("{what} ({names}).")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent() -> Value {
        json!({
            "metadata": {"name": "a-1", "labels": {"abba/job-id": "a-1", "app.kubernetes.io/managed-by": "abba"},
                "annotations": {"abba/submission": "s"}},
            "spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": 604800, "suspend": true, "template": {
                "metadata": {"labels": {"abba/job-id": "a-1"}, "annotations": {"abba/program-text": "1", "linkerd.io/inject": "disabled"}},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "program", "image": "r:1", "command": ["/bin/sh"]}]},
            }},
        })
    }

    /// The changes of a Job in which what stands at `path` has become `value`, or is not there any more.
    fn after(path: &[&str], value: Option<Value>) -> Vec<String> {
        let mut created = sent();
        // As the API server fills it in.
        created["metadata"]["uid"] = json!("1");
        created["spec"]["parallelism"] = json!(1);
        created["spec"]["completions"] = json!(1);
        created["spec"]["template"]["metadata"]["labels"]["controller-uid"] = json!("1");
        let (name, parents) = path.split_last().unwrap();
        let parent = parents.iter().fold(&mut created, |object, part| match *part {
            "program" => &mut object["containers"][0],
            part => &mut object[part],
        });
        match value {
            Some(value) => parent[*name] = value,
            None => assert!(parent.as_object_mut().unwrap().remove(*name).is_some(), "{path:?}"),
        }
        changes(&sent(), &created)
    }

    const POD: [&str; 3] = ["spec", "template", "spec"];
    const OF_POD: [&str; 3] = ["spec", "template", "metadata"];

    #[test]
    fn what_breaks_a_promise_is_told() {
        let below = |parent: &[&'static str], rest: &[&'static str]| [parent, rest].concat();
        for (path, value, says) in [
            (vec!["spec", "backoffLimit"], Some(json!(6)), "`backoffLimit` is 6"),
            (
                below(&POD, &["restartPolicy"]),
                Some(json!("OnFailure")),
                "`restartPolicy` is \"OnFailure\"",
            ),
            (vec!["spec", "parallelism"], Some(json!(2)), "started 2 times"),
            (vec!["spec", "completions"], Some(json!(3)), "started 3 times"),
            (
                vec!["spec", "podFailurePolicy"],
                Some(json!({"rules": []})),
                "`podFailurePolicy`",
            ),
            (vec!["spec", "suspend"], Some(json!(false)), "before its turn"),
            (vec!["spec", "suspend"], None, "before its turn"),
            (
                vec!["spec", "activeDeadlineSeconds"],
                Some(json!(60)),
                "after so many seconds the program is ended",
            ),
            (
                vec!["spec", "ttlSecondsAfterFinished"],
                Some(json!(60)),
                "the job is removed, with its log",
            ),
            (
                below(&POD, &["program", "name"]),
                Some(json!("main")),
                "has another name",
            ),
            (
                below(&POD, &["program", "command"]),
                Some(json!(["/wrap"])),
                "the command of its container",
            ),
            (
                below(&POD, &["program", "args"]),
                Some(json!(["x"])),
                "the command of its container",
            ),
            (
                vec!["metadata", "labels", "abba/job-id"],
                None,
                "abba does not find the job again",
            ),
            (
                vec!["metadata", "annotations"],
                None,
                "cannot be explained or run again",
            ),
            (below(&OF_POD, &["labels"]), None, "labels of its pod are missing"),
            (
                below(&OF_POD, &["annotations", "abba/program-text"]),
                None,
                "may not be there when it starts",
            ),
        ] {
            let found = after(&path, value);
            assert!(found.len() == 1 && found[0].contains(says), "{path:?}: {found:?}");
        }
    }

    #[test]
    fn what_is_the_clusters_to_say_is_not_told() {
        let below = |parent: &[&'static str], rest: &[&'static str]| [parent, rest].concat();
        for (path, value) in [
            (below(&POD, &["program", "image"]), Some(json!("mirror/r:1"))),
            (below(&POD, &["tolerations"]), Some(json!([{"key": "a"}]))),
            (vec!["metadata", "labels", "team"], Some(json!("a"))),
            (vec!["spec", "ttlSecondsAfterFinished"], None),
            (vec!["spec", "ttlSecondsAfterFinished"], Some(json!(1_000_000))),
            (
                below(&OF_POD, &["annotations", "linkerd.io/inject"]),
                Some(json!("enabled")),
            ),
        ] {
            assert_eq!(after(&path, value), [""; 0], "{path:?}");
        }
        assert_eq!(changes(&sent(), &json!({"metadata": {"name": "a-1"}})), [""; 0]);
    }
}
