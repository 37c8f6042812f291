#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# run.sh SUITE...: runs every test program of the suites and counts.
#
# A test program prints TAP ("ok N - name", "not ok N - name", "... # SKIP reason"), as cmocka
# does with CMOCKA_MESSAGE_OUTPUT=TAP, and how many those are ("1..N", anywhere). A program that exits
# 77 is skipped whole; its last line of output is the reason. A program that prints no result, or
# not as many as it said, or fails without a failing line, or outlives TEST_TIMEOUT seconds (300),
# counts as one failure.
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0 failed=0 skipped=0
failures=() skips=()
outs=$(mktemp -d) || exit 1
trap 'rm -rf "$outs"' EXIT
# what runs in the background does not hear Ctrl-C
trap 'trap "" TERM; kill 0; exit 130' INT

export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=abort_on_error=0:detect_leaks=1:exitcode=99
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=0:exitcode=98

# Leaves N.out, and N.end with the exit status and how long it took.
run_one() {
    local out=$outs/$1.out prog=$2 start=$SECONDS
    timeout -k 10 "${TEST_TIMEOUT:-300}" "$prog" >"$out" 2>&1 </dev/null
    echo $? $((SECONDS - start)) >"$outs/$1.end"
}

tell_one() {
    local out=$outs/$1.out prog=$2 rc took p f s plan
    read -r rc took <"$outs/$1.end"
    rm "$outs/$1.end"
    s=$(grep -cE '^(not )?ok [0-9]+.*# SKIP' "$out")
    p=$(grep -E '^ok [0-9]+' "$out" | grep -cv '# SKIP')
    f=$(grep -E '^not ok [0-9]+' "$out" | grep -cv '# SKIP')
    plan=$(awk -F'[.][.]' '/^1[.][.][0-9]+$/ { n += $2 } END { print n + 0 }' "$out")
    if [ "$rc" = 77 ]; then
        s=1 p=0 f=0
        skips+=("$prog: $(tail -n 1 "$out")")
    elif [ "$rc" != 0 ] && [ "$f" = 0 ]; then
        f=1
        failures+=("$prog: exit status $rc")
    elif [ $((p + f + s)) = 0 ]; then
        f=1
        failures+=("$prog: printed no result")
    elif [ "$f" = 0 ] && [ $((p + s)) != "$plan" ]; then
        # it may have ended in the middle, with status 0
        f=1
        failures+=("$prog: printed $((p + s)) results of $plan")
    fi
    while IFS= read -r line; do failures+=("$prog: $line"); done \
        < <(grep -E '^not ok [0-9]+' "$out" | grep -v '# SKIP')
    while IFS= read -r line; do skips+=("$prog: ${line#*# SKIP }"); done \
        < <(grep -E '^(not )?ok [0-9]+.*# SKIP' "$out")
    printf '%-52s %4d passed %3d failed %3d skipped %4d s\n' "${prog#build/}" "$p" "$f" "$s" "$took"
    if [ "$f" != 0 ] || [ "${TEST_VERBOSE:-0}" = 1 ]; then
        sed 's/^/    /' "$out" | tail -n 150
    else
        # figures which a test measured
        grep -E '^# figure' "$out" | sed 's/^/    /'
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# run_all JOBS PROGRAM...: so many at a time.
run_all() {
    local jobs=$1 started=() running=0 prog n
    shift
    for prog in "$@" ''; do
        if [ -z "$prog" ] || [ "$running" = "$jobs" ]; then
            # the last: all; else one, and whoever ended with it
            if [ -z "$prog" ]; then wait; else wait -n; fi
            for n in "${!started[@]}"; do
                if [ -s "$outs/$n.end" ]; then
                    tell_one "$n" "${started[$n]}"
                    unset "started[$n]"
                fi
            done
            running=${#started[@]}
        fi
        case $prog in '' | *.d | *.c | *.o) continue ;; esac
        [ -x "$prog" ] || continue
        n=$((++count))
        started[n]=$prog
        run_one "$n" "$prog" &
        running=$((running + 1))
    done
}

count=0
for suite in "$@"; do
    jobs=1
    case $suite in
    unit) progs=(build/tests/unit/test_*) ;;
    unit-asan) progs=(build/asan/tests/unit/test_*) ;;
    tsan) progs=(build/tsan/tests/unit/test_rt_*) ;;
    system) progs=(tests/system/test_*) ;;
    # an emulated machine keeps one CPU busy
    vm) progs=(tests/vm/test_*) jobs=$(nproc) ;;
    vm-slow) progs=(tests/vm/slow_*) ;;
    *) progs=("$suite") ;;
    esac
    echo "== $suite"
    run_all "$jobs" "${progs[@]}"
done

[ ${#skips[@]} = 0 ] || { echo "skipped:"; printf '  %s\n' "${skips[@]}"; }
[ ${#failures[@]} = 0 ] || { echo "failed:"; printf '  %s\n' "${failures[@]}"; }
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ]
