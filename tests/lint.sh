#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Formatting, cppcheck, the BPF programs for each architecture, man pages, and the size rules of CONTRIBUTING.md.
set -u
cd "$(dirname "$0")/.." || exit 1
status=0
mapfile -t sources < <(git ls-files '*.c' '*.h')
if command -v clang-format >/dev/null; then
    clang-format --dry-run --Werror "${sources[@]}" || status=1
else
    echo "skipped: clang-format is not installed"
fi
if command -v cppcheck >/dev/null; then
    cppcheck --quiet --error-exitcode=1 --library=bsd --include=tests/cppcheck.h --enable=warning,portability --inline-suppr \
        --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
        -Ilibintrospect/include -Ilibintrospect libintrospect cli || status=1
else
    echo "skipped: cppcheck is not installed"
fi
# the programs of the architecture that this machine is not
for arch in x86 arm64; do
    clang -std=gnu11 -target bpf -mcpu=v3 "-D__TARGET_ARCH_$arch" -Wall -Wextra -Werror -Wno-unused-parameter \
        -Wno-missing-declarations "-I/usr/include/$(gcc -print-multiarch)" -Ilibintrospect/include -Ibpf -fsyntax-only \
        bpf/introspect.bpf.c || status=1
done
for page in docs/man/*.[1-9]; do
    mandoc -T lint -W warning "$page" || status=1
done
for f in "${sources[@]}"; do
    lines=$(wc -l <"$f")
    if [ "$lines" -gt 800 ]; then echo "$f: $lines lines, 800 is the limit"; status=1; fi
done
exit $status
