library(testthat)
library(abba)

test_check("abba")
