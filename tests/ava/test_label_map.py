"""Label maps in both dialects, and what is refused."""

import pytest

from src.ava.label_map import ClassList, read_class_list, read_label_map, write_label_map
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
        ('item {\n name: "a"\n}\n', "item 1: expected `name` and `id`"),
        ("label {\n label_id: 1\n}\n", "label 1: expected `name` and `label_id`"),
        ('item {\n name: "a"\n id: one\n}\n', "row 3: ' id: one': Couldn't parse integer: one"),
        ('item { name: "a" id: 0 }', "class id 0 of 'a', expected an integer from 1 to 32767"),
        ('item { name: "a" id: 40000 }', "class id 40000 of 'a', expected an integer from 1 to 32767"),
        ('item { name: "a" id: 1 }\nitem { name: "b" id: 1 }', "class id 1 is there twice, as 'a' and 'b'"),
        ('item { name: "a" id: 1 }\nitem { name: "a" id: 2 }', "class name 'a' is there twice, as 1 and 2"),
        ('item { name: "" id: 1 }', "class 1 is called '', expected a name in one line"),
        ('item {\n name: "a"\n id: 1\n', 'row 3: Expected "}"'),
        ("walk,14\n", "row 1"),
        ('item {\n name: "a\n id: 1 }', "row 2"),
        ("a {" * 2000, "map.pbtxt: "),
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
    with pytest.raises(UserError, match="is a directory, expected a label map"):
        read_label_map(tmp_path)
    with pytest.raises(UserError, match="no such file, expected a label map"):
        read_label_map(tmp_path / "absent.pbtxt")


def test_a_byte_order_mark_is_skipped(tmp_path):
    assert read_label_map(written(tmp_path, '\ufeffitem { name: "walk" id: 14 }')) == {14: "walk"}


def test_fields_that_are_not_known_do_not_count(tmp_path):
    text = 'item { name: "/m/01" id: 1 display_name: "walk" box { side: 3 } }'
    assert read_label_map(written(tmp_path, text)) == {1: "/m/01"}


def test_written_maps_are_read_back_and_have_the_lines_that_line_readers_look_for(tmp_path):
    names = {14: 'say "hi" \\ to', 2: "歩く"}
    write_label_map(tmp_path / "map.pbtxt", names)
    assert list(read_label_map(tmp_path / "map.pbtxt").items()) == list(names.items())
    lines = (tmp_path / "map.pbtxt").read_text(encoding="utf-8").splitlines()
    assert lines[4:] == ["item {", '  name: "歩く"', "  id: 2", "}"]


CLASS_LISTS = {
    "names.txt": ("walk\n\nsit down\n", ClassList({1: "walk", 2: "sit down"})),
    "marked.txt": ("\ufeffwalk\r\nsit\r\n", ClassList({1: "walk", 2: "sit"})),
    "mmaction2.txt": ("2: walk\n4: carry/hold (an object)\n", ClassList({2: "walk", 4: "carry/hold (an object)"})),
    "list.json": ('["walk", "sit"]', ClassList({1: "walk", 2: "sit"})),
    "ids.json": ('{"3": "walk", "1": "sit"}', ClassList({3: "walk", 1: "sit"})),
    "pyslowfast.json": ('{"walk": 0, "sit": 1}', ClassList({1: "walk", 2: "sit"}, from_zero=True)),
    "from_one.json": ('{"walk": 1, "sit": 2}', ClassList({1: "walk", 2: "sit"})),
    "yolo.yaml": ("nc: 2\nnames:\n  0: walk\n  1: sit\n", ClassList({1: "walk", 2: "sit"}, from_zero=True)),
    "older_yolo.yml": ("names: [walk, sit]\n", ClassList({1: "walk", 2: "sit"})),
    "map.pbtxt": ('item { name: "walk" id: 14 }', ClassList({14: "walk"})),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 walk\n2 sit down\n", ClassList({1: "walk", 2: "sit down"})),
        ("0,walk\n1,talk to (e.g., self)\n", ClassList({1: "walk", 2: "talk to (e.g., self)"}, from_zero=True)),
        ("001\twalk\n002\tsit\n", ClassList({1: "walk", 2: "sit"})),
        ("2 persons talk\n3 persons talk\n", ClassList({1: "2 persons talk", 2: "3 persons talk"})),
        ("1 person walks\n3 persons walk\n", ClassList({1: "1 person walks", 2: "3 persons walk"})),
    ],
)
def test_numbers_before_names_are_ids_where_they_count_without_a_gap(tmp_path, text, expected):
    (tmp_path / "classes.txt").write_text(text)
    assert read_class_list(tmp_path / "classes.txt") == expected


@pytest.mark.parametrize("name", CLASS_LISTS)
def test_class_lists_of_other_programs(tmp_path, name):
    text, expected = CLASS_LISTS[name]
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_class_list(tmp_path / name)
    assert (found, list(found.names)) == (expected, list(expected.names))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "holds no class names"),
        ("a.txt", "walk\nwalk\n", "class name 'walk' is there twice, as 1 and 2"),
        ("a.txt", "1: walk\nsit\n", "row 1: '1: walk' is not the name of a class"),
        ("a.txt", '{\n"walk": 0,\n', "row 1: '{' is not the name of a class"),
        ("a.csv", "id,name\n1,walk\n", "row 2: '1,walk' is not the name of a class"),
        ("a.csv", "walk,1\n", "row 1: 'walk,1' is not the name of a class"),
        # What would shift or garble names.
        ("a.txt", "# my classes\nwalk\n", "row 1: '# my classes' is not the name of a class"),
        ("a.csv", "Name\nwalk\n", "row 1: 'Name' is not the name of a class"),
        ("a.txt", "walk,\nsit,\n", "row 1: 'walk,' is not the name of a class"),
        ("a.txt", '"walk"\n', "row 1: '\"walk\"' is not the name of a class"),
        ("a.txt", "__background__\nwalk\n", "'__background__' is no action: take it out, so that the first action is"),
        ("a.json", '["Background", "walk"]', "'Background' is no action"),
        ("a.xml", '<Labels>\n<Label value="walk"/>\n', "row 1: '<Labels>' is not the name of a class"),
        ("a.txt", "1. walk\n2. sit\n", "row 1: '1. walk' is not the name of a class"),
        (
            "a.txt",
            "walk 1\nsit 0\n",
            "row 1: 'walk 1' ends with a number, as all rows do; expected `14: walk` in every",
        ),
        ("a.txt", "(1) walk\n", "row 1: '(1) walk' is not the name of a class"),
        ("a.json", '{"1": "walk", "1": "sit"}', "not JSON: '1' is there twice"),
        ("a.yaml", "names:\n  0: walk\n  0: sit\n", "not YAML: '0' is there twice"),
        ("a.txt", "names:\n  - walk\n", "row 1: 'names:' is not the name of a class"),
        ("a.json", "[1, 2]", "expected a list of class names"),
        ("a.json", '{"walk": true}', "expected a list of class names"),
        ("a.json", "{", "not JSON: "),
        ("a.json", "[" * 100_000, "not JSON: "),
        ("a.yaml", "a: [", "not YAML: "),
        ("a.yaml", "names: {0: walk, 0.5: sit}", "expected a list of class names"),
    ],
)
def test_what_is_no_class_list_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error:
        read_class_list(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_real_label_maps_have_60_and_80_classes(shared_dir):
    benchmark = read_label_map(shared_dir / "data/ava/ava_action_list_v2.2_for_activitynet_2019.pbtxt")
    full = read_label_map(shared_dir / "data/ava/ava_action_list_v2.2.pbtxt")
    assert (len(benchmark), len(full)) == (60, 80)
    assert benchmark.items() <= full.items()
    assert full[80] == "watch (a person)"


def test_names_may_end_with_numbers(tmp_path):
    (tmp_path / "a.txt").write_text("level 1\nlevel 2\n")
    assert read_class_list(tmp_path / "a.txt").names == {1: "level 1", 2: "level 2"}
    (tmp_path / "a.txt").write_text("walk 1\nsit 30\n")
    assert read_class_list(tmp_path / "a.txt").names == {1: "walk 1", 2: "sit 30"}
