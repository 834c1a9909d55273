#!/usr/bin/env bash
# Download and prepare AVA v2.2: about 157 GB of videos, 392 GB of frames. A run that was stopped goes on.
# Usage: bash scripts/prepare_ava.sh [DIR] [options of `python -m src.datasets.prepare all`]
set -euo pipefail

root=data/ava
if [[ $# -gt 0 && $1 != -* ]]; then
    root=$(realpath -m -- "$1")
    shift
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python
if [[ ! -x $python ]]; then
    echo "error: $python is not there; run bash scripts/setup.sh first" >&2
    exit 2
fi
exec "$python" -m src.datasets.prepare all --root "$root" "$@"
