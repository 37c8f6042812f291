#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Two nodes, and four with threads of a core; by either source.
for machine in two four; do
    "$(dirname "$0")/vm.py" run --topology $machine --command-timeout 130 "tests/vm/guest/numa.py $machine" \
        "tests/vm/guest/with-module.sh tests/vm/guest/numa.py $machine" \
        build/tests/unit/test_rt_placement build/tests/unit/test_rt_node || exit
done
