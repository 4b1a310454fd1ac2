/* R looks for R_init_abba() when it loads the package; the Rust library calls its own R_init_abba_extendr(). */
void R_init_abba_extendr(void *dll);

void R_init_abba(void *dll) { R_init_abba_extendr(dll); }
