#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# run.sh SUITE...: runs every test program of the suites and counts.
#
# A test program prints TAP ("ok N - name", "not ok N - name", "... # SKIP reason"), as cmocka
# does with CMOCKA_MESSAGE_OUTPUT=TAP. A program that exits 77 is skipped whole; its last line of output
# is the reason. A program that prints no result, or fails without a failing line, or
# outlives TEST_TIMEOUT seconds (300), counts as one failure.
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0 failed=0 skipped=0
failures=() skips=()
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT

export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=abort_on_error=0:detect_leaks=1:exitcode=99
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=0:exitcode=98

run_one() {
    local prog=$1 start=$SECONDS rc p f s
    timeout -k 10 "${TEST_TIMEOUT:-300}" "$prog" >"$out" 2>&1 </dev/null
    rc=$?
    s=$(grep -cE '^(not )?ok [0-9]+.*# SKIP' "$out")
    p=$(grep -E '^ok [0-9]+' "$out" | grep -cv '# SKIP')
    f=$(grep -E '^not ok [0-9]+' "$out" | grep -cv '# SKIP')
    if [ "$rc" = 77 ]; then
        s=1 p=0 f=0
        skips+=("$prog: $(tail -n 1 "$out")")
    elif [ "$rc" != 0 ] && [ "$f" = 0 ]; then
        f=1
        failures+=("$prog: exit status $rc")
    elif [ $((p + f + s)) = 0 ]; then
        f=1
        failures+=("$prog: printed no result")
    fi
    while IFS= read -r line; do failures+=("$prog: $line"); done \
        < <(grep -E '^not ok [0-9]+' "$out" | grep -v '# SKIP')
    while IFS= read -r line; do skips+=("$prog: ${line#*# SKIP }"); done \
        < <(grep -E '^(not )?ok [0-9]+.*# SKIP' "$out")
    printf '%-52s %4d passed %3d failed %3d skipped %4d s\n' "${prog#build/}" "$p" "$f" "$s" $((SECONDS - start))
    if [ "$f" != 0 ] || [ "${TEST_VERBOSE:-0}" = 1 ]; then
        sed 's/^/    /' "$out" | tail -n 150
    else
        # figures which a test measured
        grep -E '^# figure' "$out" | sed 's/^/    /'
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

for suite in "$@"; do
    case $suite in
    unit) progs=(build/tests/unit/test_*) ;;
    unit-asan) progs=(build/asan/tests/unit/test_*) ;;
    tsan) progs=(build/tsan/tests/unit/test_rt_*) ;;
    system) progs=(tests/system/test_*) ;;
    vm) progs=(tests/vm/test_*) ;;
    vm-slow) progs=(tests/vm/slow_*) ;;
    *) progs=("$suite") ;;
    esac
    echo "== $suite"
    for prog in "${progs[@]}"; do
        case $prog in *.d | *.c | *.o) continue ;; esac
        if [ -x "$prog" ]; then run_one "$prog"; fi
    done
done

[ ${#skips[@]} = 0 ] || { echo "skipped:"; printf '  %s\n' "${skips[@]}"; }
[ ${#failures[@]} = 0 ] || { echo "failed:"; printf '  %s\n' "${failures[@]}"; }
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ]
