"""Damaged and made-up pickles of tubes end in one line, whatever is wrong with them."""

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from src.ava.tube_files import read_tube_annotations, read_tube_detections
from src.utils.errors import UserError

ROWS = np.array([[1, 2.0, 3.0, 40.0, 50.0], [2, 3.0, 3.0, 41.0, 50.0]])
GTTUBES = {
    "labels": ["run", "walk"],
    "gttubes": {"v": {0: [ROWS]}},
    "nframes": {"v": 3},
    "resolution": {"v": (240, 320)},
    "test_videos": [["v"]],
}
PYANNOT = {"v": {"annotations": [{"label": 1, "sf": 0, "ef": 2, "boxes": ROWS[:, 1:]}], "numf": 3, "label": 1}}
DETECTIONS = {1: [("v", 0.5, np.concatenate([ROWS, [[0.5], [0.4]]], axis=1))]}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**20) | st.floats() | st.text(max_size=3) | st.just(ROWS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(-1, 2) | st.just("v"), inner, max_size=2),
    max_leaves=4,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The way to every place in nested containers."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def replaced(value: object, path: tuple, new: object) -> object:
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return {**value, key: replaced(value[key], tuple(rest), new)}
    return type(value)(replaced(one, tuple(rest), new) if at == key else one for at, one in enumerate(value))


def read_all(path) -> None:
    for read in (read_tube_annotations, lambda file: read_tube_detections(file, 2)):
        try:
            read(path)
        except UserError as error:
            assert str(path) in str(error)


@settings(max_examples=200)
@given(st.sampled_from([GTTUBES, PYANNOT, DETECTIONS]), values, st.data())
def test_any_value_in_any_place_is_read_or_refused(tmp_path_factory, content, value, data):
    path = tmp_path_factory.getbasetemp() / "made_up.pkl"
    place = data.draw(st.sampled_from(places(content)))
    path.write_bytes(pickle.dumps(replaced(content, place, value)))
    read_all(path)


@settings(max_examples=200)
@given(
    st.sampled_from([GTTUBES, PYANNOT, DETECTIONS]), st.sampled_from([0, 2, 4]), st.floats(0, 1), st.integers(0, 255)
)
def test_a_changed_byte_is_read_or_refused(tmp_path_factory, content, protocol, where, byte):
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    damaged = bytearray(pickle.dumps(content, protocol))
    damaged[int(where * (len(damaged) - 1))] = byte
    path.write_bytes(damaged)
    read_all(path)
