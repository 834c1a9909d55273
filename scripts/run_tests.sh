#!/usr/bin/env bash
# Set up, then check style and run the tests, in up to four processes.
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
# A file's tests share what its fixtures made, so a file stays with one process. One process more than there are cores, as
# some always wait for programs that they started.
processes=$(($(nproc) + 1))
"$python" -m pytest --numprocesses $((processes < 4 ? processes : 4)) --dist loadfile "$@"
