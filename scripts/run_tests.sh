#!/usr/bin/env bash
# Set up, then check style and run the tests.
#
#   bash scripts/run_tests.sh [PYTEST ARGUMENT ...]      for example: -m "not slow", tests/models
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/setup.sh --tests
# shellcheck source=/dev/null
. .venv/bin/activate
ruff check .
ruff format --check --quiet .
git ls-files -z '*.sh' | xargs -0 shellcheck
python -m pytest "$@"
