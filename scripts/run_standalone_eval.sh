#!/usr/bin/env bash
# Score a checkpoint on one device, the best that this machine has: see run_standalone_eval_*.sh.
# Usage: bash scripts/run_standalone_eval.sh CFG DATA_DIR CHECKPOINT_FILE_PATH [DEVICE_ID] [KEY VALUE ...]
#   DEVICE_ID                          which device, default 0
#   CFG DATA_DIR CHECKPOINT_FILE_PATH  the config, the folder of frames/ and ava_annotations/, the weights to score
#   KEY VALUE ...                      configuration keys to set
#   FOREGROUND=1 waits and ends with the run's status; DRY_RUN=1 prints the commands only.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

target=$(find_target)
arguments=("$@")
(($# >= 3)) || usage
if [[ $target == ascend && ! ${4:-} =~ ^[0-9]+$ ]]; then
    arguments=("${@:1:3}" 0 "${@:4}")
elif [[ $target != ascend && ${4:-} =~ ^[0-9]+$ ]]; then
    export DEVICE_ID=$4
    arguments=("${@:1:3}" "${@:5}")
fi
exec bash "$root/scripts/run_standalone_eval_$target.sh" "${arguments[@]}"
