#!/usr/bin/env bash
# Run the tests of the operators for CPUs under the address and undefined-behavior sanitizers.
#
#   bash tests/cpu/sanitize.sh [PYTEST ARGUMENT ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
export CPU_KERNELS_BUILD="$build" CI=true
CXXFLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined" bash scripts/build_cpu_kernels.sh
# Python itself is not instrumented: the sanitizer's runtime comes first, and what Python leaks is not looked at.
runtime=$(g++ -print-file-name=libasan.so)
ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$runtime $(g++ -print-file-name=libstdc++.so.6)" \
    .venv/bin/python -m pytest -p no:cacheprovider tests/cpu/test_operators.py "$@"
