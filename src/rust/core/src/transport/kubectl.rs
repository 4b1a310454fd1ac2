//! The transport that starts one `kubectl` a call.
//!
//! `--raw` sends exactly the request that is asked for, with whatever login kubectl has: `kubectl create --raw PATH -f
//! FILE` is a POST, `kubectl get --raw PATH` a GET.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::login::{self, Words};
use super::login_gate::{self, Pass};
use super::manifest_file::{self, ManifestFile};
use super::process::{self, End, Moment};
use super::{kubectl_stderr, Call, Deadline, Failure, FailureKind, Transport, Verb};
use crate::error::KubectlReport;

/// Where a pod finds the namespace of its service account.
const SERVICE_ACCOUNT_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// How often it is looked whether a login helper still runs, while other calls wait for it.
const LOOK_FOR_HELPER: Duration = Duration::from_millis(500);

fn go_on_until(deadline: &Deadline<'_>) -> ControlFlow<()> {
    match deadline.has_passed() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

/// Runs `kubectl` for each call.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    answered: Arc<AtomicUsize>,
}

impl Kubectl {
    /// Finds kubectl: `program` is a path or a name to be looked up on PATH.
    pub fn find(program: &str) -> Result<Self, Failure> {
        match which::which(program) {
            Ok(program) => Ok(Self {
                program,
                answered: Arc::default(),
            }),
            Err(error) => Err(Failure::new(
                FailureKind::KubectlMissing,
                format!("Looked for \"{program}\": {error}."),
            )),
        }
    }

    /// The program that is run.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs kubectl with arguments; the stdout of a success.
    fn run(&self, arguments: &[&str], request: &str, deadline: &Deadline<'_>) -> Result<Vec<u8>, Failure> {
        let mut stdout = Vec::new();
        self.run_streaming(arguments, request, deadline, &mut |part| {
            stdout.extend_from_slice(part);
            ControlFlow::Continue(())
        })?;
        Ok(stdout)
    }

    /// The same, but stdout is handed over in parts as it comes, until `part` breaks off. Gives back stderr.
    fn run_streaming(
        &self,
        arguments: &[&str],
        request: &str,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<String, Failure> {
        self.run_waiting(arguments, request, deadline, part, &mut |_| go_on_until(deadline))
    }

    /// The same, where `wait_on` breaks off when the time is over.
    fn run_waiting(
        &self,
        arguments: &[&str],
        request: &str,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
        wait_on: &mut dyn FnMut(&Moment<'_>) -> ControlFlow<()>,
    ) -> Result<String, Failure> {
        let mut has_answered = false;
        let mut note = |bytes: &[u8]| {
            has_answered = true;
            part(bytes)
        };
        let (end, stderr) = process::run(&self.program, arguments, deadline, &mut note, wait_on)
            .map_err(|error| self.not_started(&error))?;
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let words = kubectl_stderr::without_debugging_lines(&stderr);
        let mut details = None;
        let (kind, words, exit_status) = match end {
            End::BrokenOff => return Ok(stderr),
            End::Exited(status) if status.success() => return Ok(stderr),
            End::Exited(status) => match status.code() {
                Some(code) => (kubectl_stderr::classify(&stderr), words, Some(code)),
                None => {
                    details = Some(format!("It was ended by somebody else: {status}."));
                    (FailureKind::KubectlDied, words, None)
                }
            },
            End::Unseen => match kubectl_stderr::classify(&stderr) {
                // kubectl says why it fails; whatever answers is looked at.
                FailureKind::Other if has_answered => return Ok(stderr),
                FailureKind::Other => {
                    details = Some("How it ended cannot be known: this process ignores SIGCHLD.".to_string());
                    (FailureKind::KubectlDied, words, None)
                }
                kind => (kind, words, None),
            },
            End::TimedOut => (FailureKind::Timeout, words, None),
            End::Interrupted => (FailureKind::Interrupted, String::new(), None),
        };
        Err(Failure {
            kind,
            words,
            details,
            report: Some(KubectlReport {
                request: request.to_string(),
                exit_status,
                stderr,
            }),
            // kubectl itself has waited as long as the server asked, and up to ten times.
            retry_after: None,
        })
    }

    /// Runs kubectl for a call to the server, which may want a login: its words are shown while it waits, and where a login
    /// helper gives the login, the first call goes alone.
    fn run_call(
        &self,
        arguments: &[&str],
        request: &str,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<String, Failure> {
        let login = self.login_of_helper();
        let mut pass: Option<Pass> = login
            .map(|login| login_gate::enter(login, &deadline.of_login()))
            .transpose()?;
        let mut words = Words::new(0);
        let mut is_pending = false;
        let mut last_look = Instant::now();
        let result = self.run_waiting(arguments, request, deadline, part, &mut |moment| {
            if moment.has_answered {
                if let Some(pass) = pass.as_mut().filter(|pass| pass.is_alone()) {
                    pass.has_login();
                }
                return go_on_until(deadline);
            }
            words.show(moment.stderr);
            let others_wait = pass.as_ref().is_some_and(Pass::is_alone);
            if others_wait && words.are_due() && last_look.elapsed() >= LOOK_FOR_HELPER {
                last_look = Instant::now();
                if login::helper_runs(moment.group) == Some(false) {
                    if let Some(pass) = &mut pass {
                        pass.has_login();
                    }
                }
            }
            if !deadline.has_passed() {
                return ControlFlow::Continue(());
            }
            is_pending = login.is_some() && login::helper_runs(moment.group) == Some(true);
            match is_pending {
                true => go_on_until(&deadline.of_login()),
                false => ControlFlow::Break(()),
            }
        });
        let result = result.map_err(|failure| Failure {
            kind: match failure.kind {
                FailureKind::Timeout if is_pending => FailureKind::LoginPending,
                FailureKind::Unauthorized if login.is_some() => FailureKind::LoginRefused,
                kind => kind,
            },
            ..failure
        });
        if let Some(pass) = &mut pass {
            match &result {
                Err(failure) if failure.kind.wants_login() => pass.has_no_login(failure),
                Err(failure) if failure.kind == FailureKind::Interrupted => {}
                _ => pass.has_login(),
            }
        }
        result
    }

    /// The login that a login helper gives, as a number; `None` where there is no helper.
    fn login_of_helper(&self) -> Option<u64> {
        #[cfg(unix)]
        {
            super::session::login_of_helper(&self.program)
        }
        #[cfg(not(unix))]
        None
    }

    /// Counts an answer, for [`Transport::answered`].
    pub(super) fn note_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn not_started(&self, error: &io::Error) -> Failure {
        let program = self.program.display();
        Failure::new(
            FailureKind::KubectlMissing,
            format!("{program} cannot be started: {error}"),
        )
    }

    /// The version of kubectl itself, as `v1.34.4`. Speaks to no cluster.
    pub fn version(&self, deadline: &Deadline<'_>) -> Result<String, Failure> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            client_version: ClientVersion,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ClientVersion {
            git_version: String,
        }
        let arguments = ["version", "--client", "--output=json"];
        let answer: Answer = self.run_json(&arguments, "kubectl version", deadline)?;
        Ok(answer.client_version.git_version)
    }

    /// What kubectl is configured to use.
    pub fn configuration(&self, deadline: &Deadline<'_>) -> Result<KubectlConfiguration, Failure> {
        // Without `--minify` it answers even where there is no configuration at all, and never with a secret: kubectl
        // leaves those out.
        let arguments = ["config", "view", "--output=json"];
        let configuration: serde_json::Value = self.run_json(&arguments, "kubectl config view", deadline)?;
        Ok(current_configuration(&configuration, service_account_namespace()))
    }

    fn run_json<T: DeserializeOwned>(
        &self,
        arguments: &[&str],
        request: &str,
        deadline: &Deadline<'_>,
    ) -> Result<T, Failure> {
        let answer = self.run(arguments, request, deadline)?;
        // A wrapper of kubectl may say something of its own first.
        let begins = |line: &[u8]| line.starts_with(b"{");
        let before: usize = answer
            .split_inclusive(|byte| *byte == b'\n')
            .take_while(|line| !begins(line))
            .map(<[u8]>::len)
            .sum();
        serde_json::from_slice(answer.get(before..).filter(|rest| !rest.is_empty()).unwrap_or(&answer))
            .map_err(|error| Failure::new(FailureKind::MalformedResponse, format!("{request}: {error}")))
    }

    /// Sends a call; what [`Self::run_streaming`] gives back.
    fn send_streaming(
        &self,
        call: &Call,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<String, Failure> {
        let verb = match call.verb {
            Verb::Get => "get",
            Verb::Create => "create",
            Verb::Replace => "replace",
            Verb::Delete => "delete",
        };
        let request = call.request_line();
        let Some(body) = &call.body else {
            return self.run_call(&[verb, "--raw", &call.path], &request, deadline, part);
        };
        let mut send = |file: std::io::Result<ManifestFile>| {
            let file = file.map_err(|error| {
                Failure::new(
                    FailureKind::NotSent,
                    format!("The object cannot be written to a file for kubectl: {error}"),
                )
            })?;
            self.run_call(
                &[verb, "--raw", &call.path, "-f", file.path()],
                &request,
                deadline,
                part,
            )
        };
        match send(ManifestFile::new(body)) {
            // A program between us and kubectl (sudo, say) has closed what kubectl was to inherit, or may not open it.
            Err(failure) if failure.words.contains(manifest_file::INHERITED) => send(ManifestFile::with_name(body)),
            result => result,
        }
    }
}

impl Transport for Kubectl {
    fn stream(
        &self,
        call: &Call,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Vec<String>, Failure> {
        let stderr = self.send_streaming(call, deadline, part)?;
        self.note_answer();
        let warnings = stderr.lines().filter_map(|line| line.strip_prefix("Warning: "));
        Ok(warnings.map(String::from).collect())
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    fn server(&self, deadline: &Deadline<'_>) -> Option<String> {
        self.configuration(deadline).ok()?.server
    }

    #[cfg(unix)]
    fn configuration_number(&self, _deadline: &Deadline<'_>) -> Option<u64> {
        Some(super::session::configuration(&self.program))
    }

    #[cfg(not(unix))]
    fn configuration_number(&self, deadline: &Deadline<'_>) -> Option<u64> {
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(&self.server(deadline)?, &mut hasher);
        Some(std::hash::Hasher::finish(&hasher))
    }

    fn namespace(&self, deadline: &Deadline<'_>) -> Result<String, Failure> {
        Ok(self.configuration(deadline)?.namespace)
    }
}

/// What kubectl is configured to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubectlConfiguration {
    /// The current context; empty where there is none.
    pub context: String,
    /// Whether the configuration has a context of that name.
    pub context_exists: bool,
    /// The address of that context's server, if it names one.
    pub server: Option<String>,
    /// Whether this is a pod with a service account, which kubectl uses where there is no context.
    pub in_pod: bool,
    /// The namespace: of the current context, in a pod that of its service account, else `default`.
    pub namespace: String,
}

/// Reads the answer of `kubectl config view`.
pub(super) fn current_configuration(
    configuration: &serde_json::Value,
    pod_namespace: Option<String>,
) -> KubectlConfiguration {
    let named = |list: &str, name: &str| {
        let items = configuration[list].as_array()?;
        items.iter().find(|item| item["name"] == name)
    };
    let text = |value: &serde_json::Value| value.as_str().filter(|text| !text.is_empty()).map(String::from);
    let context = text(&configuration["current-context"]).unwrap_or_default();
    let current = named("contexts", &context).map(|context| &context["context"]);
    let server = current
        .and_then(|current| named("clusters", current["cluster"].as_str()?))
        .and_then(|cluster| text(&cluster["cluster"]["server"]));
    KubectlConfiguration {
        context_exists: current.is_some(),
        in_pod: pod_namespace.is_some(),
        // A context without a namespace means "default"; only where there is no context may a pod's own count.
        namespace: match current {
            Some(current) => text(&current["namespace"]),
            None => pod_namespace,
        }
        .unwrap_or_else(|| "default".to_string()),
        context,
        server,
    }
}

fn service_account_namespace() -> Option<String> {
    let namespace = std::fs::read_to_string(SERVICE_ACCOUNT_NAMESPACE).ok()?;
    Some(namespace.trim().to_string()).filter(|namespace| !namespace.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_current_context_names_the_namespace() {
        let configuration = json!({
            "current-context": "b",
            "contexts": [
                {"name": "a", "context": {"namespace": "one"}},
                {"name": "b", "context": {"namespace": "two"}},
                {"name": "c", "context": {}},
            ],
        });
        let namespace =
            |configuration, pod: Option<&str>| current_configuration(configuration, pod.map(String::from)).namespace;
        assert_eq!(namespace(&configuration, Some("pods-own")), "two");
        let mut without = configuration.clone();
        without["current-context"] = json!("c");
        assert_eq!(namespace(&without, Some("pods-own")), "default");
        let none = json!({"current-context": "", "contexts": null});
        assert_eq!(namespace(&none, None), "default");
        assert_eq!(namespace(&none, Some("pods-own")), "pods-own");
    }

    #[test]
    fn the_current_context_names_the_server() {
        let mut configuration = json!({
            "current-context": "b",
            "contexts": [{"name": "b", "context": {"cluster": "d"}}],
            "clusters": [
                {"name": "c", "cluster": {"server": "https://c"}},
                {"name": "d", "cluster": {"server": "https://d"}},
            ],
        });
        let current = current_configuration(&configuration, None);
        assert_eq!(
            (current.context_exists, current.server.as_deref()),
            (true, Some("https://d"))
        );
        configuration["current-context"] = json!("gone");
        let current = current_configuration(&configuration, None);
        assert_eq!((current.context_exists, current.server), (false, None));
    }

    #[test]
    fn a_missing_kubectl_is_told() {
        let failure = Kubectl::find("no-such-kubectl-anywhere").unwrap_err();
        assert_eq!(failure.kind, FailureKind::KubectlMissing);
    }
}
