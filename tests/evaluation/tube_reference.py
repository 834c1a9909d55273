"""Tube metrics as their definitions read, in plain loops over frames: slow, and easy to check by eye.

A tube is (video, class, {frame: box}, score); ground truth has score None.
"""

from itertools import pairwise

Tube = tuple[str, int, dict[int, tuple[float, float, float, float]], float | None]


def box_iou(a: tuple[float, ...], b: tuple[float, ...], added: float) -> float:
    width = max(0.0, min(a[2], b[2]) + added - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) + added - max(a[1], b[1]))
    areas = [(x2 - x1 + added) * (y2 - y1 + added) for x1, y1, x2, y2 in (a, b)]
    return width * height / (sum(areas) - width * height)


def tube_iou(a: dict[int, tuple], b: dict[int, tuple], protocol: str, pixel: float) -> float:
    act = protocol == "ucf101-24"
    common = [frame for frame in a if frame in b]
    if not common:
        return 0.0
    added = 1 if act else 0
    length = max(common) - min(common) + added
    if length == 0:
        return 0.0  # a span without length
    whole = max(*a, *b) - min(*a, *b) + added
    mean = sum(box_iou(a[frame], b[frame], pixel if act else 0.0) for frame in common) / len(common)
    return mean * length / whole


def average_precision(
    truth: list[Tube], found: list[Tube], label: int, threshold: float, protocol: str, overlap
) -> float | None:
    wanted = [one for one in truth if one[1] == label]
    if not wanted:
        return None
    free = list(range(len(wanted)))
    right, points = 0, []
    detections = sorted((one for one in found if one[1] == label), key=lambda one: -one[3])
    for count, detection in enumerate(detections, start=1):
        choice = [at for at in range(len(wanted)) if protocol == "multisports" or at in free]
        choice = [at for at in choice if wanted[at][0] == detection[0]]
        best = max(choice, key=lambda at: overlap(wanted[at][2], detection[2]), default=None)
        if best in free and overlap(wanted[best][2], detection[2]) >= threshold:
            free.remove(best)
            right += 1
        points.append((right / len(wanted), right / count))
    if protocol == "ucf101-24":
        curve = [(0.0, 1.0), *points]
        return sum((b[0] - a[0]) * (b[1] + a[1]) / 2 for a, b in pairwise(curve))
    area, last = 0.0, 0.0
    for recall in sorted({recall for recall, _ in points}):
        area += (recall - last) * max(p for r, p in points if r >= recall)
        last = recall
    return area


def video_ap(truth, found, label, threshold, protocol, pixel) -> float | None:
    return average_precision(truth, found, label, threshold, protocol, lambda a, b: tube_iou(a, b, protocol, pixel))


def frame_ap(truth, found, label, threshold, protocol, pixel) -> float | None:
    """Every box is an entry of its own; its video is the frame's."""
    added = pixel if protocol == "ucf101-24" else 0.0
    truth, found = (
        [((video, frame), c, {0: box}, score) for video, c, boxes, score in tubes for frame, box in boxes.items()]
        for tubes in (truth, found)
    )
    return average_precision(truth, found, label, threshold, protocol, lambda a, b: box_iou(a[0], b[0], added))
