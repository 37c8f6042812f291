#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The program on another kernel than this machine's, with more CPUs and two nodes; and the runtime while the clock is set.
exec "$(dirname "$0")/vm.py" run 'build/introspect doctor' \
    'build/introspect run -- build/introspect workload mixed' \
    'build/tests/vm/clock_steps ahead' 'build/tests/vm/clock_steps back'
