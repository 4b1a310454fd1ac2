//! Which of abba's jobs a call is about.

use crate::kubernetes::labels;

/// Proxies before an API server may refuse longer request lines (8 KiB is a common bound).
const LONGEST_QUERY: usize = 7000;

/// Which of abba's jobs.
#[derive(Clone, Copy, Debug)]
pub enum LabelSelector<'a> {
    /// Those with these ids.
    Jobs(&'a [&'a str]),
    /// Those of a batch.
    Batch(&'a str),
    /// Those of some batches.
    Batches(&'a [&'a str]),
    /// All, or those of one user (as [`labels::USER`] has it).
    User(Option<&'a str>),
}

impl LabelSelector<'_> {
    /// Label selectors that together select exactly these jobs.
    pub(super) fn selectors(&self) -> Vec<String> {
        match self {
            Self::Jobs(ids) => chunks_that_fit(ids)
                .into_iter()
                .map(|ids| format!("{},{} in ({})", ours(), labels::JOB_ID, ids.join(",")))
                .collect(),
            Self::User(None) => vec![ours()],
            Self::User(Some(user)) => vec![format!("{},{}={user}", ours(), labels::USER)],
            Self::Batch(batch_id) => vec![format!("{},{}={batch_id}", ours(), labels::BATCH_ID)],
            Self::Batches(batch_ids) => chunks_that_fit(batch_ids)
                .into_iter()
                .map(|batch_ids| format!("{},{} in ({})", ours(), labels::BATCH_ID, batch_ids.join(",")))
                .collect(),
        }
    }

    /// One label selector that selects these jobs, and all of abba's where the ids do not fit into one request.
    pub(super) fn one_selector(&self) -> String {
        match <[String; 1]>::try_from(self.selectors()) {
            Ok([selector]) => selector,
            Err(_) => ours(),
        }
    }
}

fn ours() -> String {
    format!("{}={}", labels::MANAGED_BY, labels::MANAGED_BY_ABBA)
}

/// The label that Kubernetes itself gives a pod of a Job, in every version: the Job's name. Nobody can keep it from a Job's
/// pods as they are made, since it is set after all rules.
///
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#job-name>
pub(super) const JOB_NAME: &str = "job-name";

/// Label selectors that together select the pods of these Jobs, whether or not those have abba's labels.
pub(super) fn by_job_name(job_ids: &[&str]) -> Vec<String> {
    let chunks = chunks_that_fit(job_ids).into_iter();
    chunks.map(|ids| format!("{JOB_NAME} in ({})", ids.join(","))).collect()
}

/// Splits ids so that each part fits into one request. An id needs itself and an encoded comma.
fn chunks_that_fit<'a, 'b>(job_ids: &'a [&'b str]) -> Vec<&'a [&'b str]> {
    let mut chunks = Vec::new();
    let mut begin = 0;
    let mut length = 0;
    for (index, id) in job_ids.iter().enumerate() {
        if length + id.len() + 3 > LONGEST_QUERY {
            chunks.push(&job_ids[begin..index]);
            begin = index;
            length = 0;
        }
        length += id.len() + 3;
    }
    if begin < job_ids.len() {
        chunks.push(&job_ids[begin..]);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_ids_are_split_and_none_is_lost() {
        let id = "x".repeat(63);
        let ids = vec![id.as_str(); 1000];
        let chunks = chunks_that_fit(&ids);
        assert_eq!(chunks.iter().map(|chunk| chunk.len()).sum::<usize>(), 1000);
        assert!(chunks.iter().all(|chunk| chunk.len() * 66 <= LONGEST_QUERY));
        assert_eq!(chunks_that_fit(&ids[..25]).len(), 1);
        assert!(chunks_that_fit(&[]).is_empty());
    }
}
