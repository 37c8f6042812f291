#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Five minutes of nonsense.
with=tests/vm/guest/with-module.sh
exec "$(dirname "$0")/vm.py" run --timeout 500 --command-timeout 400 "$with build/tests/vm/fuzz_device 300"
