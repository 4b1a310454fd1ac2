//! The cluster's words for callers, who may know which quota has no room for them, but neither how much of it all others
//! use nor where the server keeps its jobs.

use crate::Error;

/// How a quota says what it has no room for, in `plugin/pkg/admission/resourcequota/controller.go` of Kubernetes: "exceeded
/// quota: %s, requested: %s, used: %s, limited: %s", each of the last three a list as "limits.cpu=1,pods=1".
const EXCEEDED: &str = "exceeded quota:";
const USED: &str = "used: ";
const LIMITED: &str = "limited: ";

/// The phrase that names the namespace in abba's own messages and in Kubernetes'.
const IN_NAMESPACE: &str = " in the namespace \"";

/// A text without what is not the caller's to know.
pub fn for_callers(text: &str) -> String {
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| without_use(&without_namespace(line)))
        .collect();
    lines.join("\n")
}

/// The same for the words of events and states, which name objects with their namespace: the scheduler as
/// "Successfully assigned NAMESPACE/POD to NODE" (`pkg/scheduler/schedule_one.go`), Kueue as "Created Workload:
/// NAMESPACE/NAME", kubelets as "pod=POD_NAMESPACE(UID)" (`pkg/kubelet/util/format/pod.go`).
pub fn of_objects_for_callers(text: &str, namespace: &str) -> String {
    // Images and folders stand in quotes, or after a "/" or ":".
    let begins_name = |before: &str| {
        before
            .chars()
            .next_back()
            .is_none_or(|last| last.is_whitespace() || last == '=')
    };
    let prefix = format!("{namespace}/");
    let mut told = String::new();
    let mut parts = text.split(&prefix);
    told.push_str(parts.next().unwrap_or_default());
    for part in parts {
        if !begins_name(&told) {
            told.push_str(&prefix);
        }
        told.push_str(part);
    }
    for_callers(&told.replace(&format!("_{namespace}("), "("))
}

fn without_namespace(text: &str) -> String {
    match text.split_once(IN_NAMESPACE) {
        None => text.into(),
        Some((before, rest)) => {
            let after = rest.split_once('"').map_or("", |(_, after)| after);
            format!("{before}{}", without_namespace(after))
        }
    }
}

fn without_use(text: &str) -> String {
    let used = text
        .find(EXCEEDED)
        .and_then(|begin| text[begin..].find(USED).map(|place| begin + place));
    match used {
        None => text.into(),
        Some(place) => {
            let rest = &text[place..];
            let after = rest.find(LIMITED).map_or("", |limited| &rest[limited..]);
            let before = match after {
                "" => text[..place].trim_end_matches([',', ' ']),
                _ => &text[..place],
            };
            format!("{before}{}", without_use(after))
        }
    }
}

/// The same for all that an error tells. What to do about a namespace is the administrator's to know.
pub fn error_for_callers(error: Error) -> Error {
    let is_advice_for_callers = |advice: &String| !advice.contains("abba.k8s.");
    Error {
        message: for_callers(&error.message),
        consequence: error.consequence.as_deref().map(for_callers),
        advice: error.advice.clone().map(|advice| match is_advice_for_callers(&advice) {
            true => for_callers(&advice),
            false => "Tell the administrator of the abba server.".into(),
        }),
        details: error.details.as_deref().map(for_callers),
        ..error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_of_an_object_is_not_told() {
        for (words, told) in [
            (
                "Successfully assigned r/a-1-x7k2p to node-1",
                "Successfully assigned a-1-x7k2p to node-1",
            ),
            ("r/a-1 and r/b-2", "a-1 and b-2"),
            ("Created Workload: r/job-a-1-c0ffe", "Created Workload: job-a-1-c0ffe"),
            (
                "Back-off restarting failed container program in pod a-1-x7k2p_r(0d8f1c6e)",
                "Back-off restarting failed container program in pod a-1-x7k2p(0d8f1c6e)",
            ),
            (
                "0/3 nodes are available in the namespace \"r\".",
                "0/3 nodes are available.",
            ),
            // Neither an image nor a folder of that name.
            ("Pulling image \"r/r:1\"", "Pulling image \"r/r:1\""),
            (
                "docker.io/r/base 192.0.2.1:r/x /r/x for/x",
                "docker.io/r/base 192.0.2.1:r/x /r/x for/x",
            ),
            ("", ""),
        ] {
            assert_eq!(of_objects_for_callers(words, "r"), told);
        }
    }

    #[test]
    fn what_others_use_of_a_quota_is_not_told_nor_the_namespace() {
        for (words, told) in [
            (
                "pods \"a-x\" is forbidden: exceeded quota: small, requested: limits.cpu=2,pods=1, used: \
                 limits.cpu=63,pods=99, limited: limits.cpu=64,pods=99\nnext",
                "pods \"a-x\" is forbidden: exceeded quota: small, requested: limits.cpu=2,pods=1, \
                 limited: limits.cpu=64,pods=99\nnext",
            ),
            ("exceeded quota: small", "exceeded quota: small"),
            ("The quota in the namespace \"n\" is full.", "The quota is full."),
            ("a in the namespace \"n\" b in the namespace \"m\"", "a b"),
            // Cut off.
            ("cut in the namespace \"n: exceeded quota: q, used: pods=1", "cut"),
            (
                "exceeded quota: q, requested: x=1, used: pods=",
                "exceeded quota: q, requested: x=1",
            ),
            (
                "exceeded quota: a, used: x=1\nexceeded quota: b, used: y=2",
                "exceeded quota: a\nexceeded quota: b",
            ),
            // No quota's.
            ("\u{e9} used: 1 \u{e9}", "\u{e9} used: 1 \u{e9}"),
        ] {
            assert_eq!(for_callers(words), told);
        }
    }
}
