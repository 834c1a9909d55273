"""Operators for CPUs: oneDNN's convolutions with the channels last, and what goes with them.

`csrc/` holds them in C++, scripts/build_cpu_kernels.sh compiles them, `library` says whether they can be used here, and
`operators` is their Python face. Which networks take them is decided in `src.models.build`.
"""
