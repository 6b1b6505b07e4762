# make up     a running Lablet with sample labs: nothing but Rust needed
# make test   everything that must hold before a change is merged
#
# make setup  what both need, from the system's package manager, where it is missing
# make lint   format, clippy, dependencies
# make bench  every figure beside its yardstick, some 15 minutes; make bench ROWS="http append" some of them
# make bench-advice  whether advice keeps its promise, on fleets of simulated labs; make bench-advice ARGS=--compare
# make site   the documents as a site, in target/site
# make clean  what was built; the data of `make up` in .lablet stays

SHELL := /bin/sh
CARGO ?= cargo
# More arguments for `lablet up` and `bench-advice`, e.g. make up ARGS="--http 0.0.0.0:8080"
ARGS ?=
# Rows of `make bench`, and --quick.
ROWS ?=

# A larger set of real labs, where it lies beside the repository: some tests use it.
ifndef LABLET_TOPOLOGIES
ifneq ($(wildcard ../shared/topologies),)
export LABLET_TOPOLOGIES := $(abspath ../shared/topologies)
endif
endif

# Where the build puts executables, also when the environment or a configuration file moves it.
TARGET = $$($(CARGO) metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# Tests at a time: half as many again as cores, as most of them wait for servers more than they compute.
TEST_THREADS ?= $$(( $$(nproc 2>/dev/null || echo 2) * 3 / 2 ))

# The steps of `test` are in order also under make -j.
.NOTPARALLEL:

.PHONY: up test lint bench bench-advice site clean setup setup-test

# The development profile: sooner built than a release, and quick enough for a demonstration.
up: setup
	$(CARGO) build --locked -p cli --bin lablet
	@exec "$(TARGET)/debug/lablet" up --demo $(ARGS)

setup:
	@scripts/setup.sh up

setup-test:
	@scripts/setup.sh test

# The compiler run that builds the tests finds the lints, too, so that all dependencies are compiled once and not twice.
CHECKED = RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__

test: setup-test
	$(CARGO) fmt --all --check
	@scripts/check-dependencies.sh
	$(CHECKED) $(CARGO) test --workspace --locked --no-run
	$(CHECKED) RUST_TEST_THREADS=$(TEST_THREADS) "$(TARGET)/debug/with-servers" scripts/run-tests.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@scripts/check-dependencies.sh

bench: setup
	$(CARGO) run --release --locked -p bench -- $(ROWS)

bench-advice:
	$(CARGO) run --release --locked -p bench-advice -- $(ARGS)

site: setup-test
	@scripts/site.sh

clean:
	$(CARGO) clean
