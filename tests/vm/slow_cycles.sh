#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# A thousand loads and unloads, half of them under a reader.
exec "$(dirname "$0")/vm.py" run --topology pair --timeout 3600 --command-timeout 3500 \
    'build/tests/vm/cycles build/vm/introspect.ko 1000'
