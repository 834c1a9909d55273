#!/usr/bin/env bash
# Download and prepare AVA v2.2: about 157 GB of videos, 392 GB of frames. A run that was stopped goes on.
# Usage: bash scripts/prepare_ava.sh [DIR] [options of `python -m src.datasets.prepare all`]
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

folder=data/ava
if [[ $# -gt 0 && $1 != -* ]]; then
    folder=$1
    shift
fi
find_python
folder=$(realpath -m -- "$folder")
cd "$root"
exec "$python" -m src.datasets.prepare all --root "$folder" "$@"
