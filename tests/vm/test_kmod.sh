#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The kernel module: its file, and what it records beside BPF.
with=tests/vm/guest/with-module.sh
exec "$(dirname "$0")/vm.py" run --timeout 280 --command-timeout 150 "$with build/tests/vm/device" \
    "$with tests/vm/guest/source.py" "$with tests/vm/guest/both_sources.py" \
    "$with tests/vm/guest/hotplug.py"
