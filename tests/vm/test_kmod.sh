#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The kernel module: its device, what it records beside BPF, loading and unloading, nonsense.
with=tests/vm/guest/with-module.sh
exec "$(dirname "$0")/vm.py" run --timeout 280 "$with build/tests/vm/device" \
    "$with tests/vm/guest/source.py" "$with tests/vm/guest/both_sources.py" \
    "$with tests/system/test_attach.py" "$with tests/vm/guest/hotplug.py" \
    'build/tests/vm/cycles build/vm/introspect.ko 10' \
    "$with build/tests/vm/fuzz_device 8"
