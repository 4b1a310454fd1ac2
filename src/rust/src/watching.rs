//! Watched jobs, for R.

use std::collections::BTreeMap;

use abba_core::domain::diagnosis::Diagnosis;
use abba_core::operations::WatchNews;

use crate::background::Background;
use crate::status_list;
use crate::values::Value;

/// A watch under way: each of its news is all jobs as they stand.
pub type Watching = Background<WatchNews, ()>;

/// News as the list that `core_watch_next` gives to R.
pub fn news_list(news: WatchNews) -> Value {
    let WatchNews { jobs, ended } = news;
    let mut counts: BTreeMap<&'static str, i32> = BTreeMap::new();
    for job in &jobs {
        *counts.entry(job.status.status.name()).or_default() += 1;
    }
    let mut obstacles: Vec<(&str, &Diagnosis)> = jobs
        .iter()
        .filter_map(|job| Some((job.job_id.as_str(), job.obstacle.as_ref()?)))
        .collect();
    // What does not heal first, then what Kubernetes has said something about.
    obstacles.sort_by_key(|(_, obstacle)| (!obstacle.is_stuck, obstacle.details.is_empty()));
    let obstacles = obstacles.into_iter().map(|(job_id, obstacle)| {
        Value::named([
            ("job_id", Value::Text(job_id.to_string())),
            ("what", Value::Text(obstacle.what.clone())),
            ("details", Value::Text(obstacle.details.clone())),
            ("advice", Value::Text(obstacle.advice.clone())),
            ("is_stuck", Value::Flag(obstacle.is_stuck)),
        ])
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
