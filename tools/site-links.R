# Checks the links of the site. Usage: Rscript tools/site-links.R FOLDER, in the project's root; fails on a broken one.
#
# Links inside the site have to lead to a page and a place of it that is there, links to the project's repository to a
# file of it, and nothing that a browser loads with a page may come from elsewhere. Other sites are not asked.
folder <- commandArgs(TRUE)[[1L]]
address <- desc::desc_get_urls()[[1L]]
in_repository <- paste0("^", address, "/(blob|tree)/(main|HEAD)/")
tracked <- system2("git", "ls-files", stdout = TRUE)
files <- list.files(folder, recursive = TRUE)
pages <- grep("[.]html$", files, value = TRUE)
read <- lapply(stats::setNames(nm = pages), function(page) xml2::read_html(file.path(folder, page)))
places <- lapply(read, function(page) xml2::xml_text(xml2::xml_find_all(page, "//@id | //a/@name")))

# One row a link: the element that has it, and where it leads.
links_of <- function(page) {
  found <- xml2::xml_find_all(read[[page]], "//*/@href | //*/@src | //*/@data-src | //object/@data")
  data.frame(
    page = rep(page, length(found)), element = xml2::xml_name(xml2::xml_parent(found)), target = xml2::xml_text(found)
  )
}
links <- do.call(rbind, lapply(pages, links_of))

fault <- function(page, element, target) {
  loaded <- element != "a"
  if (grepl("^(https?:)?//", target)) {
    file <- sub("/$", "", utils::URLdecode(sub("[?#].*", "", sub(in_repository, "", target))))
    if (loaded) {
      "is loaded from another site"
    } else if (grepl(in_repository, target) && !any(tracked == file | startsWith(tracked, paste0(file, "/")))) {
      "is no file of the repository"
    } else if (!grepl("^https://[a-z0-9-]+([.][a-z0-9-]+)+(/|$)", target)) {
      "is no address of another site"
    }
  } else if (grepl("^(mailto|data):", target)) {
    NULL
  } else {
    path <- utils::URLdecode(sub("[?#].*", "", target))
    place <- if (grepl("#", target)) utils::URLdecode(sub("^[^#]*#", "", target)) else ""
    file <- if (path == "") page else file.path(dirname(page), path)
    # "articles/../reference/x.html" is "reference/x.html", and a folder has its "index.html".
    file <- sub("^(\\./)+", "", file)
    while (grepl("[^/]+/\\.\\./", file)) file <- sub("[^/]+/\\.\\./", "", file)
    if (file %in% c(".", "") || grepl("/$", file)) file <- sub("^[.]?/", "", paste0(file, "/index.html"))
    if (!file %in% files) {
      "is not there"
    } else if (place != "" && !place %in% places[[file]]) {
      "has no such place"
    }
  }
}
faults <- Map(fault, links$page, links$element, links$target)
bad <- lengths(faults) > 0L
messages <- unique(sprintf("%s: %s %s", links$page[bad], links$target[bad], unlist(faults[bad])))

for (style in grep("[.](css|svg)$", files, value = TRUE)) {
  text <- paste(readLines(file.path(folder, style), warn = FALSE), collapse = "\n")
  if (grepl("(url\\(|@import|href=)[\"' ]*(https?:)?//", text)) {
    messages <- c(messages, paste0(style, ": loads something from another site"))
  }
}
for (page in pages) {
  without <- length(xml2::xml_find_all(read[[page]], "//img[not(@alt)]"))
  if (without > 0L) messages <- c(messages, sprintf("%s: %d pictures without a text in their place", page, without))
}

elsewhere <- unique(sub("#.*", "", grep("^https?:", links$target, value = TRUE)))
writeLines(sprintf(
  "%d pages, %d links: %d inside the site, and to %d addresses elsewhere", length(pages), nrow(links),
  sum(!grepl("^https?:", links$target)), length(elsewhere)
))
if (length(messages) > 0L) {
  writeLines(messages, stderr())
  quit(status = 1L)
}
