"""The figures of the report. Each function draws one and returns it; nothing touches matplotlib's global state."""

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.evaluation.error_analysis import ERROR_KINDS, ClassAnalysis

TRUE_COLOR, FALSE_COLOR = "#1b7f79", "#d1495b"
KIND_COLORS = dict(zip(ERROR_KINDS, ("#d1495b", "#edae49", "#a0522d", "#3d7ea6", "#7d5ba6", "#6c757d"), strict=True))
_COLUMNS = 5
_CURVE_POINTS = 400


def average_precision_bars(classes: dict[str, ClassAnalysis], mean: float) -> Figure:
    """AP of each class, best first, beside the number of its ground-truth boxes."""
    names = sorted(classes, key=lambda name: classes[name].average_precision)
    figure = _figure(10, 1.2 + 0.26 * len(names))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    at = np.arange(len(names))
    bars = left.barh(at, [classes[name].average_precision for name in names], color=TRUE_COLOR)
    left.axvline(mean, color="#333333", linewidth=1, linestyle="--", zorder=0.5)
    for label in left.bar_label(bars, fmt="%.3f", padding=3, fontsize=8):
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    left.set_yticks(at, [textwrap.shorten(name, 48, placeholder="…") for name in names], fontsize=9)
    left.set_ylim(-0.7, len(names) - 0.3)
    left.set(xlim=(0, 1.1), xlabel="average precision", title=f"Average precision (dashed: mAP {mean:.3f})")
    counts = [classes[name].num_ground_truth for name in names]
    bars = right.barh(at, counts, color="#9aa5b1")
    right.bar_label(bars, labels=[f"{count:,}" for count in counts], padding=3, fontsize=8)
    right.set_xscale("log")
    right.set(xlim=(0.7, max(counts) * 8), xlabel="boxes (log scale)", title="Ground-truth boxes")
    right.tick_params(axis="y", length=0)
    return figure


def dap_bars(daps: dict[str, float]) -> Figure:
    """dAP: what fixing each kind of error alone adds to mAP."""
    figure = _figure(7, 2.6)
    axes = figure.subplots()
    kinds = list(reversed(daps))
    bars = axes.barh(kinds, [daps[kind] for kind in kinds], color=[KIND_COLORS[kind] for kind in kinds])
    axes.bar_label(bars, fmt="%+.3f", padding=4)
    axes.set_xlim(0, max(0.01, max(daps.values())) * 1.2)
    axes.set_xlabel("dAP: what fixing this kind alone adds to mAP")
    return figure


def error_shares(classes: dict[str, ClassAnalysis]) -> Figure:
    """Per class, what its highest scores are: as many of them as it has ground truth."""
    names = sorted(classes, key=lambda name: classes[name].average_precision)
    figure = _figure(10, 1.6 + 0.26 * len(names))
    axes = figure.subplots()
    at = np.arange(len(names))
    kinds = [kind for kind in ERROR_KINDS if kind != "Miss"]
    taken = np.array([min(classes[n].num_ground_truth, len(classes[n].true_positives)) for n in names], dtype=float)
    counts = {kind: np.array([classes[name].count[kind] for name in names], dtype=float) for kind in kinds}
    shares = {"true positives": taken - sum(counts.values()), **counts}
    start = np.zeros(len(names))
    for kind, count in shares.items():
        share = np.divide(count, taken, out=np.zeros_like(taken), where=taken > 0)
        axes.barh(at, share, left=start, color=KIND_COLORS.get(kind, TRUE_COLOR), label=kind, height=0.8)
        start += share
    axes.set_yticks(at, [textwrap.shorten(name, 48, placeholder="…") for name in names], fontsize=9)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set(xlim=(0, 1), xlabel="share of the highest scores")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    figure.legend(loc="outside upper center", ncols=len(shares), frameon=False)
    return figure


def precision_recall_curves(classes: dict[str, ClassAnalysis]) -> Figure:
    """A small precision-recall curve for each class: as measured, and the envelope whose area is the AP."""
    names = sorted(classes, key=lambda name: -classes[name].average_precision)
    figure, panels = _grid(len(names))
    for name, axes in zip(names, panels, strict=True):
        one = classes[name]
        precision = np.cumsum(one.true_positives) / np.arange(1, len(one.true_positives) + 1)
        at = np.flatnonzero(one.true_positives)
        recall = np.arange(1, len(at) + 1) / one.num_ground_truth
        envelope = np.maximum.accumulate(precision[at][::-1])[::-1]
        some = np.unique(np.linspace(0, len(at) - 1, _CURVE_POINTS).astype(int)) if len(at) else []
        # Precision falls until just before each true positive, at the recall of the last one, and leaps with it.
        measured = np.stack([precision[np.maximum(at[some] - 1, 0)], precision[at[some]]], axis=1).ravel()
        where = np.stack([recall[some] - 1 / one.num_ground_truth, recall[some]], axis=1).ravel()
        axes.plot(where, measured, color="#b0b8c1", linewidth=0.8)
        steps = np.append(0, recall[some]), np.append(envelope[:1], envelope[some])
        if len(at):
            axes.fill_between(*steps, step="pre", color=TRUE_COLOR, alpha=0.18, linewidth=0)
            axes.step(*steps, where="pre", color=TRUE_COLOR, linewidth=1.2)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        _title(axes, f"{name}: {one.average_precision:.3f}")
    figure.supxlabel("recall", fontsize=10)
    figure.supylabel("precision", fontsize=10)
    return figure


def score_histograms(classes: dict[str, ClassAnalysis]) -> Figure:
    """Scores of true and false positives, of all classes and of each."""
    names = sorted(classes, key=lambda name: -classes[name].average_precision)
    figure, panels = _grid(len(names) + 1)
    groups = {
        name: (classes[name].score[classes[name].true_positives], classes[name].score[~classes[name].true_positives])
        for name in names
    }
    groups = {"all classes": tuple(np.concatenate(scores) for scores in zip(*groups.values(), strict=True)), **groups}
    low = min(0.0, *(float(scores.min(initial=0)) for scores in groups["all classes"]))
    high = max(1.0, *(float(scores.max(initial=1)) for scores in groups["all classes"]))
    edges = np.linspace(low, high, 31)
    for (name, (true, false)), axes in zip(groups.items(), panels, strict=True):
        axes.hist(false, edges, color=FALSE_COLOR, alpha=0.55, label="false positives")
        axes.hist(true, edges, color=TRUE_COLOR, histtype="step", linewidth=1.4, label="true positives")
        _title(axes, name)
    maximum = max(np.histogram(scores, edges)[0].max() for scores in groups["all classes"])
    panels[0].set(xlim=(low, high), ylim=(0.7, 2 * max(maximum, 5)))
    panels[0].set_yscale("log")
    panels[0].minorticks_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=2, frameon=False)
    figure.supxlabel("score", fontsize=10)
    figure.supylabel("detections (log scale)", fontsize=10)
    return figure


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels with common axes. Its margins are set by hand: finding them takes half a minute."""
    columns = min(_COLUMNS, count)
    rows = math.ceil(count / columns)
    height = 1.2 + 1.75 * rows
    figure = Figure(figsize=(10, height), facecolor="white")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.6 / height, top=1 - 0.75 / height, hspace=0.45, wspace=0.12)
    for axes in panels[count:]:
        axes.remove()
    for at, axes in enumerate(panels[:count]):
        axes.tick_params(labelsize=7, labelbottom=at + columns >= count)
    return figure, panels[:count]


def _title(axes: Axes, text: str) -> None:
    axes.set_title("\n".join(textwrap.wrap(text, 30)), fontsize=8)
