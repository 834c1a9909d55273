#!/usr/bin/env bash
# Train on several Ascend devices.
# Usage: bash scripts/run_distribute_train_ascend.sh [RANK_TABLE_FILE] CFG DATA_DIR CHECKPOINT_FILE_PATH [KEY VALUE ...]
#   RANK_TABLE_FILE  hccl's table of devices (.json): a process for each device of this machine, with the logs
#                    ./train_parallelRANK/log. Without a table msrun starts the processes on DEVICE_NUM devices (by
#                    default all): logs ./log_distributed_ascend and ./train_parallel/worker_RANK.log.
#   NODES, NODE_RANK, MASTER_ADDR, MASTER_PORT  in the environment, for msrun over several machines
#   CFG DATA_DIR CHECKPOINT_FILE_PATH  the config, the folder of frames/ and ava_annotations/, the weights to start from ("": none)
#   KEY VALUE ...                      configuration keys to set
#   FOREGROUND=1 waits and ends with the run's status; DRY_RUN=1 prints the commands only.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [[ ${1:-} == *.json ]]; then
    distribute_by_table train "$@"
else
    (($# >= 3)) || usage
    count=$(count_devices "${ASCEND_RT_VISIBLE_DEVICES:-}" '/dev/davinci[0-9]*')
    distribute_by_msrun train Ascend "$count" "$@"
fi
