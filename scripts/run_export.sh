#!/usr/bin/env bash
# Export a checkpoint to OUTPUT_DIR/slowfast.mindir and slowfast.json.
# Usage: bash scripts/run_export.sh CFG CKPT [KEY VALUE ...]
set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: bash scripts/run_export.sh CFG CKPT [KEY VALUE ...]" >&2
    exit 2
fi
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-$root/.venv/bin/python}"
if [[ ! -x $python ]]; then
    echo "error: $python is not there; run bash scripts/setup.sh first" >&2
    exit 2
fi
cfg=$1
checkpoint=$2
shift 2
exec "$python" "$root/export.py" --cfg "$cfg" TEST.CHECKPOINT_FILE_PATH "$checkpoint" "$@"
