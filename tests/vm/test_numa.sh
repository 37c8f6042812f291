#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Two nodes, by either source, and by both at once.
with=tests/vm/guest/with-module.sh
exec "$(dirname "$0")/vm.py" run --command-timeout 130 'tests/vm/guest/numa.py two' \
    "$with tests/vm/guest/numa.py two" "$with tests/vm/guest/both_sources.py balancing" \
    build/tests/unit/test_rt_placement build/tests/unit/test_rt_node
