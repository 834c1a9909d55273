"""Detections become tracks, and tracks go on from part to part."""

from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np

from src.datasets.video import probe
from src.predict.parts import KeyFrame, Part, PartAnalyzer, Sampling, join_parts
from src.predict.tracker import WEAK_SCORE, Tracker


def moved(x: float) -> np.ndarray:
    return np.array([[x, 0.2, x + 0.2, 0.8]])


def part(start: float, track: int, times: list[float]) -> Part:
    frame = KeyFrame(start, np.array([track]), moved(0.1), np.ones(1), np.ones((1, 2), np.float32))
    return Part(start, [frame], np.array([[time, track, *moved(0.1)[0], 0.9] for time in times]))


def test_a_person_who_moves_keeps_one_number_through_a_gap() -> None:
    tracker = Tracker()
    for step in (0, 1, 2, 4, 5):
        tracker.update(step / 5, moved(0.1 + 0.02 * step), np.array([0.9]))
    assert [track.number for track in tracker.tracks] == [0]
    np.testing.assert_allclose(tracker.tracks[0].at(0.6)[0], [0.16, 0.2, 0.36, 0.8], atol=1e-9)


def test_weak_detections_go_on_and_do_not_begin() -> None:
    tracker = Tracker()
    tracker.update(0.0, np.concatenate([moved(0.1), moved(0.7)]), np.array([0.9, 0.3]))
    tracker.update(0.2, np.concatenate([moved(0.1), moved(0.7)]), np.array([0.3, 0.3]))
    assert [track.scores for track in tracker.tracks] == [[0.9, 0.3]]


def test_the_same_boxes_in_the_common_seconds_are_the_same_person() -> None:
    whole = join_parts([part(0.0, 3, [9.2, 9.6, 10.0, 10.4]), part(10.0, 0, [9.2, 9.6, 10.0, 10.4])])
    assert [frame.tracks.tolist() for frame in whole.key_frames] == [[0], [0]]
    assert whole.sightings[:, 0].tolist() == [9.2, 9.6, 10.0, 10.4]


class FadingPerson:
    """Detects one person, well until second 4 and weakly from there on: weak detections begin no track."""

    def detect(self, image: np.ndarray, score: float) -> tuple[np.ndarray, np.ndarray]:
        assert score == WEAK_SCORE
        return moved(0.1), np.array([0.9 if image.mean() < 4 * 20 else 0.3])


class NoScorer:
    """Takes the time of clips, and gives no scores."""

    name = "none"
    cfg = SimpleNamespace(AVA=SimpleNamespace(FPS=10), MODEL=SimpleNamespace(NUM_CLASSES=1))

    def clip_steps(self) -> np.ndarray:
        return np.array([-1, 0])

    def small(self, image: np.ndarray) -> np.ndarray:
        return image

    def score(self, _: list, boxes: np.ndarray, __: tuple) -> np.ndarray:
        return np.zeros((len(boxes), 1), np.float32)


def test_parts_find_the_persons_of_the_whole(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "video.mp4"), "w") as output:  # each second is brighter than the last
        stream = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for number in range(90):
            image = np.full((32, 32, 3), 20 * (number // 10) + 10, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        output.mux(stream.encode(None))
    analyzer = PartAnalyzer(probe(tmp_path / "video.mp4"), FadingPerson(), NoScorer(), Sampling())
    whole, *parts = (list(analyzer.analyze(*ends))[-1] for ends in ((0.0, 9.0), (0.0, 7.0), (7.0, 9.0)))
    joined = join_parts(parts)
    assert [frame.tracks.tolist() for frame in joined.key_frames] == [[0]] * 9
    np.testing.assert_array_equal(joined.sightings, join_parts([whole]).sightings)


def test_a_part_is_read_as_it_was_saved(tmp_path: Path) -> None:
    before = part(10.0, 2, [10.0, 10.2])
    before.thumbnails = {2: b"image"}
    before.save(tmp_path / "part.npz")
    after = Part.load(tmp_path / "part.npz")
    assert (after.start, after.thumbnails) == (10.0, {2: b"image"})
    np.testing.assert_array_equal(after.sightings, before.sightings)
    np.testing.assert_array_equal(after.key_frames[0].boxes_norm, before.key_frames[0].boxes_norm)


def test_a_damaged_part_counts_as_not_done(tmp_path: Path) -> None:
    (tmp_path / "part.npz").write_bytes(b"PK\x03\x04 cut off")
    assert Part.load(tmp_path / "part.npz") is None
