//! Whom a program runs as.

/// A user account, with what Kubernetes needs to run a container as that user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account's name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's first group.
    pub gid: u32,
    /// The numbers of the user's other groups.
    pub groups: Vec<u32>,
    /// The home folder, absolute.
    pub home: String,
}
