#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# run.sh [NAME...]: builds each fuzzer with libFuzzer, ASan and UBSan and runs it for FUZZ_SECONDS
# (60). What it finds to be of interest stays in build/fuzz/corpus; an input that
# breaks something is left in build/fuzz and fails the run.
set -eu
cd "$(dirname "$0")/../.."
seconds=${FUZZ_SECONDS:-60}
out=build/fuzz
flags=(-std=gnu11 -g -O1 -D_GNU_SOURCE -fno-omit-frame-pointer -Wall -Wextra -Werror -Wno-unused-parameter
    -Wno-missing-field-initializers -Ilibintrospect/include -Ilibintrospect -Ibuild/gen
    -fsanitize=address,undefined -fno-sanitize-recover=undefined)
libs=$(pkg-config --libs libzstd zlib json-c)
mkdir -p "$out"
# under test: compiled with coverage, so that the fuzzer sees where an input leads
sources=(libintrospect/trace/*.c)
for f in libintrospect/analyze/*.c; do [ -e "$f" ] && sources+=("$f"); done
objects=()
for f in "${sources[@]}"; do
    o=$out/$(echo "${f%.c}" | tr / -).o
    clang "${flags[@]}" -fsanitize=fuzzer-no-link -c "$f" -o "$o"
    objects+=("$o")
done
# shellcheck disable=SC2086
clang "${flags[@]}" tests/fuzz/seeds.c "${objects[@]}" $libs -lm -o "$out/seeds"
[ $# -gt 0 ] || set -- fuzz_trace fuzz_replay
status=0
for name in "$@"; do
    # shellcheck disable=SC2086
    clang "${flags[@]}" -fsanitize=fuzzer "tests/fuzz/$name.c" "${objects[@]}" $libs -lm -o "$out/$name"
    mkdir -p "$out/corpus/$name"
    "$out/seeds" "$name" "$out/corpus/$name"
    echo "== $name, $seconds s"
    "$out/$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -verbosity=0 -artifact_prefix="$out/$name-" "$out/corpus/$name" || status=1
done
exit $status
