#!/usr/bin/env bash
# Write pip-requirements.txt, tests/ and benchmarks/requirements.txt and the lock files from pyproject.toml.
# Usage: bash scripts/update_locks.sh [options of `uv pip compile`, for example --upgrade]
#   Versions in the lock files stay where pyproject.toml allows them; --upgrade takes the newest.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v uv >/dev/null || {
    echo "error: uv is not on PATH; pip install uv" >&2
    exit 2
}

# write FILE KEYS: the list of requirements that pyproject.toml holds under these keys.
write() {
    # tomllib is part of Python since 3.11.
    uv run --quiet --no-project --python '>=3.11' python - "$@" <<'PYTHON'
import pathlib, sys, tomllib
file, *keys = sys.argv[1:]
entry = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
for key in keys:
    entry = entry[key]
head = "# Written from pyproject.toml by scripts/update_locks.sh.\n"
pathlib.Path(file).write_text(head + "".join(f"{line}\n" for line in entry))
PYTHON
}

lock() {
    local file=$1
    shift
    uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate \
        --custom-compile-command "bash scripts/update_locks.sh" --output-file "$file" pyproject.toml "$@"
}

write pip-requirements.txt dependencies
write tests/requirements.txt optional-dependencies tests
write benchmarks/requirements.txt optional-dependencies benchmarks
lock requirements.lock "$@"
lock requirements-tests.lock --extra tests --constraint requirements.lock "$@"
