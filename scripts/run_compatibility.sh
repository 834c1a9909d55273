#!/usr/bin/env bash
# Install versions of MindSpore, each into a folder of its own, run tests with each, and print a table of the outcomes.
# Usage: bash scripts/run_compatibility.sh [--python INTERPRETER] [VERSION ...] [-- PYTEST ARGUMENT ...]
#   VERSION            of MindSpore, with the newest of the rest within pyproject.toml's bounds; or `lock`: the versions
#                      of requirements-tests.lock; default 2.7.0 2.8.0 2.9.0 lock
#   --python           the interpreter to make the environments from, default python3
#   PYTEST ARGUMENT    default: the quick tests of the folders that use MindSpore and Python most
#   COMPATIBILITY_DIR  in the environment: where the environments are made, by default a temporary folder; each takes
#                      4 GB and is removed after its tests
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

interpreter=python3 versions=()
while (($# > 0)); do
    case "$1" in
    --python)
        (($# >= 2)) || usage
        interpreter=$2
        shift
        ;;
    --)
        shift
        break
        ;;
    lock | [0-9]*) versions+=("$1") ;;
    *) usage ;;
    esac
    shift
done
((${#versions[@]} > 0)) || versions=(2.7.0 2.8.0 2.9.0 lock)
tests=("$@")
((${#tests[@]} > 0)) || tests=(-m "not slow" tests/test_environment.py tests/config tests/ava tests/evaluation tests/models
    tests/checkpoint tests/cpu tests/utils tests/engine/test_train_step.py)

folder=${COMPATIBILITY_DIR:-$(mktemp -d)}
mkdir -p "$folder"
# The kernels for CPUs are compiled against each MindSpore that can have them, beside those of .venv.
export CPU_KERNELS_BUILD=$folder/kernels
trap 'rm -rf "${folder:?}/environment" "$CPU_KERNELS_BUILD"' EXIT

# Make the environment with a version of MindSpore.
install() {
    rm -rf "$folder/environment"
    "$interpreter" -m venv "$folder/environment"
    local requirements=(-r requirements-tests.lock)
    [[ $1 == lock ]] || requirements=(-r pip-requirements.txt -r tests/requirements.txt "mindspore==$1")
    "$folder/environment/bin/python" -m pip install --disable-pip-version-check --quiet --progress-bar off \
        "${requirements[@]}"
    PYTHON=$folder/environment/bin/python bash scripts/build_cpu_kernels.sh
}

status=0 rows=()
for version in "${versions[@]}"; do
    log=$folder/$version.log
    echo "MindSpore $version: log $log"
    if ! install "$version" >"$log" 2>&1; then
        outcome="not installed"
        status=1
    else
        "$folder/environment/bin/python" -m pytest -p no:cacheprovider "${tests[@]}" >>"$log" 2>&1 || status=1
        outcome=$(tail -n 1 "$log")
    fi
    python_version=$("$interpreter" -c 'import platform; print(platform.python_version())')
    rows+=("| $version | $python_version | $(date -u +%F) | $outcome |")
done
printf '%s\n' "" "| MindSpore | Python | date | tests |" "| --- | --- | --- | --- |" "${rows[@]}"
exit "$status"
