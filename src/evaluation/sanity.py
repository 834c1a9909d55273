"""Checks of ground truth and detections that tell a bad model from bad files."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath

import numpy as np

from src.ava.box_table import BoxTable, frame_keys, kept_boxes
from src.ava.rows import format_second
from src.evaluation.matching import paired_iou

_PIXELS = 2.0
"""A coordinate above this is no rounding error of a box that leaves the frame: it is in pixels."""

_EXAMPLES_IN_A_LINE = 3
# Enough to tell whether boxes of two files have to do with each other.
_FRAMES_LOOKED_AT = 1000
# Odd, with bits all over: what Knuth's multiplicative hashing takes, the golden ratio's part of 2 to the 64.
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)
LEVELS = ("problem", "note", "ok")
"""How bad what a check found is."""


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, how many were found, which, and what it means.

    Attributes:
        title: what is counted.
        count: how many.
        total: out of how many.
        examples: the first few.
        meaning: what follows from it.
        level: "ok" (nothing found), "note" (may be as it should be) or "problem".
    """

    title: str
    count: int
    total: int
    examples: list[str]
    meaning: str
    level: str


def check_tables(
    ground_truth: BoxTable,
    detections: BoxTable,
    label_map: Mapping[int, str],
    excluded: Collection[tuple[str, float]] = (),
    max_examples: int = 8,
) -> list[Check]:
    """Run all checks. Frames that are excluded are left out, classes outside the label map are not.

    Args:
        ground_truth: boxes with classes.
        detections: boxes with classes and scores.
        label_map: class name by class id.
        excluded: frames (video name, second) that do not count.
        max_examples: how many offenders to name in each check.
    """
    tables = {"ground truth": ground_truth, "detections": detections}
    keys = dict(zip(tables, frame_keys(ground_truth, detections), strict=True))
    kept = {name: kept_boxes(table, excluded) for name, table in tables.items()}
    checks = []

    def add(
        title: str, found: Sequence, describe: Callable[..., str], total: int, meaning: str, level: str = "problem"
    ) -> None:
        examples = [describe(each) for each in found[:max_examples]]
        checks.append(Check(title, len(found), total, examples, meaning, level if examples else "ok"))

    videos = {
        name: {table.video_names[v] for v in np.flatnonzero(np.bincount(table.video[kept[name]]))}
        for name, table in tables.items()
    }
    frames = {name: _first_boxes(keys[name], kept[name]) for name in tables}
    frame_sets = {name: keys[name][frames[name]] for name in tables}
    common = np.intersect1d(*frame_sets.values(), assume_unique=True)
    nothing = ["none"] if len(frames["ground truth"]) and len(frames["detections"]) and not len(common) else []
    add(
        "ground truth and detections have no frame in common",
        nothing,
        str,
        1,
        "these files do not belong together: compare the names of videos and the seconds",
    )
    is_without_effect = bool(excluded) and all(part.all() for part in kept.values())
    add(
        "excluded frames that neither file has, all of them",
        sorted(excluded) if is_without_effect else [],
        lambda frame: f"{frame[0]},{format_second(frame[1])}",
        len(excluded),
        "nothing is left out: are their names and seconds those of the ground truth?",
        "note",
    )
    some = common[:: max(1, len(common) // _FRAMES_LOOKED_AT)]
    solid = {name: (table.boxes_norm[:, 2:] > table.boxes_norm[:, :2]).all(axis=1) for name, table in tables.items()}
    pairs = _pairs(
        {name: np.flatnonzero(kept[name] & solid[name] & np.isin(keys[name], some)) for name in tables}, keys
    )
    overlap = paired_iou(ground_truth.boxes_norm[pairs[0]], detections.boxes_norm[pairs[1]])
    add(
        "no detection overlaps a true box by half",
        pairs[1][:1] if overlap.max(initial=0) < 0.5 else [],
        partial(_box_name, detections),
        1,
        "are corners x1 y1 x2 y2 in both files, and of the same frames?",
    )
    # Boxes of persons who do nothing, as in videos that are only scored, have no class to share.
    acting = np.zeros(len(ground_truth.video), bool)
    acting[ground_truth.row_box[ground_truth.row_class > 0]] = True
    told = (overlap >= 0.5) & acting[pairs[0]]
    near = pairs[0][told], pairs[1][told]
    add(
        "no detection that overlaps a true box by half has its class",
        near[1][:1] if len(near[1]) and not _share_a_class(ground_truth, detections, near) else [],
        partial(_box_name, detections),
        1,
        "do both files number classes alike?",
    )
    suffixed = _names_apart_by_suffix(videos["ground truth"], videos["detections"])
    add(
        "video names that differ by a suffix only",
        suffixed,
        str,
        len(videos["ground truth"]),
        "names must be the same in both files: take the suffix away from one",
    )
    for here, there, frame_meaning, video_meaning in (
        ("ground truth", "detections", "everything on them counts as missed", "everything in them counts as missed"),
        ("detections", "ground truth", "every detection on them counts as false", "all of them are false"),
    ):
        only = sorted(videos[here] - videos[there])
        add(f"videos in the {here} but not in the {there}", only, str, len(videos[here]), video_meaning)
        alone = frames[here][~np.isin(frame_sets[here], common, assume_unique=True)]
        describe = partial(_frame_name, tables[here])
        add(f"frames in the {here} but not in the {there}", alone, describe, len(frames[here]), frame_meaning, "note")

    for name, table in tables.items():
        low, high = table.boxes_norm.min(axis=1, initial=0), table.boxes_norm.max(axis=1, initial=0)
        pixels = np.flatnonzero(kept[name] & (high > _PIXELS))
        outside = np.flatnonzero(kept[name] & (high <= _PIXELS) & ((low < 0) | (high > 1)))
        total = int(kept[name].sum())
        describe = partial(_box_name, table)
        add(f"boxes of the {name} in pixels", pixels, describe, total, "coordinates must lie in [0, 1]")
        meaning = "coordinates must lie in [0, 1]; the metric takes them as they are"
        add(f"boxes of the {name} outside [0, 1]", outside, describe, total, meaning)
        flat = np.flatnonzero(kept[name] & ~solid[name])
        meaning = "they cannot be found" if name == "ground truth" else "the metric drops them"
        add(f"boxes of the {name} without area", flat, describe, total, meaning)
        rows = slice(None) if kept[name].all() else kept[name][table.row_box]
        count = np.bincount(table.row_class[rows].view(np.uint16))
        found = np.flatnonzero(count)
        ids = dict(zip(found.astype(np.uint16).view(np.int16).tolist(), count[found].tolist(), strict=True))
        unknown = [f"{i} ({ids[i]:,} rows)" for i in sorted(ids) if i not in label_map]
        add(
            f"class ids of the {name} not in the label map",
            unknown,
            str,
            len(ids),
            "the metric leaves them out",
            "note",
        )

    scores = detections.row_score
    in_range = scores.min(initial=0) >= 0 and scores.max(initial=1) <= 1
    beyond = scores[:0] if in_range else scores[(scores < 0) | (scores > 1)]
    add("scores outside [0, 1]", beyond, "{:g}".format, len(scores), "the metric only needs their order", "note")
    is_whole = len(scores) > 0 and bool((scores == np.rint(scores)).all())
    add(
        "scores that are whole numbers, all of them",
        scores if is_whole else scores[:0],
        "{:g}".format,
        len(scores),
        "are they scores, or ids of persons?",
        "note",
    )
    for name, meaning in (
        ("ground truth", "only one of them can be found"),
        ("detections", "all but the best count as false"),
    ):
        repeated = _repeated_rows(tables[name], keys[name], kept[name])
        describe = partial(_row_name, tables[name])
        add(f"rows of the {name} that repeat a box and class", repeated, describe, tables[name].num_rows, meaning)
    return checks


def warning_lines(checks: Sequence[Check]) -> list[str]:
    """Return a line for each check that found something, problems first."""
    lines = []
    for level, word in (("problem", "warning"), ("note", "note")):
        for check in checks:
            if check.level == level:
                more = ", ..." if check.count > _EXAMPLES_IN_A_LINE else ""
                examples = ", ".join(check.examples[:_EXAMPLES_IN_A_LINE]) + more
                lines.append(f"{word}: {check.title}: {check.count:,} of {check.total:,} ({examples}); {check.meaning}")
    return lines


def _pairs(boxes: Mapping[str, np.ndarray], keys: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of a true box and a detection of one frame: their indices, twice int64 (pairs,)."""
    truth, found = boxes["ground truth"], boxes["detections"]
    truth = truth[np.argsort(keys["ground truth"][truth], kind="stable")]
    sorted_keys, wanted = keys["ground truth"][truth], keys["detections"][found]
    places, which = _equal_places(sorted_keys, wanted)
    return truth[places], found[which]


def _equal_places(rising: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all places of the wanted values among rising ones, and for each place which value it was."""
    low = np.searchsorted(rising, wanted)
    counts = np.searchsorted(rising, wanted, side="right") - low
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(low, counts) + within, np.repeat(np.arange(len(wanted)), counts)


def _share_a_class(truth: BoxTable, found: BoxTable, pairs: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether the boxes of at least one pair, given by their indices, have a class in common."""
    codes = []
    for table, boxes in zip((truth, found), pairs, strict=True):
        rows, which = _equal_places(table.row_box, boxes)
        codes.append((which << 16) + table.row_class[rows])
    return bool(np.isin(*codes).any())


def _names_apart_by_suffix(truth: set[str], found: set[str]) -> list[str]:
    """Pairs of names of which one is the other with a suffix as `.mp4`."""
    by_stem = {PurePath(name).stem: name for name in sorted(found)} | {name: name for name in found}
    pairs = []
    for name in sorted(truth - found):
        other = by_stem.get(name) or by_stem.get(PurePath(name).stem)
        if other:
            pairs.append(f"{name} and {other}")
    return pairs


def _first_boxes(keys: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The first box of each frame that counts, in file order."""
    boxes = np.flatnonzero(kept)
    _, first = np.unique(keys[boxes], return_index=True)
    return boxes[np.sort(first)]


def _frame_name(table: BoxTable, box: int) -> str:
    return f"{table.video_names[table.video[box]]},{format_second(table.second[box])}"


def _box_name(table: BoxTable, box: int) -> str:
    return f"{_frame_name(table, box)}: {' '.join(f'{value:g}' for value in table.boxes_norm[box])}"


def _row_name(table: BoxTable, row: int) -> str:
    return f"{_frame_name(table, table.row_box[row])}: class id {table.row_class[row]}"


def _repeated_rows(table: BoxTable, keys: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Rows that say again what an earlier row said."""
    # Few boxes stand in several places of a file, and most files have the classes of a box in order: little is left to
    # be sorted by all columns.
    suspects = _equal_to_another(_hashes(table.boxes_norm, keys))
    same_box = table.row_box[1:] == table.row_box[:-1]
    suspects[table.row_box[1:][same_box & (table.row_class[1:] <= table.row_class[:-1])]] = True
    suspects &= kept
    rows = np.flatnonzero(suspects[table.row_box]) if suspects.any() else np.empty(0, np.int64)

    box = table.row_box[rows]
    columns = [*table.boxes_norm[box].T, keys[box], table.row_class[rows]]
    order = np.lexsort(columns)
    same = np.ones(max(len(rows) - 1, 0), dtype=bool)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    return np.sort(rows[order][1:][same])


def _equal_to_another(values: np.ndarray) -> np.ndarray:
    """Which values are there more than once: bool, as many."""
    order = np.argsort(values)
    same = values[order][1:] == values[order][:-1]
    result = np.zeros(len(values), dtype=bool)
    result[order[1:][same]] = result[order[:-1][same]] = True
    return result


def _hashes(boxes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return a number for each box that is equal for equal frames and corners: (boxes,) uint64."""
    result = keys.astype(np.uint64)
    for column in boxes.T:
        # Adding 0 turns -0.0, which equals 0.0, into it.
        result = result * _HASH_FACTOR + (column + 0.0).view(np.uint64)
    return result
