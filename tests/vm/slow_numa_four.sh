#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Four nodes with threads of a core, by either source.
exec "$(dirname "$0")/vm.py" run --topology four --command-timeout 130 'tests/vm/guest/numa.py four' \
    'tests/vm/guest/with-module.sh tests/vm/guest/numa.py four' \
    build/tests/unit/test_rt_placement build/tests/unit/test_rt_node
