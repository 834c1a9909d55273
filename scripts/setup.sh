#!/usr/bin/env bash
# Make .venv with everything that the package needs. Quick when there is nothing to do.
#
#   bash scripts/setup.sh [--tests]
#
# --tests adds what the tests need. PYTHON names the interpreter to use, 3.10 to 3.12.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    echo "usage: bash scripts/setup.sh [--tests]" >&2
    exit 2
}

requirements=(pip-requirements.txt)
case "$#:${1:-}" in
    0:) ;;
    1:--tests) requirements+=(tests/requirements.txt) ;;
    *) usage ;;
esac

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null
}

if [ ! -x .venv/bin/python ]; then
    chosen=""
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.10 python3; do
        if fits "$candidate"; then
            chosen="$candidate"
            break
        elif [ "$candidate" = "${PYTHON:-}" ]; then
            echo "error: PYTHON=$PYTHON is $("$PYTHON" --version 2>&1 | head -n 1); MindSpore needs Python 3.10 to 3.12" >&2
            exit 2
        fi
    done
    if [ -z "$chosen" ]; then
        echo "error: found $(python3 --version 2>&1 || echo "no python3"); MindSpore needs Python 3.10 to 3.12" \
            "(install one, for example python3.11, and name it in PYTHON)" >&2
        exit 2
    fi
    if ! "$chosen" -m venv --clear .venv; then
        rm -rf .venv
        echo "error: $chosen cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
        exit 2
    fi
fi

if ! fits .venv/bin/python; then
    echo "error: .venv has $(.venv/bin/python --version 2>&1); MindSpore needs Python 3.10 to 3.12: remove .venv and try again" >&2
    exit 2
fi

for file in "${requirements[@]}"; do
    stamp=".venv/installed-${file//\//-}"
    if ! cmp -s "$file" "$stamp"; then
        echo "installing $file (MindSpore alone is 800 MB)"
        .venv/bin/python -m pip install --disable-pip-version-check --quiet --progress-bar off -r "$file"
        cp "$file" "$stamp"
    fi
done
