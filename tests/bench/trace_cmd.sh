#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# trace_cmd.sh ARG...: trace-cmd, which writes to the switches of the function tracer even when it
# traces events only, and gives up where these refuse (in some virtual machines). There it runs in a
# mount namespace of its own with plain files over them. So it does with /proc/kallsyms, whose size
# must not change while it is copied, but does whenever a BPF program is loaded.
set -eu
if [ "${1:-}" = --covered ]; then
    shift
    files=$(mktemp -d)
    mount -t tmpfs none "$files"
    echo 1 >"$files/enabled"
    : >"$files/empty"
    cat /proc/kallsyms >"$files/kallsyms"
    mount --bind "$files/kallsyms" /proc/kallsyms
    mount --bind "$files/enabled" /proc/sys/kernel/ftrace_enabled
    for f in /sys/kernel/tracing/set_ftrace_* /sys/kernel/tracing/set_graph_*; do
        [ ! -e "$f" ] || mount --bind "$files/empty" "$f"
    done
    # the mount goes with the namespace, the empty directory here
    (cd / && umount -l "$files" && rmdir "$files")
    exec trace-cmd "$@"
fi
[ -d /sys/kernel/tracing/events ] || mount -t tracefs nodev /sys/kernel/tracing
before=$(cat /sys/kernel/tracing/tracing_on)
status=0
if echo 1 2>/dev/null >/proc/sys/kernel/ftrace_enabled; then
    trace-cmd "$@" || status=$?
else
    unshare -m "$0" --covered "$@" || status=$?
fi
echo "$before" >/sys/kernel/tracing/tracing_on
exit $status
