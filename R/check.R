# Checks of the R types of arguments. What their values mean is checked by the
# Rust core.

# One string, as UTF-8. `null` and `empty` say whether NULL and "" are allowed.
check_string <- function(x, null = FALSE, empty = FALSE,
                         argument = rlang::caller_arg(x),
                         call = rlang::caller_env()) {
  if (null && is.null(x)) {
    return(NULL)
  }
  if (!rlang::is_string(x)) {
    abort_input(argument, "must be a single string", x, call)
  }
  if (!empty && !nzchar(x)) {
    abort_input(argument, "must not be empty", x, call)
  }
  as_utf8(x, argument, call)
}

# A character vector without NA, as UTF-8.
check_strings <- function(x, argument = rlang::caller_arg(x),
                          call = rlang::caller_env()) {
  if (!is.character(x)) {
    abort_input(argument, "must be a character vector", x, call)
  }
  if (anyNA(x)) {
    abort_input(argument, "must not hold NA", x, call)
  }
  as_utf8(unname(x), argument, call)
}

# TRUE or FALSE.
check_flag <- function(x, argument = rlang::caller_arg(x),
                       call = rlang::caller_env()) {
  if (!rlang::is_bool(x)) {
    abort_input(argument, "must be TRUE or FALSE", x, call)
  }
  x
}

# One number, as a double.
check_number <- function(x, null = FALSE, argument = rlang::caller_arg(x),
                         call = rlang::caller_env()) {
  if (null && is.null(x)) {
    return(NULL)
  }
  if (!is.numeric(x) || length(x) != 1L || is.na(x) || is.factor(x)) {
    abort_input(argument, "must be a single number", x, call)
  }
  if (is.infinite(x)) {
    abort_input(argument, "must be finite", x, call)
  }
  as.double(x)
}

# One number or one string.
check_number_or_string <- function(x, argument = rlang::caller_arg(x),
                                   call = rlang::caller_env()) {
  if (is.character(x)) {
    check_string(x, argument = argument, call = call)
  } else {
    check_number(x, argument = argument, call = call)
  }
}

# Text as UTF-8, also within lists: the Rust core reads nothing else.
as_utf8 <- function(x, argument, call) {
  if (is.list(x)) {
    x[] <- lapply(x, as_utf8, argument = argument, call = call)
  }
  if (!is.null(names(x))) {
    names(x) <- as_utf8(names(x), argument, call)
  }
  if (!is.character(x)) {
    return(x)
  }
  marked <- Encoding(x) == "latin1" | !validUTF8(x)
  x[marked] <- enc2utf8(x[marked])
  # In a locale that is not UTF-8 a file's name has the right bytes and no mark.
  Encoding(x) <- "UTF-8"
  if (!all(validUTF8(x) | is.na(x))) {
    abort_input(argument, "must be text in a known encoding", NULL, call)
  }
  x
}

abort_input <- function(argument, rule, x, call) {
  message <- paste0("`", argument, "` ", rule)
  if (!is.null(x)) {
    message <- paste0(message, ", not ", describe(x))
  }
  rlang::abort(
    paste0(message, "."),
    class = error_classes("input"),
    call = call,
    use_cli_format = FALSE
  )
}

describe <- function(x) {
  if (length(x) == 1L && is.atomic(x)) {
    if (is.na(x)) "NA" else rlang::as_label(x)
  } else if (length(x) == 0L) {
    "empty"
  } else {
    paste0("a ", class(x)[[1L]], " of length ", length(x))
  }
}
