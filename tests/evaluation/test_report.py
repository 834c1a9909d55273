"""The report's page: whole in itself, with the right figures, safe for any name."""

import re
from html.parser import HTMLParser

import pytest

from src.evaluation.report import write_report
from tests.evaluation.tables import LABELS, LEFT, RIGHT, table

TRUTH = [("v", 902, *LEFT, 1), ("v", 903, *LEFT, 3), ("v", 904, *LEFT, 3)]
FOUND = [("v", 902, *RIGHT, 1, 0.9), ("v", 902, *LEFT, 1, 0.8), ("v", 903, *LEFT, 3, 0.7)]
FIGURES = ["average_precision.png", "dap.png", "errors.png", "precision_recall.png", "scores.png"]


class Page(HTMLParser):
    """Open tags in order, addresses they load, and the rows of the table of classes as text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.rows: list[list[str]] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data):
        if self.in_cell:
            self.rows[-1][-1] += data


def page_of(path) -> Page:
    return Page(path.read_text())


def test_page_holds_its_figures_and_loads_nothing(tmp_path):
    page = page_of(write_report(tmp_path / "new/report", table(TRUTH), table(FOUND, True), LABELS))
    assert sorted(path.name for path in (tmp_path / "new/report").glob("*.png")) == FIGURES
    assert len(page.sources) == len(FIGURES)
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in page.sources)


def test_classes_have_their_figures(tmp_path):
    page = page_of(write_report(tmp_path, table(TRUTH), table(FOUND, True), LABELS))
    rows = {row[0]: row[1:] for row in page.rows if row and row[0] in (*LABELS.values(), "mean, or sum")}
    # class: id, ground truth, detections, AP, Cls, Loc, Both, Dupe, Bkg, Miss
    assert rows["stand"] == ["1", "1", "2", "0.500", "0 0", "0 0", "0 0", "0 0", "+0.500 1", "0 0"]
    assert rows["walk"] == ["3", "2", "1", "0.500", "0 0", "0 0", "0 0", "0 0", "0 0", "+0.500 1"]
    assert rows["run"] == ["7", "0", "0", "–", "–", "–", "–", "–", "–", "–"]
    assert rows["mean, or sum"] == ["", "3", "3", "0.500", "0 0", "0 0", "0 0", "0 0", "+0.250 1", "+0.250 1"]


def test_several_thresholds_add_columns_and_the_mean_over_all(tmp_path):
    found = [("v", 902, 0.0, 0.0, 0.4, 0.31, 1, 0.9)]
    text = write_report(tmp_path, table(TRUTH[:1]), table(found, True), LABELS, iou_thresholds=[0.5, 0.8]).read_text()
    # IoU 0.775: right at 0.5, 0.55, ... 0.75, six of the ten.
    assert re.findall(r"<b>([\d.]+)</b>(mAP@[\d.:]+)", text) == [
        ("1.000", "mAP@0.5"),
        ("0.000", "mAP@0.8"),
        ("0.600", "mAP@0.5:0.95"),
    ]


def test_names_cannot_break_the_page(tmp_path):
    name = "<script>alert('x')</script> & \"more\""
    truth = [("<b>v</b>", 902, *LEFT, 1)]
    text = write_report(
        tmp_path, table(truth), table(FOUND, True), {1: name}, sources={"detections": "<i>.csv"}
    ).read_text()
    assert Page(text).tags.count("script") == 1
    assert "<b>v</b>" not in text
    assert "<i>.csv" not in text


@pytest.mark.parametrize(("truth", "found"), [([], FOUND), (TRUTH, []), ([], [])])
def test_without_ground_truth_or_detections_there_is_still_a_page(tmp_path, truth, found):
    text = write_report(tmp_path, table(truth), table(found, True), LABELS).read_text()
    assert ("No class of the label map has ground truth" in text) == (not truth)


def test_ties_between_true_and_false_positives_are_told_with_their_range(tmp_path):
    found = [("v", 902, *RIGHT, 1, 0.5), ("v", 902, *LEFT, 1, 0.5)]
    text = write_report(tmp_path, table(TRUTH[:1]), table(found, True), LABELS).read_text()
    assert "gives mAP 0.500000; an evaluator that orders them otherwise may give 0.500000 to 1.0" in text
