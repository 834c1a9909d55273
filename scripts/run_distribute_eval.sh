#!/usr/bin/env bash
# Score a checkpoint on several devices, each with its share; the first argument says how.
# Usage: bash scripts/run_distribute_eval.sh [RANK_TABLE_FILE | WORKERS] CFG DATA_DIR CHECKPOINT_FILE_PATH [KEY VALUE ...]
#   RANK_TABLE_FILE  hccl's table (.json): Ascend devices, logs ./eval_parallelRANK/log
#   WORKERS          processes on the CPU with msrun: logs ./log_distributed_eval_cpu and ./eval_parallel/
#   neither          Ascend devices with msrun where there are some (./log_distributed_eval_ascend), else GPUs with
#                    mpirun (./log_distributed_eval_gpu)
#   CFG DATA_DIR CHECKPOINT_FILE_PATH  the config, the folder of frames/ and ava_annotations/, the weights to score
#   KEY VALUE ...                      configuration keys to set
#   FOREGROUND=1 waits and ends with the run's status; DRY_RUN=1 prints the commands only.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

(($# >= 3)) || usage
case "$1" in
*.json) distribute_by_table eval "$@" ;;
*[!0-9]*)
    if [[ $(find_target) == ascend ]]; then
        count=$(count_devices "${ASCEND_RT_VISIBLE_DEVICES:-}" '/dev/davinci[0-9]*')
        distribute_by_msrun eval Ascend "$count" "$@"
    else
        distribute_by_mpirun eval "$@"
    fi
    ;;
*)
    (($# >= 4)) || usage
    distribute_by_msrun eval CPU "$@"
    ;;
esac
