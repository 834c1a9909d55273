#!/usr/bin/env bash
# Set up, then check style and run the tests, over up to four cores.
# Usage: bash scripts/run_tests.sh [PYTEST ARGUMENT ...]      for example: -m "not slow", tests/models
#   PYTHON  in the environment: an interpreter that has all the tests need; then nothing is set up
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

if [[ -z ${PYTHON:-} ]]; then
    bash scripts/setup.sh --tests
    PYTHON=$root/.venv/bin/python
fi
find_python
ruff check .
ruff format --check --quiet .
git ls-files -z '*.sh' | xargs -0 shellcheck
# A file's tests share what its fixtures made, so a file stays with one process.
"$python" -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile "$@"
