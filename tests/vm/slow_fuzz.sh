#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Five minutes of nonsense, while freed memory is poisoned and looked at.
with=tests/vm/guest/with-module.sh
exec "$(dirname "$0")/vm.py" run --timeout 500 --command-timeout 400 --append slub_debug=FZPU \
    "$with build/tests/vm/fuzz_device 300"
