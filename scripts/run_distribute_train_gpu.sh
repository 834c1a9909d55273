#!/usr/bin/env bash
# Train on several GPUs of this machine with mpirun. The log is ./log_distributed_gpu.
# Usage: bash scripts/run_distribute_train_gpu.sh CFG DATA_DIR CHECKPOINT_FILE_PATH [KEY VALUE ...]
#   DEVICE_NUM (in the environment)    how many GPUs, by default all of CUDA_VISIBLE_DEVICES or of the machine
#   CFG DATA_DIR CHECKPOINT_FILE_PATH  the config, the folder of frames/ and ava_annotations/, the weights to start from ("": none)
#   KEY VALUE ...                      configuration keys to set
#   FOREGROUND=1 waits and ends with the run's status; DRY_RUN=1 prints the commands only.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

(($# >= 3)) || usage
distribute_by_mpirun train "$@"
