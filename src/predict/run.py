"""From videos to files: parts one by one, then everything that is written."""

import functools
import gc
import itertools
import math
import os
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src.ava.label_map import write_label_map
from src.checkpoint.class_names import check_class_names, differing_classes
from src.datasets.video import VideoInfo, find_videos, probe
from src.predict.detector import Detector
from src.predict.given_boxes import KeyFrameBoxes, read_given_boxes
from src.predict.options import Options, build_detector, build_scorer, read_labels, score_settings, scores_digest
from src.predict.outputs import OutputFolder
from src.predict.page import write_page
from src.predict.parts import KeyFrame, Part, PartAnalyzer, Sampling, join_parts
from src.predict.render import playable_name, write_annotated, write_playable
from src.predict.results import (
    VideoResult,
    actions_document,
    counted,
    write_actions,
    write_detections,
    write_tracks,
)
from src.predict.scorer import Scorer
from src.predict.timeline import Rules, find_actions
from src.utils.cluster import job_pool, result_of
from src.utils.errors import UserError

INTERRUPTED = 128 + signal.SIGINT
_ONE_AT_A_TIME = threading.Lock()
# Bytes of a file's name, on nearly all file systems.
_LONGEST_NAME = 255
TOTALS = ("index.html", "detections.csv", "detections.pbtxt", "tracks.csv", "actions.json")


class Interruption:
    """Ctrl-C or SIGTERM, remembered: the files are finished with what there is. A second one ends the program at once.

    While MindSpore runs a network, it turns Ctrl-C into SIGTERM.
    """

    _DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def requested(self) -> bool:
        """Whether it was asked for."""
        return self._event.is_set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Listen meanwhile."""

        def note(*_: object) -> None:
            for number, handler in self._DEFAULTS.items():
                signal.signal(number, handler)
            self._event.set()

        before = {number: signal.signal(number, note) for number in self._DEFAULTS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass
class Job:
    """A video to work off.

    Attributes:
        name: its file's name without suffix.
        info: what it holds.
        digest: of all that its scores depend on.
        parts: beginning and end of each part, in seconds.
        result: what came out.
        scored: seconds of it that this run scored.
    """

    name: str
    info: VideoInfo
    digest: str
    parts: list[tuple[float, float]]
    result: VideoResult | None = None
    scored: float = 0.0
    found: list[Part] = field(default_factory=list)


class Run:
    """One run of predict.

    Attributes:
        labels: class name by id.
        output: where the results go.
        interruption: Ctrl-C.
        failures: why videos failed, by name.

    Args:
        options: what is asked for.

    Raises:
        UserError: the network, the detector or the label map cannot be had.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        cfg = options.config()
        self.labels = read_labels(options, cfg)
        self._boxes = None if options.boxes is None else read_given_boxes(options.boxes)
        self.output = OutputFolder(options.out)
        self._scorer: Scorer | None = None
        self._detector: Detector | None = None
        self.interruption = Interruption()
        self.failures: dict[str, str] = {}
        self._is_one = False

    @property
    def scorer(self) -> Scorer:
        """The network, loaded when first asked for."""
        if self._scorer is None:
            self._scorer = build_scorer(self.options)
            self._check_labels(self._scorer)
        return self._scorer

    def _check_labels(self, scorer: Scorer) -> None:
        """Raise where the recipe's label map has other names than the network was trained with; tell it of --labels."""
        labels, trained = self.options.labels, scorer.class_names
        if labels is None:
            check_class_names(trained, self.labels, scorer.name, "the recipe's label map")
        elif differing := differing_classes(trained, self.labels):
            number = differing[0]
            tqdm.write(
                f"{labels}: the network was trained with other names for {len(differing)} of {len(self.labels)} "
                f"classes, as {number}: {trained[number]!r}, here {self.labels[number]!r}"
            )

    @functools.cached_property
    def model(self) -> dict[str, str]:
        """Which network scores, for people."""
        return {"name": self.scorer.name, "recipe": self.options.recipe()}

    @functools.cached_property
    def settings(self) -> dict[str, object]:
        """All that scores depend on beside the video, as it was when this run read it."""
        return score_settings(self.options, self.scorer.digest)

    @property
    def detector(self) -> Detector | None:
        """What finds persons, loaded when first asked for."""
        if self._detector is None:
            self._detector = build_detector(self.options)
        return self._detector

    def load(self) -> None:
        """Load network and detector, so that what would make every video fail is told first.

        Raises:
            UserError: they cannot be had.
        """
        _ = self.scorer, self.detector

    def unload(self) -> None:
        """Let go of network and detector, which drawing does not need."""
        _ = self.model
        self._scorer = self._detector = None
        gc.collect()

    def plan(self, videos: dict[str, Path]) -> list[Job]:
        """Return the jobs of videos; those that cannot be read are noted among the failures.

        Raises:
            UserError: there is one video, and it cannot be read.
        """
        for name in TOTALS:
            self.output.claim(name)
        self._is_one = len(videos) == 1
        jobs = []
        for name, path in videos.items():
            with self._noting(name):
                jobs.append(self._planned(name, path))
        return jobs

    def _planned(self, name: str, path: Path) -> Job:
        """Return the job of a video, having told what will be left out and claimed its files."""
        _check_name(name, path)
        job = self.job(name, path)
        if job.info.is_truncated:
            tqdm.write(f"{path}: ends at second {job.info.duration:g}, before its header says")
        self._check_boxes(name, job.parts[0][0], job.parts[-1][1])
        if self.options.video_out:
            self.output.claim(f"{name}_actions.mp4")
        return job

    def job(self, name: str, path: Path) -> Job:
        """Return the job of a video.

        Raises:
            UserError: it cannot be read, or ends before the first second that is asked for.
        """
        options, info = self.options, probe(path)
        end = min(info.duration, math.inf if options.end is None else options.end)
        if options.start >= end:
            raise UserError(f"{path}: lasts {info.duration:.3f} seconds, expected more than --from {options.start:g}")
        count = max(1, math.ceil((end - options.start) / options.every_part - 1e-9))
        edges = [min(options.start + number * options.every_part, end) for number in range(count)] + [end]
        return Job(name, info, scores_digest(self.settings, path), list(itertools.pairwise(edges)))

    def _check_boxes(self, name: str, start: float, end: float) -> None:
        """Raise where a video has no boxes, and tell of those outside of the seconds that are looked at."""
        if self._boxes is None:
            return
        if name not in self._boxes:
            known = ", ".join(sorted(self._boxes)[:5])
            raise UserError(f"{self.options.boxes}: no boxes of video {name}; it has {known}")
        outside = [second for second in self._boxes[name] if not start <= second < end]
        if len(outside) == len(self._boxes[name]):
            raise UserError(
                f"{self.options.boxes}: no key frame of {name} lies within seconds {start:g} to {end:g}, the first is "
                f"at {outside[0]:g}; seconds are counted from the video's start"
            )
        if outside:
            tqdm.write(
                f"{self.options.boxes}: left out of {name}, as outside of seconds {start:g} to {end:g}: "
                f"{len(outside)} of {counted(len(self._boxes[name]), 'key frame')}, the first at {outside[0]:g}"
            )

    def given_boxes(self, name: str) -> KeyFrameBoxes | None:
        """Return the boxes that are given for a video; None: a detector finds them."""
        return None if self._boxes is None else self._boxes[name]

    def sampling(self, name: str) -> Sampling:
        """Return when persons of a video are looked for and scored; boxes that are given say themselves how often."""
        sampling, given = self.options.sampling, self.given_boxes(name)
        if given is None or len(given) < 2:
            return sampling
        return replace(sampling, every=float(np.median(np.diff(list(given)))))

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """Note a user's mistake as the failure of a video; where there is but one video, the run fails."""
        try:
            yield
        except UserError as error:
            if self._is_one:
                raise
            self.failures[name] = str(error)
            tqdm.write(f"failed: {error}")

    def do_part(self, job: Job, number: int, tick: Callable[[float], None] = lambda _: None) -> Part:
        """Work off a part and keep it.

        Args:
            job: the video.
            number: of the part.
            tick: is told the second of each key frame that is done.

        Returns:
            The part; with Ctrl-C what there is of it, which is not kept.

        Raises:
            UserError: the video is another one than when the job was made, as while it is recorded or copied.
        """
        start, end = job.parts[number]
        given = self.given_boxes(job.name)
        analyzer = PartAnalyzer(job.info, self.detector, self.scorer, self.sampling(job.name), given)
        steps = analyzer.analyze(start, end)
        part = Part(start)
        for step in steps:
            if isinstance(step, KeyFrame):
                tick(step.time)
                if self.interruption.requested:
                    # The part comes at once then, up to here.
                    analyzer.stop()
            else:
                part = step
        # A decoder and its container refer to each other: without this, memory grows by some 10 MB a part.
        gc.collect()
        if scores_digest(self.settings, job.info.path) != job.digest:
            raise UserError(f"{job.info.path}: has changed while it was scored; start again once it is complete")
        if not self.interruption.requested:
            part.save(self.output.part_path(job.name, job.digest, number))
        return part

    def work(self, jobs: list[Job]) -> None:
        """Work off all jobs, part after part, with a progress bar."""
        with self._progress(jobs) as bar:
            for job in jobs:
                with self._noting(job.name):
                    self._work_job(job, bar)
                if self.interruption.requested:
                    return

    def _progress(self, jobs: list[Job]) -> tqdm:
        seconds = sum(end - start for job in jobs for start, end in job.parts)
        return tqdm(total=round(seconds, 1), desc="scoring", unit="s", disable=None, dynamic_ncols=True)

    def work_on_cluster(self, jobs: list[Job], cluster: str) -> None:
        """Let the workers of a Dask cluster do the parts that are missing, then read them all.

        Raises:
            UserError: no scheduler answers.
        """
        options = self.options.with_absolute_paths()
        with self._progress(jobs) as bar, job_pool(1, cluster) as pool:
            futures = {}
            for job in jobs:
                path = job.info.path.absolute()
                for number, (start, end) in enumerate(job.parts):
                    if self.output.load_part(job.name, job.digest, number) is None:
                        future = pool.submit(score_part, options, job.name, path, job.digest, number)
                        futures[future] = job, end - start
                    else:
                        bar.update(end - start)
            waiting = set(futures)
            while waiting and not self.interruption.requested:
                # With an end to waiting, so that Ctrl-C is heeded.
                done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                for future in done:
                    job, seconds = futures[future]
                    if job.name not in self.failures:
                        with self._noting(job.name):
                            result_of(future)
                            job.scored += seconds
                            bar.update(seconds)
                waiting -= {
                    future for future in waiting if futures[future][0].name in self.failures and future.cancel()
                }
            for future in waiting:
                future.cancel()
        for job in jobs:
            if job.name not in self.failures:
                with self._noting(job.name):
                    self._collect(job, is_whole=not waiting)

    def _collect(self, job: Job, is_whole: bool) -> None:
        """Read the parts that workers wrote; `is_whole`: all are done, and no worker writes any more."""
        if is_whole:
            self.output.drop_other_parts(job.name, job.digest)
        parts = (self.output.load_part(job.name, job.digest, number) for number in range(len(job.parts)))
        job.found = list(itertools.takewhile(lambda part: part is not None, parts))
        if is_whole and len(job.found) < len(job.parts):
            raise UserError(
                f"{job.info.path}: its scores are not in {self.output.folder}; the workers wrote into another folder "
                "of this name, share one"
            )

    def _work_job(self, job: Job, bar: tqdm) -> None:
        self.output.drop_other_parts(job.name, job.digest)
        job.found = []
        for number, (start, end) in enumerate(job.parts):
            part = self.output.load_part(job.name, job.digest, number)
            done = start
            if part is None:

                def tick(second: float) -> None:
                    nonlocal done
                    bar.update(round(second - done, 3))
                    done = second

                part = self.do_part(job, number, tick)
                job.scored += end - start
                if bar.disable and not self.interruption.requested:  # no terminal: a line for each part
                    print(f"{job.name}: {end:g} of {job.parts[-1][1]:g} seconds scored", file=sys.stderr, flush=True)
            bar.update(round(end - done, 3))
            job.found.append(part)
            if self.interruption.requested:
                return

    def finish(self, jobs: list[Job]) -> list[Job]:
        """Write videos, page and tables of the jobs that have results; return those."""
        done = []
        for job in jobs:
            if job.name in self.failures or not job.found:
                continue
            with self._noting(job.name):
                self._finish_job(job)
                done.append(job)
        if done:
            self.write_tables([job.result for job in done])
        return done

    def write_tables(self, results: list[VideoResult]) -> None:
        """Write page and tables."""
        write_page(self.output.folder / "index.html", results, self.labels, self.model, self.options.threshold)
        left_out = write_detections(self.output.folder / "detections.csv", results)
        if left_out:
            tqdm.write(
                f"detections.csv lacks {counted(left_out, 'key frame')} between whole seconds, as AVA's columns "
                "do; their persons stand in tracks.csv"
            )
        write_label_map(self.output.folder / "detections.pbtxt", self.labels)
        write_tracks(self.output.folder / "tracks.csv", results)
        write_actions(self.output.folder / "actions.json", actions_document(results, self.labels, self.model))

    def _finish_job(self, job: Job) -> None:
        options = self.options
        whole = join_parts(job.found)
        job.found = []
        start, end = job.parts[0][0], job.parts[-1][1]
        sampling = self.sampling(job.name)
        rules = Rules(self.labels, options.threshold, options.top, sampling.every, end, start)
        actions = find_actions(whole.key_frames, rules)
        job.result = VideoResult(
            job.name, str(job.info.path), whole, actions, start, end, job.info.width, job.info.height
        )
        if options.boxes is not None:
            job.result.gap = sampling.longest_gap
        if options.video_out:
            drawn = f"{job.digest} {options.threshold} {options.top} {self.labels}"
            self._write_video(f"{job.name}_actions.mp4", job, sha256(drawn.encode()).hexdigest())
        self._put_source(job)
        gc.collect()  # as after a part

    def _write_video(self, name: str, job: Job, digest: str) -> None:
        digest = f"{digest} {len(job.result.part.key_frames)}"
        if self.output.is_done(name, digest):
            return
        path = self.output.claim(name)
        with _bar(f"drawing {job.name}", job.info) as tick:
            write_annotated(job.info, path, job.result, self.labels, tick)
        self.output.set_done(name, digest)

    def _put_source(self, job: Job) -> None:
        """Put the video beside the page."""
        for name in (f"{job.name}_source{suffix}" for suffix in dict.fromkeys([job.info.path.suffix.lower(), ".mp4"])):
            if self.output.is_done(name, job.digest):
                job.result.media = name
                return
        name = playable_name(job.info, job.name)
        path = self.output.claim(name)
        with _bar(f"copying {job.name}", job.info) as tick:
            write_playable(job.info, path, tick)
        self.output.set_done(name, job.digest)
        job.result.media = name


def _check_name(name: str, path: Path) -> None:
    """Raise where tables cannot hold the name of a video, or files cannot have the names of its results."""
    try:
        longest = f".{name}_actions.mp4.{'0' * 8}.json".encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{os.fsencode(path)!r}: the name is no UTF-8, as tables and page are; rename it") from error
    if len(longest) > _LONGEST_NAME:
        spare = _LONGEST_NAME - len(longest) + len(name.encode())
        raise UserError(f"{path}: the name has more than {spare} bytes, its results could not be named; rename it")


@contextmanager
def _bar(description: str, info: VideoInfo) -> Iterator[Callable[[float], None]]:
    """Show progress through a video; yields a function that is told the second that is done."""
    with tqdm(total=round(info.duration, 1), desc=description, unit="s", leave=False, disable=None) as bar:
        yield lambda second: bar.update(max(0.0, round(second - bar.n, 3)))


@functools.lru_cache(maxsize=1)
def _worker_run(options: Options) -> Run:
    return Run(options)


@functools.lru_cache(maxsize=4)
def _worker_job(options: Options, name: str, path: Path) -> Job:
    return _worker_run(options).job(name, path)


def score_part(options: Options, name: str, path: Path, digest: str, number: int) -> None:
    """Work off a part of a video, on a worker of a cluster; nothing is done where it is there already.

    Args:
        options: of the run.
        name: of the video.
        path: of the video.
        digest: of what its scores depend on, as the one who asks sees it.
        number: of the part.

    Raises:
        UserError: the video cannot be read, or is another one here.
    """
    # A worker with several threads has one network all the same.
    with _ONE_AT_A_TIME:
        if _worker_job(options, name, path).digest != digest:
            # Perhaps a file was replaced since this worker read it.
            _worker_job.cache_clear()
            _worker_run.cache_clear()
        run, job = _worker_run(options), _worker_job(options, name, path)
        if job.digest != digest:
            raise UserError(
                f"{path}: this video, or network, detector or boxes, are other files here; share one folder"
            )
        if run.output.load_part(name, digest, number) is None:
            run.do_part(job, number)


def find_jobs(video: Path, shard: tuple[int, int] | None, output: OutputFolder) -> dict[str, Path]:
    """Return the videos by name: of a folder, or the one; of them every N-th from the I-th for a shard (I, N).

    Videos that earlier runs wrote into that very folder are no others.

    Raises:
        UserError: there is no such file, or the folder holds no videos.
    """
    videos = find_videos(video) if video.is_dir() else {video.stem: video}
    if video.is_dir() and video.samefile(output.folder):
        videos = {name: path for name, path in videos.items() if not output.is_own(path.name)}
    if shard is not None:
        names = list(videos)[shard[0] - 1 :: shard[1]]
        videos = {name: videos[name] for name in names}
    return videos


def predict(options: Options, video: Path, shard: tuple[int, int] | None = None, cluster: str | None = None) -> int:
    """Work off a video or a folder of videos; return the exit status.

    Args:
        options: what is asked for.
        video: a file or a folder.
        shard: (I, N): only every N-th video from the I-th, and no totals.
        cluster: address of a Dask scheduler, whose workers score; None: this machine does.

    Raises:
        UserError: what would make every video fail.
    """
    run = Run(options)
    with run.output.held(is_shared=shard is not None):
        return _predict(run, video, shard, cluster)


def _predict(run: Run, video: Path, shard: tuple[int, int] | None, cluster: str | None) -> int:
    started = time.monotonic()
    videos = find_jobs(video, shard, run.output)
    if len(videos) == 1 and not next(iter(videos.values())).is_file():
        raise UserError(f"{video}: there is no such video")
    if cluster is None:
        run.load()
    with run.interruption.watched():
        jobs = run.plan(videos)
        if cluster is None:
            run.work(jobs)
        else:
            run.work_on_cluster(jobs, cluster)
        if shard is None:
            run.unload()
            done = run.finish(jobs)
            if done:
                print(summary(done, run, time.monotonic() - started), flush=True)
        else:
            print(
                f"shard {shard[0]}/{shard[1]}: {counted(len(jobs) - len(run.failures), 'video')} scored; run again "
                "without --shard, once all shards are done, for the page and the tables",
                flush=True,
            )
    if run.failures:
        print(f"{len(run.failures)} of {counted(len(videos), 'video')} failed:")
        for name, reason in run.failures.items():
            print(f"  {name}: {reason}")
    if run.interruption.requested:
        print("interrupted: the files hold what there was; the same command goes on at the last whole part")
        return INTERRUPTED
    return 1 if run.failures else 0


def summary(jobs: list[Job], run: Run, elapsed: float) -> str:
    """Return who did what most, how fast it went and where the files are."""
    lines = []
    for job in jobs:
        totals: dict[tuple[int, int], float] = defaultdict(float)
        for action in job.result.actions:
            totals[action.track, action.class_id] += action.end - action.start
        persons = {int(track) for frame in job.result.part.key_frames for track in frame.tracks}
        lines.append(f"{job.name}: {counted(len(persons), 'person')}, {counted(len(job.result.actions), 'action')}")
        for (track, class_id), seconds in Counter(totals).most_common(5):
            lines.append(f"  #{track} {run.labels[class_id]}: {seconds:.{0 if seconds >= 10 else 1}f} s")
        if persons and not job.result.actions:
            lines.append(f"  no score reached --threshold {run.options.threshold:g}")
    scored = sum(job.scored for job in jobs)
    if scored:
        lines.append(
            f"{scored:.0f} seconds of video in {elapsed:.0f} s, {scored / elapsed:.2f} times as fast as they play"
        )
    lines.append(
        f"open {run.output.folder / 'index.html'} in a browser; beside it detections.csv, tracks.csv, "
        f"actions.json{' and the videos with labels' if run.options.video_out else ''}"
    )
    return "\n".join(lines)
