#' The archive: jobs that the cluster has forgotten
#'
#' Kubernetes forgets a job some days after its end, with its log. An archive keeps both: a folder into which
#' [abba_run_controller_local()] or an abba server writes, for each job of its namespace that has ended, the log and the
#' record. With the option `abba.archive`, the path of that folder, [abba_list_k8s_jobs_local()],
#' [abba_get_k8s_job_status_local()], [abba_get_k8s_job_log_local()], [abba_explain_k8s_job_local()] and those for a
#' batch answer from there for the jobs that the cluster has no longer. So do [abba_watch_k8s_batch_local()], at once;
#' [abba_save_k8s_batch_local()]; `plot()` and `summary()`; and [abba_rerun_k8s_batch_local()], which reads the programs
#' of an archived batch where they were when it was submitted. `abba_archive()` lists what an archive has, without a
#' cluster.
#'
#' @section The folder: For each job there are two files, `NAMESPACE/YEAR-MONTH/JOB_ID.log`, the log byte for byte,
#' and the record beside it, `JOB_ID.json`, as of [abba_save_k8s_batch_local()]; the month is that of the
#' submission. So [abba_verify()] checks the jobs of a month: `abba_verify(file.path(archive, "statistics",
#' "2026-11"))`. What programs read and wrote is not in these records: a controller does not see it. With the option
#' `abba.record.key` in the controller they are signed.
#'
#' `index.sqlite` is an index of these files, for fast answers, and nothing is in it alone: where it is missing or
#' damaged, whoever archives makes it again from the files when it is started, and looks for files that are not in it
#' once a day. Whoever reads needs the right to read the folder, and no other. On NFS the index needs locks that
#' work (NFS 4 has them).
#'
#' @section On an abba server: A server with this option answers from the archive for its callers, by
#' [abba_list_jobs()] and the others, and on its page: everybody for their own jobs and operators for all, as while the
#' cluster had them. What was not submitted through an abba server belongs to operators alone.
#'
#' A server reads the archive, and no more, unless it has `options(abba.api.archive = TRUE)`: then it also saves what
#' has ended, by an R process of its own beside it, which ends with it. Several servers and controllers may do so at
#' once: each job is there once. Where the server may not write into the folder, or the disk is full, it says so, on
#' standard error and in its metrics, goes on answering from what is there, and tries again until it can. See
#' `vignette("api_setup")`.
#'
#' @section What is asked first: The cluster is the truth while it has a job, the archive after. A job is known by
#' the uid of its namespace, which no other namespace of any cluster has: so several controllers, also those of
#' other clusters, may write into one archive, and nobody gets the jobs of another one as those of their own. For
#' that you, and the controller, need the right to `get` the namespace itself. An archive that cannot be read is an
#' error of class `abba_error_archive`: an answer is never silently without what may be there.
#'
#' `verdict` is what whoever archived the job found in the log, with its option `abba.log.patterns`.
#'
#' @section What is not in it: Of a log of more than 10 MiB Kubernetes keeps the end alone, so whoever archives follows
#' the logs of jobs while they run. What was printed while nobody did, or faster than it could be read, may be
#' missing then, and of a log of more than 100 MiB the midst: warnings and the record say so. A job that is removed
#' within seconds after its end may be missed, and so is what ended and was forgotten while nobody archived.
#'
#' @param archive The folder of the archive.
#' @param namespace The jobs of the namespaces with this name, or `NULL` for all.
#' @inheritParams abba_list_k8s_jobs_local
#'
#' @return A data frame as of [abba_list_k8s_jobs_local()], the newest job first, with the further columns
#'   `namespace` and `namespace_uid`, `log` and `record` (the paths of the files), all character.
#'
#' @section Errors:
#' An archive that cannot be read is an error of class `abba_error_archive`.
#'
#' @export
#' @examples
#' \dontrun{
#' options(abba.archive = "/nfs/abba-archive")
#' abba_list_k8s_jobs_local(batch_id = "Study_1.tables")
#' jobs <- abba_archive(since = Sys.Date() - 365)
#' readLines(jobs$log[[1]])
#' }
abba_archive <- function(archive = getOption("abba.archive"), user = NULL, batch_id = NULL, status = NULL, since = NULL,
                         namespace = NULL) {
  call <- rlang::current_env()
  folder <- archive_folder(archive, "archive", call)
  if (is.null(folder)) {
    abort_input("archive", "must be the folder of an archive", NULL, call)
  }
  arguments <- list_arguments(user, batch_id, status, since, FALSE, call)
  arguments$namespace <- check_string(namespace, null = TRUE, call = call)
  rows <- ask_index(folder, archived_jobs_query(arguments, call), call)
  jobs <- archived_frame(rows, TRUE)
  jobs[c("namespace", "namespace_uid")] <- rows[c("namespace", "namespace_uid")]
  jobs$log <- file.path(folder, paste0(rows$path, ".log", recycle0 = TRUE))
  jobs$record <- file.path(folder, paste0(rows$path, ".json", recycle0 = TRUE))
  jobs
}

# ---- The index ----------------------------------------------------------------------------------------------------

# The columns of the index, see the struct `ArchivedJob`; times are seconds since 1970, and 0 is a submission whose
# time is not known.
index_texts <- c(
  "job_id", "batch_id", "program", "user", "owner", "namespace", "namespace_uid", "status", "reason", "verdict",
  "verdict_line", "pod_id", "path"
)
index_numbers <- c("submitted", "started", "finished", "exit_code", "uid", "is_final")
index_columns <- c(index_texts, index_numbers)

# For how many milliseconds it is waited for another one who writes into it.
index_patience <- 10000L

# The same for a server, whose callers are answered one after the other.
server_index_patience <- 1000L

# For how many seconds a server waits for an answer of its archive: a folder on a machine that is away gives none.
reader_patience <- 15

# The number of this form of the index. One of another form is made anew.
index_version <- 3L

# The jobs lie in the order in which they are listed: a list of them all is read in one go, without sorting. Each is
# there once, by its id and its namespace.
index_schema <- c(
  paste0(
    "CREATE TABLE jobs (", toString(c(paste(index_texts, "TEXT"), paste(index_numbers, "INTEGER"))),
    ", PRIMARY KEY (namespace_uid, submitted DESC, job_id), UNIQUE (job_id, namespace_uid)) WITHOUT ROWID"
  ),
  "CREATE INDEX batches ON jobs (batch_id, namespace_uid, submitted DESC, job_id)",
  "CREATE INDEX users ON jobs (namespace_uid, user, submitted DESC, job_id)",
  "CREATE INDEX owners ON jobs (namespace_uid, owner, submitted DESC, job_id)"
)

# The folder of an archive as an absolute path; NULL for none.
archive_folder <- function(archive, argument, call) {
  archive <- check_string(archive, null = TRUE, argument = argument, call = call)
  if (is.null(archive)) {
    return(NULL)
  }
  for (package in c("DBI", "RSQLite")) {
    if (!requireNamespace(package, quietly = TRUE)) {
      abort_input(argument, paste0("needs the package ", package, ": install.packages(\"RSQLite\")"), archive, call)
    }
  }
  absolute_folder(archive, argument, call)
}

index_file <- function(folder) native_path(file.path(folder, "index.sqlite"))

# A connection to the index, which waits for a while where another one writes. Unset, `synchronous` is SQLite's own,
# "full".
connect_index <- function(folder, flags, patience = index_patience) {
  index <- DBI::dbConnect(
    RSQLite::SQLite(), index_file(folder),
    flags = flags, synchronous = NULL, bigint = "numeric", loadable.extensions = FALSE
  )
  DBI::dbGetQuery(index, paste("PRAGMA busy_timeout =", patience))
  index
}

# What a query finds; `query`: a list of `sql` and `values`.
ask_index <- function(folder, query, call, patience = index_patience) {
  tryCatch(
    {
      if (!file.exists(index_file(folder))) stop("there is no index.sqlite in it")
      index <- connect_index(folder, RSQLite::SQLITE_RO, patience)
      on.exit(DBI::dbDisconnect(index))
      if (index_version_of(index) != index_version) stop("its index is being made, or is of another version of abba")
      DBI::dbGetQuery(index, query$sql, params = if (length(query$values) > 0L) query$values)
    },
    error = function(cnd) {
      abort_words(c(
        paste0("The archive cannot be read: ", folder, "."),
        x = paste0("What the cluster has forgotten is not known: ", conditionMessage(cnd), "."),
        i = "A controller, see abba_run_controller_local(), makes the index anew when it is started.",
        i = "With options(abba.archive = NULL) the cluster alone is asked."
      ), call, "archive")
    }
  )
}

# The columns of a list of jobs.
listed_columns <- c(
  "job_id", "batch_id", "program", "user", "status", "submitted", "started", "finished", "exit_code", "reason"
)
verdict_columns <- c("verdict", "verdict_line")

# The jobs of an archive, the newest first. arguments: as of list_arguments(), and `namespace` or `namespace_uid`; and
# what a server asks for, see server_query().
archived_jobs_query <- function(arguments, call, columns = index_columns) {
  if (!is.null(arguments$user)) arguments$user <- core_value(core_user_label(arguments$user), call)
  if (!is.null(arguments$since)) arguments$since <- as.numeric(from_kubernetes_time(arguments$since))
  exact <- intersect(
    c("user", "owner", "batch_id", "namespace", "namespace_uid"), names(Filter(Negate(is.null), arguments))
  )
  conditions <- c(
    if (length(exact) > 0L) paste(exact, "= ?"),
    if (!is.null(arguments$status)) paste0("status IN (", toString(rep("?", length(arguments$status))), ")"),
    if (!is.null(arguments$since)) "submitted >= ?",
    if (!is.null(arguments$owner_or_user)) "coalesce(owner, user) = ?"
  )
  list(
    sql = paste(
      "SELECT", toString(columns), "FROM jobs",
      # Left to itself, SQLite reads all jobs of the namespace in their order.
      if ("batch_id" %in% exact) "INDEXED BY batches",
      if (length(conditions) > 0L) paste("WHERE", paste(conditions, collapse = " AND ")),
      "ORDER BY submitted DESC, job_id",
      if (!is.null(arguments$most)) paste("LIMIT", arguments$most)
    ),
    values = unname(c(
      arguments[exact], as.list(arguments$status), as.list(arguments$since), as.list(arguments$owner_or_user)
    ))
  )
}

# Rows of the index as a data frame of jobs, see jobs_frame().
archived_frame <- function(rows, verdict) {
  columns <- as.list(rows[listed_columns])
  columns$submitted[columns$submitted == 0] <- NA
  times <- c("submitted", "started", "finished")
  columns[times] <- lapply(columns[times], function(seconds) .POSIXct(as.numeric(seconds), tz = "UTC"))
  columns$exit_code <- as.integer(columns$exit_code)
  columns[verdict_columns] <- if (verdict) rows[verdict_columns] else list(rep(NA_character_, nrow(rows)))
  structure(as.data.frame(columns), class = c("abba_jobs", "data.frame"))
}

# ---- Reading ------------------------------------------------------------------------------------------------------

# What answers for the jobs of a namespace that the cluster has no longer; NULL where there is no archive.
archive_reader <- function(settings, call) {
  folder <- archive_folder(getOption("abba.archive"), "abba.archive", call)
  if (is.null(folder)) {
    return(NULL)
  }
  here <- function() core_value(core_place(settings), call)$namespace_uid
  # The rows of jobs, those of other namespaces, too.
  rows_of <- function(job_ids) {
    ask_index(folder, list(sql = "SELECT * FROM jobs WHERE job_id = ?", values = list(unique(job_ids))), call)
  }
  as_archived <- function(rows) {
    if (nrow(rows) == 0L) {
      return(NULL)
    }
    rows$is_final <- as.logical(rows$is_final)
    list(folder = folder, jobs = I(lapply(seq_len(nrow(rows)), function(row) {
      Filter(function(value) !is.na(value), as.list(rows[row, ]))
    })))
  }
  # `found` of those of `job_ids` that are of this namespace, or the error that the cluster has none of them.
  found_of <- function(not_found, found) {
    rows <- rows_of(not_found$job_id)
    uid <- if (nrow(rows) > 0L) here()
    other <- rows[!rows$namespace_uid %in% uid, ]
    if (nrow(other) < nrow(rows)) {
      return(found(rows[rows$namespace_uid %in% uid, ]))
    }
    words <- if (nrow(other) == 0L) {
      "The archive does not have it, either."
    } else {
      paste0(
        "The archive has it as one of another namespace, \"", other$namespace[[1L]], "\" (", other$namespace_uid[[1L]],
        "): see abba_archive()."
      )
    }
    not_found$message <- paste0(not_found$message, "\n", rlang::format_error_bullets(c(i = words)))
    rlang::cnd_signal(not_found)
  }
  list(
    # The answer about jobs or a batch. answer: a function of what the archive has, for the core.
    beside_cluster = function(which, answer) {
      if (!is.null(which$batch_id)) {
        query <- archived_jobs_query(list(batch_id = which$batch_id, namespace_uid = here()), call)
        return(answer(as_archived(ask_index(folder, query, call))))
      }
      tryCatch(answer(NULL), abba_error_not_found = function(cnd) {
        found_of(cnd, function(rows) answer(as_archived(rows)))
      })
    },
    # The jobs of the cluster and those that it has no longer. known: a function that gives the ids of all jobs that
    # it has, whatever their state.
    list = function(arguments, jobs, known) {
      arguments$namespace_uid <- here()
      columns <- c(listed_columns, if (arguments$verdict) verdict_columns)
      rows <- ask_index(folder, archived_jobs_query(arguments, call, columns), call)
      rows <- rows[!rows$job_id %in% known(), ]
      if (nrow(rows) == 0L) {
        return(jobs)
      }
      archived <- archived_frame(rows, arguments$verdict)
      if (nrow(jobs) == 0L) {
        return(archived)
      }
      columns <- Map(c, jobs, archived)
      newest <- order(as.numeric(columns$submitted), columns$job_id, decreasing = c(TRUE, FALSE), method = "radix")
      structure(as.data.frame(lapply(columns, `[`, newest)), class = class(jobs))
    },
    explain = function(job_id, answer, read) {
      tryCatch(answer(), abba_error_not_found = function(cnd) {
        found_of(cnd, function(rows) {
          explanation <- read(core_value(core_archived_explanation(folder, rows$path), call))
          explanation$archive <- file.path(folder, paste0(rows$path, ".json"))
          explanation
        })
      })
    }
  )
}

# ---- A server that answers from an archive ------------------------------------------------------------------------

# How a server reads its archive: by an R process of its own, see the module `archive_reader` of the core.
server_archive <- function(folder) {
  if (!is.null(folder)) {
    program <- r_process("read-archive.R", list(abba.archive = folder))
    list(folder = folder, patience = reader_patience, program = program)
  }
}

# Answers the questions of that server, lines of a number and JSON, until it ends. An empty one asks whether this
# process is there. An answer is a line with the number of its question; whatever else R prints is none.
read_archive_for_server <- function() {
  questions <- file("stdin", "r")
  on.exit(close(questions))
  # What takes time before the first question is none of the folder's.
  for (package in c("DBI", "RSQLite", "jsonlite")) loadNamespace(package)
  while (length(line <- readLines(questions, 1L, encoding = "UTF-8")) > 0L) {
    number <- sub(" .*", "", line)
    question <- substring(line, nchar(number) + 2L)
    answer <- if (nzchar(question)) {
      rows <- tryCatch(server_rows(getOption("abba.archive"), jsonlite::parse_json(question)), error = conditionMessage)
      jsonlite::toJSON(rows, dataframe = "columns", na = "null", digits = NA)
    } else {
      ""
    }
    # The first one ends a line that something else has begun.
    writeLines(c("", enc2utf8(paste(number, answer))), stdout(), useBytes = TRUE)
    flush(stdout())
  }
}

# What answers a question, see the struct `Question`.
server_rows <- function(folder, question) {
  job_ids <- unlist(question$job_ids)
  rows <- if (is.null(job_ids)) {
    question$status <- unlist(question$status)
    ask_index(folder, archived_jobs_query(question, NULL), NULL, server_index_patience)
  } else {
    query <- list(sql = "SELECT * FROM jobs WHERE job_id = ?", values = list(unique(job_ids)))
    found <- ask_index(folder, query, NULL, server_index_patience)
    found[found$namespace_uid == question$namespace_uid, ]
  }
  rows$is_final <- as.logical(rows$is_final)
  rows
}

# ---- Writing ------------------------------------------------------------------------------------------------------

# How many jobs are read and written at a time: all their logs are held in memory.
archived_at_once <- 10L

# How many are looked for in the index at a time.
archived_looked_at <- 1000L

# How long after its end a job is archived: by then Kubernetes has noted what belongs to it.
archive_delay <- 3

# How long what cannot be archived, or not whole, waits until it is tried again.
archive_pauses <- c(5, 60)
archive_pause_not_whole <- 300

# For how long another one may keep the index before that is told.
archive_longest_busy <- 60

# How often it is looked for files that the index does not have.
archive_scan_interval <- 24 * 3600

# What archives jobs: a list of `folder`; `place`, see core_place(); ended(jobs), which takes what a controller tells;
# step(), which does some of what is due and gives back what is to be said; and is_due(), whether something is. NULL
# where there is no archive.
archiver <- function(archive, settings, call) {
  folder <- archive_folder(archive, "archive", call)
  if (is.null(folder)) {
    return(NULL)
  }
  if (!dir.exists(native_path(folder))) {
    # A folder that is made where a mount is missing would be lost.
    abort_input("archive", "must be a folder that is there", folder, call)
  }
  key <- path_option("abba.record.key", call)
  public_keys <- I(public_key_paths(getOption("abba.record.public.key"), "abba.record.public.key", call))
  # It does not begin without knowing of where its jobs are.
  place <- core_value(core_place(settings), call)
  # When each job that has ended is archived, in seconds; and what the cluster says of it.
  due <- numeric()
  state <- list()
  # Of which jobs it was told that the archive keeps what it has.
  told <- character()
  next_scan <- 0
  pause_until <- 0
  failures <- 0
  busy_since <- Inf
  count <- 0
  trouble <- NULL
  now <- function() as.numeric(Sys.time())

  failed <- function(words) {
    failures <<- failures + 1
    pause_until <<- now() + min(archive_pauses[[1L]] * 2^(failures - 1), archive_pauses[[2L]])
    trouble <<- paste("The archive cannot be written:", words, "It is tried again.")
    trouble
  }
  guarded <- function(code) {
    tryCatch(
      {
        value <- code
        busy_since <<- Inf
        value
      },
      abba_error = function(cnd) failed(gsub("\n", " ", conditionMessage(cnd))),
      # Another controller is at it, unless that takes long.
      archive_busy = function(cnd) {
        busy_since <<- min(busy_since, now())
        pause_until <<- now() + archive_pauses[[1L]]
        if (now() - busy_since > archive_longest_busy) failed(paste0(conditionMessage(cnd), "."))
      },
      archive_index = function(cnd) failed(paste0(conditionMessage(cnd), "."))
    )
  }
  has_job <- function(outcome) !is.null(outcome$job)
  forget <- function(ids) {
    due <<- due[!names(due) %in% ids]
    state[ids] <<- NULL
    told <<- setdiff(told, ids)
  }
  archive_due <- function() {
    ids <- utils::head(names(due)[due <= now()], archived_looked_at)
    if (length(ids) == 0L) {
      return(NULL)
    }
    done <- with_index(folder, call, function(index, found) {
      are_there <- in_index(index, ids, state[ids])
      others <- utils::head(ids[!are_there], archived_at_once)
      outcomes <- if (length(others) > 0L) {
        core_value(core_archive(I(others), folder, key, public_keys, place, settings), call)
      }
      put_into_index(index, lapply(Filter(has_job, outcomes), `[[`, "job"))
      list(there = ids[are_there], ids = others, outcomes = outcomes)
    })
    # Nothing was done where the index does not take it: all is due as before, then.
    forget(done$there)
    ids <- done$ids
    outcomes <- done$outcomes
    if (length(ids) == 0L) {
      return(NULL)
    }
    archived <- Filter(has_job, outcomes)
    count <<- count + length(archived)
    trouble <<- NULL
    # What the archive has stays, and that is told once. It is over where another job has the id or the rest of the log
    # is lost; else the cluster may give more later.
    is_taken <- vapply(outcomes, function(outcome) identical(outcome$error$class, "invalid"), NA)
    is_kept <- vapply(outcomes, `[[`, NA, "is_kept")
    is_new <- (is_taken | is_kept) & !ids %in% told
    taken <- vapply(outcomes[is_new], function(outcome) outcome$error$message, "")
    told <<- union(told, ids[is_kept])
    outcomes[is_taken] <- list(list())
    outcomes[is_kept] <- list(list(job = list(is_final = FALSE)))
    errors <- Filter(Negate(is.null), lapply(outcomes, `[[`, "error"))
    is_done <- vapply(outcomes, function(outcome) is.null(outcome$error) && !isFALSE(outcome$job$is_final), NA)
    forget(ids[is_done])
    due[ids[!is_done]] <<- now() + archive_pause_not_whole
    if (length(errors) > 0L) {
      # One job that cannot be archived does not keep the others from it.
      is_failed <- vapply(outcomes, function(outcome) !is.null(outcome$error), NA)
      due[ids[is_failed]] <<- now() + archive_pauses[[2L]]
      if (all(is_failed)) return(failed(paste(unlist(errors[[1L]][c("message", "stderr")]), collapse = " ")))
      what <- counted(length(errors), "job")
      trouble <<- paste0(what, " not archived yet: ", errors[[1L]]$message, " It is tried again.")
      return(trouble)
    }
    failures <<- 0
    if (length(archived) > 0L) taken <- c(paste0("Archived: ", counted(length(archived), "job")), taken)
    if (length(taken) > 0L) paste(taken, collapse = ". ")
  }
  list(
    folder = folder,
    place = place,
    ended = function(jobs) {
      # All at once: one by one, R copies what it has for each of the 100,000 that a start may tell.
      names(jobs) <- vapply(jobs, `[[`, "", 1L)
      jobs <- jobs[!duplicated(names(jobs), fromLast = TRUE)]
      others <- !names(due) %in% names(jobs)
      due <<- c(due[others], rlang::rep_named(names(jobs), now() + archive_delay))
      state <<- c(state[!names(state) %in% names(jobs)], jobs)
    },
    is_due = function() now() >= pause_until && any(due <= now()),
    # How many jobs were archived, how many are to be, and what does not work.
    stand = function() list(archived = count, due = length(due), trouble = trouble),
    step = function() {
      if (now() < pause_until) {
        return(NULL)
      }
      if (now() >= next_scan) {
        return(guarded({
          said <- scan_archive(folder, call)
          next_scan <<- now() + archive_scan_interval
          trouble <<- NULL
          said
        }))
      }
      guarded(archive_due())
    }
  )
}

# Archives for a server, in a process of its own that the server has started, see inst/programs/archive.R. About once
# a second it tells the server how it stands; when nobody reads that, as the server is gone, R ends with an error.
archive_for_server <- function() {
  call <- rlang::current_env()
  settings <- settings(getOption("abba.k8s.namespace"), call)
  archiver <- archiver(getOption("abba.archive"), settings, call)
  trouble <- NULL
  tell <- function(news) {
    trouble <<- switch(news$event, follows = NULL, trouble = controller_words(news), trouble)
  }
  beat <- function(words) {
    stand <- archiver$stand()
    stand["trouble"] <- list(stand$trouble %||% trouble)
    cat(jsonlite::toJSON(stand, auto_unbox = TRUE, null = "null"), "\n", sep = "")
    flush(stdout())
  }
  control(NULL, archiver, settings, call, tell, beat)
}

# Has a server archive, if it is to.
have_archived <- function() {
  if (the_server$archives) {
    core_value(core_gateway_archive(the_server$gateway, r_process("archive.R", list())))
  }
  invisible()
}

# How an R process is started that does one of the package's programs with the libraries and options of a server, and
# these options. It reads no profile, which may print what nobody expects; what those of the server have set is here.
r_process <- function(program, more) {
  options <- options()
  # Those of the server itself have keys and secrets that are of no use there.
  is_meant <- startsWith(names(options), "abba.") & !startsWith(names(options), "abba.api.")
  given <- list(libraries = .libPaths(), options = utils::modifyList(options[is_meant], more))
  file <- system.file("programs", program, package = "abba", mustWork = TRUE)
  list(
    program = file.path(R.home("bin"), "R"),
    arguments = I(c(
      "-s", "--no-restore", "--no-save", "--no-site-file", "--no-init-file", paste0("--file=", file)
    )),
    environment = list(ABBA_SERVER = rawToChar(serialize(given, NULL, ascii = TRUE)))
  )
}

# Does something with the index, as one change of it, while nobody else changes the archive. An index that is missing or
# damaged is made first, in the same change: nobody reads one that lacks what the files have. look: whether it is looked
# for files that the index lacks. change: a function of the index and of how many such files there were.
with_index <- function(folder, call, change, look = FALSE) {
  tryCatch(change_index(folder, call, change, look), archive_damaged = function(cnd) {
    tryCatch(set_index_aside(folder), error = index_failed)
    change_index(folder, call, change, look)
  })
}

change_index <- function(folder, call, change, look) {
  index <- tryCatch(open_index(folder), error = index_failed)
  on.exit(DBI::dbDisconnect(index))
  tryCatch(DBI::dbExecute(index, "BEGIN IMMEDIATE"), error = index_failed)
  is_done <- FALSE
  on.exit(if (!is_done) try(DBI::dbExecute(index, "ROLLBACK"), silent = TRUE), add = TRUE, after = FALSE)
  # Another one may have made it meanwhile.
  is_new <- tryCatch(index_version_of(index), error = index_failed) == 0L
  if (is_new) tryCatch(for (sql in index_schema) DBI::dbExecute(index, sql), error = index_failed)
  found <- if (is_new || look) add_missing(index, folder, call)
  if (is_new) tryCatch(DBI::dbExecute(index, paste("PRAGMA user_version =", index_version)), error = index_failed)
  value <- change(index, found)
  tryCatch(DBI::dbExecute(index, "COMMIT"), error = index_failed)
  is_done <- TRUE
  value
}

# Raises an error of SQLite as one that an archiver knows.
index_failed <- function(cnd) {
  words <- conditionMessage(cnd)
  class <- if (grepl("locked|busy", words)) "archive_busy" else "archive_index"
  if (grepl(words_of_damage, words)) class <- c("archive_damaged", class)
  rlang::abort(paste0("index.sqlite: ", words), class = class, use_cli_format = FALSE)
}

# A connection to an index of this version, or to one that is empty.
open_index <- function(folder) {
  index <- connect_index(folder, RSQLite::SQLITE_RWC)
  if (is_usable(index)) {
    return(index)
  }
  DBI::dbDisconnect(index)
  set_index_aside(folder)
  connect_index(folder, RSQLite::SQLITE_RWC)
}

# Sets an index aside that is damaged, or of another version of abba. All that is in it is in the files, too. One
# archiver alone does it, so that none takes the new one of another for the damaged one. A lock of SQLite is gone with
# whoever had it.
set_index_aside <- function(folder) {
  lock <- DBI::dbConnect(RSQLite::SQLite(), native_path(file.path(folder, ".index.lock")), synchronous = NULL)
  on.exit(DBI::dbDisconnect(lock))
  DBI::dbExecute(lock, "BEGIN EXCLUSIVE")
  index <- connect_index(folder, RSQLite::SQLITE_RWC)
  is_whole <- is_usable(index) && is_sound(index)
  DBI::dbDisconnect(index)
  if (is_whole) {
    return(invisible())
  }
  file.rename(index_file(folder), paste0(index_file(folder), ".old"))
  unlink(paste0(index_file(folder), "-journal"))
}

words_of_damage <- "not a database|malformed"

# Whether SQLite finds no damage anywhere in an index.
is_sound <- function(index) {
  tryCatch(
    identical(DBI::dbGetQuery(index, "PRAGMA quick_check(1)")[[1L]], "ok"),
    error = function(cnd) !grepl(words_of_damage, conditionMessage(cnd))
  )
}

# Whether an index is of this version or empty. Where SQLite cannot say it, the connection is closed.
is_usable <- function(index) {
  tryCatch(
    index_version_of(index) %in% c(0L, index_version),
    error = function(cnd) {
      if (grepl(words_of_damage, conditionMessage(cnd))) {
        return(FALSE)
      }
      DBI::dbDisconnect(index)
      stop(cnd)
    }
  )
}

index_version_of <- function(index) as.integer(DBI::dbGetQuery(index, "PRAGMA user_version")[[1L]])

# Whether jobs are in the index as the cluster has them, and nothing of them is missing. states: for each a list of
# its id, that of its pod, which is the job's where there is none, and its state.
in_index <- function(index, job_ids, states) {
  of <- function(place) vapply(states, `[[`, "", place, USE.NAMES = FALSE)
  known <- tryCatch(
    DBI::dbGetQuery(
      index, "SELECT job_id FROM jobs WHERE job_id = ? AND is_final AND status = ? AND (pod_id = ? OR job_id = ?)",
      params = unname(list(job_ids, of(3L), of(2L), of(2L)))
    ),
    error = index_failed
  )
  job_ids %in% known$job_id
}

index_update <- paste0(
  "UPDATE SET ", toString(paste0(index_columns, " = excluded.", index_columns)),
  " WHERE namespace_uid = excluded.namespace_uid AND submitted = excluded.submitted AND owner IS excluded.owner"
)

# Puts jobs into the index. otherwise: what is done where one is there. Another job of the same id takes no place of it.
put_into_index <- function(index, jobs, otherwise = index_update) {
  if (length(jobs) == 0L) {
    return(0)
  }
  numbers <- sapply(index_numbers, function(name) {
    vapply(jobs, function(job) as.numeric(job[[name]] %||% NA), 1)
  }, simplify = FALSE)
  numbers$submitted[is.na(numbers$submitted)] <- 0
  columns <- c(text_columns(jobs, index_texts), numbers)[index_columns]
  sql <- paste0(
    "INSERT INTO jobs (", toString(index_columns), ") VALUES (", toString(rep("?", length(index_columns))),
    ") ON CONFLICT DO ", otherwise
  )
  tryCatch(DBI::dbExecute(index, sql, params = unname(columns)), error = index_failed)
}

# Puts those records into the index that it does not have, and gives back how many: an archiver was ended between them
# and the index, they were brought there, or the index is new.
add_missing <- function(index, folder, call) {
  paths <- list.files(native_path(folder), "[.]json$", recursive = TRUE)
  paths <- sub("[.]json$", "", as_utf8(paths, "archive", call))
  known <- tryCatch(DBI::dbGetQuery(index, "SELECT path FROM jobs")$path, error = index_failed)
  new <- setdiff(paths, known)
  added <- lapply(split(new, ceiling(seq_along(new) / 1000)), function(some) {
    jobs <- core_value(core_archived_jobs(folder, I(some)), call)
    put_into_index(index, Filter(Negate(is.null), jobs), "NOTHING")
  })
  sum(as.integer(unlist(added)))
}

# Looks for records that the index does not have, and removes what an archiver left that was ended while it wrote.
scan_archive <- function(folder, call) {
  unfinished <- list.files(
    native_path(folder), "^[.]abba-.*[.]tmp$",
    recursive = TRUE, all.files = TRUE, full.names = TRUE
  )
  is_old <- difftime(Sys.time(), file.mtime(unfinished), units = "days") > 1
  unlink(unfinished[is_old %in% TRUE])
  # Those of jobs that were forgotten before they could be archived.
  parts <- list.files(native_path(file.path(folder, ".part")), recursive = TRUE, full.names = TRUE)
  is_old <- difftime(Sys.time(), file.mtime(parts), units = "days") > 60
  unlink(parts[is_old %in% TRUE])
  count <- with_index(folder, call, function(index, found) found, look = TRUE)
  if (count > 0L) paste0("The index has got what it did not have: ", counted(count, "job"))
}
