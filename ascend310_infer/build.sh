#!/bin/bash
# Builds the C++ runner: ascend310_infer/build/main.
#
#   bash ascend310_infer/build.sh [CMAKE_OPTION ...]
#
# The libraries that it runs graphs with, each a module that is built where its library is there:
#   OPENVINO_ROOT   OpenVINO, for ONNX graphs: the folder of its Python package, which brings its C++ interface.
#                   Not set: the one that python finds, else the wheel for x86-64 is fetched.
#   MSLITE_ROOT     MindSpore Lite, for MINDIR graphs, unpacked: a release package or the folder in it that holds
#                   include/ and lib/
#   MINDSPORE_ROOT  or MindSpore for Ascend with lib/libmindspore.so
#                   Neither set: the MindSpore that python3 finds, if it has that library, else the mindspore-lite wheel
#                   for x86-64 is fetched.
#   "none"          for any of them: build without it
# nlohmann-json is taken from the system (Debian: nlohmann-json3-dev), or fetched.
# What is fetched comes by pip, is checked by its SHA-256, and lies below ascend310_infer/fetched/.
# BUILD_DIR: where to build, default ascend310_infer/build.
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
FETCHED="$HERE/fetched"

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

# A Python with pip: PYTHON, else the project's, else the system's.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} "$HERE/../.venv/bin/python" python3; do
    if "$candidate" -m pip --version >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  fail "no python3 with pip to fetch libraries with; install python3-pip"
}

# fetch FOLDER PROJECT VERSION FILE SHA256 [PIP_OPTION ...]: unpack FOLDER of a wheel into $FETCHED, unless it is there.
fetch() {
  local folder=$1 project=$2 version=$3 file=$4 sha256=$5 python temporary
  shift 5
  [ ! -d "$FETCHED/$folder" ] || return 0
  python="$(find_python)"
  mkdir -p "$FETCHED"
  temporary="$(mktemp -d "$FETCHED/.$folder.XXXXXX")"
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf '$temporary'" EXIT
  echo "fetching $file"
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --dest "$temporary" "$@" "$project==$version" ||
    fail "cannot fetch $project $version by pip"
  echo "$sha256  $temporary/$file" | sha256sum --check --quiet || fail "$file is not the file it should be"
  "$python" -m zipfile -e "$temporary/$file" "$temporary"
  mv "$temporary/$folder" "$FETCHED/$folder"
  rm -rf "$temporary"
  trap - EXIT
}

fetch_json() {
  fetch nlohmann_json nlohmann-json 3.12.0 nlohmann_json-3.12.0-py3-none-any.whl \
    5f6132720fb25d0d70bf0742f8397b49a540dcc193e7312a914f6aa49f054810
}

fetch_lite() {
  fetch mindspore_lite mindspore-lite 2.0.0 mindspore_lite-2.0.0-cp37-cp37m-manylinux1_x86_64.whl \
    199cd0605cc985b88eddb273db9dfe9000a585ba10ca2292b6b36ebfff07b3ec \
    --python-version 3.7 --implementation cp --abi cp37m --platform manylinux1_x86_64
}

fetch_openvino() {
  fetch openvino openvino 2026.4.1 openvino-2026.4.1-22982-cp311-cp311-manylinux_2_28_x86_64.whl \
    2d22b1da03f7caf74df30e9f6417d0ab2f637e4a38e08e1dcd294d2c37407aaf \
    --python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_x86_64
}

# The folder of OpenVINO's Python package, where the project's Python, else the system's, has it with its C++ interface.
installed_openvino() {
  local python
  python="$(find_python)"
  "$python" - <<'PYTHON' 2>/dev/null || true
import importlib.util, pathlib
spec = importlib.util.find_spec("openvino")
root = pathlib.Path(spec.origin).parent if spec and spec.origin else None
if root and (root / "cmake" / "OpenVINOConfig.cmake").is_file() and (root / "include").is_dir():
    print(root)
PYTHON
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

is_x86() {
  [ "$(uname -m)" = x86_64 ]
}

install_tools
MSLITE_ROOT="${MSLITE_ROOT:-}"
MINDSPORE_ROOT="${MINDSPORE_ROOT:-}"
OPENVINO_ROOT="${OPENVINO_ROOT:-}"
if [ -z "$MSLITE_ROOT$MINDSPORE_ROOT" ]; then
  MINDSPORE_ROOT="$(installed_mindspore)"
fi
if [ -z "$MSLITE_ROOT$MINDSPORE_ROOT" ] && is_x86; then
  fetch_lite
  MSLITE_ROOT="$FETCHED/mindspore_lite"
fi
if [ -d "$MSLITE_ROOT/runtime/lib" ]; then
  MSLITE_ROOT="$MSLITE_ROOT/runtime"
fi
if [ -z "$OPENVINO_ROOT" ]; then
  OPENVINO_ROOT="$(installed_openvino)"
fi
if [ -z "$OPENVINO_ROOT" ] && is_x86; then
  fetch_openvino
  OPENVINO_ROOT="$FETCHED/openvino"
fi
JSON_ROOT=/usr/include
if [ ! -f "$JSON_ROOT/nlohmann/json.hpp" ]; then
  fetch_json
  JSON_ROOT="$FETCHED/nlohmann_json/include"
fi

BUILD_DIR="${BUILD_DIR:-$HERE/build}"
cmake -S "$HERE" -B "$BUILD_DIR" -DJSON_ROOT="$JSON_ROOT" -DMSLITE_ROOT="${MSLITE_ROOT#none}" \
  -DMINDSPORE_ROOT="${MINDSPORE_ROOT#none}" -DOPENVINO_ROOT="${OPENVINO_ROOT#none}" "$@" >/dev/null
cmake --build "$BUILD_DIR" --parallel "$(nproc)"
echo "built $BUILD_DIR/main"
