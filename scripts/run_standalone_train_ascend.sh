#!/usr/bin/env bash
# Train on one Ascend device. The log is ./log_standalone_ascend.
# Usage: bash scripts/run_standalone_train_ascend.sh CFG DATA_DIR CHECKPOINT_FILE_PATH [KEY VALUE ...]
#   DEVICE_ID (in the environment)     which device, default 0
#   CFG DATA_DIR CHECKPOINT_FILE_PATH  the config, the folder of frames/ and ava_annotations/, the weights to start from ("": none)
#   KEY VALUE ...                      configuration keys to set
#   FOREGROUND=1 waits and ends with the run's status; DRY_RUN=1 prints the commands only.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

standalone train Ascend log_standalone_ascend "$@"
