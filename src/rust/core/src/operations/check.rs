//! The doctor: looks at everything between this machine and a running program, and says what is wrong.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::submit::{prepare_program, Origin};
use super::{error_messages, stopped};
use crate::domain::changed_job;
use crate::domain::cluster_check::dry_run::{self, DryRun, DryRuns};
use crate::domain::cluster_check::namespace_rules::{self, Evidence, Storage};
use crate::domain::cluster_check::queue::{self, QueueAnswer};
use crate::domain::cluster_check::rights::{self, Right};
use crate::domain::cluster_check::{clock, image, nodes, text_for_admin, versions, AdminContext, Finding, Needs};
use crate::domain::program::Program;
use crate::domain::submission::SubmitArguments;
use crate::error::{Error, ErrorClass};
use crate::kubernetes::api::{Created, Stopped};
use crate::kubernetes::cluster_objects::ResourceRule;
use crate::kubernetes::objects::{Job, Pod};
use crate::kubernetes::{Api, LabelSelector};
use crate::transport::{Failure, FailureKind, Kubectl, Patience, Transport};

/// The program whose submission is checked.
#[derive(Clone, Debug, Deserialize)]
pub struct CheckArguments {
    /// The container image; `None`: none is set.
    pub container: Option<String>,
    /// All else that a submission has.
    #[serde(flatten)]
    pub submission: SubmitArguments,
    /// The container images that may be used; empty: all.
    #[serde(default, deserialize_with = "super::one_or_many")]
    pub permitted_containers: Vec<String>,
    /// Whether the options of this session offer NFS folders to programs.
    #[serde(default)]
    pub offers_nfs: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Each check, always the same ones in the same order.
    #[serde(rename = "checks")]
    pub findings: Vec<Finding>,
    /// What the cluster's administrator has to read; `None` where there is nothing for them to do.
    pub for_admin: Option<String>,
}

/// kubectl, and the transport that goes through it.
#[derive(Clone, Copy)]
pub struct Reached<'a> {
    /// kubectl.
    pub kubectl: &'a Kubectl,
    /// Carries the calls.
    pub transport: &'a dyn Transport,
}

const KUBECTL: &str = "kubectl";
const CONFIGURATION: &str = "configuration";
const CLUSTER: &str = "cluster";
const LOGIN: &str = "login";
const NAMESPACE: &str = "namespace";

/// Looks at everything that a submission needs. `reached`: kubectl, or why there is none. `namespace`: `None` for the one
/// that kubectl's configuration names. Nothing is left in the cluster.
///
/// A broken cluster is a finding and no error. Errors: an argument that no submission could have; the user wants to stop.
pub fn check_cluster(
    reached: Result<Reached<'_>, Failure>,
    namespace: Option<&str>,
    patience: Patience<'_>,
    arguments: &CheckArguments,
) -> Result<CheckReport, Error> {
    let image_problem = image::refused(arguments.container.as_deref(), &arguments.permitted_containers);
    let mut examination = ClusterCheck {
        patience,
        // Its limits are looked at even where there is no image that it could be tried with.
        job: job_to_try(arguments, image_problem.is_some())?,
        image_problem,
        container: arguments.container.clone().unwrap_or_default(),
        queue: arguments.submission.queue.clone(),
        offers_nfs: arguments.offers_nfs,
        findings: Vec::new(),
        circumstances: AdminContext {
            namespace: namespace.unwrap_or_default().into(),
            ..Default::default()
        },
    };
    match examination.proceed(reached, namespace) {
        Ok(()) => {}
        Err(End::Stopped) => return Err(stopped(Stopped)),
        Err(End::NothingMore(why)) => examination.skip_the_rest(&why),
    }
    let for_admin = text_for_admin(&examination.findings, &examination.circumstances);
    Ok(CheckReport {
        findings: examination.findings,
        for_admin,
    })
}

/// The Job of a submission with these arguments, of a program without any text.
fn job_to_try(arguments: &CheckArguments, without_image: bool) -> Result<Value, Error> {
    const PATH: &str = "/abba-check.R";
    let submission = SubmitArguments {
        given_path: PATH.into(),
        expanded_path: PATH.into(),
        container: match &arguments.container {
            Some(container) if !without_image => container.clone(),
            _ => "none".into(),
        },
        ..arguments.submission.clone()
    };
    let program = Program {
        given_path: PATH.into(),
        absolute_path: PATH.into(),
        bytes: Some(b"# Sent to be checked and not to be kept.\n".to_vec()),
    };
    Ok(prepare_program(&submission, program, Origin::default())?.job().clone())
}

/// The labels of the pod of a Job, as they are sent.
fn labels_of_pod(job: &Value) -> BTreeMap<String, String> {
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    let texts = labels.as_object().into_iter().flatten();
    texts
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_string())))
        .collect()
}

/// Why an examination ends before its end.
enum End {
    /// The user wants to stop.
    Stopped,
    /// Nothing more can be found out. Why: a sentence.
    NothingMore(String),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

struct ClusterCheck<'a> {
    patience: Patience<'a>,
    job: Value,
    container: String,
    queue: Option<String>,
    offers_nfs: bool,
    image_problem: Option<Finding>,
    findings: Vec<Finding>,
    circumstances: AdminContext,
}

impl<'a> ClusterCheck<'a> {
    fn proceed(&mut self, reached: Result<Reached<'a>, Failure>, namespace: Option<&str>) -> Result<(), End> {
        let Reached { kubectl, transport } = match reached {
            Ok(reached) => reached,
            Err(failure) => {
                self.add_failure(KUBECTL, &failure, "be started");
                return Err(End::NothingMore("There is no kubectl to ask the cluster with.".into()));
            }
        };
        let kubectl_version = self.look_at_kubectl(kubectl)?;
        let namespace = self.look_at_configuration(kubectl, namespace)?;
        let api = Api::in_namespace(transport, &namespace, self.patience);
        let server_version = self.look_at_cluster(&api)?;
        self.findings.push(match server_version {
            Some(server) => versions::compare(&kubectl_version, &server),
            None => Finding::not_known(versions::CHECK, "The cluster does not tell its version."),
        });
        self.look_at_login(&api)?;

        let rules = self.look_at_rights(&api)?;
        let trials = self.try_submission(&api, rules.as_deref())?;
        self.look_at_namespace(&api, &trials)
    }

    fn look_at_kubectl(&mut self, kubectl: &Kubectl) -> Result<String, End> {
        match kubectl.version(&self.patience.deadline()) {
            Ok(version) => {
                let program = kubectl.program().display();
                self.findings
                    .push(Finding::ok(KUBECTL, format!("kubectl {version} is at {program}.")));
                Ok(version)
            }
            Err(failure) => {
                self.stop_if_interrupted(&failure)?;
                let error = self.error(&failure, "tell its version");
                let what = match failure.kind {
                    FailureKind::Timeout => format!(
                        "{} does not even tell its version within the time limit.",
                        kubectl.program().display()
                    ),
                    _ => words_of(&error),
                };
                let advice =
                    "Run `kubectl version --client` in a terminal: that must work by itself, without any cluster.";
                self.findings.push(Finding::problem(KUBECTL, what, advice));
                Err(End::NothingMore("kubectl does not work.".into()))
            }
        }
    }

    /// Gives back the namespace.
    fn look_at_configuration(&mut self, kubectl: &Kubectl, namespace: Option<&str>) -> Result<String, End> {
        let configuration = match kubectl.configuration(&self.patience.deadline()) {
            Ok(configuration) => configuration,
            Err(failure) => {
                self.stop_if_interrupted(&failure)?;
                self.add_failure(CONFIGURATION, &failure, "read its configuration");
                return Err(End::NothingMore("kubectl's configuration cannot be read.".into()));
            }
        };
        let namespace = namespace.map_or(configuration.namespace, String::from);
        self.circumstances.namespace.clone_from(&namespace);
        self.circumstances.server.clone_from(&configuration.server);
        let context = &configuration.context;
        let server = configuration.server.as_deref().unwrap_or("no server");
        let finding = match (configuration.context_exists, configuration.in_pod) {
            (true, _) => Finding::ok(
                CONFIGURATION,
                format!("The context \"{context}\" names {server}; programs go to the namespace \"{namespace}\"."),
            ),
            (false, true) if context.is_empty() => Finding::ok(
                CONFIGURATION,
                format!("kubectl uses this pod's service account; programs go to the namespace \"{namespace}\"."),
            ),
            (false, _) if !context.is_empty() => Finding::problem(
                CONFIGURATION,
                format!("kubectl's current context is \"{context}\", and its configuration has no such context."),
                "Choose one of those that `kubectl config get-contexts` shows, with `kubectl config use-context NAME`.",
            ),
            (false, _) => {
                let failure = Failure::new(FailureKind::NotConfigured, "");
                let error = self.error(&failure, "");
                Finding::problem(CONFIGURATION, error.message, error.advice.unwrap_or_default())
            }
        };
        let is_usable = finding.outcome == crate::domain::cluster_check::Outcome::Ok;
        self.findings.push(finding);
        match is_usable {
            true => Ok(namespace),
            false => Err(End::NothingMore(
                "kubectl does not know which cluster to speak to.".into(),
            )),
        }
    }

    /// Gives back the server's version, if it tells.
    fn look_at_cluster(&mut self, api: &Api<'_>) -> Result<Option<String>, End> {
        match api.server_version() {
            Ok(version) => {
                let what = format!("The cluster answers: Kubernetes {}.", version.git_version);
                self.findings.push(Finding::ok(CLUSTER, what));
                Ok(Some(version.git_version))
            }
            Err(failure) => {
                self.stop_if_interrupted(&failure)?;
                if failure.kind.wants_login()
                    || matches!(failure.kind, FailureKind::Unauthorized | FailureKind::Forbidden)
                {
                    // It answers all the same.
                    self.findings.push(Finding::ok(CLUSTER, "The cluster answers."));
                    return Ok(None);
                }
                self.add_failure(CLUSTER, &failure, "tell its version");
                Err(End::NothingMore("The cluster does not answer.".into()))
            }
        }
    }

    fn look_at_login(&mut self, api: &Api<'_>) -> Result<(), End> {
        let before = now();
        let answer = api.who_am_i();
        let after = now();
        match answer {
            Ok(review) => {
                let username = review.status.user_info.username;
                self.findings
                    .push(Finding::ok(LOGIN, format!("The cluster knows you as \"{username}\".")));
                self.circumstances.username = Some(username).filter(|name| !name.is_empty());
                self.findings
                    .push(clock::compare(before, after, &review.metadata.creation_timestamp));
                Ok(())
            }
            Err(failure) if failure.kind == FailureKind::NotFound => {
                // Kubernetes before 1.28 has no such review; whether the login is good is seen by the next calls.
                self.findings.push(Finding::not_known(
                    LOGIN,
                    "This cluster does not tell users who they are.",
                ));
                self.findings.push(clock::compare(before, after, ""));
                Ok(())
            }
            Err(failure) => {
                self.stop_if_interrupted(&failure)?;
                if failure.words.contains("system:anonymous") {
                    self.findings.push(Finding::problem(
                        LOGIN,
                        "kubectl sends no login, so that the cluster takes you for nobody in particular (\"system:anonymous\").",
                        "Log in the way you do for kubectl; its configuration must hold a login for this cluster.",
                    ));
                } else {
                    self.add_failure(LOGIN, &failure, "find out who you are");
                }
                Err(End::NothingMore("The login is not accepted.".into()))
            }
        }
    }

    /// Gives back the rules of the user's rights, where they can be had.
    fn look_at_rights(&mut self, api: &Api<'_>) -> Result<Option<Vec<ResourceRule>>, End> {
        let rules = self.asked(api.rules(), "see your rights")?;
        for right in rights::NEEDED {
            let is_listed = rules
                .as_ref()
                .is_ok_and(|rules| rules.iter().any(|rule| right.is_given_by(rule)));
            let is_given = match is_listed {
                true => Ok(true),
                // The list need not be complete; the answer to a single question is.
                false => self.asked(
                    api.is_allowed(right.api_group, right.resource, right.verb),
                    "see your rights",
                )?,
            };
            self.add_right(right, is_given);
        }
        Ok(rules.ok())
    }

    fn add_right(&mut self, right: Right, is_given: Result<bool, String>) {
        let check = right_check(right);
        self.findings.push(match is_given {
            Err(why) => Finding::not_known(check, why),
            Ok(true) => Finding::ok(check, format!("Given. abba needs it to {}.", right.purpose)),
            Ok(false) => {
                self.circumstances.missing.push(right);
                Finding::problem(
                    check,
                    format!("Missing. abba needs it to {}.", right.purpose),
                    "Ask the cluster's administrator for this right.",
                )
                .for_admin()
            }
        });
    }

    fn lacks(&self, resource: &str, verb: &str) -> bool {
        let missing = &self.circumstances.missing;
        missing
            .iter()
            .any(|right| right.resource == resource && right.verb == verb)
    }

    fn try_submission(&self, api: &Api<'_>, rules: Option<&[ResourceRule]>) -> Result<DryRuns, End> {
        let not_tried = |why: &str| DryRun::NotTried(why.to_string());
        if self.image_problem.is_some() {
            let why = "There is no container image to try a job with.";
            return Ok(DryRuns {
                job: not_tried(why),
                pod: not_tried(why),
            });
        }
        let job = match self.lacks("jobs", "create") {
            true => not_tried("A job can be tried by those only who may create jobs."),
            false => self.outcome_of(api.dry_run_job(&self.job), "try a job")?,
        };
        let may_create_pods = rules.is_some_and(|rules| rules.iter().any(|rule| rights::CREATE_PODS.is_given_by(rule)));
        let pod = match may_create_pods {
            true => self.outcome_of(api.dry_run_pod(&self.job), "try a pod")?,
            false => not_tried("Its pod could not be tried, because you may not create pods; you need not."),
        };
        Ok(DryRuns { job, pod })
    }

    fn outcome_of(&self, outcome: Result<Created, Failure>, doing: &str) -> Result<DryRun, End> {
        let failure = match outcome {
            Ok(created) => {
                return Ok(DryRun::Accepted {
                    changes: changed_job::changes(&self.job, &created.job),
                    warnings: created.warnings,
                })
            }
            Err(failure) => failure,
        };
        self.stop_if_lost(&failure)?;
        let words = failure.words.as_str();
        // What the server decided about the object itself; admission webhooks speak as failures of the server.
        let is_verdict = match failure.kind {
            FailureKind::Invalid => !words.contains("does not support dry run"),
            // A right that is missing is told by another check.
            FailureKind::Forbidden => !words.contains("cannot create resource"),
            FailureKind::NotFound
            | FailureKind::RuleRefused
            | FailureKind::NamespaceEnds
            | FailureKind::RuleNotChecked => true,
            FailureKind::Server => words.contains("admission") || words.contains("webhook"),
            _ => false,
        };
        Ok(match is_verdict {
            true => DryRun::Refused { words: words.into() },
            false => DryRun::NotTried(words_of(&self.error(&failure, doing))),
        })
    }

    /// The namespace, and all in it that may stand in the way of a program.
    fn look_at_namespace(&mut self, api: &Api<'_>, trials: &DryRuns) -> Result<(), End> {
        let namespace = api.namespace().to_string();
        let object = api.namespace_object();
        let is_told_missing = matches!(&object, Err(failure) if failure.kind == FailureKind::NotFound);
        let words = format!("namespaces \"{namespace}\" not found");
        if is_told_missing || trials.refusal(&[&words]).is_some() {
            self.findings.push(
                Finding::problem(
                    NAMESPACE,
                    format!("There is no namespace \"{namespace}\" in this cluster."),
                    "Check its name: argument `namespace`, option `abba.k8s.namespace`, or kubectl's context; or ask the cluster's administrator to create it.",
                )
                .for_admin(),
            );
            return Err(End::NothingMore("There is no such namespace.".into()));
        }
        let object = self.asked_outside(object, "look at the namespace itself")?;
        self.findings.push(match &object {
            Ok(object) if object.status.phase == "Terminating" => Finding::problem(
                NAMESPACE,
                format!("The namespace \"{namespace}\" is being deleted: no program can be submitted to it."),
                "Ask the cluster's administrator which namespace to use.",
            )
            .for_admin(),
            Ok(_) => Finding::ok(NAMESPACE, format!("The namespace \"{namespace}\" exists.")),
            Err(_) if matches!(trials.job, DryRun::Accepted { .. }) => Finding::ok(
                NAMESPACE,
                format!("The namespace \"{namespace}\" exists, since a job in it would be accepted."),
            ),
            // Whether it exists is not told, and who has been given nothing in it may have meant another.
            Err(why) if self.circumstances.missing.len() == rights::NEEDED.len() => Finding::not_known(
                NAMESPACE,
                format!("{why} You have no right in it at all, so that it may be another's, or not exist."),
            )
            .advise("Check its name: argument `namespace`, option `abba.k8s.namespace`, or kubectl's context."),
            Err(why) => Finding::not_known(NAMESPACE, why.clone()),
        });

        self.look_at_image(api)?;
        let refused_pods = self.asked(api.list_refused_pods(), "list events")?.unwrap_or_default();
        let evidence = Evidence {
            trials,
            refused_pods: &refused_pods,
        };
        let job: Job = serde_json::from_value(self.job.clone()).unwrap_or_default();
        let needs = Needs::of(&self.job);
        let quotas = self.asked(api.list_quotas(), "list the quotas")?;
        self.findings.push(namespace_rules::quota(
            quotas.as_deref().map_err(String::clone),
            &needs,
            evidence,
        ));
        let ranges = self.asked(api.list_limit_ranges(), "list the LimitRanges")?;
        self.findings.push(namespace_rules::limit_range(
            ranges.as_deref().map_err(String::clone),
            &needs,
            evidence,
        ));
        self.findings.push(namespace_rules::pod_security(
            object.as_ref().map_err(String::clone),
            &job,
            &Storage::of(&self.job, self.offers_nfs),
            evidence,
        ));
        let policies = self.asked(api.list_network_policies(), "list the NetworkPolicies")?;
        self.findings.push(namespace_rules::network(
            policies.as_deref().map_err(String::clone),
            &labels_of_pod(&self.job),
        ));
        self.look_at_queue(api, &needs)?;
        self.findings
            .push(match self.asked_outside(api.list_nodes(), "list the nodes")? {
                Ok(list) => nodes::enough(&list, &needs),
                Err(why) => Finding::not_known(nodes::CHECK, why),
            });
        let explained = [
            namespace_rules::QUOTA_WORDS,
            namespace_rules::LIMIT_RANGE_WORDS,
            namespace_rules::POD_SECURITY_WORDS,
        ]
        .concat();
        self.findings.push(trials.finding(&explained));
        Ok(())
    }

    fn look_at_queue(&mut self, api: &Api<'_>, needs: &Needs) -> Result<(), End> {
        let Some(name) = self.queue.take() else {
            self.findings.push(queue::judge(None, needs));
            return Ok(());
        };
        let answer = match api.local_queue(&name) {
            Ok(Some(found)) => QueueAnswer::Found(found),
            Ok(None) => QueueAnswer::Missing,
            Err(failure) if failure.kind == FailureKind::NotFound => QueueAnswer::NoKueue,
            failed => match self.asked(failed, "look at the queue")? {
                Err(why) => QueueAnswer::NotKnown(why),
                Ok(_) => QueueAnswer::Missing,
            },
        };
        self.findings.push(queue::judge(Some((&name, answer)), needs));
        Ok(())
    }

    fn look_at_image(&mut self, api: &Api<'_>) -> Result<(), End> {
        let finding = match self.image_problem.take() {
            Some(problem) => problem,
            None => {
                let pods: Result<Vec<Pod>, String> = self
                    .asked(api.list_pods(&LabelSelector::User(None)), "list pods")?
                    .map(|listed| listed.items.into_iter().map(|pod| *pod).collect());
                // Without them it is no worse than where none has run.
                image::seen(&self.container, &pods.unwrap_or_default())
            }
        };
        self.findings.push(finding);
        Ok(())
    }

    /// An answer about the namespace, or a sentence why there is none. Where the cluster does not answer any more, nothing
    /// more is asked.
    fn asked<T>(&self, answer: Result<T, Failure>, doing: &str) -> Result<Result<T, String>, End> {
        self.asked_in(&self.circumstances.namespace, answer, doing)
    }

    /// The same for what is in no namespace.
    fn asked_outside<T>(&self, answer: Result<T, Failure>, doing: &str) -> Result<Result<T, String>, End> {
        self.asked_in("", answer, doing)
    }

    fn asked_in<T>(&self, namespace: &str, answer: Result<T, Failure>, doing: &str) -> Result<Result<T, String>, End> {
        let failure = match answer {
            Ok(answer) => return Ok(Ok(answer)),
            Err(failure) => failure,
        };
        self.stop_if_lost(&failure)?;
        let error = error_messages::error(&failure, doing, namespace, &self.patience);
        Ok(Err(match failure.kind {
            FailureKind::Forbidden => error.message,
            _ => words_of(&error),
        }))
    }

    fn stop_if_lost(&self, failure: &Failure) -> Result<(), End> {
        self.stop_if_interrupted(failure)?;
        match failure.kind {
            FailureKind::Timeout | FailureKind::Refused | FailureKind::Unreachable => {
                Err(End::NothingMore("The cluster does not answer any more.".into()))
            }
            _ => Ok(()),
        }
    }

    fn stop_if_interrupted(&self, failure: &Failure) -> Result<(), Stopped> {
        match failure.kind {
            FailureKind::Interrupted => Err(Stopped),
            _ => Ok(()),
        }
    }

    fn error(&self, failure: &Failure, doing: &str) -> Error {
        error_messages::error(failure, doing, &self.circumstances.namespace, &self.patience)
    }

    fn add_failure(&mut self, check: &str, failure: &Failure, doing: &str) {
        let error = error_messages::error(failure, doing, "", &self.patience);
        let what = words_of(&error);
        let finding = Finding::problem(check, what, error.advice.unwrap_or_default());
        self.findings.push(match error.class {
            ErrorClass::Forbidden => finding.for_admin(),
            _ => finding,
        });
    }

    /// Adds the checks that were not come to.
    fn skip_the_rest(&mut self, why: &str) {
        for check in checks() {
            if self.findings.iter().any(|finding| finding.check == check) {
                continue;
            }
            let finding = match self.image_problem.take() {
                Some(problem) if check == image::CHECK => problem,
                problem => {
                    self.image_problem = problem;
                    Finding::not_known(check, why)
                }
            };
            self.findings.push(finding);
        }
    }
}

/// All checks, in order.
fn checks() -> Vec<String> {
    let first = [KUBECTL, CONFIGURATION, CLUSTER, versions::CHECK, LOGIN, clock::CHECK];
    let last = [
        NAMESPACE,
        image::CHECK,
        namespace_rules::QUOTA_CHECK,
        namespace_rules::LIMIT_RANGE_CHECK,
        namespace_rules::POD_SECURITY_CHECK,
        namespace_rules::NETWORK_CHECK,
        queue::CHECK,
        nodes::CHECK,
        dry_run::CHECK,
    ];
    first
        .into_iter()
        .map(String::from)
        .chain(rights::NEEDED.into_iter().map(right_check))
        .chain(last.into_iter().map(String::from))
        .collect()
}

fn right_check(right: Right) -> String {
    format!("right to {}", right.words())
}

/// What an error says happened, with kubectl's own words.
fn words_of(error: &Error) -> String {
    const LONGEST: usize = 500;
    let mut text = error.message.clone();
    let kubectl = error.kubectl.as_ref().map(|report| report.stderr.trim());
    for (who, words) in [("", error.details.as_deref()), ("kubectl said: ", kubectl)] {
        let Some(words) = words.filter(|words| !words.is_empty()) else {
            continue;
        };
        text.push(' ');
        text.push_str(who);
        text.extend(words.chars().take(LONGEST));
        if words.chars().count() > LONGEST {
            text.push_str(" ...");
        }
    }
    text
}

/// Seconds since 1970 by this machine's clock.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}
