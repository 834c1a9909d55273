"""Draw detections on the key frames that they are of.

python -m src.visualization.detections --cfg FILE --detections detections_test.csv --out DIR \\
    [--threshold 0.5] [--count 100] [KEY VALUE ...]

Each image shows the persons of a key frame and the actions above the threshold, best first: green where the ground
truth agrees, red where it does not, white on frames without ground truth.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from src.ava.box_table import BoxTable, frame_keys
from src.ava.label_map import read_label_map
from src.ava.rows import format_second
from src.config.custom_config import load_config
from src.datasets.ava_dataset import AvaDataset
from src.datasets.kinds import build_dataset
from src.evaluation.build import build_evaluator
from src.evaluation.matching import Ranking
from src.evaluation.options import read_named_detections
from src.utils.arguments import IntermixedParser, positive
from src.utils.errors import UserError, run_main
from src.utils.logging import progress
from src.utils.outputs import OutputFiles

# Overlap with the ground truth at which a detection is right.
_IOU = 0.5
# Smaller frames are enlarged to this height, so that captions can be read.
_MIN_HEIGHT = 480
# BGR.
_RIGHT, _WRONG, _UNKNOWN, _SHADE = (90, 220, 90), (80, 80, 255), (255, 255, 255), (40, 40, 40)

Color = tuple[int, int, int]
# A box, normalized, and the text and color of each action.
Person = tuple[tuple[float, ...], list[tuple[str, Color]]]


def right_rows(ground_truth: BoxTable, detections: BoxTable, ids: list[int]) -> np.ndarray:
    """Tell which detections the AVA metric counts as right at IoU 0.5: bool (rows of `detections`,)."""
    ranking = Ranking(ground_truth, detections, ids, min_iou=_IOU)
    right = np.zeros(detections.num_rows, bool)
    for index in range(len(ids)):
        ranked = ranking.of_class(index)
        right[ranked.row[ranked.true_positives(_IOU)]] = True
    return right


def persons_of_frames(
    ground_truth: BoxTable, detections: BoxTable, label_map: dict[int, str], threshold: float
) -> dict[tuple[str, float], list[Person]]:
    """Return the persons of each key frame (video name, second), their actions above the threshold, best first."""
    right = right_rows(ground_truth, detections, list(label_map))
    truth_keys, found_keys = frame_keys(ground_truth, detections)
    known = np.isin(found_keys, truth_keys[ground_truth.row_box])
    frames: dict[tuple[str, float], dict[tuple[float, ...], list[tuple[str, Color]]]] = defaultdict(dict)
    # A person may have several boxes in the table, all alike.
    actions_of_box = [
        frames[detections.video_names[video], second].setdefault(tuple(corners), [])
        for video, second, corners in zip(
            detections.video, detections.second.tolist(), detections.boxes_norm.tolist(), strict=True
        )
    ]
    rows = np.flatnonzero((detections.row_score >= threshold) & np.isin(detections.row_class, list(label_map)))
    for row in rows[np.argsort(-detections.row_score[rows], kind="stable")]:
        class_id, box = int(detections.row_class[row]), detections.row_box[row]
        name = label_map[class_id]
        name = name if name.isascii() else f"class {class_id}"  # OpenCV's letters are ASCII
        color = _UNKNOWN if not known[box] else _RIGHT if right[row] else _WRONG
        actions_of_box[box].append((f"{name} {detections.row_score[row]:.2f}", color))
    return {frame: list(persons.items()) for frame, persons in frames.items()}


def draw(image: np.ndarray, persons: list[Person]) -> np.ndarray:
    """Return a frame (height, width, 3) with the persons' boxes and actions, enlarged if it is small."""
    factor = max(1.0, _MIN_HEIGHT / image.shape[0])
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) if factor > 1 else image.copy()
    height, width = image.shape[:2]
    scale = height / 900
    thickness = max(1, round(height / 400))
    for box, texts in persons:
        left, top, right, bottom = np.multiply(box, [width, height, width, height]).round().astype(int).tolist()
        cv2.rectangle(image, (left, top), (right, bottom), texts[0][1] if texts else _UNKNOWN, thickness)
        base = top
        for text, color in texts:
            (text_width, text_height), margin = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
            start = max(0, min(left, width - text_width))
            line_height = text_height + 2 * margin
            cv2.rectangle(image, (start, base), (start + text_width, base + line_height), _SHADE, cv2.FILLED)
            base += line_height
            place = (start, base - margin)
            cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)
    return image


def draw_key_frames(
    dataset: AvaDataset, frames: dict[tuple[str, float], list[Person]], count: int, folder: Path
) -> int:
    """Write images VIDEO_SECOND.jpg of at most `count` key frames with detections, evenly spread; return how many.

    Raises:
        UserError: no detection is of a key frame of the dataset, a frame cannot be read, or images of these names are
            there that are not this program's.
    """
    table, names = dataset.key_frames, dataset.frames.names
    keys = [(names[video], float(second)) for video, second in zip(table.video, table.second, strict=True)]
    found = [index for index, key in enumerate(keys) if key in frames]
    if not found:
        raise UserError("no detection is of a key frame of the configured dataset")
    chosen = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int))
    outputs = OutputFiles(folder)
    outputs.check(*(_picture(*keys[found[place]]) for place in chosen))
    for index in progress([found[place] for place in chosen], len(chosen), "images"):
        middle = dataset.frame_indices(index)[dataset.cfg.DATA.NUM_FRAMES // 2]
        (image,) = dataset.frames.read(int(table.video[index]), [middle])
        name, second = keys[index]
        _, encoded = cv2.imencode(".jpg", draw(image, frames[name, second]))
        with outputs.replacing(_picture(*keys[index])) as path:
            path.write_bytes(encoded.tobytes())
    return len(chosen)


def _picture(video: str, second: float) -> str:
    return f"{video}_{format_second(second)}.jpg"


def main() -> int:
    parser = IntermixedParser(
        prog="python -m src.visualization.detections",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cfg", required=True, metavar="FILE", help="YAML file of the configuration")
    parser.add_argument("--detections", required=True, type=Path, metavar="CSV", help="as eval.py writes them")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the images go")
    parser.add_argument("--threshold", type=float, default=0.5, help="minimum score of an action (0.5)")
    parser.add_argument("--count", type=positive, default=100, help="maximum number of images (100)")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="configuration keys to set")
    args = parser.parse_args()
    if not 0 <= args.threshold <= 1:
        raise UserError(f"--threshold is {args.threshold}, expected 0 to 1")
    cfg = load_config(args.cfg, args.overrides)
    label_map_path = Path(cfg.DATA.PATH_TO_DATA_DIR) / cfg.AVA.ANNOTATION_DIR / cfg.AVA.LABEL_MAP_FILE
    label_map = read_label_map(label_map_path)
    detections = read_named_detections(args.detections, label_map, label_map_path)
    dataset = build_dataset(cfg, "test")
    frames = persons_of_frames(build_evaluator(cfg).ground_truth, detections, label_map, args.threshold)
    try:
        written = draw_key_frames(dataset, frames, args.count, args.out)
    except OSError as error:
        raise UserError(f"{error.filename or args.out}: cannot write: {error.strerror}") from error
    print(f"{args.out}: {written} images")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
