# shellcheck shell=bash
# What the launchers share; they source it. In the environment of each:
#   FOREGROUND=1  wait for the end, and end with the run's status
#   DRY_RUN=1     print the commands only
#   PYTHON        the interpreter that runs the programs, MindSpore in it; see find_python

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
pids=()

# Print the comment at the head of the launcher.
head_comment() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
}

usage() {
    head_comment >&2
    exit 2
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    head_comment
    exit
fi

fail() {
    echo "error: $*" >&2
    exit 2
}

# Set `python`, the interpreter that runs the programs, and put its folder first on PATH. It is PYTHON; where that is
# not set, the python on PATH if it has MindSpore; else the one that setup.sh made.
find_python() {
    python=${PYTHON:-}
    if [[ -n $python ]]; then
        command -v "$python" >/dev/null || fail "PYTHON=$python: no such interpreter"
        python=$(realpath -s -- "$(command -v "$python")")
    elif has_mindspore python; then
        python=python
    elif [[ -x $root/.venv/bin/python ]]; then
        python=$root/.venv/bin/python
    else
        fail "no python here has MindSpore; run bash scripts/setup.sh, or name one that has it in PYTHON"
    fi
    PATH="$(dirname "$(command -v "$python")"):$PATH"
}

has_mindspore() {
    "$1" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("mindspore") is None)' 2>/dev/null
}

# Check CFG DATA_DIR CHECKPOINT_FILE_PATH [KEY VALUE ...] and set `entry`, the command that trains or evaluates.
# Arguments: train or eval, the device target, then the launcher's.
set_entry() {
    local name=$1 target=$2 group=TRAIN
    shift 2
    (($# >= 3 && $# % 2 == 1)) || usage
    [[ -f $1 ]] || fail "$1: no such file; expected CFG, a YAML file"
    [[ -d $2 ]] || fail "$2: no such folder; expected DATA_DIR, which holds frames/ and ava_annotations/"
    if [[ $name == eval ]]; then
        group=TEST
        [[ -n $3 ]] || fail "CHECKPOINT_FILE_PATH is empty, expected the checkpoint to score"
    fi
    [[ -z $3 || -f $3 ]] || fail "$3: no such file; expected CHECKPOINT_FILE_PATH"
    entry=("$root/$name.py" --cfg "$(realpath -- "$1")" --device_target "$target"
        DATA.PATH_TO_DATA_DIR "$(realpath -- "$2")" "$group.CHECKPOINT_FILE_PATH" "${3:+$(realpath -- "$3")}" "${@:4}")
    find_python
}

# How logs begin: others of that name are not replaced.
log_mark="# slowfast:"

# Run a command in the background with its output in a file. Arguments: the file, the command.
start() {
    local log=$1
    shift
    if [[ ${DRY_RUN:-} == 1 ]]; then
        printf '%q ' "$@"
        printf '> %q\n' "$log"
        return
    fi
    if [[ -e $log && "$(head -n 1 "$log")" != "$log_mark"* ]]; then
        fail "$log: is there, but is not a log of this script; move it, or start from another folder"
    fi
    mkdir -p "$(dirname "$log")"
    printf '%s %s\n' "$log_mark" "$(basename "$0")" >"$log"
    # A closed terminal does not end a run.
    (
        trap '' HUP
        exec "$@"
    ) >>"$log" 2>&1 </dev/null &
    pids+=($!)
    echo "process $!, log $log"
}

# With FOREGROUND=1, wait for what was started; when one process fails, or this script is asked to stop, so are all.
finish() {
    [[ ${FOREGROUND:-} == 1 && ${#pids[@]} -gt 0 ]] || return 0
    local status=0 pid running
    trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' TERM INT
    while ((${#pids[@]} > 0)); do
        sleep 0.5
        running=()
        for pid in "${pids[@]}"; do
            if kill -0 "$pid" 2>/dev/null; then
                running+=("$pid")
            elif ! wait "$pid" && ((status == 0)); then
                wait "$pid" || status=$?
                kill -TERM "${pids[@]}" 2>/dev/null || true
            fi
        done
        pids=(${running[@]+"${running[@]}"})
    done
    exit "$status"
}

# One process on one device. Arguments: train or eval, the device target, the log, then the launcher's.
standalone() {
    local log=$3
    set_entry "$1" "$2" "${@:4}"
    start "$log" env RANK_SIZE=1 RANK_ID=0 DEVICE_ID="${DEVICE_ID:-0}" "$python" "${entry[@]}"
    finish
}

# Bind a process to a NUMA node, where there are some. Arguments: which process of how many. Sets `numa`.
bind_numa() {
    numa=()
    command -v numactl >/dev/null || return 0
    local nodes=(/sys/devices/system/node/node[0-9]*)
    ((${#nodes[@]} > 1)) || return 0
    local node=${nodes[$(($1 * ${#nodes[@]} / $2))]##*/node}
    numa=(numactl "--cpunodebind=$node" "--membind=$node")
}

# One process for each device of this machine in an hccl table. Arguments: train or eval, the table, the launcher's.
distribute_by_table() {
    local name=$1 table=$2 size rank device index=0 rows
    shift 2
    [[ -f $table ]] || fail "$table: no such file; expected RANK_TABLE_FILE, a table in hccl's JSON format"
    set_entry "$name" Ascend "$@"
    rows=$(python3 "$root/scripts/rank_table.py" "$table") || exit 2
    mapfile -t rows <<<"$rows"
    for row in "${rows[@]}"; do
        read -r size rank device <<<"$row"
        bind_numa "$index" "${#rows[@]}"
        start "${name}_parallel$rank/log" env RANK_TABLE_FILE="$(realpath -- "$table")" RANK_SIZE="$size" \
            RANK_ID="$rank" DEVICE_ID="$device" ${numa[@]+"${numa[@]}"} "$python" "${entry[@]}"
        index=$((index + 1))
    done
    finish
}

# MindSpore's own launcher. Arguments: train or eval, the device target, workers on this machine, the launcher's.
# Over several machines: NODES (how many), NODE_RANK (which this is, from 0), MASTER_ADDR (address of the first).
distribute_by_msrun() {
    local name=$1 target=$2 workers=$3 log=log_distributed port=${MASTER_PORT:-}
    shift 3
    if [[ -z $port && ${NODES:-1} == 1 ]]; then port=$(free_port); fi
    if [[ $name == eval ]]; then log=log_distributed_eval; fi
    set_entry "$name" "$target" "$@"
    # Workers on CPUs share the cores.
    if [[ $target == CPU && -z ${OMP_NUM_THREADS:-} ]]; then
        OMP_NUM_THREADS=$(($(nproc) > workers ? $(nproc) / workers : 1))
        export OMP_NUM_THREADS
    fi
    start "${log}_${target,,}" bash "$root/scripts/msrun.sh" "--worker_num=$((workers * ${NODES:-1}))" \
        "--local_worker_num=$workers" "--master_addr=${MASTER_ADDR:-127.0.0.1}" "--master_port=${port:-8118}" \
        "--node_rank=${NODE_RANK:-0}" "--log_dir=${name}_parallel" --join=True "${entry[@]}"
    finish
}

# Print a port that nothing listens on.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Open MPI's launcher for GPUs. Arguments: train or eval, then the launcher's.
distribute_by_mpirun() {
    local name=$1 log=log_distributed_gpu options=()
    shift
    if [[ $name == eval ]]; then log=log_distributed_eval_gpu; fi
    set_entry "$name" GPU "$@"
    local count
    count=$(count_devices "${CUDA_VISIBLE_DEVICES:-}" '/dev/nvidia[0-9]*')
    [[ ${DRY_RUN:-} == 1 ]] || command -v mpirun >/dev/null || fail "there is no mpirun; several GPUs need Open MPI"
    if ((EUID == 0)); then options+=(--allow-run-as-root); fi
    # After a SIGTERM, processes have a minute to write a checkpoint.
    start "$log" mpirun ${options[@]+"${options[@]}"} -n "$count" --mca odls_base_sigkill_timeout 60 "$python" "${entry[@]}"
    finish
}

# Print how many devices to use: DEVICE_NUM, or those of a list separated by commas, or those of a pattern below /dev.
count_devices() {
    local list=$1 pattern=$2 count=${DEVICE_NUM:-}
    if [[ -z $count && -n $list ]]; then
        count=$(tr ',' '\n' <<<"$list" | grep -c .)
    elif [[ -z $count ]]; then
        count=$(compgen -G "$pattern" | grep -c . || true)
    fi
    [[ $count =~ ^[1-9][0-9]*$ ]] || fail "no devices found ($pattern); set DEVICE_NUM to how many to use"
    echo "$count"
}

# Print ascend, gpu or cpu: the best that this machine has.
find_target() {
    if compgen -G '/dev/davinci[0-9]*' >/dev/null; then
        echo ascend
    elif compgen -G '/dev/nvidia[0-9]*' >/dev/null; then
        echo gpu
    else
        echo cpu
    fi
}
