#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# slow.sh: what takes too long for each time: more of the system tests with the module as the source,
# a thousand loads and unloads, five minutes of nonsense, and what an event costs in instructions.
with=tests/vm/guest/with-module.sh
vm=$(dirname "$0")/vm.py
status=0
"$vm" run --timeout 900 --command-timeout 400 "$with tests/system/test_safe.py" \
    "$with tests/system/test_workloads.py" || status=1
"$vm" run --timeout 500 --command-timeout 400 "$with build/tests/vm/fuzz_device 300" || status=1
"$vm" run --topology pair --timeout 3600 --command-timeout 3500 \
    'build/tests/vm/cycles build/vm/introspect.ko 1000' || status=1
# with the mitigations that the kernel has by default, as the rest of it is counted, too
"$vm" run --topology single --count-instructions --timeout 900 --command-timeout 9000 \
    --append mitigations=auto "$with build/tests/vm/instructions" || status=1
"$(dirname "$0")/slow_preempt.sh" || status=1
"$(dirname "$0")/slow_newer.sh" || status=1
exit $status
