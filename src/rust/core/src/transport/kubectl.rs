//! The transport that starts one `kubectl` a call.
//!
//! `--raw` sends exactly the request that is asked for, with whatever login kubectl has: `kubectl create --raw PATH -f
//! FILE` is a POST, `kubectl get --raw PATH` a GET.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::manifest_file::ManifestFile;
use super::process::{self, End};
use super::{kubectl_stderr, Call, Deadline, Failure, FailureKind, Transport, Verb};
use crate::error::KubectlReport;

/// Where a pod finds the namespace of its service account.
const SERVICE_ACCOUNT_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Runs `kubectl` for each call.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
}

impl Kubectl {
    /// Finds kubectl: `program` is a path or a name to be looked up on PATH.
    pub fn find(program: &str) -> Result<Self, Failure> {
        match which::which(program) {
            Ok(program) => Ok(Self { program }),
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
        let (end, stderr) =
            process::run(&self.program, arguments, deadline, part).map_err(|error| self.not_started(&error))?;
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
        serde_json::from_slice(&answer)
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
            return self.run_streaming(&[verb, "--raw", &call.path], &request, deadline, part);
        };
        let file = ManifestFile::new(body).map_err(|error| {
            Failure::new(
                FailureKind::Other,
                format!("The job's description cannot be written: {error}"),
            )
        })?;
        let arguments = [verb, "--raw", &call.path, "-f", file.path()];
        self.run_streaming(&arguments, &request, deadline, part)
    }
}

impl Transport for Kubectl {
    fn stream(
        &self,
        call: &Call,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.send_streaming(call, deadline, part).map(|_| ())
    }

    fn send_with_warnings(&self, call: &Call, deadline: &Deadline<'_>) -> Result<(Vec<u8>, Vec<String>), Failure> {
        let mut answer = Vec::new();
        let stderr = self.send_streaming(call, deadline, &mut |part| {
            answer.extend_from_slice(part);
            ControlFlow::Continue(())
        })?;
        let warnings = stderr.lines().filter_map(|line| line.strip_prefix("Warning: "));
        Ok((answer, warnings.map(String::from).collect()))
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
fn current_configuration(configuration: &serde_json::Value, pod_namespace: Option<String>) -> KubectlConfiguration {
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
