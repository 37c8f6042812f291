#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Both sources on the kernel of Debian's backports.
with=tests/vm/guest/with-module.sh
VM_KERNEL=vm-newer exec "$(dirname "$0")/vm.py" run --timeout 600 --command-timeout 250 \
    "uname -r" "$with build/tests/vm/device" "$with tests/vm/guest/both_sources.py" \
    "$with tests/vm/guest/hotplug.py" "$with tests/vm/guest/removed.py" tests/system/test_attach.py
