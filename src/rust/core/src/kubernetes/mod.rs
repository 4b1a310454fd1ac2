//! The few parts of the Kubernetes API that are used.

pub mod api;
pub mod cluster_objects;
pub mod labels;
mod list_reader;
pub mod objects;
pub mod queue_objects;
pub mod time;

pub use api::{Api, LabelSelector, LogQuestion, Resource};
