"""The AVA metric as its definition reads, in plain loops: slow, and easy to check by eye."""

Row = tuple[str, int, float, float, float, float, int]
ScoredRow = tuple[str, int, float, float, float, float, int, float]


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    overlap = width * height
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return overlap / (area_a + area_b - overlap)


def average_precisions(
    ground_truth: list[Row],
    detections: list[ScoredRow],
    class_ids: list[int],
    excluded: set[tuple[str, int]] = frozenset(),
    threshold: float = 0.5,
    order: str = "score",
) -> dict[int, float | None]:
    """Average precision of each class; None for one without ground truth."""
    truth = [row for row in ground_truth if row[:2] not in excluded]
    found = [row for row in detections if row[:2] not in excluded and row[2] < row[4] and row[3] < row[5]]
    result = {}
    for class_id in class_ids:
        of_class = [row for row in found if row[6] == class_id]
        wanted = [row for row in truth if row[6] == class_id]
        by_score = sorted(of_class, key=lambda row: -row[7])  # Python's sort keeps the order of equal scores
        right = _right_ones(by_score if order == "score" else of_class, wanted, threshold)
        result[class_id] = _area([id(row) in right for row in by_score], len(wanted)) if wanted else None
    return result


def _right_ones(detections: list[ScoredRow], wanted: list[Row], threshold: float) -> set[int]:
    """Identities of the detections that take a ground-truth box, going through them in this order."""
    taken: set[int] = set()
    right = set()
    for row in detections:
        best, best_iou = None, 0.0
        for index, truth in enumerate(wanted):
            if truth[:2] == row[:2] and iou(row[2:6], truth[2:6]) > best_iou:
                best, best_iou = index, iou(row[2:6], truth[2:6])
        if best is not None and best_iou >= threshold and best not in taken:
            taken.add(best)
            right.add(id(row))
    return right


def _area(true_positives: list[bool], total: int) -> float:
    """Area under the precision-recall curve, precision raised to the highest at equal or higher recall."""
    points = []
    true_so_far = 0
    for rank, is_true in enumerate(true_positives, start=1):
        true_so_far += is_true
        points.append((true_so_far / total, true_so_far / rank))
    area, last_recall = 0.0, 0.0
    for recall in sorted({recall for recall, _ in points}):
        precision = max(p for r, p in points if r >= recall)
        area += (recall - last_recall) * precision
        last_recall = recall
    return area
