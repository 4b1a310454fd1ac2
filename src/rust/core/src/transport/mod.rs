//! How a call reaches the API server.
//!
//! A [`Transport`] carries a [`Call`] and gives back the body of the answer or a [`Failure`]. Nothing above knows how;
//! nothing here knows what a Job is. [`Kubectl`] starts one `kubectl` a call.

mod failure;
mod kubectl;
mod kubectl_words;
mod manifest_file;
mod patience;
mod process;

pub use failure::{Failure, FailureKind};
pub use kubectl::Kubectl;
pub use patience::Patience;

/// What is done to the resource at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// HTTP GET: read one object, a list, or a log.
    Get,
    /// HTTP POST: create the object in the body.
    Create,
}

impl Verb {
    /// The HTTP method, for messages.
    pub fn method(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Create => "POST",
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
}

impl Call {
    /// A call that reads.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            verb: Verb::Get,
            path: path.into(),
            body: None,
        }
    }

    /// A call that creates an object.
    pub fn create(path: impl Into<String>, body: Vec<u8>) -> Self {
        Self {
            verb: Verb::Create,
            path: path.into(),
            body: Some(body),
        }
    }

    /// The request line, for messages.
    pub fn request_line(&self) -> String {
        format!("{} {}", self.verb.method(), self.path)
    }
}

/// Carries calls to the API server.
pub trait Transport {
    /// Sends a call and gives back the body of the answer. Tries once.
    fn send(&self, call: &Call, patience: &Patience<'_>) -> Result<Vec<u8>, Failure>;

    /// The namespace that the user's configuration names: of kubectl's current context, in a pod that of its service
    /// account, else `default`.
    fn namespace(&self, patience: &Patience<'_>) -> Result<String, Failure>;
}
