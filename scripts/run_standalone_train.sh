#!/usr/bin/env bash
# Train on one device, the best that this machine has: see run_standalone_train_*.sh.
# Usage: bash scripts/run_standalone_train.sh CFG DATA_DIR CHECKPOINT_FILE_PATH [KEY VALUE ...]
#   CFG DATA_DIR CHECKPOINT_FILE_PATH  the config, the folder of frames/ and ava_annotations/, the weights to start from ("": none)
#   KEY VALUE ...                      configuration keys to set
#   FOREGROUND=1 waits and ends with the run's status; DRY_RUN=1 prints the commands only.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

(($# >= 3)) || usage
exec bash "$root/scripts/run_standalone_train_$(find_target).sh" "$@"
