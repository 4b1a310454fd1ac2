//! Watched jobs, for R.

use std::collections::BTreeMap;

use abba_core::operations::WatchedJob;

use crate::background::Background;
use crate::status_list;
use crate::values::Value;

/// A watch under way: each of its news is all jobs as they stand.
pub type Watching = Background<Vec<WatchedJob>, ()>;

/// News as the list that `core_watch_next` gives to R.
pub fn news_list(jobs: Vec<WatchedJob>) -> Value {
    let mut counts: BTreeMap<&'static str, i32> = BTreeMap::new();
    for job in &jobs {
        *counts.entry(job.status.status.name()).or_default() += 1;
    }
    let ended = jobs.iter().all(|job| job.status.status.is_final());
    let obstacles = jobs.iter().filter_map(|job| {
        let obstacle = job.obstacle.as_ref()?;
        Some(Value::named([
            ("job_id", Value::Text(job.job_id.clone())),
            ("what", Value::Text(obstacle.what.clone())),
            ("details", Value::Text(obstacle.details.clone())),
            ("advice", Value::Text(obstacle.advice.clone())),
            ("is_stuck", Value::Flag(obstacle.is_stuck)),
        ]))
    });
    let obstacles = Value::Unnamed(obstacles.collect());
    Value::named([
        ("status", status_list(jobs.into_iter().map(|job| job.status).collect())),
        (
            "counts",
            Value::named(counts.into_iter().map(|(name, count)| (name, Value::Integer(count)))),
        ),
        ("obstacles", obstacles),
        ("ended", Value::Flag(ended)),
    ])
}
