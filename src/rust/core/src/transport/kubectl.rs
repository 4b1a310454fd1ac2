//! The transport that starts one `kubectl` a call.
//!
//! `--raw` sends exactly the request that is asked for, with whatever login kubectl has: `kubectl create --raw PATH -f
//! FILE` is a POST, `kubectl get --raw PATH` a GET.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::manifest_file::ManifestFile;
use super::process::{self, End};
use super::{kubectl_words, Call, Failure, FailureKind, Patience, Transport, Verb};
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
    fn run(&self, arguments: &[&str], request: &str, patience: &Patience<'_>) -> Result<Vec<u8>, Failure> {
        let mut stdout = Vec::new();
        self.run_streaming(arguments, request, patience, &mut |part| {
            stdout.extend_from_slice(part);
            ControlFlow::Continue(())
        })?;
        Ok(stdout)
    }

    /// The same, but stdout is handed over in parts as it comes, until `part` breaks off.
    fn run_streaming(
        &self,
        arguments: &[&str],
        request: &str,
        patience: &Patience<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let (end, stderr) =
            process::run(&self.program, arguments, patience, part).map_err(|error| self.not_started(&error))?;
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let words = kubectl_words::without_debugging_lines(&stderr);
        let mut details = None;
        let (kind, words, exit_status) = match end {
            End::BrokenOff => return Ok(()),
            End::Exited(status) if status.success() => return Ok(()),
            End::Exited(status) => match status.code() {
                Some(code) => (kubectl_words::classify(&stderr), words, Some(code)),
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
}

impl Transport for Kubectl {
    fn stream(
        &self,
        call: &Call,
        patience: &Patience<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let verb = match call.verb {
            Verb::Get => "get",
            Verb::Create => "create",
            Verb::Replace => "replace",
            Verb::Delete => "delete",
        };
        let request = call.request_line();
        let Some(body) = &call.body else {
            return self.run_streaming(&[verb, "--raw", &call.path], &request, patience, part);
        };
        let file = ManifestFile::new(body).map_err(|error| {
            Failure::new(
                FailureKind::Other,
                format!("The job's description cannot be written: {error}"),
            )
        })?;
        let arguments = [verb, "--raw", &call.path, "-f", file.path()];
        self.run_streaming(&arguments, &request, patience, part)
    }

    fn namespace(&self, patience: &Patience<'_>) -> Result<String, Failure> {
        // Without `--minify` it answers even where there is no configuration at all, and never with a secret: kubectl
        // leaves those out.
        let arguments = ["config", "view", "--output=json"];
        let answer = self.run(&arguments, "kubectl config view", patience)?;
        let configuration: serde_json::Value = serde_json::from_slice(&answer)
            .map_err(|error| Failure::new(FailureKind::Garbage, format!("kubectl config view: {error}")))?;
        Ok(current_namespace(&configuration)
            .or_else(service_account_namespace)
            .unwrap_or_else(|| "default".to_string()))
    }
}

/// The namespace of the current context of a kubectl configuration.
fn current_namespace(configuration: &serde_json::Value) -> Option<String> {
    let current = configuration["current-context"].as_str()?;
    let context = configuration["contexts"]
        .as_array()?
        .iter()
        .find(|context| context["name"] == current)?;
    // A context without a namespace means "default"; only where there is no context may a pod's own count.
    let namespace = context["context"]["namespace"]
        .as_str()
        .filter(|namespace| !namespace.is_empty());
    Some(namespace.unwrap_or("default").to_string())
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
        assert_eq!(current_namespace(&configuration).as_deref(), Some("two"));
        let mut without = configuration.clone();
        without["current-context"] = json!("c");
        assert_eq!(current_namespace(&without).as_deref(), Some("default"));
        let none = json!({"current-context": "", "contexts": null});
        assert_eq!(current_namespace(&none), None);
    }

    #[test]
    fn a_missing_kubectl_is_told() {
        let failure = Kubectl::find("no-such-kubectl-anywhere").unwrap_err();
        assert_eq!(failure.kind, FailureKind::KubectlMissing);
    }
}
