//! What a trial shows: the server checks a job as if it were created, and keeps nothing.
//!
//! Admission checks more of a pod than of a Job: quotas of cores and memory, LimitRanges and Pod Security act on pods. A pod
//! can be tried by those only who may create pods.

use super::Finding;

/// The name of the check.
pub const CHECK: &str = "trial";

/// How a trial of one object came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DryRun {
    /// It was not tried, or its outcome tells nothing. Why: a sentence.
    NotTried(String),
    /// The server would accept it.
    Accepted {
        /// What it warned about.
        warnings: Vec<String>,
        /// What its rules would change in it that abba counts on, see [`changed_job`](crate::domain::changed_job).
        changes: Vec<String>,
    },
    /// The server would refuse it.
    Refused {
        /// Its words.
        words: String,
    },
}

/// The trials of a Job and of its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRuns {
    /// Of the Job.
    pub job: DryRun,
    /// Of its pod.
    pub pod: DryRun,
}

impl DryRuns {
    /// Words of a refusal that hold one of these texts.
    pub fn refusal(&self, texts: &[&str]) -> Option<&str> {
        [&self.job, &self.pod].into_iter().find_map(|trial| match trial {
            DryRun::Refused { words } if texts.iter().any(|text| words.contains(text)) => Some(words.as_str()),
            _ => None,
        })
    }

    /// The first warning that holds a text.
    pub fn warning(&self, text: &str) -> Option<&str> {
        match &self.job {
            DryRun::Accepted { warnings, .. } => warnings.iter().find(|words| words.contains(text)).map(String::as_str),
            _ => None,
        }
    }

    /// Whether a pod was tried and would be accepted: nothing in the namespace stands in its way.
    pub fn pod_is_accepted(&self) -> bool {
        matches!(self.pod, DryRun::Accepted { .. })
    }

    /// What they show as a whole. `explained` are texts of refusals that another check explains to the administrator.
    pub fn finding(&self, explained: &[&str]) -> Finding {
        let refused = |what: &str, words: &str| {
            let finding = Finding::problem(
                CHECK,
                format!("{what} Kubernetes says: {words}"),
                "The checks above may say why; else show this to the cluster's administrator.",
            );
            match self.refusal(explained) {
                Some(_) => finding,
                None => finding.for_admin(),
            }
        };
        match (&self.job, &self.pod) {
            (DryRun::NotTried(why), _) => Finding::not_known(CHECK, why),
            (DryRun::Refused { words }, _) => refused("The cluster would refuse a job.", words),
            (_, DryRun::Refused { words }) => refused("The cluster would accept a job, and refuse its pod.", words),
            (job, pod) if !changes_of(job).is_empty() || !changes_of(pod).is_empty() => {
                let mut told = changes_of(job).to_vec();
                told.extend(
                    changes_of(pod)
                        .iter()
                        .filter(|text| !changes_of(job).contains(text))
                        .cloned(),
                );
                Finding::problem(
                    CHECK,
                    format!("A rule of the cluster changes each job: {}", told.join(" ")),
                    "Show this to the cluster's administrator: a mutating webhook or policy does it.",
                )
                .for_admin()
            }
            (_, DryRun::Accepted { .. }) => Finding::ok(
                CHECK,
                "The cluster would accept a job and its pod (nothing was created).",
            ),
            (_, DryRun::NotTried(why)) => Finding::ok(
                CHECK,
                format!("The cluster would accept a job (nothing was created). {why}"),
            ),
        }
    }
}

fn changes_of(trial: &DryRun) -> &[String] {
    match trial {
        DryRun::Accepted { changes, .. } => changes,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster_check::Outcome;

    fn refused(words: &str) -> DryRun {
        DryRun::Refused { words: words.into() }
    }

    const ACCEPTED: DryRun = DryRun::Accepted {
        warnings: Vec::new(),
        changes: Vec::new(),
    };

    #[test]
    fn what_the_clusters_rules_would_change_is_a_problem_and_told_once() {
        let changed = |changes: &[&str]| DryRun::Accepted {
            warnings: Vec::new(),
            changes: changes.iter().map(ToString::to_string).collect(),
        };
        let found = DryRuns {
            job: changed(&["a is 1.", "b is 2."]),
            pod: changed(&["b is 2.", "c is 3."]),
        }
        .finding(&[]);
        assert_eq!((found.outcome, found.is_for_admin), (Outcome::Problem, true));
        assert!(
            found.what.ends_with("each job: a is 1. b is 2. c is 3."),
            "{}",
            found.what
        );
    }

    #[test]
    fn a_refusal_of_either_is_a_problem() {
        let not_tried = || DryRun::NotTried("Why.".into());
        for (job, pod, outcome) in [
            (ACCEPTED, ACCEPTED, Outcome::Ok),
            (ACCEPTED, not_tried(), Outcome::Ok),
            (ACCEPTED, refused("no"), Outcome::Problem),
            (refused("no"), not_tried(), Outcome::Problem),
            (not_tried(), not_tried(), Outcome::NotKnown),
        ] {
            assert_eq!(DryRuns { job, pod }.finding(&[]).outcome, outcome);
        }
    }

    #[test]
    fn the_administrator_is_told_once() {
        let trials = DryRuns {
            job: ACCEPTED,
            pod: refused("exceeded quota: q"),
        };
        assert!(!trials.finding(&["exceeded quota"]).is_for_admin);
        assert!(trials.finding(&["violates"]).is_for_admin);
    }
}
