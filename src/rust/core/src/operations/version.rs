//! JobSelector Kubernetes it is.

use super::Connection;
use crate::error::Error;

/// The version of the API server, as `v1.34.1`. Errors: the cluster cannot be asked.
pub fn server_version(connection: &Connection<'_>) -> Result<String, Error> {
    let api = connection.api()?;
    api.server_version()
        .map(|version| version.git_version)
        .map_err(|failure| connection.error(&api, &failure, "ask for the version"))
}
