# `make run` and `make test` start from a fresh Debian 12 with a Rust toolchain: scripts/setup.sh installs the rest.

.DEFAULT_GOAL := help
.PHONY: help run build test test-guest test-nic lint bench bench-ab soak fuzz lab lab-down deb test-deb setup

# A toolchain from rustup that the shell does not know of yet.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

UNDERPASS = $(or $(CARGO_TARGET_DIR),target)/release/underpass
AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo)
FUZZ_SECONDS ?= 60
SOAK ?= 5m

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

run: build ## build, then run the demo: simulated hosts and servers, no root, no NIC
	$(UNDERPASS) demo

build: setup ## the release binary, target/release/underpass
	cargo build --release --package underpass

test: ## all tests, those with namespaces and real endpoints too
	scripts/setup.sh test
	cargo test --workspace

lint: ## formatting, clippy and shellcheck; a warning is an error
	scripts/setup.sh lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	shellcheck .ci/run scripts/*.sh

test-guest: ## PPTP, L2TP, L2TPv3 and WireGuard of a real kernel, in a virtual machine (no root; 20 minutes without KVM)
	scripts/setup.sh guest
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$(CURDIR)/scripts/guest.sh run" \
		cargo test --package underpass --test guest -- --ignored --nocapture --test-threads=1

test-nic: ## RSS by key on a NIC that QEMU emulates, in a virtual machine (no root)
	scripts/setup.sh guest
	GUEST_NICS=1 GUEST_CPUS=3 \
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$(CURDIR)/scripts/guest.sh run" \
		cargo test --package underpass --test nic -- --ignored --nocapture --test-threads=1

bench: build ## packets per second, against dpdk-testpmd in the same run
	scripts/setup.sh bench
	scripts/bench.sh

bench-ab: setup ## what lies here against revision REF (main), interleaved in one run
	scripts/bench-ab.sh $(or $(REF),main)

soak: build ## two workers and all kinds of traffic for SOAK (5m), every packet accounted for
	UNDERPASS_SOAK=$(SOAK) cargo test --release --package underpass --test demo soak

fuzz: setup ## each fuzz target for FUZZ_SECONDS (60)
	scripts/fuzz.sh $(FUZZ_SECONDS)

lab: build ## network namespaces with the router between them, to try things by hand
	$(AS_ROOT) scripts/lab.sh up --binary $(UNDERPASS)

lab-down: ## take the lab down
	$(AS_ROOT) scripts/lab.sh down

deb: ## the Debian package, target/debian/underpass_*.deb
	scripts/setup.sh deb
	cargo deb --quiet --package underpass

test-deb: deb ## install the package in a clean Debian and run it there (root, some minutes)
	scripts/setup.sh test-deb
	$(AS_ROOT) scripts/test-deb.sh "$$(ls -t $(or $(CARGO_TARGET_DIR),target)/debian/underpass_*.deb | head -n1)"

setup: ## install what building needs and is not there
	scripts/setup.sh
