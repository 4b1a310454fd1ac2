//! What a job takes up in the cluster.

use serde::{Deserialize, Serialize};

use crate::domain::quantity::parse_quantity;
use crate::kubernetes::labels;
use crate::kubernetes::objects::Job;

/// What a job takes up: of a node while it is open, and of the cluster's memory as long as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Its limit of processor cores, in thousandths.
    pub millicores: u64,
    /// Its limit of memory, in bytes.
    pub memory: u64,
    /// The bytes of the program that it carries, where it belongs to a caller of the abba API.
    pub program_bytes: u64,
}

impl Usage {
    /// That of a Job as it is sent, or as it is in the cluster.
    pub fn of_job(job: &Job) -> Self {
        let limits = job
            .spec
            .template
            .spec
            .containers
            .first()
            .map(|container| &container.resources.limits);
        let limit = |name: &str| {
            let amount = limits.and_then(|limits| parse_quantity(limits.get(name)?));
            amount.unwrap_or_default()
        };
        let program_bytes = job.metadata.annotations.get(labels::PROGRAM_BYTES);
        Self {
            // A float becomes a whole number by the nearest one that there is.
            millicores: (limit("cpu") * 1000.0).round() as u64,
            memory: limit("memory") as u64,
            program_bytes: program_bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_takes_up_its_limits_and_the_program_that_it_carries() {
        let of = |limits: serde_json::Value, annotations: serde_json::Value| {
            let job = json!({
                "metadata": {"annotations": annotations},
                "spec": {"template": {"spec": {"containers": [{"name": "program", "resources": {"limits": limits}}]}}},
            });
            Usage::of_job(&serde_json::from_value(job).unwrap())
        };
        assert_eq!(
            of(
                json!({"cpu": "500m", "memory": "1Gi"}),
                json!({"abba/program-bytes": "12"})
            ),
            Usage {
                millicores: 500,
                memory: 1 << 30,
                program_bytes: 12
            }
        );
        assert_eq!(of(json!({}), json!({"abba/program-bytes": "-1"})), Usage::default());
        assert_eq!(Usage::of_job(&Job::default()), Usage::default());
    }
}
