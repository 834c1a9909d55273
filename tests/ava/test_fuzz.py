"""Whatever a file holds, AVA's readers and the metric take it or say in one line why not."""

import pytest

from tests.ava.fuzz_readers import FILES, read
from tests.mutations import fuzz


@pytest.mark.filterwarnings("error")
def test_mutated_files_are_read_or_refused_in_one_line():
    assert fuzz(FILES, read, count=200) == []
