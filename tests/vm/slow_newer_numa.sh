#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Memory by node on the kernel of Debian's backports: whose tracepoints have other arguments.
with=tests/vm/guest/with-module.sh
VM_KERNEL=vm-newer exec "$(dirname "$0")/vm.py" run --timeout 600 --command-timeout 250 \
    'tests/vm/guest/numa.py two' "$with tests/vm/guest/numa.py two" "$with tests/vm/guest/both_sources.py balancing"
