"""A report of an evaluation: one self-contained HTML page, and its pictures as PNG."""

import base64
import io
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from src.ava.box_table import BoxTable
from src.evaluation import figures
from src.evaluation.ava_metric import AvaResult, evaluate_boxes, mean_of_defined
from src.evaluation.error_analysis import ERROR_KINDS, ClassAnalysis, analyse
from src.evaluation.sanity import Check, check_tables
from src.utils.files import write_atomic

COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.5 to 0.95 by 0.05: COCO's mean average precision is the mean over them."""

_DPI = 150


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
        folder: Made if it is not there.
        ground_truth: Boxes with classes.
        detections: Boxes with classes and scores.
        label_map: Class name by class id; other classes are left out.
        excluded: Frames (video name, second) that do not count.
        iou_thresholds: The first is that of curves and errors. With several, the mean over 0.5:0.95 is given too.
        order: See `evaluate_boxes`.
        sources: What to name on the page as the origin of the numbers, by role.

    Returns:
        The path of the page.
    """
    thresholds = tuple(iou_thresholds)
    several = len(thresholds) > 1
    asked_and_coco = tuple(dict.fromkeys((*thresholds, *COCO_THRESHOLDS))) if several else thresholds
    result = evaluate_boxes(
        ground_truth, detections, label_map, excluded=excluded, iou_thresholds=asked_and_coco, order=order
    )
    analyses = analyse(ground_truth, detections, label_map, excluded=excluded, iou_threshold=thresholds[0], order=order)
    classes = dict(zip(label_map.values(), analyses, strict=True))
    with_truth = {name: one for name, one in classes.items() if one.num_ground_truth}
    checks = check_tables(ground_truth, detections, label_map, excluded)
    gains = {kind: mean_of_defined(np.array([one.gain[kind] for one in analyses])) for kind in ERROR_KINDS}

    pictures = _draw(with_truth, gains, result.map) if with_truth else {}
    folder = Path(folder)
    for name, content in pictures.items():
        write_atomic(folder / name, content)
    page = _page(result, thresholds, classes, gains, checks, pictures, order, sources or {})
    write_atomic(folder / "index.html", page)
    return folder / "index.html"


def _draw(classes: dict[str, ClassAnalysis], gains: dict[str, float], mean: float) -> dict[str, bytes]:
    drawings: dict[str, Callable[[], Figure]] = {
        "what_is_lost.png": lambda: figures.loss_bars(gains),
        "average_precision.png": lambda: figures.average_precision_bars(classes, mean),
        "errors.png": lambda: figures.error_shares(classes),
        "precision_recall.png": lambda: figures.precision_recall_curves(classes),
        "scores.png": lambda: figures.score_histograms(classes),
    }
    return {name: _png(draw()) for name, draw in drawings.items()}


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _page(
    result: AvaResult,
    thresholds: tuple[float, ...],
    classes: dict[str, ClassAnalysis],
    gains: dict[str, float],
    checks: list[Check],
    pictures: dict[str, bytes],
    order: str,
    sources: Mapping[str, str],
) -> str:
    def picture(name: str, alt: str) -> str:
        if name not in pictures:
            return "<p>There is no ground truth to compare with.</p>"
        data = base64.b64encode(pictures[name]).decode()
        return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}">'

    body = [
        "<h1>AVA evaluation</h1>",
        "".join(f"<p class=source>{escape(role)}: <code>{escape(name)}</code></p>" for role, name in sources.items()),
        _tiles(result, thresholds, checks),
        "<nav><a href='#lost'>What is lost</a><a href='#classes'>Classes</a><a href='#ap'>Average precision</a>"
        "<a href='#curves'>Precision and recall</a><a href='#scores'>Scores</a><a href='#sanity'>Sanity</a></nav>",
        "<section id=lost><h2>What is lost</h2>",
        f"<p>{_headline(result.map, gains)}</p>",
        "<div class=columns>",
        picture("what_is_lost.png", "Gain in mAP by kind of error"),
        _kinds(classes, gains),
        "</div></section>",
        "<section id=classes><h2>Classes</h2>",
        "<p>Click a heading to sort. Under each kind of error: what mending it alone would add to the class's average "
        "precision, and in grey how many there are (missed: ground-truth boxes; the others: among as many of the "
        "highest scores as the class has ground truth).</p>",
        _class_table(result, thresholds, classes, gains),
        "</section>",
        "<section id=ap><h2>Average precision and number of ground-truth boxes</h2>",
        picture("average_precision.png", "Average precision and ground-truth boxes of each class"),
        "<h3>What the highest scores are</h3>",
        "<p>Of each class as many detections as it has ground truth, by falling score: with a perfect model all of "
        "them would be right.</p>",
        picture("errors.png", "Shares of errors of each class"),
        "</section>",
        "<section id=curves><h2>Precision and recall</h2>",
        "<p>Grey: as measured. Green: raised to the highest precision at equal or higher recall; the area below it "
        "is the average precision, given after the name.</p>",
        picture("precision_recall.png", "Precision-recall curve of each class"),
        "</section>",
        "<section id=scores><h2>Scores</h2>",
        "<p>The further right the true positives and the further left the false ones, the better the scores tell "
        "them apart.</p>",
        picture("scores.png", "Score histograms of true and false positives"),
        "</section>",
        "<section id=sanity><h2>Sanity</h2>",
        _sanity(checks),
        _ties(result.map, classes),
        "</section>",
        f"<footer>IoU {', '.join(map(str, thresholds))}; matching in the order of the "
        f"{'score' if order == 'score' else 'file'}. Kinds of errors after TIDE (Bolya et al., 2020), counted after "
        "Hoiem et al. (2012).</footer>",
    ]
    return _TEMPLATE.replace("{{body}}", "\n".join(body))


def _tiles(result: AvaResult, thresholds: tuple[float, ...], checks: list[Check]) -> str:
    means = dict(zip(result.iou_thresholds, result.mean_average_precision, strict=True))
    tiles = [(f"mAP@{iou}", _value(means[iou])) for iou in thresholds]
    if len(thresholds) > 1:
        tiles.append(("mAP@0.5:0.95", _value(float(np.mean([means[iou] for iou in COCO_THRESHOLDS])))))
    with_truth = int((result.num_ground_truth > 0).sum())
    tiles += [
        ("classes with ground truth", f"{with_truth} of {len(result.class_names)}"),
        ("ground-truth boxes", f"{result.num_ground_truth.sum():,}"),
        ("detections", f"{result.num_detections.sum():,}"),
    ]
    problems = sum(check.level == "problem" for check in checks)
    notes = sum(check.level == "note" for check in checks)
    level = "problem" if problems else "note" if notes else "ok"
    text = f"{problems} problem{'s' * (problems != 1)}" if problems else f"{notes} to note" if notes else "all well"
    cells = "".join(f"<div class=tile><b>{value}</b>{escape(name)}</div>" for name, value in tiles)
    return f"<div class=tiles>{cells}<a class='tile {level}' href='#sanity'><b>{text}</b>sanity of the files</a></div>"


def _headline(mean: float, gains: dict[str, float]) -> str:
    if np.isnan(mean):
        return "No class of the label map has ground truth, so nothing can be said."
    kind = max(gains, key=gains.__getitem__)
    if gains[kind] <= 0:
        return f"mAP is <b>{mean:.3f}</b>, and nothing is lost."
    return (
        f"mAP is <b>{mean:.3f}</b>. Most is lost to <b>{kind}</b>: with that alone mended it would be "
        f"<b>{mean + gains[kind]:.3f}</b>."
    )


def _kinds(classes: dict[str, ClassAnalysis], gains: dict[str, float]) -> str:
    rows = [
        f"<tr><th scope=row><i style='background:{figures.KIND_COLOURS[kind]}'></i>{kind}</th>"
        f"<td class=number>{_gain(gains[kind])}</td>"
        f"<td class=number>{sum(one.count[kind] for one in classes.values()):,}</td><td>{meaning}</td></tr>"
        for kind, meaning in ERROR_KINDS.items()
    ]
    return (
        "<table class=kinds><thead><tr><th>Error</th><th class=number>mAP gain</th><th class=number>count</th>"
        f"<th>What it is</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _class_table(
    result: AvaResult, thresholds: tuple[float, ...], classes: dict[str, ClassAnalysis], gains: dict[str, float]
) -> str:
    precisions = {iou: result.average_precision[result.iou_thresholds.index(iou)] for iou in thresholds}
    means = {iou: _value(mean_of_defined(values)) for iou, values in precisions.items()}
    largest = max([1e-9, *(gain for one in classes.values() for gain in one.gain.values() if not np.isnan(gain))])
    heads = ["Class", "Id", "Ground truth", "Detections", *(f"AP@{iou}" for iou in thresholds), *ERROR_KINDS]
    head = "".join(
        f"<th scope=col{'' if at == 0 else ' class=number'}><button>{escape(text)}</button></th>"
        for at, text in enumerate(heads)
    )
    rows = []
    for index, (class_id, name) in enumerate(result.class_names.items()):
        one = classes[name]
        cells = [f"<th scope=row data-value='{escape(name)}'>{escape(name)}</th>"]
        cells += [_cell(class_id, str(class_id)), _cell(one.num_ground_truth, f"{one.num_ground_truth:,}")]
        cells.append(_cell(len(one.hits), f"{len(one.hits):,}"))
        for values in precisions.values():
            share = f" style='--share:{100 * np.nan_to_num(values[index]):.1f}%' class='number bar'"
            text = "–" if np.isnan(values[index]) else _value(values[index])
            cells.append(_cell(values[index], text, share))
        for kind in ERROR_KINDS:
            strength = f" style='--heat:{np.nan_to_num(one.gain[kind]) / largest:.2f}' class='number heat'"
            text = f"{_gain(one.gain[kind])} <small>{one.count[kind]:,}</small>" if one.num_ground_truth else "–"
            cells.append(_cell(one.gain[kind], text, strength))
        rows.append(f"<tr{'' if one.num_ground_truth else ' class=absent'}>{''.join(cells)}</tr>")
    totals = [result.num_ground_truth.sum(), result.num_detections.sum()]
    foot = "<th scope=row>mean, or sum</th><td></td>"
    foot += "".join(f"<td class=number>{total:,}</td>" for total in totals)
    foot += "".join(f"<td class=number>{mean}</td>" for mean in means.values())
    for kind in ERROR_KINDS:
        count = sum(one.count[kind] for one in classes.values())
        foot += f"<td class=number>{_gain(gains[kind])} <small>{count:,}</small></td>"
    return (
        f"<div class=scroll><table class=sortable><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        f"<tfoot><tr>{foot}</tr></tfoot></table></div>"
    )


def _cell(value: float, text: str, attributes: str = " class=number") -> str:
    return f"<td data-value='{'' if np.isnan(value) else value}'{attributes}>{text}</td>"


def _sanity(checks: list[Check]) -> str:
    marks = {"ok": "✓", "note": "!", "problem": "✗"}
    rows = []
    for check in sorted(checks, key=lambda check: ("problem", "note", "ok").index(check.level)):
        examples = ""
        if check.examples:
            more = check.count - len(check.examples)
            listed = " · ".join(map(escape, check.examples)) + (f" · and {more:,} more" if more else "")
            examples = f"<div>{escape(check.meaning)}</div><div class=examples>{listed}</div>"
        rows.append(
            f"<tr class={check.level}><td class=mark>{marks[check.level]}</td><th scope=row>{escape(check.title)}</th>"
            f"<td class=number>{check.count:,} of {check.total:,}</td><td>{examples}</td></tr>"
        )
    return f"<table class=sanity><tbody>{''.join(rows)}</tbody></table>"


def _ties(mean: float, classes: dict[str, ClassAnalysis]) -> str:
    low, high = (mean_of_defined(np.array([one.bounds[at] for one in classes.values()])) for at in (0, 1))
    if np.isnan(mean) or low == high:
        return (
            "<p>No right and wrong detection of one class have the same score: the order of ties does not matter.</p>"
        )
    return (
        f"<p>Some right and wrong detections of one class have the same score. Here such ties keep the order of the "
        f"file, which gives mAP {mean:.6f}; an evaluator that orders them otherwise may give anything from {low:.6f} "
        f"to {high:.6f}.</p>"
    )


def _value(value: float) -> str:
    return "no ground truth" if np.isnan(value) else f"{value:.3f}"


def _gain(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.3f}" if abs(value) >= 0.0005 else "0"


_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>AVA evaluation</title>
<style>
:root { --ink: #1f2933; --soft: #64707d; --line: #dde2e7; --green: #1b7f79; --red: #b3261e; --amber: #9a6700; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: var(--ink); background: #f4f6f8;
  margin: 0 auto; padding: 24px; max-width: 1240px; }
h1 { margin: 0 0 4px; font-size: 26px; } h2 { margin: 0 0 8px; font-size: 20px; } h3 { margin: 28px 0 4px; }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 20px; margin: 16px 0; }
.source { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 16px 0; }
.tile { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px; color: var(--soft);
  text-decoration: none; font-size: 13px; }
.tile b { display: block; font-size: 22px; color: var(--ink); }
.tile:first-child b { color: var(--green); }
.tile.ok b { color: var(--green); } .tile.note b { color: var(--amber); } .tile.problem b { color: var(--red); }
nav { position: sticky; top: 0; background: #f4f6f8; padding: 8px 0; z-index: 3; display: flex; flex-wrap: wrap;
  gap: 4px 20px; }
nav a { color: var(--green); } section { scroll-margin-top: 48px; }
img { max-width: 100%; height: auto; display: block; }
.columns { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1.2fr); gap: 24px; align-items: start; }
@media (max-width: 900px) { .columns { grid-template-columns: minmax(0, 1fr); } }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: 5px 8px; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody th { font-weight: 500; } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.kinds i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; }
.kinds th { white-space: nowrap; }
.scroll { overflow: auto; max-height: 80vh; border: 1px solid var(--line); border-radius: 6px; }
.sortable { border-collapse: separate; border-spacing: 0; }
.sortable thead th { position: sticky; top: 0; background: #eef1f4; z-index: 2; padding: 0; vertical-align: bottom; }
.sortable tfoot :is(th, td) { position: sticky; bottom: 0; background: #eef1f4; font-weight: 600; z-index: 1; }
.sortable tbody th { position: sticky; left: 0; background: #fff; }
.sortable thead th:first-child { left: 0; z-index: 3; }
.sortable { font-size: 12.5px; } .sortable :is(th, td) { padding: 5px 6px; } .sortable tbody th { min-width: 12em; }
.sortable button { all: unset; cursor: pointer; display: block; box-sizing: border-box; width: 100%; padding: 6px;
  font-weight: 600; white-space: normal; }
.sortable button:focus-visible { outline: 2px solid var(--green); outline-offset: -2px; }
.sortable button::after { content: "\\00a0↕"; color: #b6bec7; }
[aria-sort=ascending] button::after { content: "\\00a0↑"; color: var(--ink); }
[aria-sort=descending] button::after { content: "\\00a0↓"; color: var(--ink); }
.sortable small { color: var(--soft); display: inline-block; min-width: 2.3em; }
.bar { background: linear-gradient(to right, #bfe3df var(--share), transparent var(--share)); }
.heat { background: rgb(209 73 91 / calc(var(--heat) * 0.55)); }
.absent td, .absent th { color: #9aa5b1; }
.sanity .mark { font-weight: 700; width: 1em; } .sanity th { width: 40%; }
.sanity .ok .mark { color: var(--green); } .sanity .note .mark { color: var(--amber); }
.sanity .problem .mark { color: var(--red); } .sanity .problem th { color: var(--red); }
.examples { color: var(--soft); font-size: 12px; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: 13px; }
</style>
</head>
<body>
{{body}}
<script>
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    // Numbers begin with the largest, names with A; a second click turns the order round.
    const rising = head.ariaSort ? head.ariaSort === "descending" : column === 0;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => column === 0 ? value(a).localeCompare(value(b)) : value(a) - value(b);
    const rows = [...table.tBodies[0].rows];
    // Classes without a value stay at the end either way.
    rows.sort((a, b) => (value(a) === "") - (value(b) === "") || (rising ? 1 : -1) * compare(a, b));
    table.tBodies[0].append(...rows);
  }));
}
</script>
</body>
</html>
"""
