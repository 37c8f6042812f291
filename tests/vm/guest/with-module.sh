#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# with-module.sh COMMAND...: runs it with the module loaded (VM_MODULE), and as the system tests' source.
project=$(cd "$(dirname "$0")/../../.." && pwd)
export TEST_SOURCE=kmod
# build/ has one for each kernel that the machine can be booted with
for built in "$project"/build/vm*; do
    [ "$(cat "$built/release")" != "$(uname -r)" ] || export VM_MODULE="$built/introspect.ko"
done
insmod "$VM_MODULE" || exit 1
trap 'rmmod introspect' EXIT
"$@"
