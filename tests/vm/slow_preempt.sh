#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The kernel module in each mode of PREEMPT_DYNAMIC but the usual one, voluntary.
with=tests/vm/guest/with-module.sh
status=0
for mode in none full; do
    "$(dirname "$0")/vm.py" run --topology pair --timeout 400 --command-timeout 200 --append "preempt=$mode" \
        "grep -o '($mode)' /sys/kernel/debug/sched/preempt" "$with build/tests/vm/device" \
        "$with tests/vm/guest/both_sources.py" || status=1
done
exit $status
