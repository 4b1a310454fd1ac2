//! How a call reaches the API server.
//!
//! A [`Transport`] carries a [`Call`] and gives back the body of the answer or a [`Failure`]. Nothing above knows how;
//! nothing here knows what a Job is. [`Kubectl`] starts one `kubectl` a call; `Session` keeps one `kubectl proxy`.

mod backoff;
mod deadline;
mod failure;
#[cfg(test)]
mod fuzz;
mod kubectl;
mod kubectl_stderr;
mod login;
mod login_gate;
mod manifest_file;
mod process;
mod responder;
#[cfg(unix)]
mod session;
mod words;

pub use backoff::Backoff;
pub use deadline::{Deadline, Patience};
pub use failure::{Failure, FailureKind};
pub use kubectl::{Kubectl, KubectlConfiguration};
pub use login::take_words_for_user;
pub use process::leave_signals_to_main_thread;
pub(crate) use process::run_own;
pub use process::OwnProgram;
pub(crate) use responder::Responder;
#[cfg(unix)]
pub use session::{Session, WithNothingInherited};

pub use words::{is_page, is_whole_page, missing_helper as missing_login_helper};

use std::ops::ControlFlow;

use serde_json::Value;

/// What is done to the resource at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// HTTP GET: read one object, a list, or a log.
    Get,
    /// HTTP POST: create the object in the body.
    Create,
    /// HTTP PUT: replace the object by the one in the body.
    Replace,
    /// HTTP DELETE: delete the object.
    Delete,
}

impl Verb {
    /// The HTTP method, for messages.
    pub fn method(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Create => "POST",
            Self::Replace => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// One call to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is done.
    pub verb: Verb,
    /// The path with its query, percent-encoded, as `/api/v1/namespaces/default/pods?limit=1`.
    pub path: String,
    /// The object, as JSON, for a verb that sends one.
    pub body: Option<Vec<u8>>,
    /// Whether the metadata of the objects of a list is all that is wanted. A transport that cannot ask for that gets
    /// the whole objects.
    pub metadata_only: bool,
}

impl Call {
    /// A call that reads.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            verb: Verb::Get,
            path: path.into(),
            body: None,
            metadata_only: false,
        }
    }

    /// A call that reads a list of objects' metadata.
    pub fn get_metadata(path: impl Into<String>) -> Self {
        Self {
            metadata_only: true,
            ..Self::get(path)
        }
    }

    /// A call that creates an object.
    pub fn create(path: impl Into<String>, object: &Value) -> Self {
        Self::with_body(Verb::Create, path, object)
    }

    /// A call that replaces an object.
    pub fn replace(path: impl Into<String>, object: &Value) -> Self {
        Self::with_body(Verb::Replace, path, object)
    }

    /// A call that deletes an object; `options` say how.
    pub fn delete(path: impl Into<String>, options: &Value) -> Self {
        Self::with_body(Verb::Delete, path, options)
    }

    fn with_body(verb: Verb, path: impl Into<String>, body: &Value) -> Self {
        Self {
            verb,
            body: Some(body.to_string().into_bytes()),
            ..Self::get(path)
        }
    }

    /// The request line, for messages.
    pub fn request_line(&self) -> String {
        format!("{} {}", self.verb.method(), self.path)
    }
}

/// Carries calls to the API server.
pub trait Transport: Sync {
    /// Sends a call and gives back the body of the answer. Tries once.
    fn send(&self, call: &Call, deadline: &Deadline<'_>) -> Result<Vec<u8>, Failure> {
        Ok(self.send_with_warnings(call, deadline)?.0)
    }

    /// The same, with the warnings that the server gives with its consent, one text each.
    ///
    /// <https://kubernetes.io/blog/2020/09/03/warnings/>
    fn send_with_warnings(&self, call: &Call, deadline: &Deadline<'_>) -> Result<(Vec<u8>, Vec<String>), Failure> {
        let mut answer = Vec::new();
        let warnings = self.stream(call, deadline, &mut |part| {
            answer.extend_from_slice(part);
            ControlFlow::Continue(())
        })?;
        Ok((answer, warnings))
    }

    /// Sends a call and hands over the body of the answer in parts as they come, until it ends or `part` breaks off. The
    /// time limit of `deadline` is on the whole. A transport that sees an answer begin before its body hands over an empty
    /// part then. Gives back the warnings.
    fn stream(
        &self,
        call: &Call,
        deadline: &Deadline<'_>,
        part: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Vec<String>, Failure>;

    /// How many calls were answered so far, by whatever thread they were made: it tells a cluster that is away from one
    /// that loses some connections.
    fn answered(&self) -> usize {
        0
    }

    /// The address of the API server in the user's configuration; `None` where that is not known.
    fn server(&self, _deadline: &Deadline<'_>) -> Option<String> {
        None
    }

    /// What the user's configuration is now, as a number: another one may lead to another server. Where it can, it
    /// looks at files alone, and starts no program. `None` where it is not known.
    fn configuration_number(&self, _deadline: &Deadline<'_>) -> Option<u64> {
        None
    }

    /// The namespace that the user's configuration names: of kubectl's current context, in a pod that of its service
    /// account, else `default`.
    fn namespace(&self, deadline: &Deadline<'_>) -> Result<String, Failure>;
}
