#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The kernel module is removed, under recordings, in turn, and amid nonsense.
with=tests/vm/guest/with-module.sh
exec "$(dirname "$0")/vm.py" run --timeout 240 "$with tests/vm/guest/removed.py" \
    'build/tests/vm/cycles build/vm/introspect.ko 8' \
    "$with build/tests/vm/fuzz_device 8"
