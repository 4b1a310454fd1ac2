//! Whether kubectl fits the cluster.

use super::Finding;

/// The name of the check.
pub const CHECK: &str = "kubectl version";

/// Compares the versions of kubectl and of the API server, each as `v1.34.4` (with whatever a vendor adds to it).
///
/// kubectl is supported within one minor version of the server, older or newer:
/// <https://kubernetes.io/releases/version-skew-policy/#kubectl>
pub fn compare(kubectl: &str, server: &str) -> Finding {
    let (Some(ours), Some(theirs)) = (parse(kubectl), parse(server)) else {
        return Finding::not_known(
            CHECK,
            format!("kubectl is {kubectl}, the cluster {server}: they cannot be compared."),
        );
    };
    if ours.0 == theirs.0 && ours.1.abs_diff(theirs.1) <= 1 {
        return Finding::ok(CHECK, format!("kubectl {kubectl} fits the cluster's {server}."));
    }
    let age = if ours < theirs { "old" } else { "new" };
    Finding::problem(
        CHECK,
        format!("kubectl {kubectl} is too {age} for the cluster's {server}; some calls may fail."),
        format!(
            "Install kubectl {}.{}; one minor version older or newer is supported, too.",
            theirs.0, theirs.1
        ),
    )
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
    Some((major, minor[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster_check::Outcome;

    #[test]
    fn one_minor_version_is_near_enough() {
        for (kubectl, server, outcome) in [
            ("v1.34.4", "v1.34.0", Outcome::Ok),
            ("v1.33.9", "v1.34.0", Outcome::Ok),
            ("v1.35.0", "v1.34.0-eks-5d4a308", Outcome::Ok),
            ("v1.32.0", "v1.34.4", Outcome::Problem),
            ("v1.36.0", "v1.34.4", Outcome::Problem),
            ("v1.9.0", "v1.34.4", Outcome::Problem),
            ("v1.27.3+k3s1", "v1.28+", Outcome::Ok),
            ("v2.34.0", "v1.34.4", Outcome::Problem),
            ("unknown", "v1.34.4", Outcome::NotKnown),
            ("", "", Outcome::NotKnown),
        ] {
            assert_eq!(compare(kubectl, server).outcome, outcome, "{kubectl} {server}");
        }
        let finding = compare("v1.20.1", "v1.34.4");
        assert!(finding.what.contains("too old") && finding.advice.contains("Install kubectl 1.34;"));
        assert!(compare("v1.40.1", "v1.34.4").what.contains("too new"));
    }
}
