"""SlowFast for spatio-temporal action detection with MindSpore.

Importing any part of this package first sets the environment that MindSpore and its CPU kernels read, so that no order
of imports can lose it. It is the one thing that this package does at import; a value that the user set is kept.
"""

import os
import tempfile

from src.cpu import library

library.set_environment()
# MindSpore sets this as it is imported. Before 2.10 it cannot be imported once protobuf was loaded without it.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
# Where a graph that does not compile is dumped: MindSpore's choice is rank_0/ in the current folder.
os.environ.setdefault("MS_OM_PATH", tempfile.gettempdir())
