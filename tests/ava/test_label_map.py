"""Label maps in both dialects, and what is refused."""

import pytest

from src.ava.label_map import read_label_map
from src.utils.errors import UserError


def written(tmp_path, text):
    path = tmp_path / "map.pbtxt"
    path.write_text(text)
    return path


def test_benchmark_dialect_keeps_ids_names_and_order(tmp_path):
    path = written(
        tmp_path, 'item {\n  name: "walk"\n  id: 14\n}\nitem {\n  name: "bend/bow (at the waist)"\n  id: 1\n}\n'
    )
    assert list(read_label_map(path).items()) == [(14, "walk"), (1, "bend/bow (at the waist)")]


def test_full_list_dialect_ignores_the_type(tmp_path):
    path = written(tmp_path, 'label {\n  name: "walk"\n  label_id: 14\n  label_type: PERSON_MOVEMENT\n}\n')
    assert read_label_map(path) == {14: "walk"}


def test_layout_quotes_comments_and_escapes_do_not_matter(tmp_path):
    text = "# actions\nitem { id: 1, name: 'say \\'hi\\' {loud}' }  item{name:\"b#c\" id:2}"
    assert read_label_map(written(tmp_path, text)) == {1: "say 'hi' {loud}", 2: "b#c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no items"),
        ("# nothing\n", "no items"),
        ('item {\n name: "a"\n}\n', "row 1: expected `item` with `name` and `id`"),
        ('item {\n name: "a"\n id: one\n}\n', "row 1: id is 'one', expected an integer from 1"),
        ('item { name: "a" id: 0 }', "row 1: id is '0', expected an integer from 1"),
        ('item { name: "a" id: 40000 }', "row 1: id is '40000', expected an integer from 1 to 32767"),
        ('item { name: "a" id: 1 }\nitem { name: "b" id: 1 }', "row 2: class id 1 is there twice"),
        ('item { name: "a" id: 1 }\nitem { name: "a" id: 2 }', "row 2: class name 'a' is there twice"),
        ('item {\n name: "a"\n id: 1\n', "row 4: found the end of the file, expected a field or `}`"),
        ("walk,14\n", "row 1: found walk, expected `item` or `label`"),
        ('item {\n name: "a\n id: 1 }', 'row 2: found ", expected a value'),
    ],
)
def test_mistakes_are_named_with_their_row(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(UserError) as error:
        read_label_map(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_folder_and_absent_file_are_refused(tmp_path):
    with pytest.raises(UserError, match="Is a directory"):
        read_label_map(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        read_label_map(tmp_path / "absent.pbtxt")


def test_real_label_maps_have_60_and_80_classes(shared_dir):
    benchmark = read_label_map(shared_dir / "data/ava/ava_action_list_v2.2_for_activitynet_2019.pbtxt")
    full = read_label_map(shared_dir / "data/ava/ava_action_list_v2.2.pbtxt")
    assert (len(benchmark), len(full)) == (60, 80)
    assert benchmark.items() <= full.items()
    assert full[80] == "watch (a person)"
