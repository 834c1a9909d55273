#!/usr/bin/env bash
# Export a checkpoint to OUTPUT_DIR/slowfast.mindir and slowfast.json.
# Usage: bash scripts/run_export.sh CFG CKPT [KEY VALUE ...]
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

(($# >= 2)) || usage
find_python
exec "$python" "$root/export.py" --cfg "$1" TEST.CHECKPOINT_FILE_PATH "$2" "${@:3}"
