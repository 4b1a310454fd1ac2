# Looks at pages of the site in headless Chromium: in light and dark colours, on a screen and on a phone.
#
# Usage: Rscript tools/site-look.R SITE FOLDER, in the project's root. FOLDER gets the pictures.
# It fails where a page is wider than its window, where text has less contrast than WCAG 2 asks for (level AA), where
# dark colours are as the light ones, and where a page cannot load something.
site <- normalizePath(commandArgs(TRUE)[[1L]])
folder <- commandArgs(TRUE)[[2L]]
for (helper in c("cluster", "api-server", "browser")) source(paste0("tests/cluster/testthat/helper-", helper, ".R"))
unlink(folder, recursive = TRUE)
dir.create(folder, recursive = TRUE)

pages <- c(
  "index.html", "reference/index.html", "reference/abba_submit_k8s_job_local.html", "articles/batches.html",
  "INSTALL.html", "news/index.html"
)

# Texts of less contrast with what is behind them than https://www.w3.org/TR/WCAG22/#contrast-minimum asks for.
faint <- "
  const parse = (colour) => (colour.match(/[0-9.]+/g) ?? [0, 0, 0, 0]).map(Number)
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((part, i) => part * a + below[i] * (1 - a))
  const behind = (element) => {
    if (!element) return [255, 255, 255]
    const colour = parse(getComputedStyle(element).backgroundColor)
    return colour[3] === undefined ? colour : over(colour, behind(element.parentElement))
  }
  const luminance = (colour) => {
    const linear = (x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4
    const [r, g, b] = colour.map((part) => linear(part / 255))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const found = new Map()
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement
    const words = texts.currentNode.data.trim()
    if (words === '' || !element.checkVisibility({ visibilityProperty: true })) continue
    const style = getComputedStyle(element)
    const ground = behind(element)
    const [low, high] = [luminance(over(parse(style.color), ground)), luminance(ground)].sort((a, b) => a - b)
    const contrast = (high + 0.05) / (low + 0.05)
    const size = parseFloat(style.fontSize)
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700)
    const kind = element.localName + '.' + element.className
    if (contrast < (isLarge ? 3 : 4.5) && !found.has(kind)) {
      found.set(kind, `${kind}: ${contrast.toFixed(1)}: ${style.color} on ${ground}: ${words.slice(0, 40)}`)
    }
  }
  return [...found.values()]
"
# What sticks out of the window to the right, but for what scrolls by itself. The window is as wide as its scroll bar
# leaves.
wide <- "
  const root = document.documentElement
  if (root.scrollWidth <= root.clientWidth) return []
  const scrolls = (one) => one !== null && (getComputedStyle(one).overflowX !== 'visible' || scrolls(one.parentElement))
  return [...document.body.querySelectorAll('*')]
    .filter((one) => one.getBoundingClientRect().right > root.clientWidth && !scrolls(one))
    .map((one) => one.localName + '.' + one.className + ': ' + one.textContent.slice(0, 40))
"

look <- function() {
  browser <- local_browser()
  faults <- character()
  for (page in pages) {
    colours <- character()
    for (width in c(1280L, 320L)) {
      for (scheme in c("light", "dark")) {
        browser$size(width, 800L)
        browser$media(scheme)
        browser$go(paste0("file://", site, "/", page))
        colours[[scheme]] <- browser$script("return getComputedStyle(document.body).backgroundColor")
        here <- paste(page, scheme, width)
        told <- function(what, lines) if (length(lines) > 0L) paste0(here, ": ", what, ": ", unlist(lines))
        faults <- c(
          faults, told("wider than the window", browser$script(wide)), told("little contrast", browser$script(faint)),
          told("the browser says", browser$log())
        )
        browser$screenshot(file.path(folder, paste0(gsub("[/ ]", "-", here), ".png")))
      }
    }
    if (colours[["light"]] == colours[["dark"]]) faults <- c(faults, paste0(page, ": dark is as light"))
  }
  faults
}

faults <- look()
if (length(faults) > 0L) {
  writeLines(faults, stderr())
  quit(status = 1L)
}
cat(length(pages), "pages, light and dark, 1280 and 320 px wide:", folder, "\n")
