print(2 + 2)
warning("This is a test warning")
cat("La-di-da\n")
