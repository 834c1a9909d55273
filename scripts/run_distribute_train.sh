#!/usr/bin/env bash
# Train on several devices; the first argument says how.
# Usage: bash scripts/run_distribute_train.sh [RANK_TABLE_FILE | WORKERS] CFG DATA_DIR CHECKPOINT_FILE_PATH [KEY VALUE ...]
#   RANK_TABLE_FILE  see run_distribute_train_ascend.sh
#   WORKERS          see run_distribute_train_cpu.sh
#   neither          Ascend devices with msrun where there are some, else GPUs: see run_distribute_train_gpu.sh
#   CFG DATA_DIR CHECKPOINT_FILE_PATH  the config, the folder of frames/ and ava_annotations/, the weights to start from ("": none)
#   KEY VALUE ...                      configuration keys to set
#   FOREGROUND=1 waits and ends with the run's status; DRY_RUN=1 prints the commands only.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

(($# >= 3)) || usage
case "$1" in
*.json) target=ascend ;;
*[!0-9]*) target=$(find_target) ;;
*) target=cpu ;;
esac
# Without a table or a number of workers, GPUs unless the machine has Ascend devices.
if [[ $target == cpu && $1 == *[!0-9]* ]]; then target=gpu; fi
exec bash "$root/scripts/run_distribute_train_$target.sh" "$@"
