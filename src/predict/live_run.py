"""A run on a camera or a stream: parts as they come, a live page, tables at the end."""

import itertools
import sys
import time

import numpy as np

from src.predict.live import LiveAnalyzer, live_message
from src.predict.live_page import LivePage
from src.predict.live_source import LiveSource
from src.predict.options import Options
from src.predict.page import render_page
from src.predict.parts import KeyFrame, Part
from src.predict.results import VideoResult, counted
from src.predict.run import TOTALS, Run
from src.predict.timeline import Rules, find_actions
from src.utils.errors import UserError


class LiveRun:
    """Scores a stream until Ctrl-C, or for the seconds that the options say.

    Args:
        run: what scores; `end` of its options: seconds after which it ends.
        video: a camera's number, or a URL.
        address: host and port of the live page; None: there is none.

    Raises:
        UserError: the stream or the port cannot be opened.
    """

    def __init__(self, run: Run, video: str, address: tuple[str, int] | None) -> None:
        self._run, self._options = run, run.options
        options, scorer = run.options, run.scorer
        self._source = LiveSource(video, scorer.cfg.AVA.FPS)
        self._analyzer = LiveAnalyzer(self._source, self._run.detector, scorer, options.sampling)
        self._key = f"live{time.strftime('%Y%m%dT%H%M%S')}"
        self._page = None
        if address is not None:
            empty = {"name": self._source.name, "media": None, "start": 0, "end": 1, "width": 16, "height": 9, "gap": 1}
            html = render_page(
                [empty | {"persons": []}], self._run.labels, self._run.model, options.threshold, is_live=True
            )
            self._page = LivePage(*address, html)
            print(f"live page: {self._page.url}", flush=True)
        self._part, self._number = Part(0.0), 0

    def work(self) -> int:
        """Score until the end, and write the tables; return the exit status."""
        try:
            self._work()
        finally:
            self._analyzer.close()
            if self._page is not None:
                self._page.close()
        state, losses = self._analyzer.state, self._source.losses
        print(
            f"{self._source.name}: {counted(state.scored, 'key frame')} scored, {state.skipped} skipped because they "
            f"came too fast, the stream was lost {counted(losses, 'time')}\n"
            f"open {self._options.out / 'index.html'} in a browser; beside it detections.csv, tracks.csv, "
            "actions.json. The picture was not kept.",
            flush=True,
        )
        return 0

    def _work(self) -> None:
        """Score until the end; write the tables."""
        for name in TOTALS:
            self._run.output.claim(name)
        run, end = self._run, self._options.end
        started = time.monotonic()
        with run.interruption.watched():
            self._analyzer.run(
                self._tell,
                lambda: run.interruption.requested or (end is not None and time.monotonic() - started >= end),
            )
        if sys.stderr.isatty():
            print(file=sys.stderr)  # behind the line that is written over
        self._save()
        self._write()

    def _tell(self, frame: KeyFrame, picture: np.ndarray) -> None:
        window, part = self._analyzer.state.window, self._part
        if part.key_frames and frame.time - part.start >= self._options.every_part:
            self._save()
            part = self._part = Part(frame.time)
        last = part.key_frames[-1].time if part.key_frames else part.start - self._options.every
        part.key_frames.append(frame)
        seen = window.sightings[(window.sightings[:, 0] > last) & (window.sightings[:, 0] <= frame.time)]
        part.sightings = np.concatenate([part.sightings, seen])
        for track in frame.tracks.tolist():
            part.thumbnails.setdefault(track, window.thumbnails[track])
        state = self._analyzer.state
        if sys.stderr.isatty():
            print(
                f"\r{state.scored} scored, {state.skipped} skipped, {state.delay:.1f} s behind ",
                end="",
                file=sys.stderr,
            )
        if self._page is not None:
            rules = self._rules(frame.time + self._options.every / 2)
            message = live_message(self._source.name, self._analyzer, rules, picture, self._source.losses)
            self._page.publish(message)

    def _rules(self, end: float) -> Rules:
        options = self._options
        return Rules(self._run.labels, options.threshold, options.top, options.every, end)

    def _save(self) -> None:
        """Keep the part, so that memory does not grow and little is lost."""
        if self._part.key_frames:
            self._part.save(self._run.output.part_path(self._source.name, self._key, self._number))
            self._number += 1

    def _write(self) -> None:
        """Write page and tables of the whole; tracks are numbered throughout already."""
        whole = Part(0.0)
        sightings = [whole.sightings]
        for number in itertools.count():
            part = self._run.output.load_part(self._source.name, self._key, number)
            if part is None:
                break
            whole.key_frames += part.key_frames
            sightings.append(part.sightings)
            whole.thumbnails = part.thumbnails | whole.thumbnails
        whole.sightings = np.concatenate(sightings)
        end = whole.key_frames[-1].time + self._options.every / 2 if whole.key_frames else 1.0
        actions = find_actions(whole.key_frames, self._rules(end))
        height, width = self._analyzer.size or (9, 16)
        name = self._source.name
        self._run.write_tables([VideoResult(name, name, whole, actions, 0.0, end, width, height)])


def predict_live(options: Options, video: str, address: tuple[str, int] | None) -> int:
    """Score a camera or a stream; see `LiveRun`. Ctrl-C is its usual end, and no failure.

    Raises:
        UserError: it cannot be opened, or the output folder holds results.
    """
    for name in TOTALS:
        if (options.out / name).exists():
            raise UserError(f"{options.out / name}: is there already, and a stream comes but once; name another --out")
    run = Run(options)
    with run.output.held():
        return LiveRun(run, video, address).work()
