"""A report of an evaluation: one self-contained HTML page, filled from report.html, and its figures as PNG."""

import base64
import io
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure

from src.ava.box_table import BoxTable
from src.evaluation import figures
from src.evaluation.ava_metric import AvaResult, evaluate_boxes, mean_of_defined
from src.evaluation.error_analysis import ERROR_KINDS, ClassAnalysis, analyze
from src.evaluation.options import REPORT_FILES
from src.evaluation.sanity import LEVELS, check_tables
from src.utils.outputs import OutputFiles

COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.5 to 0.95 by 0.05: COCO's mean average precision is the mean over them."""

_DPI = 150
_PAGE = REPORT_FILES[0]


def write_report(
    folder: str | os.PathLike,
    ground_truth: BoxTable,
    detections: BoxTable,
    label_map: Mapping[int, str],
    *,
    excluded: Collection[tuple[str, float]] = (),
    iou_thresholds: Sequence[float] = (0.5,),
    order: str = "score",
    sources: Mapping[str, str] | None = None,
) -> Path:
    """Write index.html and the PNGs in it.

    Args:
        folder: made if it is not there.
        ground_truth: boxes with classes.
        detections: boxes with classes and scores.
        label_map: class name by class id; other classes are left out.
        excluded: frames (video name, second) that do not count.
        iou_thresholds: the first is that of curves and errors. With several, the mean over 0.5:0.95 is given too.
        order: see `evaluate_boxes`.
        sources: what to name on the page as the origin of the numbers, by role.

    Returns:
        The path of the page.
    """
    thresholds = tuple(iou_thresholds)
    several = len(thresholds) > 1
    asked_and_coco = tuple(dict.fromkeys((*thresholds, *COCO_THRESHOLDS))) if several else thresholds
    result = evaluate_boxes(
        ground_truth, detections, label_map, excluded=excluded, iou_thresholds=asked_and_coco, order=order
    )
    analyses = analyze(ground_truth, detections, label_map, excluded=excluded, iou_threshold=thresholds[0], order=order)
    classes = dict(zip(label_map.values(), analyses, strict=True))
    with_truth = {name: one for name, one in classes.items() if one.num_ground_truth}
    checks = check_tables(ground_truth, detections, label_map, excluded)
    daps = {kind: mean_of_defined(np.array([one.dap[kind] for one in analyses])) for kind in ERROR_KINDS}

    images = _draw(with_truth, daps, result.map) if with_truth else {}
    folder = Path(folder)
    outputs = OutputFiles(folder)
    outputs.check(*REPORT_FILES)
    for name, content in images.items():
        with outputs.replacing(name) as path:
            path.write_bytes(content)
    low, high = (mean_of_defined(np.array([one.bounds[at] for one in analyses])) for at in (0, 1))
    page = _page(
        mean=result.map,
        tiles=_tiles(result, thresholds),
        sources=sources or {},
        images={name: base64.b64encode(content).decode() for name, content in images.items()},
        kinds=ERROR_KINDS,
        colors=figures.KIND_COLORS,
        daps=daps,
        counts={kind: sum(one.count[kind] for one in analyses) for kind in ERROR_KINDS},
        worst=max(daps, key=daps.__getitem__),
        headings=["Class", "Id", "Ground truth", "Detections", *(f"AP@{iou}" for iou in thresholds), *ERROR_KINDS],
        rows=_rows(result, thresholds, analyses),
        max_dap=max([1e-9, *(dap for one in with_truth.values() for dap in one.dap.values())]),
        means=result.mean_average_precision[: len(thresholds)],
        num_ground_truth=result.num_ground_truth.sum(),
        num_detections=result.num_detections.sum(),
        checks=sorted(checks, key=lambda check: LEVELS.index(check.level)),
        low=low,
        high=high,
        thresholds=thresholds,
        order=order,
    )
    with outputs.replacing(_PAGE) as path:
        path.write_text(page, encoding="utf-8", errors="backslashreplace")  # names that are no UTF-8
    return folder / _PAGE


def _draw(classes: dict[str, ClassAnalysis], daps: dict[str, float], mean: float) -> dict[str, bytes]:
    drawn = (
        figures.dap_bars(daps),
        figures.average_precision_bars(classes, mean),
        figures.error_shares(classes),
        figures.precision_recall_curves(classes),
        figures.score_histograms(classes),
    )
    return {name: _png(figure) for name, figure in zip(REPORT_FILES[1:], drawn, strict=True)}


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _tiles(result: AvaResult, thresholds: tuple[float, ...]) -> list[tuple[str, str]]:
    """Return names and values of what stands at the top of the page."""
    means = dict(zip(result.iou_thresholds, result.mean_average_precision, strict=True))
    tiles = [(f"mAP@{iou}", _mean(means[iou])) for iou in thresholds]
    if len(thresholds) > 1:
        tiles.append(("mAP@0.5:0.95", _mean(float(np.mean([means[iou] for iou in COCO_THRESHOLDS])))))
    with_truth = int((result.num_ground_truth > 0).sum())
    return [
        *tiles,
        ("classes with ground truth", f"{with_truth} of {len(result.class_names)}"),
        ("ground-truth boxes", f"{result.num_ground_truth.sum():,}"),
        ("detections", f"{result.num_detections.sum():,}"),
    ]


def _rows(result: AvaResult, thresholds: tuple[float, ...], analyses: list[ClassAnalysis]) -> list[dict[str, object]]:
    """Return what the table of classes says of each."""
    names = zip(result.class_names.items(), analyses, strict=True)
    return [
        {
            "class_id": class_id,
            "name": name,
            "num_ground_truth": one.num_ground_truth,
            "num_detections": len(one.true_positives),
            "average_precision": result.average_precision[: len(thresholds), index],
            "dap": one.dap,
            "count": one.count,
        }
        for index, ((class_id, name), one) in enumerate(names)
    ]


def _page(**values: object) -> str:
    """Fill in the template."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "thousands": "{:,}".format,
        "decimals": lambda value: "–" if np.isnan(value) else f"{value:.3f}",
        "mean": _mean,
        "signed": _signed,
        "percent": lambda value: f"{100 * np.nan_to_num(value):.1f}%",
        "strength": lambda value: f"{np.nan_to_num(value):.2f}",
        "plain": lambda value: "" if np.isnan(value) else float(value),
    }
    environment.tests["nan"] = np.isnan
    return environment.get_template("report.html").render(values)


def _mean(value: float) -> str:
    return "no ground truth" if np.isnan(value) else f"{value:.3f}"


def _signed(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.3f}" if abs(value) >= 0.0005 else "0"
