#!/usr/bin/env bash
# Train in several processes on CPUs with msrun.
# Usage: bash scripts/run_distribute_train_cpu.sh WORKERS CFG DATA_DIR CHECKPOINT_FILE_PATH [KEY VALUE ...]
#   WORKERS  processes on this machine; logs ./log_distributed_cpu and ./train_parallel/worker_RANK.log
#   NODES, NODE_RANK, MASTER_ADDR, MASTER_PORT  in the environment, over several machines
#   CFG DATA_DIR CHECKPOINT_FILE_PATH  the config, the folder of frames/ and ava_annotations/, the weights to start from ("": none)
#   KEY VALUE ...                      configuration keys to set
#   FOREGROUND=1 waits and ends with the run's status; DRY_RUN=1 prints the commands only.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

(($# >= 4)) || usage
[[ $1 =~ ^[1-9][0-9]*$ ]] || fail "WORKERS is '$1', expected a number"
distribute_by_msrun train CPU "$@"
