# make run     a root shell in a container, in one command (ROOTFS=DIR or TAR, CMD="ps -e"; SUDO=sudo to be root outside, too)
# make test    installs what the tests need and runs all of them
# make test-rootless   the black-box tests once more, all of them, as an ordinary user, with subordinate ids and without
# make soak    what takes minutes: 300 kills at random, 50 clients at once, 200 MB of output, 509 containers (MYCONTAINER_SOAK_SEED=N repeats one)
# make bench   times whole runs against a floor of bare system calls and against the peers, and those under other conditions, pulls, networks
# make build   the static binary; `make install` puts it into /usr/local/bin

CARGO ?= cargo
# Only what needs root is run through sudo, and sudo asks.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
TARGET := $(shell scripts/static-target)
# musl's target is static by itself.
STATIC := $(if $(findstring musl,$(TARGET)),,RUSTFLAGS="-C target-feature=+crt-static")
TOOL := target/$(TARGET)/release/mycontainer

ROOTFS ?= $(if $(wildcard rootfs),./rootfs,host)
CMD ?=

.PHONY: build run test test-some-rootless test-rootless test-vm test-vm-groups test-vm-others setup setup-and-build soak lint lint-and-compile bench install

build:
	@$(STATIC) $(CARGO) build -q --release --target $(TARGET) -p mycontainer

run: build
	@flags=-i; [ -t 0 ] && [ -t 1 ] && flags=-it; $(if $(filter command line,$(origin SUDO)),$(SUDO)) $(TOOL) run --rm $$flags $(ROOTFS) $(CMD)

install: build
	$(SUDO) install -m 755 $(TOOL) /usr/local/bin/mycontainer
	$(SUDO) ln -sf mycontainer /usr/local/bin/mycontainer-runtime
	$(SUDO) $(TOOL) generate man /usr/local/share/man/man1 >/dev/null
	$(SUDO) install -D -m 644 contrib/mycontainer-boot.service /usr/local/lib/systemd/system/mycontainer-boot.service

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy -q --workspace --all-targets --all-features -- -D warnings

# The programs under test run as root; they are built as who you are.
RUNNER := CARGO_TARGET_$(shell echo $(HOST) | tr a-z- A-Z_)_RUNNER
AS_ROOT := $(if $(SUDO),$(RUNNER)="sudo -E")

# The fault tests need a binary that can be made to fail: the one that all tests are of can. (By --workspace, here and below:
# with a package of it alone cargo would build everything once more, with other features.)
TESTS := $(CARGO) test -q --workspace --features mycontainer/fault-injection
export MYCONTAINER_FAULT_BIN := $(CURDIR)/target/debug/mycontainer
# What is counted of it is counted of the one that people get.
export MYCONTAINER_RELEASE := $(CURDIR)/$(TOOL)

# Two at a time, where one waits for the network, or for a linker that has one thread. They share no directory of cargo's.
test:
	$(MAKE) --no-print-directory -j2 lint-and-compile setup-and-build
	$(AS_ROOT) $(TESTS) --no-fail-fast
	$(MAKE) --no-print-directory test-some-rootless
	$(MAKE) --no-print-directory test-vm

lint-and-compile:
	$(MAKE) --no-print-directory lint
	$(TESTS) --no-run

setup-and-build:
	$(MAKE) --no-print-directory setup
	$(MAKE) --no-print-directory build

# The tool as a real user, made for it: tests/rootless/run. Here what a day needs, in two minutes.
AS_USER := $(if $(SUDO),sudo -E) $(CURDIR)/tests/rootless/run
A_DAYS := run exec start create_rm logs ps attach inspect kill_stop volume images import save_load push pull publish
test-some-rootless:
	$(RUNNER)="$(AS_USER) -q" $(TESTS) --no-fail-fast --test verbs --test images --test networks -- $(A_DAYS:%=%::)
	$(RUNNER)="$(AS_USER) -q -1" $(TESTS) --no-fail-fast --test verbs --test images -- images:: logs:: volume::

# All of it, and whether what is listed in tests/rootless/reasons fails indeed.
BLACK_BOX := verbs images networks runtime with_callers faults rootless
test-rootless:
	$(RUNNER)="$(AS_USER)" $(TESTS) --no-fail-fast $(BLACK_BOX:%=--test %)
	$(RUNNER)="$(AS_USER) -1" $(TESTS) --no-fail-fast $(BLACK_BOX:%=--test %)

# What the tests need of this machine.
setup:
	scripts/setup-tests
	scripts/setup-callers

# The same limits on cgroup v2: another kernel, under QEMU, with these files under it. Two machines at a time.
IN_VM := $(SUDO) $(CURDIR)/tests/vm/run
BESIDE_SYSTEMD := $(CURDIR)/tests/vm/systemd
test-vm:
	@if why=$$(tests/vm/available 2>&1); then \
		tests/vm/kernel >/dev/null && $(TESTS) --no-run && $(MAKE) --no-print-directory -j2 test-vm-groups test-vm-others; \
	else \
		echo "skipped the tests on cgroup v2: $$why"; [ "$${CI:-}" != true ]; \
	fi

test-vm-groups:
	$(RUNNER)="$(IN_VM) -t 600" $(TESTS) --test groups --test steer
	$(RUNNER)="$(IN_VM) -t 900" $(TESTS) --test verbs --test images -- limits:: inside:: cgroup_parent:: image_mounts:: spare::
	$(RUNNER)="$(IN_VM) -t 600 $(BESIDE_SYSTEMD)" $(TESTS) --test systemd

test-vm-others:
	$(RUNNER)="$(IN_VM) -t 900" $(TESTS) --test rootless --test runtime -- rootless_limits:: walk_through checkpoint::
	$(RUNNER)="$(IN_VM) -t 900 $(BESIDE_SYSTEMD)" $(TESTS) --test rootless systemd
	$(RUNNER)="$(IN_VM) -t 600" $(TESTS) --test image mounting
	$(RUNNER)="$(IN_VM) -t 900" $(TESTS) --test with_callers checkpointed

# One after the other: each has the processors for itself.
soak:
	$(AS_ROOT) $(TESTS) --test faults soak_clients:: -- --ignored --nocapture
	$(AS_ROOT) $(TESTS) --test faults soak_killed:: -- --ignored --nocapture
	$(AS_ROOT) $(TESTS) --test verbs log_load:: -- --ignored --nocapture
	$(AS_ROOT) $(TESTS) --test networks network_many:: -- --ignored --nocapture

bench: build
	scripts/setup-bench
	scripts/fetch-peers
	$(CARGO) build -q --release -p mycontainer-bench
	$(SUDO) target/release/mycontainer-bench --tool $(TOOL) --out docs/bench
	$(SUDO) target/release/mycontainer-bench conditions --rounds 6 --tool $(TOOL) --out docs/bench
	$(SUDO) target/release/mycontainer-bench containers --rounds 20 --tool $(TOOL) --out docs/bench
	$(SUDO) target/release/mycontainer-bench many --tool $(TOOL) --out docs/bench
	$(SUDO) target/release/mycontainer-bench images --rounds 2 --tool $(TOOL) --out docs/bench
	$(SUDO) target/release/mycontainer-bench networks --tool $(TOOL) --out docs/bench
