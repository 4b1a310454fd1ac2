//! What only R itself knows of a run: its version, its packages, its options. `session.R` has R note it as it ends, in the
//! termination message of its container, which the node puts into the pod's status
//! (<https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>).
//!
//! R runs that file because the variable `R_TESTS` names it: so ends R's own start-up code, also with `--vanilla`, before any
//! start-up file of a site or of a user (`library/base/R/Rprofile`; the same in R 3.1, in 4.2 and in the development version). The
//! file takes the variable away, so that neither the program nor an R that it starts sees it, and leaves a finaliser of
//! the base environment, which nothing lists and no garbage collection runs. R runs it at each end of its own: after an
//! error, `quit(runLast = FALSE)`, an interrupt; not where it is killed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::paths;
use crate::domain::program::Runner;
use crate::kubernetes::objects::Pod;

/// Where [`hook`] stands in the container.
pub const HOOK_PATH: &str = "/abba/tmp/.session.R";

/// Has R run the text in `$1`, unless the program's environment says otherwise. A variable of the user's own stays.
pub const PREPARE: &str = r#"if [ "$ABBA_SESSION_INFO" = no ]; then
  [ ! -w /dev/termination-log ] || printf 'abba-session 1\noff=variable\nend\n' > /dev/termination-log
elif [ -z "$R_TESTS" ] && [ -w /dev/termination-log ] && { printf '%s\n' "$1" > /abba/tmp/.session.R; } 2>/dev/null; then
  export R_TESTS=/abba/tmp/.session.R
fi
shift"#;

/// The R code that has R note what it is. Each Job carries it: without indentation, and of its comments with the first.
pub fn hook() -> String {
    let lines = include_str!("session.R").lines().map(str::trim_start).enumerate();
    let kept: Vec<&str> = lines
        .filter(|(number, line)| *number < 2 || !line.starts_with('#'))
        .map(|(_, line)| line)
        .collect();
    kept.join("\n")
}

/// Whether a command is R by its name, as `R`, `R-4.2` and `/opt/R/4.2/bin/R` are. A script of another name may start R
/// where [`HOOK_PATH`] is not to be seen, and R ends at once where it does not find the file that `R_TESTS` names.
pub fn is_usual_r(command: &str) -> bool {
    let rest = paths::file_name(command).strip_prefix('R');
    rest.is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
}

/// What R said of itself as it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Why it is not known, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// `R.version.string`
    #[serde(rename = "R", skip_serializing_if = "Option::is_none")]
    pub r: Option<String>,
    /// `R.version$platform`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The categories of the locale that matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// `RNGkind()`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random: Option<String>,
    /// The file of BLAS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blas: Option<String>,
    /// The file and the version of LAPACK, where R had loaded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lapack: Option<String>,
    /// Values of `options()`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// The packages that were attached, as `search()` has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<String>,
    /// The others whose namespaces were loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loaded: Vec<String>,
    /// How many more there were than the note had room for.
    #[serde(skip_serializing_if = "is_zero")]
    pub packages_left_out: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What R noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// What is no package.
    pub session: Session,
    /// R's version as a number: `4.2.2`.
    pub version: Option<String>,
    /// The names and versions of the packages, those that were attached first.
    pub packages: Vec<(String, String)>,
}

/// The packages that are a part of R.
const OF_R: [&str; 14] = [
    "base",
    "compiler",
    "datasets",
    "grDevices",
    "graphics",
    "grid",
    "methods",
    "parallel",
    "splines",
    "stats",
    "stats4",
    "tcltk",
    "tools",
    "utils",
];

/// Whether a package is a part of R, and has no version of its own.
pub fn is_of_r(package: &str) -> bool {
    OF_R.contains(&package)
}

/// What R noted in the pod of a job that has ended, or why it did not. `runner`: how its program was run.
pub fn of_ended(pod: Option<&Pod>, runner: Runner) -> Noted {
    let missing = |why: &str| Noted {
        session: Session {
            missing: Some(why.into()),
            ..Session::default()
        },
        ..Noted::default()
    };
    let Some(pod) = pod else {
        return missing("The program's pod is gone, and R's note with it.");
    };
    let terminated = pod.terminated().filter(|_| pod.has_started());
    let Some(terminated) = terminated else {
        return missing("The program has not started, or its node did not see it end.");
    };
    match terminated.note() {
        Some(note) if note.starts_with("off=option") => missing("The program has switched the note off."),
        Some(note) if note.starts_with("off=") => missing("The job's environment has switched the note off."),
        Some(note) => read(note),
        None if runner == Runner::Quarto => missing("R notes nothing for Quarto, which starts it."),
        // A shell's way to tell of a signal.
        None if terminated.exit_code > 128 || terminated.reason == "OOMKilled" => missing("R was killed."),
        None => missing(
            "R has left no note: it is not the usual R, or it crashed, or the job is of an earlier abba, or the program uses \
             the termination message itself.",
        ),
    }
}

/// Reads the lines of a note. Of one that was cut the last line is not whole.
fn read(note: &str) -> Noted {
    let mut noted = Noted::default();
    let is_whole = note.trim_end().ends_with("\nend");
    let mut count = 0;
    let session = &mut noted.session;
    let mut lines: Vec<&str> = note.lines().collect();
    let cut = if is_whole { None } else { lines.pop() };
    // A package of which only the name or half of a version is left does not count.
    let cut = cut.map(|line| line.rsplit_once(',').map_or("", |(before, _)| before));
    for (name, value) in lines.into_iter().chain(cut).filter_map(|line| line.split_once('=')) {
        let text = || Some(value.to_string());
        match name {
            "R" => session.r = text(),
            "version" => noted.version = text(),
            "platform" => session.platform = text(),
            "locale" => session.locale = text(),
            "timezone" => session.timezone = text(),
            "random" => session.random = text(),
            "blas" => session.blas = text(),
            "lapack" => session.lapack = text(),
            "packages" => count = value.parse().unwrap_or_default(),
            "attached" | "loaded" => {
                for package in value.split(',').filter(|package| !package.is_empty()) {
                    let (package, version) = package.split_once(' ').unwrap_or((package, ""));
                    noted.packages.push((package.into(), version.into()));
                    match name {
                        "attached" => session.attached.push(package.into()),
                        _ => session.loaded.push(package.into()),
                    }
                }
            }
            _ => {
                if let Some(option) = name.strip_prefix("option.") {
                    session.options.insert(option.into(), value.into());
                }
            }
        }
    }
    session.packages_left_out = usize::saturating_sub(count, noted.packages.len());
    noted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn ended(terminated: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "a-1"},
            "status": {"containerStatuses": [{"name": "program", "state": {"terminated": terminated}}]},
        }))
        .unwrap()
    }

    fn noted(message: &str) -> Noted {
        of_ended(
            Some(&ended(json!({"exitCode": 1, "reason": "Error", "message": message}))),
            Runner::R,
        )
    }

    const NOTE: &str =
        "abba-session 1\npackages=4\nR=R version 4.2.2 (2022-10-31)\nversion=4.2.2\ntimezone=UTC\noption.OutDec=,\n\
        option.contrasts=a=b\nattached=dplyr 1.1.4,stats 4.2.2\nloaded=rlang 1.0.6,vctrs 0.6.5\nend\n";

    fn packages(noted: &Noted) -> Vec<&str> {
        noted.packages.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn what_r_noted_is_read() {
        for message in [NOTE.to_string(), format!("words of the node: {NOTE}")] {
            let noted = noted(&message);
            let session = &noted.session;
            assert_eq!(session.r.as_deref(), Some("R version 4.2.2 (2022-10-31)"));
            assert_eq!(noted.version.as_deref(), Some("4.2.2"));
            assert_eq!(session.options["OutDec"], ",");
            assert_eq!(session.options["contrasts"], "a=b");
            assert_eq!(session.attached, ["dplyr", "stats"]);
            assert_eq!(session.loaded, ["rlang", "vctrs"]);
            assert_eq!(noted.packages[0], ("dplyr".into(), "1.1.4".into()));
            assert_eq!((session.packages_left_out, &session.missing), (0, &None));
        }
    }

    #[test]
    fn a_note_that_was_cut_has_whole_packages_and_says_how_many_are_missing() {
        for (end, expected, left_out) in [
            ("0.6.5\nend\n", vec!["dplyr", "stats", "rlang", "vctrs"], 0),
            ("0.6", vec!["dplyr", "stats", "rlang"], 1),
            (",vctrs 0.6.5", vec!["dplyr", "stats"], 2),
            ("\nloaded=rlang 1.0.6,vctrs 0.6.5", vec!["dplyr"], 3),
            ("\nattached=dplyr 1.1.4", vec![], 4),
        ] {
            let at = NOTE.rfind(end).unwrap_or_else(|| panic!("{end}"));
            let cut = match end.starts_with('0') {
                true => &NOTE[..at + end.len()],
                false => &NOTE[..at],
            };
            let noted = noted(cut);
            assert_eq!(
                (packages(&noted), noted.session.packages_left_out),
                (expected, left_out)
            );
        }
    }

    #[test]
    fn what_is_not_known_says_why() {
        let why = |pod: Option<&Pod>, runner| of_ended(pod, runner).session.missing.unwrap_or_default();
        for (terminated, runner, expected) in [
            (json!({"exitCode": 137, "reason": "OOMKilled"}), Runner::R, "killed"),
            (json!({"exitCode": 143, "reason": "Error"}), Runner::R, "killed"),
            (json!({"exitCode": 0}), Runner::Quarto, "Quarto"),
            (
                json!({"exitCode": 0, "message": "abba-session 1\noff=option\nend\n"}),
                Runner::R,
                "The program has switched",
            ),
            (
                json!({"exitCode": 0, "message": "abba-session 1\noff=variable\nend\n"}),
                Runner::R,
                "environment",
            ),
            (
                json!({"exitCode": 0, "message": "words of the program"}),
                Runner::R,
                "left no note",
            ),
            // Of a later abba.
            (
                json!({"exitCode": 0, "message": "abba-session 2\nR=1\n"}),
                Runner::R,
                "left no note",
            ),
            (
                json!({"exitCode": 128, "reason": "StartError", "message": "no such file"}),
                Runner::R,
                "not started",
            ),
        ] {
            let why = why(Some(&ended(terminated)), runner);
            assert!(why.contains(expected), "{why}");
        }
        assert!(why(None, Runner::R).contains("gone"));
    }

    #[test]
    fn nobody_takes_the_note_for_words_about_the_end() {
        let words = |message: &str| {
            let pod = ended(json!({"exitCode": 1, "reason": "Error", "message": message}));
            pod.terminated().unwrap().words().to_string()
        };
        assert_eq!(words(NOTE), "");
        assert_eq!(words(&format!("words of the node: {NOTE}")), "words of the node");
        assert_eq!(words("words of the program"), "words of the program");
        assert_eq!(words("abba-session 2\n"), "");
    }

    #[test]
    fn r_is_known_by_its_name() {
        for (command, expected) in [
            ("R", true),
            ("/opt/R/4.2.1/bin/R", true),
            ("R-4.2", true),
            ("R4", true),
            ("/opt/R/start.sh", false),
            ("Rwrapper", false),
            ("python3", false),
        ] {
            assert_eq!(is_usual_r(command), expected, "{command}");
        }
    }

    #[test]
    fn the_hook_is_a_text_that_the_shell_and_kubernetes_leave_as_it_is() {
        let hook = hook();
        assert!(hook.is_ascii() && hook.len() < 2700, "{}", hook.len());
        assert!(!hook.contains("$(") && !PREPARE.contains("$("));
        assert!(PREPARE.contains(HOOK_PATH));
    }
}
