"""SlowFast for spatio-temporal action detection with MindSpore.

Importing any part of this package first sets the environment that MindSpore's CPU kernels read, so that no order of
imports can lose it. It is the one thing that this package does at import; a value that the user set is kept.
"""

import os
import tempfile

# MindSpore's oneDNN has no AVX-512 kernel for the plain data layout that MindSpore asks for, and takes its reference
# loops instead: a SlowFast R50 clip takes two minutes. Held to AVX2 it takes two seconds.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
# Where a graph that does not compile is dumped: MindSpore's choice is rank_0/ in the current folder.
os.environ.setdefault("MS_OM_PATH", tempfile.gettempdir())
