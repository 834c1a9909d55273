#!/usr/bin/env bash
# Run msrun and pass SIGTERM on: its workers write a checkpoint and end, then this script ends with status 143.
# msrun alone would die and leave its workers behind.
# Usage: bash scripts/msrun.sh [msrun's options] SCRIPT [arguments]
set -euo pipefail

(($# > 0)) || {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

# Print the processes that msrun started in a role: MS_WORKER or MS_SCHED.
in_role() {
    local pid children
    read -ra children < <(cat "/proc/$msrun/task/"*/children 2>/dev/null) || true
    for pid in ${children[@]+"${children[@]}"}; do
        if tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "MS_ROLE=$1" &&
            [[ $(readlink "/proc/$pid/exe") == *python* ]]; then
            echo "$pid"
        fi
    done
}

send() {
    local pid
    for pid in $(in_role "$2"); do
        kill "-$1" "$pid" 2>/dev/null || true
    done
}

asked=0
trap 'asked=1; send TERM MS_WORKER' TERM
msrun "$@" &
msrun=$!
while :; do
    # A trapped signal ends `wait` as well.
    status=0
    wait "$msrun" || status=$?
    kill -0 "$msrun" 2>/dev/null || break
    while ((asked)) && kill -0 "$msrun" 2>/dev/null; do
        # msrun waits for its scheduler, which needs long to notice that the workers are gone.
        if [[ -z $(in_role MS_WORKER) ]]; then send KILL MS_SCHED; fi
        sleep 1
    done
done
if ((asked)); then status=143; fi
exit "$status"
