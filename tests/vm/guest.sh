#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# guest.sh: inside the virtual machine, runs the commands of /run/vm/list, one a line. The output
# of the Nth goes to N.out, its exit status to N.status, the kernel's log to dmesg. `done` says
# that the list was worked off.
out=/run/vm
. "$out/settings"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export CMOCKA_MESSAGE_OUTPUT=TAP
cd "$PROJECT" || exit 1
n=0
while IFS= read -r command <&3; do
    echo "vm: $command" >/dev/kmsg
    timeout -k 5 "$COMMAND_TIMEOUT" bash -c "$command" >"$out/$n.out" 2>&1 </dev/null 3<&-
    echo $? >"$out/$n.status"
    n=$((n + 1))
done 3<"$out/list"
dmesg >"$out/dmesg"
touch "$out/done"
