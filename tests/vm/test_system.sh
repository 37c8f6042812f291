#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The program on another kernel than this machine's, with more CPUs and two nodes.
exec "$(dirname "$0")/vm.py" run 'build/introspect doctor' \
    'build/introspect run -- build/introspect workload mixed'
