"""Whatever stands in a YAML file or on the command line, loading it gives a configuration or one line."""

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from src.config.custom_config import load_config
from src.config.defaults import get_cfg
from src.utils.errors import UserError
from src.utils.nested import leaves

KEYS = dict(leaves(get_cfg()))
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner))


def loads_or_says_why(path=None, overrides=()) -> None:
    try:
        cfg = load_config(path, overrides)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert {key: type(value) for key, value in leaves(cfg)} == {key: type(value) for key, value in KEYS.items()}


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(content=b"A: &a [*a]")
@example(content=b"SOLVER: &a {STEPS: *a}")
@example(content=b"? [1]\n: 2")
@example(content=b"<<: 1")
@example(content=b"A: 1:2:3\x85B: 1")
def test_any_bytes(tmp_path, content):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    loads_or_says_why(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(KEYS)), value=VALUES)
@example(key="SOLVER.BASE_LR", value=10**400)
@example(key="AVA.TRAIN_LISTS", value=["\n"])
@example(key="MODEL.HEAD_ACT", value="\n")
def test_any_value_of_a_key_in_a_file(tmp_path, key, value):
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({key: value}))
    loads_or_says_why(path)


@settings(max_examples=300)
@given(key=st.sampled_from(sorted(KEYS)) | st.text(max_size=12), value=st.text(max_size=12) | VALUES.map(repr))
@example(key="SOLVER.STEPS", value="(" * 5000)
@example(key="SOLVER.STEPS", value="{[]: 1}")
@example(key="RNG_SEED", value=hex(10**5000))
@example(key="DATA\n", value="1")
def test_any_override(key, value):
    loads_or_says_why(None, [key, value])
