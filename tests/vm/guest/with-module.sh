#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# with-module.sh COMMAND...: runs it with the module loaded, and as the system tests' source.
project=$(cd "$(dirname "$0")/../../.." && pwd)
export TEST_SOURCE=kmod
insmod "$project/build/vm/introspect.ko" || exit 1
trap 'rmmod introspect' EXIT
"$@"
