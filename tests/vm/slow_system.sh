#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# More of the system tests, with the module as the source.
with=tests/vm/guest/with-module.sh
exec "$(dirname "$0")/vm.py" run --timeout 1800 --command-timeout 1500 "$with tests/system/test_safe.py" \
    "$with tests/system/test_attach.py" \
    tests/system/test_workloads.py "$with tests/system/test_lessons.py"
