test_that("the R wrappers are those that the Rust functions have", {
  routine <- getNativeSymbolInfo("wrap__make_abba_wrappers", getLoadedDLLs()[["abba"]])
  text <- .Call(routine, TRUE, "abba")
  generated <- new.env(parent = asNamespace("abba"))
  eval(parse(text = text, keep.source = FALSE), generated)

  in_package <- Filter(
    function(name) startsWith(name, "core_") && name != "core_value",
    ls(asNamespace("abba"))
  )
  expect_setequal(ls(generated), in_package)
  expect_gt(length(in_package), 0L)
  for (name in ls(generated)) {
    expect_identical(formals(asNamespace("abba")[[name]]), formals(generated[[name]]))
    expect_identical(
      deparse(body(asNamespace("abba")[[name]])),
      deparse(body(generated[[name]]))
    )
  }
})
