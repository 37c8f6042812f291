# SPDX-License-Identifier: BSD-2-Clause
# completion.bash - for introspect; needs bash alone.

_introspect_words() {
    local IFS=$' \t\n'
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_introspect_files() { # names ending in $1, and directories
    local name
    compopt -o filenames 2>/dev/null
    COMPREPLY=()
    while IFS= read -r name; do
        if [[ -d $name || $name == *"$1" ]]; then COMPREPLY+=("$name"); fi
    done < <(compgen -f -- "$cur")
}

# The first word after the options from $1 on: where the traced command begins.
_introspect_command_at() {
    local i
    for ((i = $1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --) echo $((i + 1)); return ;;
        -o | --output | -p | --pid | -d | --duration | --level | --ring-bytes | --source | --report) i=$((i + 1)) ;;
        -*) ;;
        *) echo "$i"; return ;;
        esac
    done
    echo "$COMP_CWORD"
}

_introspect_value() { # of the option $prev; false: it has none to offer
    case $prev in
    -o | --output | --report | --truth) _introspect_files "" ;;
    -p | --pid) _introspect_words "$(cd /proc && echo [0-9]*)" ;;
    --source) _introspect_words "auto bpf kmod" ;;
    --status) _introspect_words "finished failed cancelled lost queued running unseen" ;;
    --sort)
        case ${COMP_WORDS[1]} in
        tasks) _introspect_words "wall queued running runnable blocked delivered unknown switches migrations submit id" ;;
        *) _introspect_words "running runnable blocked switches migrations tid name" ;;
        esac
        ;;
    -d | --duration | --level | --ring-bytes | -n | --top | --pool | --name | --worker | --id | \
        --workers | --tasks | --length | --chunk | --seed) COMPREPLY=() ;;
    *) return 1 ;;
    esac
}

_introspect() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} begin
    local commands="run record report tasks threads numa workload doctor help"
    local record="-o --output --as-root --ring-bytes --level --no-compress --no-marks --no-kernel --numa --no-numa --source --bpf-stats --help"

    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _introspect_words "$commands --help --version"
        return
    fi
    case ${COMP_WORDS[1]} in
    run | record)
        begin=$(_introspect_command_at 2)
        if ((begin < COMP_CWORD)) || { ((begin == COMP_CWORD)) && [[ $prev == -- ]]; }; then
            if declare -F _command_offset >/dev/null; then
                _command_offset "$begin"
            elif ((begin == COMP_CWORD)); then
                mapfile -t COMPREPLY < <(compgen -c -- "$cur")
            else
                _introspect_files ""
            fi
            return
        fi
        _introspect_value && return
        if [[ $cur != -* ]]; then
            mapfile -t COMPREPLY < <(compgen -c -- "$cur")
        elif [[ ${COMP_WORDS[1]} == run ]]; then
            _introspect_words "$record --report --json --"
        else
            _introspect_words "$record -p --pid -a --all -d --duration --"
        fi
        ;;
    report | tasks | threads | numa)
        _introspect_value && return
        if [[ $cur != -* ]]; then
            _introspect_files .itr
            return
        fi
        case ${COMP_WORDS[1]} in
        report) _introspect_words "--all --json --top --help" ;;
        tasks) _introspect_words "--pool --name --status --worker --id --sort --top --json --help" ;;
        numa) _introspect_words "--pid --all --json --help" ;;
        threads) _introspect_words "--pool --pid --all --sort --top --tree --json --help" ;;
        esac
        ;;
    workload)
        _introspect_value && return
        if [[ $cur == -* ]]; then
            _introspect_words "--workers --tasks --length --chunk --seed --truth --list --json --help"
        else
            _introspect_words "$("${COMP_WORDS[0]}" workload --list 2>/dev/null | while IFS= read -r line; do [[ $line == "  "* ]] && read -r name _ <<<"$line" && echo "$name"; done)"
        fi
        ;;
    doctor) _introspect_words "--json --help" ;;
    help) _introspect_words "$commands" ;;
    esac
}
complete -F _introspect introspect
