"""Archives of arrays are read or refused, whatever became of them."""

import random

import numpy as np
import pytest

from src.utils.npz import read_npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_is_told_whatever_it_is(tmp_path, save):
    path = tmp_path / "tables.npz"
    save(path, numbers=np.arange(50), text=np.array(["a"]))
    content, chance, damaged = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(chance.choice([1, 2, 5])):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        path.write_bytes(changed[: chance.choice([len(changed), chance.randrange(len(changed))])])
        try:
            arrays = read_npz(path, ["numbers", "text"])
        except ValueError:
            damaged += 1
        else:
            assert arrays["numbers"].tolist() == list(range(50))
    assert damaged > 150


def test_other_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", old=np.zeros(1))
    with pytest.raises(ValueError, match="it holds old, expected new, old"):
        read_npz(tmp_path / "a.npz", ["old", "new"])
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "b.npz", ["old"])


def test_an_array_that_claims_to_be_shorter_is_refused(tmp_path):
    path = tmp_path / "tables.npz"
    np.savez(path, numbers=np.arange(100_000))
    path.write_bytes(path.read_bytes().replace(b"(100000,)", b"(15,)    "))
    with pytest.raises(ValueError, match="Bad CRC-32"):
        read_npz(path, ["numbers"])
