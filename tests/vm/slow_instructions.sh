#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What an event costs in instructions, with the mitigations that the kernel has by default: the rest of it
# is counted, too.
with=tests/vm/guest/with-module.sh
exec "$(dirname "$0")/vm.py" run --topology single --count-instructions --timeout 900 --command-timeout 9000 \
    --append mitigations=auto "$with build/tests/vm/instructions"
