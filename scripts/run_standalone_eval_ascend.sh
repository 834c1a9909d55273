#!/usr/bin/env bash
# Score a checkpoint on one Ascend device. The log is ./log_eval_ascend.
# Usage: bash scripts/run_standalone_eval_ascend.sh CFG DATA_DIR CHECKPOINT_FILE_PATH DEVICE_ID [KEY VALUE ...]
#   DEVICE_ID                          which device, from 0
#   CFG DATA_DIR CHECKPOINT_FILE_PATH  the config, the folder of frames/ and ava_annotations/, the weights to score
#   KEY VALUE ...                      configuration keys to set
#   FOREGROUND=1 waits and ends with the run's status; DRY_RUN=1 prints the commands only.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

(($# >= 4)) || usage
[[ $4 =~ ^[0-9]+$ ]] || fail "DEVICE_ID is '$4', expected a number"
DEVICE_ID=$4 standalone eval Ascend log_eval_ascend "${@:1:3}" "${@:5}"
