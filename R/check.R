# Checks of the R types of arguments. What their values mean is checked by the
# Rust core.

# One string, as UTF-8. `null` and `empty` say whether NULL and "" are allowed.
check_string <- function(x, null = FALSE, empty = FALSE,
                         argument = rlang::caller_arg(x),
                         call = rlang::caller_env()) {
  if (null && is.null(x)) {
    return(NULL)
  }
  # Base R's own here and below: loading rlang takes longer than the first call to the cluster, and only errors need it.
  if (!is.character(x) || length(x) != 1L || is.na(x)) {
    abort_input(argument, "must be a single string", x, call)
  }
  if (!empty && !nzchar(x)) {
    abort_input(argument, "must not be empty", NULL, call)
  }
  # Names and classes (`I()`, glue) would mean something else to the core.
  as_utf8(as.vector(unname(x)), argument, call)
}

# A character vector without NA, as UTF-8.
check_strings <- function(x, argument = rlang::caller_arg(x),
                          call = rlang::caller_env()) {
  if (!is.character(x)) {
    abort_input(argument, "must be a character vector", x, call)
  }
  if (anyNA(x)) {
    abort_input(argument, "must not hold NA", NULL, call)
  }
  as_utf8(unname(x), argument, call)
}

# TRUE or FALSE.
check_flag <- function(x, argument = rlang::caller_arg(x),
                       call = rlang::caller_env()) {
  if (!is.logical(x) || length(x) != 1L || is.na(x)) {
    abort_input(argument, "must be TRUE or FALSE", x, call)
  }
  as.vector(unname(x))
}

# One of `choices`, or the vector of all of them, which means the first: so a verb can
# have them as its default. With `multiple` some of them.
check_choice <- function(x, choices, multiple = FALSE, argument = rlang::caller_arg(x),
                         call = rlang::caller_env()) {
  if (!multiple && identical(x, choices)) {
    return(choices[[1L]])
  }
  legal <- is.character(x) && length(x) >= 1L && (multiple || length(x) == 1L) && all(x %in% choices)
  if (!legal) {
    wrong <- if (multiple && is.character(x)) x[!x %in% choices] else x
    rule <- paste0(
      "must be ", if (multiple) "out of " else "one of ",
      paste0("\"", choices, "\"", collapse = ", ")
    )
    abort_input(argument, rule, if (length(wrong) > 1L && multiple) wrong[[1L]] else wrong, call)
  }
  as.vector(unname(x))
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

# No Kubernetes object is nested deeper; the Rust core has the same bound.
deepest_list <- 50L

# Text as UTF-8, also within lists: the Rust core reads nothing else.
as_utf8 <- function(x, argument, call, depth = 0L) {
  if (depth > deepest_list) {
    abort_input(argument, "must not be nested deeper than 50 levels", NULL, call)
  }
  if (!is.list(x) && !is.atomic(x)) {
    return(x)
  }
  if (is.list(x)) {
    x[] <- lapply(x, as_utf8, argument = argument, call = call, depth = depth + 1L)
  }
  if (!is.null(names(x))) {
    if (anyNA(names(x))) {
      abort_input(argument, "must not have NA as a name", NULL, call)
    }
    names(x) <- as_utf8(names(x), argument, call)
  }
  if (!is.character(x)) {
    return(x)
  }
  marked <- Encoding(x) == "latin1"
  x[marked] <- enc2utf8(x[marked])
  # What is neither marked nor UTF-8 is in the locale's encoding, or in none.
  native <- !is.na(x) & !validUTF8(x)
  x[native] <- iconv(x[native], "", "UTF-8")
  if (anyNA(x[native])) {
    rule <- "must be text in a known encoding"
    if (argument %in% c("file_path", "file_paths")) {
      # No Job could tell which program it ran, and no rerun would find it.
      rule <- paste0(
        rule, ": a name in Latin-1, say, is none in UTF-8, and Kubernetes cannot hold it. ",
        "Rename the file or its folder, or copy the program to another place"
      )
    }
    abort_input(argument, rule, NULL, call)
  }
  # In a locale that is not UTF-8 a file's name has the right bytes and no mark.
  Encoding(x) <- "UTF-8"
  x
}

# A path with `~` replaced, as UTF-8. The rest of it never comes near R's own path functions: in a session that is not
# UTF-8, as those of cron, they cannot hold all names.
expand_path <- function(path, call, argument = "file_path") {
  if (!grepl("^~", path, useBytes = TRUE)) {
    return(path)
  }
  home <- sub("/.*", "", path, useBytes = TRUE)
  rest <- sub("^[^/]*", "", path, useBytes = TRUE)
  as_utf8(paste0(as_utf8(path.expand(home), argument, call), as_utf8(rest, argument, call)), argument, call)
}

# The same path for R's own functions of files, which know the session's encoding alone. One that this cannot hold is
# given to them as its bytes.
native_path <- function(path) {
  native <- iconv(path, "UTF-8", "")
  if (is.na(native)) {
    native <- path
    Encoding(native) <- "unknown"
  }
  native
}

abort_input <- function(argument, rule, x, call) {
  message <- paste0("`", argument, "` ", rule)
  if (!is.null(x)) {
    message <- paste0(message, ", not ", describe(x))
  }
  abort_words(paste0(message, "."), call)
}

describe <- function(x) {
  if (length(x) == 0L) {
    return("empty")
  }
  if (length(x) > 1L || !is.atomic(x)) {
    return(paste0("a ", class(x)[[1L]], " of length ", length(x)))
  }
  if (is.na(x)) {
    return(if (is.double(x) && is.nan(x)) "NaN" else "NA")
  }
  if (!is.character(x)) {
    return(rlang::as_label(x))
  }
  if (Encoding(x) == "bytes" || !validEnc(x)) {
    return("text in an unknown encoding")
  }
  longest <- 80L
  if (nchar(x) <= longest) {
    encodeString(x, quote = "\"")
  } else {
    shown <- encodeString(paste0(substr(x, 1L, longest), "..."), quote = "\"")
    paste0(shown, " (", nchar(x), " characters)")
  }
}
