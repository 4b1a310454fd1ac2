# An OpenAPI document, and whether a value is as its schema says. Also sourced by the cluster tier.

read_openapi <- function() {
  jsonlite::read_json(system.file("plumber/abba/openapi.json", package = "abba", mustWork = TRUE))
}

# What a reference of the document stands for; other objects as they are.
resolve <- function(object, document) {
  reference <- object[["$ref"]]
  if (is.null(reference)) {
    return(object)
  }
  found <- document
  for (name in strsplit(sub("^#/", "", reference), "/", fixed = TRUE)[[1L]]) {
    found <- found[[name]]
  }
  if (is.null(found)) stop("the document has no ", reference)
  found
}

# What is wrong with a value (JSON as `simplifyVector = FALSE` reads it), as lines; NULL where it is as the schema says.
# It knows the words that this document uses, and refuses others.
misfits <- function(value, schema, document, at = "$") {
  schema <- resolve(schema, document)
  known <- c(
    "type", "nullable", "properties", "required", "additionalProperties", "items", "enum", "oneOf", "format", "pattern",
    "minItems", "maxItems", "maxLength", "description", "default", "example"
  )
  if (!all(names(schema) %in% known)) stop("a schema has ", paste(setdiff(names(schema), known), collapse = ", "))
  wrong <- function(what) paste0(at, " ", what)
  if (is.null(value)) {
    return(if (!isTRUE(schema$nullable)) wrong("is null"))
  }
  if (!is.null(schema$oneOf)) {
    fits <- vapply(schema$oneOf, function(one) length(misfits(value, one, document, at)) == 0L, NA)
    return(if (sum(fits) != 1L) wrong("is not one of the schemas"))
  }
  if (!is.null(schema$type) && !is_of_type(value, schema$type)) {
    return(wrong(paste("is no", schema$type)))
  }
  if (!is.null(schema$enum) && !value %in% unlist(schema$enum)) {
    return(wrong(paste("is", value)))
  }
  if (identical(schema$format, "date-time") && !grepl("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$", value)) {
    return(wrong(paste("is", value)))
  }
  switch(schema$type %||% "any",
    array = unlist(lapply(seq_along(value), function(i) {
      misfits(value[[i]], schema$items, document, paste0(at, "[", i, "]"))
    })),
    object = c(
      unlist(lapply(setdiff(unlist(schema$required), names(value)), function(name) wrong(paste("has no", name)))),
      if (isFALSE(schema$additionalProperties)) {
        unlist(lapply(setdiff(names(value), names(schema$properties)), function(name) wrong(paste("has a", name))))
      },
      unlist(lapply(intersect(names(value), names(schema$properties)), function(name) {
        misfits(value[[name]], schema$properties[[name]], document, paste0(at, ".", name))
      }))
    )
  )
}

`%||%` <- function(x, y) if (is.null(x)) y else x

is_of_type <- function(value, type) {
  is_whole <- function(x) is.numeric(x) && length(x) == 1L && x == round(x)
  switch(type,
    string = is.character(value) && length(value) == 1L,
    boolean = is.logical(value) && length(value) == 1L,
    integer = is_whole(value),
    number = is.numeric(value) && length(value) == 1L,
    array = is.list(value) && is.null(names(value)),
    object = is.list(value) && (length(value) == 0L || !is.null(names(value))),
    stop("a schema has the type ", type)
  )
}

# The schema and the examples of a request or a response of the document.
content_of <- function(object, document) {
  content <- resolve(object, document)$content
  json <- content[["application/json"]]
  list(schema = json$schema, examples = lapply(json$examples, `[[`, "value"))
}

# Each operation of the document: its path, its method, and what stands there.
operations_of <- function(document) {
  unlist(recursive = FALSE, lapply(names(document$paths), function(path) {
    lapply(names(document$paths[[path]]), function(method) {
      c(list(path = path, method = method), document$paths[[path]][[method]])
    })
  }))
}
