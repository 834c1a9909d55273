"""Which annotated boxes stand for which key frames, with an account of every box."""

import difflib
import itertools
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from types import MappingProxyType

import numpy as np

from src.ava.rows import NO_ACTION
from src.datasets.key_frames import frame_of
from src.datasets.prepare.box import Box, Classes, in_shares, shortened, tell_units
from src.datasets.video import VideoInfo
from src.evaluation.matching import paired_iou
from src.utils.errors import UserError

# A box this close to a key frame, as a share of the time between two, stands for it however it was annotated.
_SLACK = Fraction(1, 10)
# Annotation is regular if so many of its steps are within a twentieth of the usual one.
_REGULAR_SHARE = 0.8
_WARNING_SHARE = 0.1
# Two persons rarely overlap so far; two boxes that were drawn around one person do.
_DOUBLE_IOU = 0.8
_BETWEEN, _AFTER, _OUTSIDE = "between key frames", "after the last frame", "outside of the frame"
_MARKED = "marked as a crowd or to be ignored"
_REMEDIES = {
    _BETWEEN: "a smaller --key-every makes key frames denser, and --annotation-fps states the rate of images",
    _AFTER: "is it the video that was annotated?",
    _OUTSIDE: "are the coordinates in other units (--coordinates)?",
    _MARKED: "that is what the file says of them",
}


@dataclass(frozen=True)
class KeyBox:
    """A box that is ready to be written: safe name, second of the key frame, corners in [0, 1], person or score."""

    name: str
    second: float
    corners: tuple[float, float, float, float]
    classes: tuple[int, ...]
    last: str
    where: str


@dataclass(frozen=True)
class Timing:
    """How times in box files become key frames.

    Attributes:
        fps: frames a second that are extracted.
        first_second: the second that AVA's columns give to a video's first frame.
        key_every: seconds between two key frames.
        annotation_fps: rate of the extracted images that were annotated; 0: told from their numbers, else `fps`.
    """

    fps: int
    first_second: int = 0
    key_every: Fraction = Fraction(1)
    annotation_fps: Fraction = Fraction(0)

    def frame_of(self, key: int) -> int:
        """Return the frame, from 0, of key frame `key`, counted from a video's start."""
        return int(frame_of(float(key * self.key_every), 0, self.fps))


@dataclass
class Account:
    """What became of the boxes of one file; the numbers add up.

    Attributes:
        read: boxes in the file.
        taken: boxes that are written.
        merged: boxes that stood there twice.
        left_out: by reason.
        without_action: of the taken ones.
    """

    read: int = 0
    taken: int = 0
    merged: int = 0
    left_out: Counter = field(default_factory=Counter)
    without_action: int = 0

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.most_common())
        text = f"{self.read} boxes read: {self.taken} taken"
        text += f" ({self.without_action} of them without an action)" if self.without_action else ""
        return f"{text}, {self.merged} merged, {self.left_out.total()} left out" + (f" ({reasons})" if reasons else "")


@dataclass(frozen=True)
class _Timed:
    """A box of a known video at a known time, with the file that it stands in."""

    file: Path
    box: Box
    name: str
    time: Fraction


def select_key_boxes(
    files: Mapping[Path, Sequence[Box]],
    source: Path,
    videos: Mapping[str, Path],
    infos: Mapping[str, VideoInfo],
    timing: Timing,
    coordinates: str | None,
    faults: Mapping[str, UserError],
    image_numbers: Mapping[str, Collection[int]] = MappingProxyType({}),
    *,
    scored: bool = False,
) -> tuple[list[KeyBox], dict[Path, Account]]:
    """Keep the boxes at key frames, for each key frame those of the annotated frame that is nearest.

    Args:
        files: boxes by file.
        source: what was read, for messages.
        videos: path by safe name.
        infos: of those that can be read.
        timing: how times are meant.
        coordinates: shares or pixels; None: told from the values where files do not say.
        faults: of the videos that cannot be read, by name.
        image_numbers: of extracted images, with and without boxes, by what files call their video.
        scored: boxes are those of a detector.

    Raises:
        UserError: naming file and row, for a box of no video, at no time of its video, beyond its frame, or without a
            score that it needs.
    """
    accounts = {file: Account(read=len(boxes)) for file, boxes in files.items()}
    open_units = [box for boxes in files.values() for box in boxes if box.units is None]
    if coordinates and not open_units:
        print(f"custom: note: --coordinates has no effect here: {source.name} says which unit it has")
    units = coordinates or (tell_units(open_units, source) if open_units else "shares")
    if units == "pixels" and not coordinates:
        _tell_percent(open_units, source, infos)
    timed = _timed(files, videos, infos, timing, accounts, faults, image_numbers)
    chosen = _nearest(timed, infos, timing, accounts)
    if not chosen:
        raise UserError(
            f"{source}: no box lies at a key frame, one every {float(timing.key_every):g} s; "
            f"annotate such frames, or: {_REMEDIES[_BETWEEN]}"
        )
    result: dict[tuple, KeyBox] = {}
    by_file: dict[tuple[str, float], dict[Path, set]] = defaultdict(lambda: defaultdict(set))
    for key, entry in chosen:
        info, account = infos[entry.name], accounts[entry.file]
        corners = in_shares(entry.box, units, (info.width, info.height), info.display_size)
        if corners is None:
            account.left_out[_OUTSIDE] += 1
            continue
        second = float(key * timing.key_every + timing.first_second)
        last = entry.box.score if scored else entry.box.last
        if last is None:
            raise UserError(f"{entry.box.where}: has no score, which boxes of a detector need")
        key_box = KeyBox(entry.name, second, corners, entry.box.classes, last, entry.box.where)
        # Two persons are never in one place; what is written has four decimal places.
        place = (key_box.name, key_box.second, tuple(round(value, 4) for value in corners))
        by_file[place[:2]][entry.file].add(place[2])
        identity = (*place, key_box.classes, key_box.last if scored else None)
        if identity in result:
            account.merged += 1
            continue
        result[identity] = key_box
        account.taken += 1
        account.without_action += key_box.classes == (NO_ACTION,)
    _tell_shared(by_file)
    return list(result.values()), accounts


def _tell_percent(boxes: Sequence[Box], source: Path, infos: Mapping[str, VideoInfo]) -> None:
    """Warn of coordinates that are taken for pixels, but may be percent: all lie in the corner of large frames."""
    largest = max(max(box.corners) for box in boxes)
    smallest = min(min(info.width, info.height) for info in infos.values())
    if largest <= 100 < smallest / 2:
        print(
            f"custom: warning: no coordinate of {source.name} is above 100, though frames have {smallest} pixels or "
            "more: they are taken for pixels; if they are percent, divide them by 100"
        )


def _tell_shared(by_file: Mapping[tuple[str, float], Mapping[Path, set]]) -> None:
    """Warn of key frames that several files annotate, with other boxes each."""
    shared = [
        (place, *sorted(files)[:2])
        for place, files in by_file.items()
        if any(a.isdisjoint(b) for a, b in itertools.combinations(files.values(), 2))
    ]
    if shared:
        (name, second), one, other = shared[0]
        print(
            f"custom: warning: {len(shared)} key frames have boxes of several files, as {name} at {second:g} s of "
            f"{one.name} and {other.name}: all are taken, each for a person of its own; where the files annotate the "
            "same persons, keep one of them"
        )


def report(accounts: Mapping[Path, Account], classes: Classes) -> None:
    """Print what became of the boxes of each file, and warn where it is much or strange."""
    for file, account in accounts.items():
        print(f"custom: {file.name}: {account}")
    total = Account(
        *(sum(getattr(account, name) for account in accounts.values()) for name in ("read", "taken", "merged")),
        sum((account.left_out for account in accounts.values()), Counter()),
        sum(account.without_action for account in accounts.values()),
    )
    if len(accounts) > 1:
        print(f"custom: {len(accounts)} files: {total}")
    if total.left_out.total() > _WARNING_SHARE * total.read:
        reason = total.left_out.most_common(1)[0][0]
        share = f"{total.left_out.total()} of {total.read} boxes are left out"
        print(f"custom: warning: {share}, most {reason}: {_REMEDIES[reason]}")
    for (value, name), count in sorted(classes.near_misses.items()):
        print(f"custom: warning: {count} boxes say {value!r}, which is no class and counts as none; is {name!r} meant?")
    told = classes.acting.keys() | {value for value, _ in classes.near_misses}
    for label in sorted(classes.idle.keys() - told) if classes.acting else ():
        print(
            f"custom: warning: none of the {classes.idle[label]} boxes labeled {label!r} names a class: each counts as "
            "a person who does nothing; take them out if they are no persons"
        )
    for kind, count in sorted((+classes.unread).items()):
        print(f"custom: note: {count} annotations of the kind {kind} are no boxes, and are not read")
    detected = (+classes.detected).most_common()
    if len(detected) > 1:
        counts = ", ".join(f"{count} of {name}" for name, count in detected[:5])
        print(
            f"custom: warning: boxes are of {len(detected)} classes of the file's own ({counts}), and all count as "
            "persons: leave out what is none"
        )
    if classes.by_number:
        number, name = classes.by_number
        print(
            "custom: no names lie beside YOLO's files: their numbers are taken for the class list's order, "
            f"{number} for {name!r} and so on; data.yaml or classes.txt beside them says otherwise"
        )
    if classes.polygons:
        print(
            f"custom: {classes.polygons} rows of YOLO's files are taken for polygons; keypoints are known by "
            "`kpt_shape` in a data.yaml beside the files"
        )
    if classes.empty_rows:
        print(f"custom: {classes.empty_rows} rows say that a key frame shows nobody; they are left out")


def tell_doubles(boxes: Sequence[KeyBox]) -> None:
    """Warn of boxes that nearly are another of their key frame: one person twice, as in two exports of one task."""
    by_frame = defaultdict(list)
    for box in boxes:
        by_frame[box.name, box.second].append(box)
    doubles = []
    for group in by_frame.values():
        corners = np.array([box.corners for box in group])
        first, second = np.triu_indices(len(group), 1)
        overlap = paired_iou(corners[first], corners[second])
        is_double = (overlap >= _DOUBLE_IOU) & (corners[first] != corners[second]).any(axis=1)
        doubles += [(group[i], group[j]) for i, j in zip(first[is_double], second[is_double], strict=True)]
    if doubles:
        one, other = doubles[0]
        print(
            f"custom: warning: {len(doubles)} pairs of boxes of one key frame overlap by {_DOUBLE_IOU} or more, as "
            f"{one.where} and {other.where}; if that is one person twice, as in two exports of one task, remove one: "
            "a person has one box, which may name several classes"
        )


def lost_classes(
    files: Mapping[Path, Sequence[Box]], kept: Iterable[KeyBox], class_names: Mapping[int, str]
) -> list[str]:
    """Return the names of classes that have boxes in the files, but none among those that are kept."""
    named = {class_id for boxes in files.values() for box in boxes for class_id in box.classes}
    left = {class_id for box in kept for class_id in box.classes}
    return [class_names[class_id] for class_id in sorted(named - left - {NO_ACTION})]


def known_names(videos: Mapping[str, Path]) -> dict[str, str]:
    """Return the safe name of each video by what box files may call it, as `plain_name` gives it.

    Where one video's file is called as another's name without the suffix, the file counts.
    """
    known = {plain_name(name): name for name in videos}
    known |= {plain_name(video.stem): name for name, video in videos.items() if not video.is_dir()}
    known |= {plain_name(video.name): name for name, video in videos.items()}
    # Some readers take away the spaces around a name.
    return {alias.strip(): name for alias, name in known.items()} | known


def plain_name(given: str) -> str:
    """Return a video's name without folders, those of Windows as well, its letters in their composed form."""
    return unicodedata.normalize("NFC", PureWindowsPath(given).name)


def _folder(given: str) -> str:
    """Return the folder in which a box file says that a video lies; empty: it does not say."""
    folder = PureWindowsPath(given).parent.as_posix()
    return "" if folder == "." else folder


def _timed(
    files: Mapping[Path, Sequence[Box]],
    videos: Mapping[str, Path],
    infos: Mapping[str, VideoInfo],
    timing: Timing,
    accounts: Mapping[Path, Account],
    faults: Mapping[str, UserError],
    image_numbers: Mapping[str, Collection[int]],
) -> list[_Timed]:
    """Find the video and the time of every box."""
    known, folders = known_names(videos), {}
    named = []
    for file, boxes in files.items():
        for box in boxes:
            if box.is_marked:
                accounts[file].left_out[_MARKED] += 1
                continue
            given_names = list(filter(None, (box.video, *box.other_names)))
            found = list(dict.fromkeys(filter(None, (known.get(plain_name(given)) for given in given_names))))
            name = next(iter(found), None)
            if box.image is not None and len(found) > 1:
                raise UserError(f"{box.where}: by its name and folders the image may be one of {' or of '.join(found)}")
            if name is None:
                given = next(iter(given_names), "")
                near = difflib.get_close_matches(plain_name(given), known, n=1)
                raise UserError(
                    f"{box.where}: there is no video {shortened(given)} among the {len(videos)} videos"
                    + (f"; the nearest is {near[0]!r}" if near else "")
                    + ("; so CVAT calls every video's frames: export 'CVAT for video 1.1'" if given == "frame" else "")
                )
            if name in faults:
                raise faults[name]
            folder = _folder(box.video)
            if folder and folders.setdefault(name, (folder, box))[0] != folder:
                other = folders[name][1]
                raise UserError(
                    f"{box.where}: {box.video!r}, and {other.video!r} of {other.where}, would both be the video "
                    f"{videos[name].name}; give videos of several folders names of their own, here and there"
                )
            named.append((file, box, name))
    _check_copies(named)
    _tell_longer_tasks(named, infos)
    listed = defaultdict(set)
    for given, numbers in image_numbers.items():
        if name := known.get(plain_name(given)):
            listed[name].update(numbers)
    images = _images(named, infos, timing, listed)
    result = []
    for file, box, name in named:
        time = _time(box, name, infos[name], timing, images)
        if time is None:
            accounts[file].left_out[_AFTER] += 1
        else:
            result.append(_Timed(file, box, name, time))
    return result


def _tell_longer_tasks(named: Sequence[tuple[Path, Box, str]], infos: Mapping[str, VideoInfo]) -> None:
    """Warn of videos that have fewer frames than the video that was annotated."""
    last = {name: box.task_end for _, box, name in named if box.task_end is not None}
    for name, end in last.items():
        if end > len(infos[name].times):  # tools may count one more
            print(
                f"custom: warning: CVAT's task of {infos[name].path.name} has frames up to {end}, but the video has "
                f"{len(infos[name].times)}: if it was cut at its start, or converted to another rate, boxes lie at "
                "wrong times"
            )


def _check_copies(named: Sequence[tuple[Path, Box, str]]) -> None:
    """Raise where several copies of one image have other boxes: then copies were turned, mirrored or cut."""
    copies: dict[tuple, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    for _, box, name in named:
        if box.copy:
            copies[name, box.image][box.copy].append(box)
    for by_copy in copies.values():
        first, *others = by_copy.values()
        for other in others:
            if {(box.corners, box.classes) for box in first} != {(box.corners, box.classes) for box in other}:
                raise UserError(
                    f"{other[0].where}: is of a copy of the image of {first[0].where}, with other boxes: copies that "
                    "were mirrored, turned or cut do not show the video's frame; export without augmentation"
                )


@dataclass(frozen=True)
class _Images:
    """What the numbers of extracted images mean.

    Attributes:
        rate: images a second.
        first: the number of the image at 0 seconds.
        whole: videos of which every frame was extracted: image for image one frame, whatever the rate.
    """

    rate: Fraction
    first: int
    whole: Collection[str]


def _images(
    named: Sequence[tuple[Path, Box, str]],
    infos: Mapping[str, VideoInfo],
    timing: Timing,
    listed: Mapping[str, set[int]],
) -> _Images:
    """Tell what the numbers of the extracted images mean that boxes name.

    Without `--annotation-fps` their rate is that of extraction, unless they are numbered without gaps and their numbers
    run through the videos at a lower one. They count from 1, unless there is a 0. Where they are as many as the video
    has frames, they are these.
    """
    numbers = defaultdict(set)
    for _, box, name in named:
        if box.image is not None and infos[name].first_image is None and not _is_frame(box, timing):
            numbers[name].add(box.image)
    for name, found in numbers.items():
        found |= listed.get(name, set())
    if timing.annotation_fps and not numbers:
        print("custom: note: --annotation-fps has no effect here: no box names an extracted image")
    first = 0 if any(0 in found for found in numbers.values()) else 1
    whole = [
        name
        for name, found in numbers.items()
        if not timing.annotation_fps
        and _is_gapless(found)
        and abs(max(found) - first + 1 - len(infos[name].times)) <= 1
    ]
    if whole:
        print(
            f"custom: {len(whole)} videos have as many images as frames, as {whole[0]}: image for image, they are "
            "taken for these (--annotation-fps says otherwise)"
        )
    others = {name: found for name, found in numbers.items() if name not in whole}
    images = _Images(timing.annotation_fps or _told_rate(others, infos, timing.fps), first, whole)
    if others:
        number = "(N - 1)" if images.first else "N"
        print(f"custom: image N is taken for the frame at {number} / {float(images.rate):g} s", end="")
        if images.rate < timing.fps:
            print(
                f", as ffmpeg's filter fps={float(images.rate):g}:start_time=0:round=up extracts them; without "
                f"round=up they show what comes {float(1 / images.rate / 2):g} s later"
            )
        else:
            print("" if timing.annotation_fps else "; --annotation-fps says otherwise")
    if numbers and images.first == 0:
        print("custom: images are taken to count from 0, as there is one of this number")
    return images


def _is_frame(box: Box, timing: Timing) -> bool:
    """Whether a box tells its time by a frame of the video; an image's name may mean either."""
    return box.frame is not None and (box.image is None or not timing.annotation_fps)


def _told_rate(images: Mapping[str, set[int]], infos: Mapping[str, VideoInfo], fps: int) -> Fraction:
    """Tell the rate of extracted images from their numbers, by video; it is `fps` where they do not."""
    rates = set()
    for name, found in images.items():
        duration, highest = infos[name].duration, max(found)
        rate = round(highest / duration) if duration else 0
        is_through = rate and abs(highest - rate * duration) <= 1
        rates.add(rate if _is_gapless(found) and is_through else fps)
    if len(rates) != 1 or max(rates) >= fps:
        return Fraction(fps)
    (rate,) = rates
    print(
        f"custom: images are numbered without gaps, and at {rate} a second they run through the videos: so they are "
        "taken (--annotation-fps says otherwise)"
    )
    return Fraction(rate)


def _is_gapless(numbers: Collection[int]) -> bool:
    return len(numbers) >= 3 and len(numbers) >= 0.9 * max(numbers)


def _time(box: Box, name: str, info: VideoInfo, timing: Timing, images: _Images) -> Fraction | None:
    """Return the time of a box in its video, in seconds; None: a little after its last frame.

    Raises:
        UserError: it lies far outside of the video.
    """
    count = len(info.times)
    if box.image is not None and info.first_image is not None:
        # The images themselves, not some that were extracted from them.
        if not 0 <= box.image - info.first_image < count:
            last = info.first_image + count - 1
            raise UserError(f"{box.where}: the images of {info.path.name} are {info.first_image} to {last}")
        return info.times.time_of(box.image - info.first_image)
    if _is_frame(box, timing):
        if box.listed is not None and abs(box.listed - count) > 1:
            raise UserError(
                f"{box.where}: the task has {box.listed} images, which this format numbers anew, but the video "
                f"{info.path.name} has {count} frames; export 'CVAT for images 1.1', which names them"
            )
        is_counted_otherwise = box.frames and abs(box.frames - count) > 1
        if not is_counted_otherwise:
            if 0 <= box.frame < count:
                return info.times.time_of(box.frame)
            if count <= box.frame <= count + 1:
                return None
            raise UserError(
                f"{box.where}: the video {info.path.name} has {count} frames; is it the one that was annotated?"
            )
        # The tool played the video at a rate of its own.
        if box.rate is None:
            return box.frame * info.times.duration / box.frames
        time = box.frame / Fraction(box.rate)
    elif box.image is not None and name in images.whole:
        time = info.times.time_of(min(box.image - images.first, count - 1))
    elif box.image is not None:
        time = (box.image - images.first) / images.rate
    else:
        # Decimal places of seconds are meant as they are written.
        time = Fraction(box.second).limit_denominator(10**6) - (timing.first_second if box.is_ava else 0)
    if not 0 <= time <= info.times.duration:
        raise UserError(
            f"{box.where}: lies at {float(time):g} s of the video {info.path.stem}, which lasts {info.duration:g} s"
            + ("; do seconds begin elsewhere (--first-second)?" if box.is_ava else "")
            + ("; seconds count from the video's start" if box.second is not None and not box.is_ava else "")
            + ("; see --annotation-fps" if box.image is not None else "")
        )
    return time


def _nearest(
    timed: Sequence[_Timed], infos: Mapping[str, VideoInfo], timing: Timing, accounts: Mapping[Path, Account]
) -> list[tuple[int, _Timed]]:
    """Return (key frame, box) for the boxes of the annotated frame that is nearest to each key frame."""
    every = timing.key_every
    times = defaultdict(set)
    for entry in timed:
        times[entry.name].add(entry.time)
    tolerance = {name: _tolerance(sorted(found), every) for name, found in times.items()}
    slots = {name: infos[name].times.slots(timing.fps) for name in times}

    def distance(name: str, time: Fraction, key: int) -> Fraction:
        """Return how far from a key frame a time is: not at all if what begins then is what the key frame shows."""
        shown = max(int(np.searchsorted(slots[name], timing.frame_of(key), side="right")) - 1, 0)
        return Fraction(0) if time == infos[name].times.time_of(shown) else abs(time - key * every)

    at_key: dict[tuple[str, int], list[_Timed]] = defaultdict(list)
    for entry in timed:
        key = math.floor(entry.time / every + Fraction(1, 2))
        count = infos[entry.name].times.count(timing.fps)
        is_near = distance(entry.name, entry.time, key) <= tolerance[entry.name]
        if timing.frame_of(key) < count:
            if is_near:
                at_key[entry.name, key].append(entry)
            else:
                accounts[entry.file].left_out[_BETWEEN] += 1
        elif entry.box.second is not None and entry.time >= infos[entry.name].times.duration:
            raise UserError(
                f"{entry.box.where}: second {entry.box.second:g} is not in the video, which has {count} frames"
            )
        else:
            accounts[entry.file].left_out[_BETWEEN] += 1
    result, farthest, shifted = [], Fraction(0), 0
    for (name, key), entries in sorted(at_key.items()):
        # Of two that are equally near, the earlier.
        away, best = min((distance(name, time, key), time) for time in {entry.time for entry in entries})
        shifted, farthest = shifted + (away > _SLACK * every), max(farthest, away)
        for entry in entries:
            if entry.time == best:
                result.append((key, entry))
            else:
                accounts[entry.file].left_out[_BETWEEN] += 1
    if shifted:
        print(
            f"custom: {shifted} of {len(at_key)} key frames take boxes that were annotated up to {float(farthest):.2f} "
            "s away: frames are annotated regularly, but not at key frames"
        )
    return result


def _tolerance(times: Sequence[Fraction], every: Fraction) -> Fraction:
    """Return how far from a key frame a video's boxes may lie: half of the annotation's step, if that is regular."""
    minimum = _SLACK * every
    steps = np.diff(np.array([float(time) for time in times]))
    if len(steps) < 2:
        return minimum
    usual = float(np.median(steps))
    if np.mean(np.abs(steps / usual - 1) < 0.05) < _REGULAR_SHARE:
        return minimum
    return min(max(Fraction(usual) / 2, minimum), every / 2)
