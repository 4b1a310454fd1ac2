# The administrator's Job template: a part of a Job that is merged into each Job. What it may have is the core's to say
# (`domain/job_template.rs`).

# NULL for none, a list, or a string: the path of a file, or a name where an abba API has templates. What it says is
# read on the road, once for all programs.
check_template_argument <- function(x, argument = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (is.null(x) || is.list(x)) {
    return(if (!is.null(x)) as_utf8(x, argument, call))
  }
  if (!is.character(x) || length(x) != 1L) {
    abort_input(argument, "must be a part of a Job as a list, or the path of a YAML or JSON file with it", x, call)
  }
  check_string(x, argument = argument, call = call)
}

# Checks templates one after another, and the same one once.
template_reader <- function(call) {
  last <- NULL
  function(x) {
    if (is.null(last) || !identical(x, last$x)) {
      last <<- list(x = x, text = check_job_template(x, argument = "job_template", call = call))
    }
    last$text
  }
}

# NULL for none; else the template, checked, as JSON: a string. It is a list, or the path of a YAML or JSON file.
check_job_template <- function(x, argument = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (is.null(x)) {
    return(NULL)
  }
  template <- check_template_argument(x, argument, call)
  if (!is.list(template)) template <- read_job_template(template, argument, call)
  core_value(core_job_template(template, argument), call)
}

# Whether a template out of a job is the one that this session gives to its programs anyway.
is_session_template <- function(kept) {
  own <- getOption("abba.k8s.job.template")
  is.list(kept) && !is.null(own) && tryCatch(
    identical(check_job_template(with_empty_arrays(kept)), check_job_template(own)),
    error = function(error) FALSE
  )
}

# A list, or JSON as a string.
read_job_template <- function(path, argument, call) {
  refuse <- function(rule) {
    abort_input(argument, paste0("names the file ", describe(path), ", which ", rule), NULL, call)
  }
  ending <- tolower(sub(".*[.]", "", path))
  if (!ending %in% c("json", "yaml", "yml")) {
    refuse("must have a name that ends in .yaml, .yml or .json")
  }
  size <- file.size(path.expand(path))
  if (is.na(size) || dir.exists(path.expand(path))) {
    refuse("cannot be read")
  }
  # The core has the exact bound; comments do not count there.
  if (size > 1024^2) {
    refuse("is larger than 1 MiB")
  }
  text <- tryCatch(
    rawToChar(readBin(path.expand(path), raw(), size)),
    error = function(error) refuse(paste0("cannot be read: ", conditionMessage(error))),
    warning = function(warning) refuse(paste0("cannot be read: ", conditionMessage(warning)))
  )
  text <- as_utf8(text, argument, call)
  if (ending == "json") text else parse_yaml(text, refuse)
}

# A map of YAML as Kubernetes reads it.
parse_yaml <- function(text, refuse) {
  if (!requireNamespace("yaml", quietly = TRUE)) {
    refuse("is YAML, and the R package yaml is not installed: install it, or write the file as JSON")
  }
  lines <- strsplit(sub("^\ufeff", "", text), "\r?\n")[[1L]]
  says_nothing <- grepl("^\\s*(#.*|%.*|---\\s*)?$", lines)
  # After the last `---`, as programs that put documents together write it, may come nothing.
  last <- max(0L, which(grepl("^---\\s*(#.*)?$", lines)))
  lines <- lines[cumsum(!says_nothing) > 0L & (seq_along(lines) < last | any(!says_nothing[seq_along(lines) > last]))]
  if (any(grepl("^---(\\s|$)", lines[-1L]))) {
    refuse("holds several documents")
  }
  template <- tryCatch(
    yaml::yaml.load(
      paste(lines, collapse = "\n"),
      eval.expr = FALSE,
      # A map's own names win over those that `<<` brings.
      merge.precedence = "override",
      handlers = list(
        # A list of one stays a list, and a number that is larger than R's integers stays a number.
        seq = function(x) as.list(x),
        int = as.numeric,
        # Text for Kubernetes.
        `bool#yes` = function(x) if (tolower(x) == "y") x else TRUE,
        `bool#no` = function(x) if (tolower(x) == "n") x else FALSE,
        `bool#na` = identity
      )
    ),
    error = function(error) refuse(paste0("is no YAML: ", conditionMessage(error)))
  )
  if (!is.list(template) || is.null(names(template)) && length(template) > 0L) {
    refuse("holds no map of names and values")
  }
  template
}
