//! The options and arguments that every call has, and the way to the cluster that they name.

use std::time::Duration;

use abba_core::domain::job_name;
use abba_core::domain::verdict::{LogPatternSettings, LogPatterns};
use abba_core::operations::{self, Connection, JobSelector};
#[cfg(unix)]
use abba_core::transport::Session;
use abba_core::transport::{Kubectl, Patience, Transport};
use abba_core::Error;
use serde::Deserialize;

use crate::{interrupt, login_words};

/// Whether the user wants to stop. Asked about twenty times a second in R's own thread, which shows meanwhile what a login
/// helper says.
pub fn is_pending() -> bool {
    login_words::show();
    interrupt::is_pending()
}

/// The list that `settings()` in `R/settings.R` makes, which has checked it.
#[derive(Clone, Debug, Deserialize)]
pub struct Settings {
    /// kubectl's path, or its name on PATH.
    pub kubectl: String,
    /// Seconds that a call may take: more than 0, at most a million.
    pub request_timeout: f64,
    /// The namespace, if any was given.
    pub namespace: Option<String>,
    /// Whether one kubectl is kept for the R session.
    pub session: bool,
    /// What is looked for in logs.
    #[serde(default)]
    pub log_patterns: LogPatternSettings,
}

impl Settings {
    /// How long each call may take. `stopped` says whether the user wants to stop.
    pub fn patience<'a>(&self, stopped: &'a dyn Fn() -> bool) -> Patience<'a> {
        let limit = Duration::try_from_secs_f64(self.request_timeout).unwrap_or(Duration::MAX);
        Patience::new(limit, stopped)
    }

    /// Finds kubectl and does something with it, until Ctrl-C. The namespace is checked first, as all arguments are.
    pub fn connected<T>(&self, operation: impl FnOnce(&Connection<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.connected_until(&is_pending, operation)
    }

    /// The same with another way to know that the user wants to stop, for a thread that is not R's.
    pub fn connected_until<T>(
        &self,
        stopped: &dyn Fn() -> bool,
        operation: impl FnOnce(&Connection<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.check_namespace()?;
        let log_patterns = LogPatterns::new(self.log_patterns.clone())?;
        let patience = self.patience(stopped);
        let kubectl = Kubectl::find(&self.kubectl).map_err(|failure| operations::error_of(&failure, &patience))?;
        operation(&Connection {
            transport: self.transport(kubectl).as_ref(),
            namespace: self.namespace.as_deref(),
            patience,
            log_patterns: &log_patterns,
            owner: None,
        })
    }

    /// One kubectl kept for the session, or one a call where the user wants that or there are no unix sockets.
    pub fn transport(&self, kubectl: Kubectl) -> Box<dyn Transport> {
        #[cfg(unix)]
        {
            if self.session {
                return Box::new(Session::new(kubectl, crate::descriptors::with_nothing_inherited));
            }
            // So that the option, set and unset, also gives up a login that is kept too long.
            Session::end();
        }
        Box::new(kubectl)
    }

    /// Checks the namespace, if one was given.
    pub fn check_namespace(&self) -> Result<(), Error> {
        self.namespace.as_deref().map_or(Ok(()), job_name::check_namespace)
    }

    /// Checks which jobs are meant, and the namespace, before kubectl is looked for.
    pub fn check_for(&self, which: &JobSelector) -> Result<(), Error> {
        operations::check(which)?;
        self.check_namespace()
    }

    /// Does something with jobs.
    pub fn connected_for<T>(
        &self,
        which: &JobSelector,
        operation: impl FnOnce(&Connection<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.check_for(which)?;
        self.connected(operation)
    }
}
