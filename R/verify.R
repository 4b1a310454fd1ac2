#' Check saved logs, outputs and records
#'
#' Checks everything in a folder of [abba_save_k8s_batch_local()], without a cluster: whether
#' each log, output, program and input is still what its record says, and whether
#' each record is what was signed. One changed byte is found.
#'
#' A record that is not signed shows that files were changed by mistake; whoever wants to
#' deceive can change it, too. A good signature shows that the record is as the holder of the key has
#' made it. Neither shows that a log and its record were not removed together.
#'
#' @param folder The folder.
#' @param public_key The paths of files with public keys of ed25519 in PEM form (those that
#'   `openssl pkey -pubout` writes), of which each record needs a signature of one; `NULL` for none: signatures are not
#'   checked then.
#'
#' @return A data frame of class `abba_verification` with one row for each file and the
#'   columns, all character,
#'   * `name`: the name of the record, as `t_ae` of `t_ae.json`;
#'   * `role`: `"record"`, `"log"`, `"output"`, `"program"` or `"input"`;
#'   * `file`: the path, from `folder` or from the root;
#'   * `result`: `"ok"`, `"changed"`, `"missing"`, and for a record `"unsigned"`, `"not checked"` (it is signed,
#'     and no key was given), `"other key"` (it says that it was signed with another key) or `"signature wrong"`
#'     (it was changed after it was signed); a log without a record has a row where the record is `"missing"`;
#'   * `what`: the same in a sentence, and what the record says of the file besides, such as that the beginning of
#'     a log is missing.
#'
#'   Printing it shows how many files there are of each result, all that are not `"ok"`, and the logs, outputs and
#'   inputs of which the record says something besides.
#'
#' @section Errors:
#' A folder without records, and a key that cannot be read, are errors of class `abba_error_input`.
#'
#' @seealso [abba_log_check()] for what the logs say.
#' @export
#' @examples
#' \dontrun{
#' abba_verify("logs", public_key = "record-key.pub.pem")
#' }
abba_verify <- function(folder, public_key = getOption("abba.record.public.key")) {
  call <- rlang::current_env()
  folder <- absolute_folder(folder, "folder", call)
  rows <- core_value(core_verify(folder, I(public_key_paths(public_key, "public_key", call))), call)
  columns <- text_columns(rows, c("name", "role", "file", "result", "what"))
  structure(as.data.frame(columns), class = c("abba_verification", "data.frame"))
}

# The paths of files with public keys; none for NULL.
public_key_paths <- function(public_key, argument, call) {
  paths <- if (!is.null(public_key)) check_strings(public_key, argument = argument, call = call)
  as.character(vapply(paths, expand_path, "", call = call, argument = argument, USE.NAMES = FALSE))
}

#' @rdname abba_verify
#' @param x What `abba_verify()` gave back.
#' @param ... Not used.
#' @export
print.abba_verification <- function(x, ...) {
  if (!all(c("name", "role", "file", "result", "what") %in% names(x))) {
    return(NextMethod())
  }
  cat(
    counted(length(unique(x$name)), "record"), " with ", counted(sum(x$role != "record"), "file"), ": ",
    count_words(table(x$result)), "\n",
    sep = ""
  )
  # Then what the record says of a file besides, as that it was changed after its program had ended. Of a program in a
  # mount it says that always.
  is_noted <- x$role %in% c("log", "output", "input") & x$what != "It is as recorded."
  for (row in c(which(x$result != "ok"), which(x$result == "ok" & is_noted))) {
    cat(x$result[[row]], ": ", x$role[[row]], " ", x$file[[row]], ": ", x$what[[row]], "\n", sep = "")
  }
  invisible(x)
}
