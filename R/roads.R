# The roads to a cluster: the kubectl of this machine, and an abba API.
#
# A road is a list of functions that take checked arguments and give back what the verbs return, the same on both
# roads, or raise the error of the verb that the user called. Verbs are written over a road, and know nothing of which
# it is:
#
# verb(name): the exported function for a verb such as "get_job_status"; call_text(name, ids, expression,
#   everybody): a call of it as text to be copied, see call_text().
# is_api: whether it is that over an abba API.
# page(view, id): the address of the page that shows a "job" or a "batch", or NULL.
# status(which), log(which), cancel(which), remove(which): of jobs, or of a batch, see these_jobs() and this_batch().
# list(arguments): the data frame of jobs; explain(job_id).
# jobs_of_batch(which): the data frame of the jobs of a batch; records(job_ids): for each job a list of `record`, its
#   record as JSON, a string, and `log`, strings, each in base64, which join to the log.
# watch(which): a list of next_update(seconds, last), which waits for news after the last ones, at most those seconds:
#   a list of `status`, `counts`, `obstacles` and `ended`, or NULL; and end().
# follow(job_id, from_now): a list of next_lines(), which waits a moment for a list of `lines`, and `log` once the
#   program has ended, or NULL; and end().
# prepare(submissions): reads and checks programs with their arguments, and sends nothing: a list of `ready`, one for
#   each program, and `parts`, the numbers of those that are sent together. submit(ready): sends a part; gives back for
#   each program a list of `error`, a record or NULL, and maybe `submitted`, a time; or raises an error, whose field
#   `may_exist` is FALSE where nothing arrived. submit_one(ready): sends one program, or raises its error; FALSE where
#   it was interrupted, and has said what that means for the job.
# kept_submissions(batch_id, states): what jobs were submitted with: for each a list of `job_id`, `ending` (cancelled
#   and not yet ended), `open_predecessors` (jobs that it runs after, that have not ended, and that are not in these
#   states themselves), `in_place` (it ran in a mount), `file_path`, `read_from` (where that was), and `arguments`, by
#   name.
#
# A program is submitted under its job's id, which is made before anything is sent. So any programs can be submitted
# again, in any grouping, and each runs once.
road_kubectl <- function(namespace, call = rlang::caller_env()) {
  verb <- function(name) paste0("abba_", sub("_(job|batch)", "_k8s_\\1", name), "_local")
  c(
    list(
      call = call,
      verb = verb,
      call_text = function(name, ids, expression = NULL, everybody = NULL) {
        call_text(verb(name), ids, expression, namespace)
      },
      is_api = FALSE,
      page = function(view, id) NULL
    ),
    kubectl_functions(settings(namespace, call), call, verb("submit_job"))
  )
}

road_api <- function(call = rlang::caller_env()) {
  address <- client_address(call)
  verb <- function(name) paste0("abba_", name)
  c(
    list(
      call = call,
      verb = verb,
      call_text = function(name, ids, expression = NULL, everybody = NULL) {
        call_text(verb(name), ids, expression, everybody = everybody)
      },
      is_api = TRUE,
      page = function(view, id) paste0(address, "/#", view, "=", utils::URLencode(id, reserved = TRUE))
    ),
    api_functions(call, verb("submit_job"))
  )
}
