#!/usr/bin/env bash
# Score an exported graph on a dataset with the C++ runner.
# Usage: bash scripts/run_310_infer.sh MINDIR DATASET NEED_PREPROCESS DEVICE_TARGET DEVICE_ID
#   NEED_PREPROCESS  y: prepare the inputs, score them and delete them, shard by shard
#                    n: score the shards that preprogress.py wrote below ./preprocess_Result, and keep them
#   DEVICE_TARGET    Ascend, GPU or CPU
#   DISK_BUDGET_GB   in the environment: how much the inputs of one shard may take (default 20)
# Writes to the current folder: acc.log with the table of average precision, detections.csv, result_Files/,
# time_Result/ (of the last shard), infer.log (to its end). A run that was stopped goes on where it was when started
# again. Files called acc.log, detections.csv and infer.log that it did not write are not replaced: it ends at once.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ $# -eq 5 ]] || usage
mindir=$1
dataset=$2
preprocess=$3
device=$4
device_id=$5
[[ $preprocess == y || $preprocess == n ]] || fail "NEED_PREPROCESS is '$preprocess', expected y or n"
[[ $device == Ascend || $device == GPU || $device == CPU ]] || fail "DEVICE_TARGET is '$device', expected Ascend, GPU or CPU"
[[ $device_id =~ ^[0-9]+$ ]] || fail "DEVICE_ID is '$device_id', expected a number"
[[ -f $mindir ]] || fail "$mindir: no such file; expected a graph from export.py"
[[ -d $dataset ]] || fail "$dataset: no such folder; expected the dataset"

find_python
runner="$root/ascend310_infer/build/main"
inputs=preprocess_Result
work=$inputs/.work
log=infer.log
"$python" "$root/postprogress.py" --mindir "$mindir" --dataset "$dataset" --check_only

if [[ ! -x $runner ]]; then
    bash "$root/ascend310_infer/build.sh"
fi

# infer INPUTS RESULT: results that are whole carry a manifest.
infer() {
    "$runner" --mindir_path "$mindir" --input_path "$1" --result_path "$2" --device_type "$device" \
        --device_id "$device_id" 2>&1 | tee -a "$log"
}

if [[ $preprocess == y ]]; then
    plan="$("$python" "$root/preprogress.py" --mindir "$mindir" --dataset "$dataset" \
        --disk_budget "${DISK_BUDGET_GB:-20}")"
    read -r shards run <<<"$plan"
    results=result_Files/${run}_$device
    for ((shard = 1; shard <= shards; shard++)); do
        part=shard_${shard}_of_$shards
        if [[ -f $results/$part/manifest.json ]]; then
            echo "shard $shard of $shards: results are there"
            continue
        fi
        echo "shard $shard of $shards"
        "$python" "$root/preprogress.py" --mindir "$mindir" --dataset "$dataset" --output "$work" \
            --shard "$shard/$shards"
        infer "$work" "$results/$part"
        rm -rf "$work" # which held nothing else, or preprogress.py had refused it
    done
else
    results=result_Files/prepared_$device
    # Results of an earlier run, which may have been of other inputs.
    for manifest in "$results"/*/manifest.json; do
        if grep -qs '"row_clips"' "$manifest"; then
            rm -f "$manifest" "$(dirname "$manifest")/scores.bin"
        fi
    done
    found=n
    for manifest in "$inputs"/*/manifest.json; do
        [[ -f $manifest ]] || continue
        found=y
        folder="$(dirname "$manifest")"
        infer "$folder" "$results/$(basename "$folder")"
    done
    [[ $found == y ]] || fail "$inputs: no inputs there; expected folders from preprogress.py --output"
fi

"$python" "$root/postprogress.py" --mindir "$mindir" --dataset "$dataset" --result_path "$results"
