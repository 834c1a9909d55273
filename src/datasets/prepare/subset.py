"""Some classes of a dataset, as a dataset of their own that shares its frames."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml
from fvcore.common.config import CfgNode

from src.ava.box_csv import box_row, read_rows
from src.ava.label_map import read_label_map, write_label_map
from src.ava.rows import NO_ACTION, FrameRow, RowRule
from src.datasets.prepare.outputs import Outputs, check_apart
from src.utils.errors import UserError

_RECIPE = "slowfast.yaml"
_LABEL_MAP = "label_map.pbtxt"
_HEADER = "# Some classes of the dataset in AVA's form that DATA.PATH_TO_DATA_DIR names, made by `prepare classes`.\n"


def write_subset(cfg: CfgNode, recipe: Path, out: Path, names: str) -> None:
    """Write box lists, label map and config for some classes of a dataset; frames and frame lists are its own.

    Classes are numbered from 1 in the order of `names`. A person who does none of them stays, without an action: as
    somebody to tell the others from.

    Args:
        cfg: the dataset's configuration.
        recipe: its file.
        out: where the new config and its lists go.
        names: of the classes, or their ids, separated by commas; a name may itself hold some.

    Raises:
        UserError: no class, one that the dataset has not, or that has no box; a list that cannot be read.
    """
    root = Path(cfg.DATA.PATH_TO_DATA_DIR)
    annotations = root / cfg.AVA.ANNOTATION_DIR
    check_apart({"--root": annotations}, [out / _RECIPE, out / "ava_annotations"])
    known = read_label_map(annotations / cfg.AVA.LABEL_MAP_FILE)
    numbers = {class_id: number for number, class_id in enumerate(_ids(known, names), start=1)}
    truths, detections = [*cfg.AVA.TRAIN_GT_BOX_LISTS], [*cfg.AVA.TRAIN_PREDICT_BOX_LISTS]
    detections += cfg.AVA.TEST_PREDICT_BOX_LISTS
    writers: dict[str, Callable[[Path], object]] = {}
    boxes: dict[int, int] = dict.fromkeys(numbers, 0)
    for name in dict.fromkeys([*truths, cfg.AVA.GROUNDTRUTH_FILE, *detections]):
        rule = RowRule(scored=name in detections)
        text = _rows(annotations / name, rule, numbers, boxes if name in truths else {})
        writers[f"ava_annotations/{name}"] = partial(Path.write_text, data=text, encoding="utf-8")
    without = [known[class_id] for class_id, count in boxes.items() if not count]
    if truths and without:
        raise UserError(f"{annotations}: the training lists have no box of {', '.join(without)}")
    chosen = {number: known[class_id] for class_id, number in numbers.items()}
    writers[f"ava_annotations/{_LABEL_MAP}"] = lambda path: write_label_map(path, chosen)
    settings = {
        "_BASE_": str(recipe.resolve()),
        "OUTPUT_DIR": str(out / "output"),
        "MODEL": {"NUM_CLASSES": len(chosen)},
        "DATA": {"PATH_TO_DATA_DIR": str(root.resolve())},
        "AVA": {
            "ANNOTATION_DIR": str((out / "ava_annotations").resolve()),
            "FRAME_LIST_DIR": str((root / cfg.AVA.FRAME_LIST_DIR).resolve()),
            "LABEL_MAP_FILE": _LABEL_MAP,
            "EXCLUSION_FILE": str((annotations / cfg.AVA.EXCLUSION_FILE).resolve()) if cfg.AVA.EXCLUSION_FILE else "",
        },
    }
    text = _HEADER + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    writers[_RECIPE] = partial(Path.write_text, data=text, encoding="utf-8")
    Outputs(out).write(writers, {})
    for number, name in chosen.items():
        print(f"classes: {number} {name}" + (f": {boxes[_original(numbers, number)]} training boxes" if truths else ""))
    print(f"classes: config: {out / _RECIPE}")


def _ids(known: dict[int, str], names: str) -> list[int]:
    """Return the ids of classes that are given by name or id."""
    ids = {name: class_id for class_id, name in known.items()}
    result: list[int] = []
    parts = names.split(",")
    while parts:
        # The longest row of parts that is a name: names may hold commas.
        ends = (end for end in range(len(parts), 1, -1) if ",".join(parts[:end]).strip() in ids)
        end = next(ends, 1)
        name, parts = ",".join(parts[:end]).strip(), parts[end:]
        if not name:
            continue
        class_id = ids.get(name, int(name) if name.isdecimal() and len(name) < 6 else 0)
        if class_id not in known:
            raise UserError(f"--classes: there is no class {name!r}; there are {', '.join(list(ids)[:8])} and so on")
        if class_id in result:
            raise UserError(f"--classes: {name!r} is named twice")
        result.append(class_id)
    if not result:
        raise UserError(f"--classes: names no class; there are {', '.join(list(ids)[:8])} and so on")
    return result


def _original(numbers: dict[int, int], number: int) -> int:
    return next(class_id for class_id, new in numbers.items() if new == number)


def _rows(path: Path, rule: RowRule, numbers: dict[int, int], boxes: dict[int, int]) -> str:
    """Return a list's rows with the new class ids, each person once that has none of them, and count `boxes`."""
    rows: dict[str, None] = {}
    acting, idle = set(), {}
    for _, row in read_rows(path, rule):
        if isinstance(row, FrameRow):
            continue
        person = (row.video, row.second, row.corners, row.last)
        number = numbers.get(row.class_id, NO_ACTION)
        text = box_row(row.video, row.second, row.corners, number, row.last)
        if number == NO_ACTION:
            idle.setdefault(person, text)
        else:
            acting.add(person)
            if row.class_id in boxes:
                boxes[row.class_id] += 1
        rows[text] = None
    spare = {text for person, text in idle.items() if person in acting}
    return "".join(text for text in rows if text not in spare)
