//! What can go wrong, in words for a statistician.
//!
//! An [`Error`] answers four questions: what happened, what it means for the job, what to do next, and what kubectl
//! said. Its [`ErrorClass`] becomes the class of an R condition.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// What kind of error it is; each has an R condition class of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// An argument is wrong. Nothing was sent to the cluster.
    Input,
    /// What was asked for is not (or no longer) in the cluster.
    NotFound,
    /// The cluster knows the user, and does not allow this.
    Forbidden,
    /// A rule of the cluster, or the state of the namespace, forbids what is asked for; no right is missing.
    RuleRefused,
    /// The cluster does not accept the login.
    Unauthorized,
    /// A person has to log in, or the program that does it fails. Trying again starts that program again.
    LoginWanted,
    /// The API server refused an object as invalid.
    Invalid,
    /// Another object has the name that was to be used.
    NameTaken,
    /// The job has not ended, and what is asked for is done to ended ones alone.
    NotEnded,
    /// A quota of the namespace is used up.
    QuotaExceeded,
    /// The API server, or the node, cannot be reached or is overloaded.
    Unavailable,
    /// The node that holds a log does not give it; the cluster as a whole may answer.
    LogUnavailable,
    /// No answer came within the time limit.
    Timeout,
    /// There is no kubectl program.
    KubectlMissing,
    /// kubectl has no cluster to speak to, or its configuration cannot be read.
    NotConfigured,
    /// kubectl failed in another way.
    Kubectl,
    /// The user pressed Ctrl-C.
    Interrupted,
    /// abba itself is wrong.
    Internal,
}

impl ErrorClass {
    /// The last part of the R condition class, as in `abba_error_<name>`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::NotFound => "not_found",
            Self::Forbidden | Self::QuotaExceeded | Self::RuleRefused => "forbidden",
            Self::Unauthorized | Self::LoginWanted => "unauthorized",
            Self::Invalid | Self::NameTaken => "invalid",
            Self::NotEnded => "not_ended",
            Self::Unavailable | Self::LogUnavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::KubectlMissing => "kubectl_missing",
            Self::NotConfigured => "not_configured",
            Self::Kubectl => "kubectl",
            Self::Interrupted => "interrupted",
            Self::Internal => "internal",
        }
    }
}

/// What kubectl did, for the error's details: never data, only diagnosis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubectlReport {
    /// The request, as `GET /api/v1/...`.
    pub request: String,
    /// kubectl's exit status; `None` where it was ended by a signal, or never ran.
    pub exit_status: Option<i32>,
    /// What kubectl wrote to stderr, as text.
    pub stderr: String,
}

/// A call that the user should make next. Its words are put together where the user's language is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Asks for the status of the jobs that the error is about, before anything is repeated.
    AskStatus {
        /// The namespace in which they may be.
        namespace: String,
    },
}

/// An error that a user reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Which kind it is.
    pub class: ErrorClass,
    /// What happened: one sentence.
    pub message: String,
    /// What that means for the job: one sentence.
    pub consequence: Option<String>,
    /// What to do next: one sentence or two.
    pub advice: Option<String>,
    /// More about what happened, where it was not kubectl that said it.
    pub details: Option<String>,
    /// What kubectl did, where it ran.
    pub kubectl: Option<KubectlReport>,
    /// The jobs that the error is about.
    pub job_ids: Vec<String>,
    /// The call to make next, where there is one.
    pub hint: Option<Box<Hint>>,
}

/// The error as R gets it: all texts, `null` where there is none, and the ids.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = self.kubectl.as_ref();
        let filled = |text: &'_ String| (!text.is_empty()).then(|| text.clone());
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("class", self.class.name())?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("consequence", &self.consequence)?;
        map.serialize_entry("advice", &self.advice)?;
        map.serialize_entry("details", &self.details)?;
        map.serialize_entry("request", &report.and_then(|report| filled(&report.request)))?;
        map.serialize_entry("exit_status", &report.and_then(|report| report.exit_status))?;
        map.serialize_entry("stderr", &report.and_then(|report| filled(&report.stderr)))?;
        map.serialize_entry("job_id", &self.job_ids)?;
        if let Some(Hint::AskStatus { namespace }) = self.hint.as_deref() {
            map.serialize_entry("hint", "ask_status")?;
            map.serialize_entry("namespace", namespace)?;
        }
        map.end()
    }
}

impl Error {
    /// An error of a class, with what happened.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            consequence: None,
            advice: None,
            details: None,
            kubectl: None,
            job_ids: Vec::new(),
            hint: None,
        }
    }

    /// A wrong argument: `message` names the argument and the rule it broke.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Input, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Adds what it means for the job, unless that is known already.
    #[must_use]
    pub fn meaning(mut self, consequence: impl Into<String>) -> Self {
        self.consequence.get_or_insert_with(|| consequence.into());
        self
    }

    /// The same error, with words before what happened.
    #[must_use]
    pub fn after(self, words: impl fmt::Display) -> Self {
        let message = format!("{words} {}", self.message);
        Self { message, ..self }
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.class,
            ErrorClass::Unavailable | ErrorClass::LogUnavailable | ErrorClass::Timeout
        )
    }

    /// Adds the call to make next.
    #[must_use]
    pub fn hint(mut self, hint: Hint) -> Self {
        self.hint = Some(Box::new(hint));
        self
    }

    /// Adds the jobs it is about.
    #[must_use]
    pub fn about(mut self, job_ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.job_ids = job_ids.into_iter().map(Into::into).collect();
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for part in [&self.consequence, &self.advice].into_iter().flatten() {
            write!(f, " {part}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Something a user must know although the call succeeded. Becomes a classed R warning.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// The last part of the R condition class, as in `abba_warning_<name>`.
    pub class: &'static str,
    /// What is the matter, and what to do.
    pub message: String,
    /// What to do next.
    pub advice: String,
    /// The jobs it is about.
    #[serde(rename = "job_id")]
    pub job_ids: Vec<String>,
}

/// Names in an error message: the first five, quoted, and how many more there are.
pub fn name_some(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("\"{}\"", name.as_ref()))
        .collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A user's text in an error message: quoted, shortened, without control characters.
pub fn quote_shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    let shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    let length = text.chars().count();
    if length > SHOWN {
        format!("\"{shown}...\" ({length} characters)")
    } else {
        format!("\"{shown}\"")
    }
}
