#!/usr/bin/env bash
# Compile the operators for CPUs, src/cpu/csrc, against the oneDNN inside MindSpore's wheel. Quick when nothing changed.
#
#   bash scripts/build_cpu_kernels.sh
#
# PYTHON, as everywhere, names the interpreter whose MindSpore it is.
# Where that cannot be done it says why in one line and ends well: the network then runs on MindSpore's own operators.
# CXX names the compiler, CXXFLAGS adds flags (tests/cpu/sanitize.sh), CPU_KERNELS_BUILD another folder for the result.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
find_python
build="${CPU_KERNELS_BUILD:-src/cpu/build}"
compiler="${CXX:-g++}"

skip() {
    echo "kernels for CPUs are left out: $1"
    rm -f "$build/libslowfast_cpu.so"
    exit 0
}

[ "$(uname -m)" = x86_64 ] || skip "they are written for x86-64 processors, this is $(uname -m)"
mindspore=$("$python" -c 'import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("mindspore").origin).parent)')
library="$mindspore/lib/libdnnl.so.3"
[ -e "$library" ] || skip "they need MindSpore 2.9 or later, whose wheel holds oneDNN 3"
command -v "$compiler" >/dev/null || skip "there is no C++ compiler (on Debian: apt-get install g++)"

inputs=(src/cpu/csrc/* src/cpu/requirements.txt scripts/build_cpu_kernels.sh)
fingerprint="$( (cat "${inputs[@]}"; cat "$mindspore/version.py"; "$compiler" --version; echo "${CXXFLAGS:-}") | sha256sum)"
if [ -e "$build/libslowfast_cpu.so" ] && [ "$(cat "$build/fingerprint" 2>/dev/null)" = "$fingerprint" ]; then
    exit 0
fi
echo "compiling the kernels for CPUs"

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
if ! "$python" -m pip download --quiet --disable-pip-version-check --progress-bar off --no-deps --require-hashes \
    --dest "$temporary" -r src/cpu/requirements.txt 2>"$temporary/log"; then
    skip "the headers of oneDNN cannot be fetched ($(tail -n 1 "$temporary/log"))"
fi
"$python" -m zipfile -e "$temporary"/onednn_devel-*.whl "$temporary/wheel"
headers=$(dirname "$(dirname "$(find "$temporary/wheel" -path '*/oneapi/dnnl/dnnl_config.h')")")
# MindSpore's oneDNN runs on a thread pool that its caller gives, and on the CPU alone.
sed -i -E 's/^(#define DNNL_CPU_(THREADING_)?RUNTIME).*/\1 DNNL_RUNTIME_THREADPOOL/;
    s/^(#define DNNL_GPU_RUNTIME).*/\1 DNNL_RUNTIME_NONE/; s/^(#define DNNL_GPU_VENDOR).*/\1 DNNL_VENDOR_NONE/' \
    "$headers/dnnl/dnnl_config.h"

flags=(-std=c++20 -O3 -fPIC -fvisibility=hidden -pthread -Wall -Wextra)
read -ra more <<<"${CXXFLAGS:-}"
compile() {
    "$compiler" "${flags[@]}" "${@:3}" "${more[@]}" -isystem "${headers%/oneapi}" -c "src/cpu/csrc/$1.cc" -o "$temporary/$2.o"
}
(
    pids=()
    compile loops loops_avx2 -DINSTRUCTION_SET=avx2 -mavx2 -mfma & pids+=($!)
    compile loops loops_avx512 -DINSTRUCTION_SET=avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma \
        -mprefer-vector-width=512 & pids+=($!)
    for name in threads onednn convolution winograd weights stem normalization pooling layout optimizer registration; do
        compile "$name" "$name" & pids+=($!)
    done
    status=0
    for pid in "${pids[@]}"; do wait "$pid" || status=1; done
    exit "$status"
) || skip "$compiler cannot compile them (it has to know C++20: g++ 11 or later)"
"$compiler" -shared "$temporary"/*.o "${more[@]}" "$library" -Wl,-rpath,"$mindspore/lib" -Wl,--no-undefined -pthread \
    -o "$temporary/libslowfast_cpu.so" || skip "$compiler cannot link them"
mkdir -p "$build"
mv "$temporary/libslowfast_cpu.so" "$build/libslowfast_cpu.so"
echo "$fingerprint" >"$build/fingerprint"
