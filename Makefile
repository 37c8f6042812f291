# SPDX-License-Identifier: BSD-2-Clause
# introspect: `make help` lists the targets. Everything built goes to build/.

VERSION	:= 0.1.0
SOVERSION := 0
PREFIX	?= /usr/local
DESTDIR	?=
V	?= 0
CC	= gcc
CLANG	?= clang
BPFTOOL	?= $(shell PATH=$$PATH:/usr/sbin:/sbin command -v bpftool || echo bpftool)
ARCH	:= $(shell uname -m | sed 's/x86_64/x86/;s/aarch64/arm64/')

# VARIANT=asan|tsan: the same sources under sanitizers, in a directory of their own
VARIANT	?=
B	:= build$(if $(VARIANT),/$(VARIANT))

Q	:= $(if $(filter 1,$(V)),,@)
say	= $(if $(filter 1,$(V)),,@printf '  %-7s %s\n' '$(1)' '$(patsubst build/%,%,$(2))';)

DEB_BUILD := clang llvm libbpf-dev libelf-dev bpftool libcmocka-dev libzstd-dev zlib1g-dev \
	     libjson-c-dev pkg-config gcc make
DEB_TEST := linux-perf python3 mandoc libglib2.0-dev trace-cmd libclang-rt-14-dev

# for the tests in a virtual machine, and the kernel module; without them these are skipped
DEB_VM := qemu-system-x86 busybox-static kmod

# only for the peers that `make bench` measures
DEB_BENCH := libuv1-dev libtbb-dev g++ libglib2.0-dev

PKGS	:= libbpf libelf libzstd zlib json-c
LIBS	= $(shell pkg-config --libs $(PKGS)) -pthread -lm
WARN	:= -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	   -Wno-unused-parameter -Wno-missing-field-initializers
SAN_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined
SAN_tsan := -fsanitize=thread
OPT	?= -O2
CFLAGS	?=
ALL_CFLAGS = -std=gnu11 $(OPT) -g $(WARN) -fPIC -fvisibility=hidden -fno-omit-frame-pointer -D_GNU_SOURCE \
	   -DINTROSPECT_VERSION='"$(VERSION)"' -Ilibintrospect/include -Ilibintrospect -Ibuild/bpf -Ibuild/gen \
	   -pthread $(SAN_$(VARIANT)) $(CFLAGS)
ALL_LDFLAGS = $(SAN_$(VARIANT)) -pthread $(LDFLAGS)

src	= $(sort $(foreach d,$(1),$(wildcard $(d)/*.c)))
obj	= $(patsubst %.c,$(B)/obj/%.o,$(1))
RT_SRC	:= $(call src,libintrospect/runtime)
LIB_SRC	:= $(call src,$(addprefix libintrospect/,collect trace analyze export))
CLI_SRC	:= $(call src,cli)
UNIT_SRC := $(call src,tests/unit)
BENCH_SRC := $(filter-out %.bpf.c,$(call src,tests/bench))
FUZZ_SRC := $(call src,tests/fuzz)
SYSPROG_SRC := $(call src,tests/system tests/vm)
RT_OBJ	:= $(call obj,$(RT_SRC))
LIB_OBJ	:= $(call obj,$(LIB_SRC))
CLI_OBJ	:= $(call obj,$(CLI_SRC))
SKEL	:= build/bpf/introspect.skel.h
HEADERS	:= $(wildcard libintrospect/include/introspect/*.h)

RT_A	:= $(B)/lib/libintrospect-rt.a
LIB_A	:= $(B)/lib/libintrospect.a
# The program without main, so that unit tests can link its rendering.
CLI_A	:= $(B)/obj/cli.a
RT_SO	:= $(B)/lib/libintrospect-rt.so.$(SOVERSION)
LIB_SO	:= $(B)/lib/libintrospect.so.$(SOVERSION)
# A test may name what it needs besides the two libraries in a comment: "LIBS: -lfoo".
# What a sanitizer cannot run (its locks do not survive a fork among threads, its allocator is its own); and what does more without.
PLAIN_ONLY := test_rt_fork test_rt_scarce
PLAIN_TOO := test_rt_stress_mix
PLAIN	:= $(addprefix build/tests/unit/,$(PLAIN_ONLY) $(PLAIN_TOO))
UNIT	:= $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(filter tests/unit/test_%,$(UNIT_SRC)))
ifneq ($(VARIANT),)
UNIT	:= $(filter-out $(addprefix $(B)/tests/unit/,$(PLAIN_ONLY)),$(UNIT))
endif
TEST_SUPPORT := $(call obj,$(filter-out tests/unit/test_%,$(UNIT_SRC)))
BENCH	:= $(patsubst tests/bench/%.c,$(B)/bench/%,$(BENCH_SRC))
SYSPROG	:= $(patsubst %.c,$(B)/%,$(SYSPROG_SRC))

.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
.PHONY: all libs help deps deps-build demo test test-unit test-system test-vm test-vm-slow test-fresh vm-shell kmod kmod-install units vm-units bench bench-pools deps-bench pool-programs bench-programs lint fuzz doc install uninstall clean

all: libs $(B)/introspect $(SYSPROG) ## build the program and the libraries
libs: $(RT_A) $(LIB_A) $(RT_SO) $(LIB_SO) pc

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 20

# --- what must be installed -------------------------------------------------------------------

missing	= $(shell for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q '^install ok installed' || echo $$p; done)
define install-missing
	@set -e; missing="$(call missing,$(1))"; if [ -n "$$missing" ]; then \
	  echo "installing: $$missing"; sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef
deps: ## install the Debian packages that building and testing need (nothing to do: no network)
	$(call install-missing,$(DEB_BUILD) $(DEB_TEST))
	-$(call install-missing,$(DEB_VM))
	$(Q)tests/vm/fetch.sh
deps-build: ## install only what building needs
	$(call install-missing,$(DEB_BUILD))

# --- eBPF ------------------------------------------------------------------------------------

build/bpf/introspect.o: bpf/introspect.bpf.c $(wildcard bpf/*.h) libintrospect/include/introspect/abi.h
	@mkdir -p $(@D)
	$(call say,BPF,$@)$(CLANG) -g -O2 -std=gnu11 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(ARCH) -Wall -Wextra -Werror \
		-Wno-unused-parameter -Wno-missing-declarations -I/usr/include/$(shell gcc -print-multiarch) \
		-Ilibintrospect/include -Ibpf -c $< -o $@
	$(Q)llvm-strip -g $@
$(SKEL): build/bpf/introspect.o
	$(call say,SKEL,$@)$(BPFTOOL) gen skeleton $< name introspect_bpf > $@

# --- libraries and program -------------------------------------------------------------------

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@
$(call obj,$(wildcard libintrospect/collect/*.c)): $(SKEL)

# the names of this machine's system calls, from the kernel's header
build/gen/syscalls.h: Makefile
	@mkdir -p $(@D)
	$(call say,GEN,$@){ echo 'static const char *const syscall_names[] = {'; \
		echo '#include <asm/unistd.h>' | $(CC) -E -dM - | sed -n 's/^#define __NR_\([a-z0-9_]*\) \([0-9]*\)$$/[\2] = "\1",/p' | sort -t'[' -k2n; \
		echo '};'; } > $@
$(call obj,libintrospect/analyze/ledger.c): build/gen/syscalls.h

$(RT_A): $(RT_OBJ)
$(LIB_A): $(LIB_OBJ)
$(CLI_A): $(filter-out %/main.o,$(CLI_OBJ))
$(RT_A) $(LIB_A) $(CLI_A):
	@mkdir -p $(@D)
	$(call say,AR,$@)rm -f $@; $(AR) rcs $@ $^
$(RT_SO): $(RT_OBJ) libintrospect/libintrospect-rt.map
$(LIB_SO): $(LIB_OBJ) libintrospect/libintrospect.map
$(LIB_SO): SO_LIBS = $(LIBS)
$(RT_SO) $(LIB_SO):
	@mkdir -p $(@D)
	$(call say,SO,$@)$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,$(@F) -Wl,--version-script=$(filter %.map,$^) -o $@ $(filter %.o,$^) $(SO_LIBS)
	$(Q)ln -sf $(@F) $(@:.$(SOVERSION)=)

$(B)/introspect: $(B)/obj/cli/main.o $(CLI_A) $(LIB_A) $(RT_A)
	$(call say,LINK,$@)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

.PHONY: pc
pc: $(B)/lib/libintrospect.pc $(B)/lib/libintrospect-rt.pc
$(B)/lib/%.pc: libintrospect/%.pc.in Makefile
	@mkdir -p $(@D)
	$(Q)sed 's|@PREFIX@|$(PREFIX)|;s|@VERSION@|$(VERSION)|' $< > $@

# --- tests -----------------------------------------------------------------------------------

file_libs = $(shell sed -n 's/^ \* LIBS: //p' $(1))
$(B)/tests/unit/%: $(B)/obj/tests/unit/%.o $(TEST_SUPPORT) $(CLI_A) $(LIB_A) $(RT_A)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(call file_libs,tests/unit/$*.c) $(LIBS)
$(SYSPROG): $(B)/%: $(B)/obj/%.o $(LIB_A) $(RT_A)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call file_libs,$*.c) $(LIBS)
# see there: who leaves a task by pthread_exit
$(B)/obj/libintrospect/runtime/thread_run.o $(B)/obj/libintrospect/runtime/task_group.o: ALL_CFLAGS += -fexceptions
$(B)/obj/tests/bench/%.o: ALL_CFLAGS += $(shell pkg-config --cflags glib-2.0 2>/dev/null)
$(B)/bench/%: $(B)/obj/tests/bench/%.o $(LIB_A) $(RT_A)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(call file_libs,tests/bench/$*.c) $(LIBS)
units: $(UNIT)
# those that show more on a machine with several nodes
vm-units: $(addprefix $(B)/tests/unit/,test_rt_node test_rt_placement)

test: deps ## install what is missing, build, run every test
	$(Q)$(MAKE) --no-print-directory all vm-module vm-units $(PLAIN)
	$(Q)$(MAKE) --no-print-directory VARIANT=asan units
	$(Q)$(MAKE) --no-print-directory VARIANT=tsan tsan-units
	$(Q)tests/run.sh unit-asan tsan $(PLAIN) system vm
# the units that run under ThreadSanitizer: those of the runtime
TSAN_UNIT := $(filter $(B)/tests/unit/test_rt_%,$(UNIT))
.PHONY: tsan-units stress
tsan-units: $(TSAN_UNIT)
test-vm: all ## the tests in a virtual machine: the kernel module, NUMA (no root)
	$(Q)tests/vm/fetch.sh
	$(Q)$(MAKE) --no-print-directory vm-module vm-units
	$(Q)tests/run.sh vm
test-vm-slow: all ## the long ones of these: 1 000 loads and unloads, 5 minutes of fuzzing (an hour)
	$(Q)tests/vm/fetch.sh
	$(Q)tests/vm/fetch.sh newer
	$(Q)$(MAKE) --no-print-directory vm-module
	$(Q)TEST_TIMEOUT=4000 tests/run.sh vm-slow
vm-shell: all ## a shell in that machine; TOPOLOGY=single, pair, one, two, four, no-cpu, no-memory
	$(Q)tests/vm/fetch.sh
	$(Q)$(MAKE) --no-print-directory vm-module
	$(Q)tests/vm/vm.py shell --topology $(or $(TOPOLOGY),two)
STRESS_SECONDS ?= 60
STRESS := $(addprefix tests/unit/,test_rt_stress test_rt_stress_mix test_rt_full)
stress: ## the stress tests of the runtime, STRESS_SECONDS (60) each, queues that are full twice that, as they are and under ThreadSanitizer
	$(Q)$(MAKE) --no-print-directory $(addprefix build/,$(STRESS))
	$(Q)$(MAKE) --no-print-directory VARIANT=tsan $(addprefix build/tsan/,$(STRESS))
	$(Q)INTRO_STRESS_SECONDS=$(STRESS_SECONDS) TEST_TIMEOUT=$$(($(STRESS_SECONDS) + 300)) \
		tests/run.sh $(addprefix build/,$(STRESS)) $(addprefix build/tsan/,$(STRESS))
test-unit: $(PLAIN) ## the tests that need no root, under ASan and UBSan
	$(Q)$(MAKE) --no-print-directory VARIANT=asan units
	$(Q)tests/run.sh unit-asan $(PLAIN)
test-system: all ## the tests that trace this machine (root)
	$(Q)tests/run.sh system

test-fresh: ## `make test` in a fresh clone on a bare Debian: is `make deps` complete? (root, debootstrap, network)
	$(Q)tests/fresh.sh

bench: deps deps-bench ## measure speed and cost against named peers (root; takes minutes)
	$(Q)$(MAKE) --no-print-directory all bench-programs pool-programs
	$(Q)tests/bench/run.py $(BENCH_ARGS)
	$(Q)tests/bench/pools.py
	$(Q)tests/bench/shared.py
bench-pools: deps-bench ## measure the worker pools against named peers
	$(Q)$(MAKE) --no-print-directory pool-programs
	$(Q)tests/bench/pools.py
deps-bench:
	$(call install-missing,$(DEB_BENCH))
POOL_PROGRAMS := $(addprefix build/bench/pools/,introspect marks processes glib uv omp tbb)
pool-programs: $(POOL_PROGRAMS)
build/bench/pools/introspect build/bench/pools/marks build/bench/pools/processes: POOL_LIBS = build/lib/libintrospect-rt.a
build/bench/pools/introspect build/bench/pools/marks build/bench/pools/processes: build/lib/libintrospect-rt.a
build/bench/pools/glib: POOL_LIBS = $(shell pkg-config --cflags --libs glib-2.0)
build/bench/pools/uv: POOL_LIBS = -luv
build/bench/pools/omp: POOL_LIBS = -fopenmp
build/bench/pools/tbb: POOL_LIBS = -ltbb
POOL_CC = -O2 -g -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -D_GNU_SOURCE -Ilibintrospect/include -pthread
build/bench/pools/%: tests/bench/pools/%.c tests/bench/pools/pools.h
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -std=gnu11 $(POOL_CC) -o $@ $< $(POOL_LIBS)
build/bench/pools/%: tests/bench/pools/%.cpp tests/bench/pools/pools.h
	@mkdir -p $(@D)
	$(call say,CXX,$@)g++ -std=c++17 $(POOL_CC) -o $@ $< $(POOL_LIBS)
bench-programs: $(BENCH) build/bench/on_switch.bpf.o build/bench/rings.bpf.o
build/bench/%.bpf.o: tests/bench/%.bpf.c $(wildcard bpf/*.h) libintrospect/include/introspect/abi.h
	@mkdir -p $(@D)
	$(call say,BPF,$@)$(CLANG) -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(ARCH) -Wall -Wextra -Werror -Wno-unused-parameter \
		-Wno-missing-declarations -I/usr/include/$(shell gcc -print-multiarch) -Ilibintrospect/include -Ibpf -c $< -o $@

fuzz: all ## run each fuzzer for FUZZ_SECONDS (60)
	$(Q)tests/fuzz/run.sh

lint: ## clang-format, cppcheck and clang over the sources, mandoc over the man pages
	$(Q)tests/lint.sh

demo: deps ## install what is missing, build, trace the `mixed` workload, print the report (root)
	$(Q)$(MAKE) --no-print-directory all
	$(Q)cd build && ./introspect run -- ./introspect workload mixed

doc: ## check and render the man pages to build/doc
	$(Q)mkdir -p build/doc; for f in docs/man/*.[1-9]; do mandoc -T lint -W warning $$f && mandoc -T html $$f > build/doc/$$(basename $$f).html || exit 1; done

# --- the kernel module ------------------------------------------------------------------------

# Kbuild writes next to its sources, so they are copied. The same tree is what DKMS gets.
KMOD_SRC := $(wildcard kmod/* bpf/drift.h bpf/syscalls.h libintrospect/include/introspect/abi.h libintrospect/include/introspect/device.h)
# $(call vm-headers,vm): those of the kernel in build/vm, or in build/vm-newer
vm-headers = $(CURDIR)/build/$(1)/headers/usr/src/linux-headers-$(shell cat build/$(1)/release 2>/dev/null)
# whose headers: this machine's kernel's, else those of the virtual machine
KDIR	?= $(or $(wildcard /lib/modules/$(shell uname -r)/build),$(call vm-headers,vm))
# $(call build-module,KDIR,DIRECTORY); the module's BTF is made from vmlinux, by pahole; it needs none
define build-module
	$(Q)rm -rf $(2)/tree && mkdir -p $(2)/tree && cp --parents $(KMOD_SRC) $(2)/tree
	+$(Q)$(MAKE) --no-print-directory -C $(1) M=$(CURDIR)/$(2)/tree/kmod W=1 $(if $(and $(wildcard $(1)/vmlinux),$(shell command -v pahole)),,CONFIG_DEBUG_INFO_BTF_MODULES=) $(if $(Q),-s) modules
	$(Q)cp $(2)/tree/kmod/introspect.ko $(2)/introspect.ko
endef
kmod: ## build introspect.ko for this kernel, or for that in KDIR (needs its headers)
	$(call build-module,$(KDIR),build/kmod)
	@echo "build/kmod/introspect.ko: $$(modinfo -F vermagic build/kmod/introspect.ko 2>/dev/null)"
build/%/introspect.ko: $(KMOD_SRC) build/%/release
	$(call say,KMOD,$@)true
	$(call build-module,$(call vm-headers,$*),build/$*)
.PHONY: vm-module
vm-module: $(patsubst %/release,%/introspect.ko,$(wildcard build/vm/release build/vm-newer/release))
kmod-install: ## give the module's sources to DKMS, which builds it for each kernel, and link /dev/introspect (root)
	$(Q)rm -rf $(DESTDIR)/usr/src/introspect-$(VERSION)
	$(Q)install -d $(DESTDIR)/usr/src/introspect-$(VERSION)
	$(Q)cp --parents $(KMOD_SRC) $(DESTDIR)/usr/src/introspect-$(VERSION)
	$(Q)sed 's|@VERSION@|$(VERSION)|' kmod/dkms.conf.in > $(DESTDIR)/usr/src/introspect-$(VERSION)/dkms.conf
	$(Q)install -D -m 644 kmod/tmpfiles.conf $(DESTDIR)/usr/lib/tmpfiles.d/introspect.conf
	$(Q)if [ -z "$(DESTDIR)" ] && command -v systemd-tmpfiles >/dev/null; then systemd-tmpfiles --create introspect.conf; fi
	$(Q)if [ -n "$(DESTDIR)" ]; then :; elif command -v dkms >/dev/null; then \
		dkms install --force introspect/$(VERSION); \
	else echo "sources are in /usr/src/introspect-$(VERSION); dkms is not installed"; exit 1; fi

# --- install ---------------------------------------------------------------------------------

install: all ## install to $(DESTDIR)$(PREFIX)
	$(Q)install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/introspect \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(Q)install -m 755 $(B)/introspect $(DESTDIR)$(PREFIX)/bin/
	$(Q)install -m 644 $(RT_A) $(LIB_A) $(RT_SO) $(LIB_SO) $(DESTDIR)$(PREFIX)/lib/
	$(Q)for so in $(notdir $(RT_SO) $(LIB_SO)); do ln -sf $$so $(DESTDIR)$(PREFIX)/lib/$${so%.$(SOVERSION)}; done
	$(Q)for pc in libintrospect libintrospect-rt; do \
		sed 's|@PREFIX@|$(PREFIX)|;s|@VERSION@|$(VERSION)|' libintrospect/$$pc.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/$$pc.pc; done
	$(Q)install -m 644 $(HEADERS) $(DESTDIR)$(PREFIX)/include/introspect/
	$(Q)for f in docs/man/*.[1-9]; do s=$${f##*.}; install -D -m 644 $$f $(DESTDIR)$(PREFIX)/share/man/man$$s/$$(basename $$f); done
	$(Q)install -m 644 cli/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/introspect
uninstall: ## remove what install put there
	$(Q)cd $(DESTDIR)$(PREFIX) && rm -rf bin/introspect lib/libintrospect*.a lib/libintrospect*.so* lib/pkgconfig/libintrospect*.pc \
		include/introspect share/bash-completion/completions/introspect
	$(Q)for f in docs/man/*.[1-9]; do rm -f $(DESTDIR)$(PREFIX)/share/man/man$${f##*.}/$$(basename $$f); done

clean: ## remove build/
	rm -rf build

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
