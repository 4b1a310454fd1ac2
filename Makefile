# Every task of the project. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# All that is made from the sources lies here; `make clean` removes it.
build := build
library := $(CURDIR)/$(build)/library
core := src/rust
windows := x86_64-pc-windows-gnu
cluster := tests/cluster/cluster

export CARGO_TARGET_DIR := $(CURDIR)/$(core)/target
# The package is tested as it was installed here, whatever other version the machine has.
use_library := R_LIBS=$(library)

.PHONY: help
help: ## Say what can be done
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name what; do \
	  printf '  make %-14s %s\n' "$$name" "$$what"; done

# --- For users ---------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(build)/installed ## Run the vignette's session on a real cluster (ABBA_DEMO_CONTEXT=... for one of your own)
	@tools/demo

.PHONY: install
install: $(build)/packages ## Install the package into R's own library
	R CMD INSTALL .

# --- Tests: three tiers, and what goes with them -----------------------------------------------------------------

.PHONY: test
test: $(build)/packages $(build)/cluster-test-packages $(build)/release-packages ## Do all set-up and run every test
	@tools/test $(build)/test

.PHONY: test-core
test-core: ## Tests of the Rust core: no R, no cluster
	cargo test --locked --manifest-path $(core)/Cargo.toml -p abba-core

.PHONY: fuzz
fuzz: ## Give each fuzz target of the Rust core a million broken inputs (INPUTS=..., SEED=... for those of another run)
	ABBA_FUZZ_INPUTS=$(INPUTS) ABBA_FUZZ_SEED=$(SEED) \
	  cargo test --locked --profile fuzz --manifest-path $(core)/Cargo.toml -p abba-core --lib fuzz::
fuzz: INPUTS := 1000000
fuzz: SEED := $(shell date +%s%N)

.PHONY: test-r
test-r: $(build)/installed ## Tests of the R package with a scripted kubectl: no cluster
	cd tests && $(use_library) NOT_CRAN=true Rscript testthat.R

.PHONY: test-cluster
test-cluster: test-cluster-itself test-on-cluster ## Tests on the real cluster, and of the cluster itself

.PHONY: test-cluster-itself
test-cluster-itself:
	tests/cluster/test-cluster.sh

.PHONY: test-on-cluster
test-on-cluster: $(build)/installed $(build)/cluster-test-packages
	$(use_library) Rscript tests/cluster/run-tests.R

.PHONY: check
check: $(build)/packages ## R CMD build and R CMD check, which runs the R tests
	tools/check $(build)

.PHONY: test-current
test-current: ## Build, check as CRAN does, and run the package on Debian 13 with its R and its Rust
	tools/test-current $(build)/current

# --- The test cluster --------------------------------------------------------------------------------------------

.PHONY: cluster
cluster: ## Start the test cluster if it is not up; the last line is its kubeconfig's path
	@$(cluster) up

.PHONY: cluster-down
cluster-down: ## End the test cluster and leave nothing of it behind
	@$(cluster) down

.PHONY: bench
bench: $(build)/installed ## Measure the package against plain kubectl on the test cluster
	$(use_library) bench/run $(BENCH)

.PHONY: bench-api
bench-api: $(build)/installed $(build)/cluster-test-packages ## Measure the abba server with 100 clients for two minutes
	KUBECONFIG="$$($(cluster) up | tail -n 1)" PATH="$$($(cluster) kubectl-path):$$PATH" \
	  $(use_library) Rscript bench/api-load.R $(BENCH)

.PHONY: bench-api-attack
bench-api-attack: $(build)/installed $(build)/cluster-test-packages ## Measure what a caller who does all at once costs another
	KUBECONFIG="$$($(cluster) up | tail -n 1)" PATH="$$($(cluster) kubectl-path):$$PATH" \
	  $(use_library) Rscript bench/api-attack.R $(BENCH)

# --- Working on the package --------------------------------------------------------------------------------------

.PHONY: document
document: $(build)/packages ## Make R/extendr-wrappers.R, NAMESPACE, man/ and the API's description from the sources
	tools/document $(library)

.PHONY: vignettes
vignettes: $(build)/installed ## Run the vignettes' sources on the test cluster and write their outputs
	tools/vignettes

.PHONY: demo-study
demo-study: $(build)/installed ## Run the study of vignette("study") on the test cluster and show the outputs
	tools/vignettes study $(build)/demo-study
	cat $(build)/demo-study/study.Rmd

.PHONY: fmt
fmt: ## Format the Rust code
	cargo fmt --manifest-path $(core)/Cargo.toml --all

.PHONY: lint
lint: $(build)/packages ## Check style and common mistakes: rustfmt, clippy, lintr, eslint, shellcheck
	cargo fmt --manifest-path $(core)/Cargo.toml --all --check
	cargo clippy --locked --manifest-path $(core)/Cargo.toml --workspace --all-targets -- -D warnings
	Rscript tools/lint.R
	Rscript tools/authors.R --check
	@# Debian's eslint finds its parts there, whichever node runs it.
	NODE_PATH=/usr/share/nodejs eslint --format unix --no-eslintrc --config tools/eslintrc.json inst/plumber/abba/page/*.js
	tools/lint-shell
	@# rustup alone has the standard library for it, and not every machine reaches its server.
	@if timeout 120 rustup target add $(windows); then $(MAKE) --no-print-directory lint-windows; \
	  else echo "NOT CHECKED: whether the Rust code compiles for Windows; rustup cannot get $(windows) here." >&2; fi

.PHONY: lint-windows
lint-windows: $(build)/packages ## clippy as for Windows: that the Rust code of both crates compiles there
	rustup target add $(windows)
	cargo clippy --locked --manifest-path $(core)/Cargo.toml --workspace --target $(windows) -- -D warnings

.PHONY: vendor
vendor: ## Put the crates into the source package, for machines without a crates registry
	tools/vendor

# --- Releases ----------------------------------------------------------------------------------------------------

.PHONY: site
site: $(build)/installed $(build)/release-packages ## Make the package's site in build/site, check its links, look at it: no network
	@$(use_library) Rscript tools/site.R $(build)/site > $(build)/site.log 2>&1 || \
	  { tail -n 40 $(build)/site.log >&2; exit 1; }
	Rscript tools/site-links.R $(build)/site
	Rscript tools/site-look.R $(build)/site $(build)/site-pictures

.PHONY: deny
deny: ## Check the crates' licences, versions and sources; advisories where the machine has a copy of them
	@tools/deny

.PHONY: advisories
advisories: ## Fetch the known vulnerabilities of Rust crates, and check the crates against them too
	@tools/deny --fetch

.PHONY: release
release: $(build)/release-packages ## Make and check the source package, bill of materials and site of the last commit
	@tools/release $(build)/release

.PHONY: clean
clean: ## Remove what was built from the sources (not the cached cluster)
	rm -rf $(build) abba_*.tar.gz
	./cleanup
	cargo clean --manifest-path $(core)/Cargo.toml

# --- What the targets above are made of --------------------------------------------------------------------------

# Debian packages that are missing. Asked anew each time a list changes; takes milliseconds when nothing is missing.
$(build)/packages: tools/debian-packages
	@mkdir -p $(build)
	@tools/install-debian-packages tools/debian-packages
	@touch $@

$(build)/cluster-test-packages: tests/cluster/debian-packages-testthat
	@mkdir -p $(build)
	@tools/install-debian-packages $<
	@touch $@

$(build)/release-packages: tools/debian-packages-release
	@mkdir -p $(build)
	@tools/install-debian-packages $<
	@touch $@

package_sources := DESCRIPTION NAMESPACE configure $(wildcard demo/* R/*.R man/*.Rd src/*.in src/*.c) \
  $(shell find inst -type f) \
  $(shell find $(core) -path $(core)/target -prune -o -name '*.rs' -print) \
  $(core)/Cargo.toml $(core)/Cargo.lock $(core)/core/Cargo.toml

# The package in the clone's own library.
$(build)/installed: $(package_sources) | $(build)/packages
	@echo "installing the package (a minute the first time)" >&2
	@mkdir -p $(library)
	@R CMD INSTALL --library=$(library) . > $(build)/install.log 2>&1 || { cat $(build)/install.log >&2; exit 1; }
	@touch $@
