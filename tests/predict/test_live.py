"""A stream from this machine: scored as it comes, lost and found again, shown on a page."""

import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import imageio_ffmpeg
import numpy as np
import pytest

from src.predict import live_source
from src.predict.live import LiveAnalyzer
from src.predict.live_page import LivePage
from src.predict.live_run import predict_live
from src.predict.live_source import LiveFrame, LiveSource, is_live, without_secrets
from src.predict.options import Options
from src.predict.parts import Sampling
from src.predict.tracker import Tracker
from src.utils.errors import UserError


@contextmanager
def served(video: Path, url: str, *output: str) -> Iterator[subprocess.Popen]:
    """Send a video again and again at the speed at which it plays."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-re", "-stream_loop", "-1", "-i", str(video)]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-g", "5", "-f", "mpegts", *output, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def opened(url: str) -> LiveSource:
    """Open a stream whose server may just be starting."""
    end = time.monotonic() + 30
    while True:
        try:
            return LiveSource(url, 15)
        except UserError:
            assert time.monotonic() < end, "the stream never came"
            time.sleep(0.2)


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        ("0", True),
        ("rtsp://user:pw@host/door", True),
        ("udp://127.0.0.1:5000", True),
        ("-", True),
        ("clip.mp4", False),
        ("a/b", False),
    ],
)
def test_cameras_urls_and_pipes_are_live(video: str, expected: bool) -> None:
    assert is_live(video) is expected


def test_a_named_pipe_is_live(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ts")
    assert is_live(str(tmp_path / "pipe.ts"))


def test_passwords_are_not_told(free_port: int) -> None:
    assert without_secrets("rtsp://me:a@b@host:554/door?key=1") == "rtsp://host:554/door"
    with pytest.raises(UserError, match=rf"^http://127.0.0.1:{free_port}/door: cannot open the video"):
        LiveSource(f"http://me:secret@127.0.0.1:{free_port}/door?key=1", 15)


def test_a_lost_stream_is_opened_again(held_out: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_source, "_FIRST_PAUSE", 0.2)
    url = f"http://127.0.0.1:{free_port}/door"
    with served(held_out, url, "-listen", "1"):
        source = opened(url)
        frames = source.frames()
        first = [next(frames) for _ in range(20)]
    with served(held_out, url, "-listen", "1"):
        again = next(frame for frame in frames if frame.is_first)
        after = [next(frames) for _ in range(5)]
    source.close()
    assert [frame.slot for frame in first] == list(range(20))
    assert source.losses == 1
    assert again.slot > first[-1].slot
    assert [frame.slot for frame in after] == list(range(again.slot + 1, again.slot + 6))
    assert source.name == f"127.0.0.1_{free_port}_door"


def test_a_file_at_a_url_is_no_stream(held_out: Path, free_port: int) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=held_out.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match="is a file of 24 seconds, and no stream; fetch it"):
            LiveSource(f"http://127.0.0.1:{free_port}/{held_out.name}", 15)
        server.shutdown()


def test_the_standard_input_is_read_to_its_end(held_out: Path, repository: Path) -> None:
    code = "from src.predict.live_source import LiveSource as S; print(*(f.slot for f in S('-', 15).frames()))"
    with served(held_out, "pipe:1", "-t", "2") as source:
        done = subprocess.run([sys.executable, "-c", code], stdin=source.stdout, cwd=repository, capture_output=True)
    assert [int(slot) for slot in done.stdout.split()] == list(range(30))


class Untimed:
    """A camera's images, without times; where a rate is stated instead, it is a mere default."""

    is_timed = False

    def __iter__(self) -> Iterator[SimpleNamespace]:
        for number in range(5):
            yield SimpleNamespace(time=Fraction(number, 25))
            time.sleep(0.2)


def test_frames_without_times_count_at_the_time_at_which_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveSource, "_open", lambda _: Untimed())
    slots = [frame.slot for frame in LiveSource("http://camera/images", 10)._connected(0)]
    assert slots == list(range(len(slots)))
    assert slots[-1] == pytest.approx(8, abs=1)


class SlowScorer:
    """Takes longer than there is time."""

    def __init__(self, cfg: object, seconds: float) -> None:
        self.cfg, self._seconds, self.name = cfg, seconds, "slow"

    def clip_steps(self) -> np.ndarray:
        return np.arange(4) - 2

    def small(self, image: np.ndarray) -> np.ndarray:
        return image[::4, ::4]

    def score(self, images: list, boxes: np.ndarray, _: tuple) -> np.ndarray:
        time.sleep(self._seconds)
        return np.full((len(boxes), self.cfg.MODEL.NUM_CLASSES), 0.5, np.float32)


class OnePerson:
    """Finds one person, always there."""

    def detect(self, image: np.ndarray, score: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[0.2, 0.2, 0.6, 0.9]]), np.array([0.9])


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "skips"), [(0.0, False), (0.5, True)])
def test_what_comes_too_fast_is_skipped_and_counted(
    configure: Callable, held_out: Path, free_port: int, seconds: float, skips: bool
) -> None:
    url = f"udp://127.0.0.1:{free_port}"
    with served(held_out, url):
        source = opened(url)
        analyzer = LiveAnalyzer(source, OnePerson(), SlowScorer(configure(), seconds), Sampling(0.2, 5.0))
        told = []
        end = time.monotonic() + 5
        analyzer.run(lambda frame, _: told.append((frame.time, analyzer.state.delay)), lambda: time.monotonic() > end)
        analyzer.close()
        assert [thread.is_alive() for thread in analyzer._threads] == [False, False]
    state = analyzer.state
    assert state.scored == len(told) > 3
    assert (state.skipped > 0) is skips
    times = np.array([moment for moment, _ in told])
    assert (np.diff(times) > 0.19).all()
    # As late as it may be, a clip, and one more score.
    assert max(delay for _, delay in told) < 1.0 + 2 / 15 + seconds + 0.8


class Recording:
    """A stream of 30 frames, which has an end."""

    def frames(self) -> Iterator[LiveFrame]:
        for slot in range(30):
            time.sleep(1 / 15)
            yield LiveFrame(slot, SimpleNamespace(image=np.zeros((64, 96, 3), np.uint8)), slot == 0)

    def close(self) -> None:
        """Nothing is open."""


def test_a_stream_with_an_end_is_scored_up_to_there(configure: Callable) -> None:
    analyzer = LiveAnalyzer(Recording(), OnePerson(), SlowScorer(configure(), 0.0), Sampling(0.2, 5.0))
    told = []
    analyzer.run(lambda frame, _: told.append((frame.time, len(frame.tracks))), lambda: False)
    analyzer.close()
    # The first clip reaches back over the beginning, the last one reaches to frame 28 of 0 to 29.
    assert told == [(slot / 15, 1) for slot in range(3, 28, 3)]


class Interrupted:
    """A stream of 45 frames, and 45 more behind an interruption, five times as fast as it plays."""

    def frames(self) -> Iterator[LiveFrame]:
        for slot in (*range(45), *range(60, 105)):
            time.sleep(1 / 75)
            yield LiveFrame(slot, SimpleNamespace(image=np.zeros((64, 96, 3), np.uint8)), slot in (0, 60))

    def close(self) -> None:
        """Nothing is open."""


def test_every_key_frame_that_came_is_scored_or_counted_as_skipped(configure: Callable) -> None:
    analyzer = LiveAnalyzer(Interrupted(), OnePerson(), SlowScorer(configure(), 0.15), Sampling(0.2, 5.0))
    told = []
    analyzer.run(lambda frame, _: told.append(round(frame.time * 15)), lambda: False)
    analyzer.close()
    # Key frames are every third; clips reach from 2 frames before to 1 behind.
    seen = [*range(3, 44, 3), *range(63, 104, 3)]
    assert set(told) < set(seen)
    assert (len(told), analyzer.state.skipped) == (analyzer.state.scored, len(seen) - len(told))


def test_old_sightings_are_forgotten() -> None:
    tracker = Tracker()
    for second in range(100):
        tracker.update(second / 5, np.array([[0.1, 0.1, 0.5, 0.9]]), np.array([0.9]))
        tracker.forget(second / 5 - 2)
    (track,) = tracker.tracks
    assert len(track.times) <= 12
    tracker.forget(100)
    assert tracker.tracks == []


@pytest.mark.slow
def test_a_run_on_a_stream_ends_with_tables(
    options: Callable[..., Options], held_out: Path, free_port: int, detector_file: Path, tiny_network: None
) -> None:
    url = f"udp://127.0.0.1:{free_port}"
    run_options = options(boxes=None, detector=detector_file, end=6.0, every_part=2.0)
    with served(held_out, url):
        source = opened(url)
        source.close()
        assert list(source.frames()) == []  # which lets go of the port
        assert predict_live(run_options, url, None) == 0
    document = json.loads((run_options.out / "actions.json").read_text())
    (video,) = document["videos"]
    assert [person["track"] for person in video["persons"]] == [0, 1]
    seconds = {row.split(",")[1] for row in (run_options.out / "detections.csv").read_text().splitlines()}
    assert len(seconds) >= 3
    with pytest.raises(UserError, match="a stream comes but once"):
        predict_live(run_options, url, None)


def test_the_page_is_for_this_machine_or_for_whoever_has_the_token() -> None:
    page = LivePage("127.0.0.1", 0, "<p>page")
    try:
        page.publish({"note": "news"})
        assert urllib.request.urlopen(page.url).read() == b"<p>page"
        with urllib.request.urlopen(page.url + "events") as events:
            assert events.readline() == b'data: {"note":"news"}\n'
        foreign = urllib.request.Request(page.url, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(foreign)
        port = int(re.search(r":(\d+)/", page.url)[1])
        with pytest.raises(UserError, match=rf"--live-port {port}: cannot listen on 127.0.0.1"):
            LivePage("127.0.0.1", port, "")
    finally:
        page.close()
    page = LivePage("0.0.0.0", 0, "<p>page")
    try:
        assert re.fullmatch(r"http://0\.0\.0\.0:\d+/\?token=[\w-]{22}", page.url)
        assert urllib.request.urlopen(page.url).read() == b"<p>page"
        for path in ("", "events", "?token=wrong"):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(page.url.partition("?")[0] + path)
    finally:
        page.close()
