"""SlowFast for spatio-temporal action detection with MindSpore.

Importing any part of this package first sets the environment that MindSpore's CPU kernels read, so that no order of
imports can lose it. It is the one thing that this package does at import; a value that the user set is kept.
"""

import os
import tempfile

from src.cpu import library

library.set_environment()
# Where a graph that does not compile is dumped: MindSpore's choice is rank_0/ in the current folder.
os.environ.setdefault("MS_OM_PATH", tempfile.gettempdir())
