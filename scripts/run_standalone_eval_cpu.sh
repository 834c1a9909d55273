#!/usr/bin/env bash
# Score a checkpoint on the CPU. The log is ./log_eval_cpu.
# Usage: bash scripts/run_standalone_eval_cpu.sh CFG DATA_DIR CHECKPOINT_FILE_PATH [KEY VALUE ...]
#   CFG DATA_DIR CHECKPOINT_FILE_PATH  the config, the folder of frames/ and ava_annotations/, the weights to score
#   KEY VALUE ...                      configuration keys to set
#   FOREGROUND=1 waits and ends with the run's status; DRY_RUN=1 prints the commands only.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

standalone eval CPU log_eval_cpu "$@"
