# Texts for people that several verbs share.

# A call of one of the package's functions with these ids, as text to be copied. Many ids stand as the expression that
# the user gave for them; do.call() gives the ids themselves.
call_text <- function(
    name, ids, expression = NULL, namespace = getOption("abba.k8s.namespace"), everybody = NULL) {
  arguments <- if (length(ids) > 3L) {
    rlang::expr_name(if (is.language(expression)) expression else quote(job_id))
  } else {
    paste(deparse(ids, width.cutoff = 500L), collapse = "")
  }
  if (!identical(namespace, getOption("abba.k8s.namespace"))) {
    arguments <- paste0(arguments, ", namespace = ", deparse(namespace))
  }
  if (isTRUE(everybody)) {
    arguments <- paste0(arguments, ", everybody = TRUE")
  }
  paste0(name, "(", arguments, ")")
}

# A call of a verb on one line, to be copied. `arguments`: those that have not their defaults, in the verb's order; the
# first is told without its name.
verb_text <- function(verb, arguments, namespace = NULL) {
  if (!is.null(namespace)) {
    known <- names(formals(abba_submit_k8s_job_local))
    after <- names(arguments) %in% known[seq_along(known) > match("namespace", known)]
    arguments <- c(arguments[!after], list(namespace = namespace), arguments[after])
  }
  if (is_session_template(arguments$job_template)) arguments$job_template <- NULL
  # Lists out of JSON, and vectors in R.
  vectors <- intersect(names(arguments), vector_arguments())
  arguments[vectors] <- lapply(arguments[vectors], unlist)
  names(arguments)[[1L]] <- ""
  paste0(verb, "(", elements_text(arguments), ")")
}

# A value out of JSON as R code that makes it. R's own deparse() translates text into the encoding of the session, and
# lets a backtick in a name end that name.
value_text <- function(value) {
  if (is.null(value)) {
    return("NULL")
  }
  if (is.list(value)) {
    # Without names it was an empty array, which list() would not be.
    is_array <- length(value) == 0L && is.null(names(value))
    return(if (is_array) "character()" else paste0("list(", elements_text(value), ")"))
  }
  if (is.character(value) && (length(value) != 1L || !is.null(names(value)))) {
    return(paste0("c(", elements_text(value), ")"))
  }
  if (is.character(value)) {
    return(quoted_text(value))
  }
  if (is.numeric(value)) format(value, digits = 15, scientific = FALSE) else as.character(value)
}

elements_text <- function(elements) {
  names <- rlang::names2(elements)
  plain <- grepl("^[A-Za-z][A-Za-z0-9_.]*$", names) & names == make.names(names)
  quote <- !plain & names != ""
  names[quote] <- vapply(names[quote], quoted_text, "", quote = "`")
  values <- vapply(elements, value_text, "")
  paste0(ifelse(names == "", "", paste0(names, " = ")), values, collapse = ", ")
}

# Text as an R string: nothing in it can end the string or the line, or change the direction in which it is shown.
quoted_text <- function(text, quote = "\"") {
  points <- utf8ToInt(text)
  signs <- intToUtf8(points, multiple = TRUE)
  directs <- c(0x200EL, 0x200FL, 0x202AL:0x202EL, 0x2066L:0x2069L)
  hidden <- points < 0x20L | (points >= 0x7FL & points <= 0x9FL) | points %in% directs
  signs[hidden] <- sprintf("\\u{%x}", points[hidden])
  known <- match(points, utf8ToInt(paste0("\\\n\r\t", quote)))
  signs[!is.na(known)] <- c("\\\\", "\\n", "\\r", "\\t", paste0("\\", quote))[known[!is.na(known)]]
  paste(c(quote, signs, quote), collapse = "")
}
