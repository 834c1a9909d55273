#!/usr/bin/env bash
# Make .venv with everything that the package needs. Quick when there is nothing to do.
# Usage: bash scripts/setup.sh [--tests] [--loose] [--python INTERPRETER]
#   --tests   with what the tests need
#   --loose   the newest versions within pip-requirements.txt's bounds, not those of the lock file
#   --python  the interpreter to make .venv from, 3.10 to 3.12
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

tests=0 loose=0 interpreter=
while (($# > 0)); do
    case "$1" in
    --tests) tests=1 ;;
    --loose) loose=1 ;;
    --python)
        (($# >= 2)) || usage
        interpreter=$2
        shift
        ;;
    *) usage ;;
    esac
    shift
done

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null
}

# Print the interpreter to make .venv from.
choose_interpreter() {
    local candidate
    if [[ -n $interpreter ]]; then
        fits "$interpreter" ||
            fail "--python $interpreter: $("$interpreter" --version 2>&1 | head -n 1); MindSpore needs Python 3.10 to 3.12"
        echo "$interpreter"
        return
    fi
    for candidate in python3.11 python3.12 python3.10 python3; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "found $(python3 --version 2>&1 || echo "no python3"); MindSpore needs Python 3.10 to 3.12" \
        "(install one, for example python3.11, and name it with --python)"
}

if [[ ! -x .venv/bin/python ]]; then
    chosen=$(choose_interpreter) || exit 2
    if ! "$chosen" -m venv --clear .venv; then
        rm -rf .venv
        fail "$chosen cannot make a virtual environment; on Debian: apt-get install python3-venv"
    fi
fi
fits .venv/bin/python ||
    fail ".venv has $(.venv/bin/python --version 2>&1); MindSpore needs Python 3.10 to 3.12: remove .venv and try again"

if ((loose)); then
    files=(pip-requirements.txt)
    if ((tests)); then files+=(tests/requirements.txt); fi
else
    files=(requirements.lock)
    if ((tests)); then files=(requirements-tests.lock); fi
fi
wanted=$(printf -- '-r %s\n' "${files[@]}" && cat -- "${files[@]}")
stamp=.venv/installed
if [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
    echo "installing ${files[*]} (MindSpore alone is 800 MB)"
    .venv/bin/python -m pip install --disable-pip-version-check --quiet --progress-bar off "${files[@]/#/-r}"
    printf '%s\n' "$wanted" >"$stamp"
fi

PYTHON=$root/.venv/bin/python bash scripts/build_cpu_kernels.sh
