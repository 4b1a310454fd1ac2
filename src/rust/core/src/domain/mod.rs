//! What can be computed without any input or output.

pub mod changed_job;
pub mod cluster_check;
pub mod container;
pub mod diagnosis;
pub mod dsse;
pub mod followed_log;
#[cfg(test)]
mod fuzz;
pub mod identity;
pub mod job_log;
pub mod job_name;
pub mod job_record;
pub mod job_status;
pub mod job_template;
pub mod manifest;
pub mod mounts;
pub mod order;
pub mod paths;
pub mod plan;
pub mod program;
pub mod quantity;
pub mod queue;
pub mod record;
pub mod restarts;
pub mod session;
pub mod submission;
pub mod unique_json;
pub mod usage;
pub mod verdict;
