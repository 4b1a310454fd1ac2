#' @section Options:
#' | Option | Meaning | Unset |
#' |---|---|---|
#' | `abba.default.container` | The container image that programs run in. | none: give `container` |
#' | `abba.r.command` | The R in the container that runs programs (see argument `r_command`). | `R` |
#' | `abba.k8s.job.template` | What the cluster needs for programs (see argument `job_template`). | nothing |
#' | `abba.k8s.namespace` | The namespace of your jobs. | kubectl's (see argument `namespace`) |
#' | `abba.k8s.queue` | The queue that programs go through (see argument `queue`). | none |
#' | `abba.k8s.keep.days` | For how many days jobs are kept after their end (see argument `keep_days`). | 7 |
#' | `abba.k8s.disk.limit` | Disk that a program may fill (see argument `disk_limit`). | what the cluster says |
#' | `abba.home.nfs.ip.address` | The server that holds the home folders. | none |
#' | `abba.k8s.request.timeout` | Seconds that a request to the cluster may take. | 30 |
#' | `abba.permitted.containers` | Images that [abba_check_k8s_local()] takes as permitted. | all |
#' | `abba.k8s.session` | Whether one kubectl is kept for the session. A call with `FALSE` ends the kept one. | `TRUE` |
#' | `abba.kubectl` | The kubectl program: a path, or a name on the `PATH`. | `kubectl` |
#' | `abba.log.patterns` | Errors and warnings in a log: see [abba_get_k8s_job_log_local()]. | R's own |
#' | `abba.archive` | The folder of an archive of jobs: see [abba_archive()]. | none |
#' | `abba.record.key` | The private key that records are signed with: see [abba_save_k8s_batch_local()]. | none |
#' | `abba.record.public.key` | The public keys that [abba_verify()] checks with; saving again believes them. | none |
#' | `abba.api.address` | Where the abba API is. | the environment variable `ABBA_API_ADDRESS` |
#' | `abba.api.key` | Your key for it. | the environment variable `ABBA_API_KEY` |
#' | `abba.api.request.timeout` | Seconds that a call of the abba API may take, with all its repetitions. | 60 |
#'
#' The kept kubectl is started anew when kubectl's configuration, the files that it
#' names, or an environment variable changes, and when its login is refused. What a
#' login helper (`aws`, `gcloud`, ...) decides by itself cannot be seen: after you
#' have changed the account there, make one call with `abba.k8s.session = FALSE`.
#'
#' @section Conditions:
#' Every error has the class `abba_error`. Wrong arguments have the class
#' `abba_error_input`, and nothing has been sent to the cluster then. All that
#' concerns the cluster has the class `abba_error_kubectl` and one of
#' `abba_error_not_found`, `abba_error_forbidden`, `abba_error_unauthorized`,
#' `abba_error_invalid`, `abba_error_not_ended`, `abba_error_unavailable`,
#' `abba_error_timeout`, `abba_error_kubectl_missing`, `abba_error_not_configured`,
#' where one of them fits. Such a condition has the fields `request` (the request to the cluster),
#' `exit_status` (kubectl's), `stderr` (kubectl's own words) and `job_id` (the
#' jobs that it is about); each is `NULL` or empty where there is none.
#'
#' `abba_error_archive` (an archive cannot be read),
#' `abba_error_wait_timeout` (the jobs have not ended in time),
#' `abba_error_stuck` (a job cannot start) and `abba_error_batch_incomplete` (some
#' programs could not be submitted) are raised by the functions that say so.
#'
#' Every warning has the class `abba_warning`: `abba_warning_log_incomplete` says
#' that part of a log is missing, `abba_warning_stuck` that a job cannot start,
#' `abba_warning_started_again` that a program was started more than once,
#' `abba_warning_log_verdict` that the log of a job that is Succeeded tells of an error,
#' `abba_warning_verdict_missing` that not all logs of a list were read,
#' `abba_warning_not_saved` that jobs of a batch have not ended and were not saved,
#' `abba_warning_log_unavailable` that the log of one of several jobs cannot be read,
#' `abba_warning_cluster_rule` that a rule of the cluster has changed a job as it was submitted,
#' `abba_warning_archive_cut` that an archive has more jobs than an answer tells.
#' @importFrom rlang %||%
#' @useDynLib abba, .registration = TRUE
#' @importFrom rlang abort
#' @keywords internal
"_PACKAGE"

# Why one function of rlang's is imported, though all are called as rlang::f():
# so that rlang is loaded with the package. That takes as long as kubectl takes
# to start, and would otherwise be a part of the first call.
