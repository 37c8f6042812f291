#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A node without CPUs, and one without memory.
for machine in no-cpu no-memory; do
    "$(dirname "$0")/vm.py" run --topology $machine --command-timeout 130 "tests/vm/guest/numa.py $machine" || exit
done
