"""Video files, streams and folders of images: one clock and one geometry for everything that reads them.

The time of a frame is its time stamp in the file, counted from the file's start as ffmpeg does; sizes are those of
upright frames. Frame k at a rate of `fps` is what ffmpeg's filter `fps=FPS:start_time=0` shows: the last frame whose
time, times the rate and rounded (halves up), is at most k. The last frame stays until the stream's end.
"""

import dataclasses
import functools
import itertools
import math
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideData, SideDataContainer
from av.sidedata.sidedata import Type as SideDataType

from src.datasets.image_series import image_series, is_image_folder
from src.utils.errors import UserError

# What ffmpeg takes for a discontinuity of a transport stream's clock (its option -dts_delta_threshold), in seconds.
_DISCONTINUITY_SECONDS = 10
# Decoding times of such a stream may fall so far behind before that, too, is one; in seconds.
_BACKWARD_SECONDS = Fraction(1, 10)
# Headers round durations, and streams end a little apart; beyond this a video counts as cut short.
_TRUNCATION_SECONDS = 1
# Within so many seconds ahead, decoding on is quicker than seeking, which lands on a keyframe far before.
_DECODE_ON_SECONDS = 4
# Where many packets have no time stamps, and those behind a seek are guessed otherwise than from the start.
_GUESSING_FORMATS = ("mpeg",)
# Which state when frames are decoded, not when they are shown; what libavformat makes up of that is wrong where frames
# share a packet.
_UNTIMED_FORMATS = ("avi",)
# Of a frame whose colors are converted, so that what lies between stays small (8K: 100 MB) and near the processor.
_ROWS_AT_ONCE = 256
# FF_QP2LAMBDA: what `-q:v 1` stands for.
_JPEG_QUALITY = {"flags": "+qscale", "global_quality": "118"}
# Filters that take side data of kinds from a frame which PyAV does not know; libavutil has fewer than 64.
_UNKNOWN_SIDE_DATA = [("sidedata", f"mode=delete:type={kind}") for kind in range(len(SideDataType), 64)]
# Of files that are taken for videos unseen; what has another suffix is looked into.
_VIDEO_SUFFIXES = {".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"}
_VIDEO_SUFFIXES |= {".ts", ".mts", ".m2ts", ".vob"}
# Not videos, though libavformat gives them a video stream: images, and texts drawn as a terminal's screen.
_STILL_FORMATS = ("image2", "tty", "_pipe")
_NO_KEYFRAMES = np.empty((0, 2), np.int64)


@dataclass(frozen=True)
class FrameTimes:
    """When each frame of a video begins, in the order in which they are shown.

    Attributes:
        ticks: int64 (frames,), in units of `unit`. They never fall, except where the file's own times begin again.
        end: when the last frame ends, in the same units.
        unit: in seconds.
    """

    ticks: np.ndarray
    end: int
    unit: Fraction

    def __len__(self) -> int:
        return len(self.ticks)

    @property
    def duration(self) -> Fraction:
        """Seconds from the clock's start to the last frame's end."""
        return max(self.end * self.unit, Fraction(0))

    def time_of(self, frame: int) -> Fraction:
        """Return when frame `frame` (from 0) begins, in seconds."""
        return int(self.ticks[frame]) * self.unit

    def frame_at(self, second: float | Fraction, fps: int) -> int:
        """Return which frame is shown at a second, of a whole frame number at `fps` frames a second."""
        index = math.floor(Fraction(second) * fps + Fraction(1, 2))
        return max(int(np.searchsorted(self.slots(fps), index, side="right")) - 1, 0)

    @property
    def overlapping(self) -> int:
        """How many frames begin when others were shown already, as where recordings were joined without a new clock."""
        return int((self.ticks[1:] <= np.maximum.accumulate(self.ticks)[:-1]).sum())

    def count(self, fps: int) -> int:
        """Return how many frames there are at `fps` frames a second."""
        return max(_slot(self.end * self.unit, fps), 1)

    def slots(self, fps: int) -> np.ndarray:
        """Return the first of the frames at `fps` a second that may show each frame: int64 (frames,), rising."""
        scale = self.unit * fps
        # Python's integers: a product may pass 64 bits.
        slots = (2 * self.ticks.astype(object) * scale.numerator + scale.denominator) // (2 * scale.denominator)
        return np.maximum.accumulate(slots.astype(np.int64)) if len(slots) else np.empty(0, np.int64)


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds, as far as that shows without decoding its frames.

    Attributes:
        path: the file, or the folder of images.
        times: when its frames are shown.
        rate: frames a second, exact where the rate is constant, else that of most frames.
        width: of the upright frames, in pixels.
        height: of the upright frames, in pixels.
        pixel_aspect: how wide a pixel is shown in relation to its height. Frames keep their pixels as they are stored.
        promised: seconds that the header promises; None: it says nothing.
        first_image: number of the first image of a folder; None: a file.
        is_timed: whether the file states times; a bare stream has none, and its rate is often a mere default.
        others: how many video streams the file holds beside the one that is read; not kept in the index.
    """

    path: Path
    times: FrameTimes
    rate: Fraction
    width: int
    height: int
    pixel_aspect: Fraction
    promised: Fraction | None
    _keyframes: np.ndarray  # of those that can be sought: when they are shown, by our clock and by the file's
    first_image: int | None = None
    is_timed: bool = True
    others: int = 0

    @property
    def fps(self) -> float:
        """Frames a second, as a float."""
        return float(self.rate)

    @property
    def duration(self) -> float:
        """Seconds until the last frame ends."""
        return float(self.times.duration)

    @property
    def image_rate(self) -> int:
        """Images a second of a folder of them; 0: a file."""
        return 0 if self.first_image is None else int(self.rate)

    @property
    def is_truncated(self) -> bool:
        """Whether the file ends before its header says."""
        return self.promised is not None and self.times.duration < self.promised - _TRUNCATION_SECONDS

    @property
    def truncation(self) -> str:
        """Says that, for people."""
        return (
            f"{self.path}: only {self.duration:.1f} of the {float(self.promised):.1f} seconds that the header promises "
            "are there; the file is truncated or damaged, fetch or copy it again"
        )

    @property
    def display_size(self) -> tuple[int, int]:
        """Width and height that a player shows, with square pixels."""
        return round(self.width * self.pixel_aspect), self.height


class VideoFrame:
    """One decoded frame.

    Attributes:
        ticks: when it begins, in units of the decoder's `unit`.
        time: the same in seconds.
        is_damaged: the decoder reported faults in it.
        is_interlaced: it is made of two fields.
        is_askew: the file says that it is to be turned by another angle than a multiple of 90 degrees.
    """

    def __init__(self, frame: av.VideoFrame, ticks: int, unit: Fraction, size: tuple[int, int] | None) -> None:
        self.ticks, self.time = ticks, ticks * unit
        self.is_damaged, self.is_interlaced = frame.is_corrupt, frame.interlaced_frame
        self._frame, self._size = frame, size

    @property
    def is_askew(self) -> bool:
        return any(name == "rotate" for name, _ in _turns(self._frame))

    @property
    def planes(self) -> av.VideoFrame:
        """The frame upright, in the full-range planes that a JPEG file holds, as ffmpeg makes them; made each time."""
        upright = _upright(self._frame)
        width, height = self._size or (upright.width, upright.height)
        # One thread: others would not live on in a forked worker, which then waits for them.
        return upright.reformat(
            width,
            height,
            format=_jpeg_format(upright),
            dst_color_range="JPEG",
            interpolation="BICUBIC",
            threads=1,
        )

    @functools.cached_property
    def image(self) -> np.ndarray:
        """The frame as BGR, uint8 (height, width, 3), as it would come from a JPEG file but for the loss.

        That is full-range planes as ffmpeg makes them, color smoothly enlarged, and the matrix of BT.601 whatever the
        video's own is.
        """
        luma, blue, red = (
            np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
            for plane in self.planes.planes
        )
        height, width = luma.shape
        # Sizes of color planes are rounded up.
        full = tuple(extent * round(whole / extent) for extent, whole in zip(blue.shape, luma.shape, strict=True))
        blue, red = (cv2.resize(plane, full[::-1])[:height, :width] for plane in (blue, red))
        image = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, _ROWS_AT_ONCE):
            rows = slice(top, top + _ROWS_AT_ONCE)
            cv2.cvtColor(cv2.merge([luma[rows], red[rows], blue[rows]]), cv2.COLOR_YCrCb2BGR, image[rows])
        return image

    def jpeg(self, short_side: int = 0) -> bytes:
        """Return the frame as a JPEG file in the quality of AVA's recipe (ffmpeg's `-q:v 1`).

        Args:
            short_side: scale the shorter side to so many pixels; 0 keeps the size.
        """
        planes = self.planes
        if short_side:
            width, height = _short_side_size(planes.width, planes.height, short_side)
            planes = planes.reformat(width, height, interpolation="BICUBIC", threads=1)
        encoder = av.CodecContext.create("mjpeg", "w")
        encoder.width, encoder.height, encoder.pix_fmt = planes.width, planes.height, planes.format.name
        encoder.time_base, encoder.options, encoder.thread_count = Fraction(1), _JPEG_QUALITY, 1
        planes.pts = None
        return b"".join(bytes(packet) for step in (planes, None) for packet in encoder.encode(step))


class VideoDecoder:
    """The frames of a file, a camera or a stream, in the order in which they are shown.

    Damage does not end it: what cannot be decoded is counted, and decoding goes on behind it.

    Attributes:
        rate: frames a second that the header states, exact; 0: it says nothing.
        unit: of the frames' ticks, in seconds.
        duration: seconds that the header states; None: nothing, as of streams without an end.
        errors: packets that could not be read or decoded so far, and, once all are read, those that came incomplete.
        damaged: frames so far in which the decoder reported faults.
        resized: frames so far that the file holds in another size than the first, to which they were scaled.

    Args:
        source: a file, or whatever libavformat opens.
        threads: that decode; 0: as many as it likes. 1 in processes that were forked.
        image_rate: images a second, if the source is a folder of them.
        container_format: of a device, as v4l2; None: told from the content.
        options: of libavformat, by name.
        timeout: seconds after which a stream that gives nothing is at its end; None: never.

    Raises:
        UserError: it cannot be opened, or has no video.
    """

    def __init__(
        self,
        source: str | os.PathLike,
        *,
        threads: int = 0,
        image_rate: int = 0,
        container_format: str | None = None,
        options: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.source = source
        self._container = open_container(source, container_format, options, image_rate, timeout)
        self._stream = first_video_stream(self._container, source)
        self._stream.thread_type = "NONE" if threads == 1 else "AUTO"
        self._stream.codec_context.thread_count = threads
        # Else what is cropped on the left stays in part.
        self._stream.codec_context.flags |= av.codec.context.Flags.unaligned.value
        self.unit = self._stream.time_base
        self.rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(0)
        self.duration = (self._container.duration or 0) / av.time_base or None
        self.is_timed = _is_timed(self._container)
        if not self.is_timed:
            if not self.rate:
                raise UserError(f"{source}: states neither times nor a frame rate; convert it to mp4 with ffmpeg first")
            self.unit = 1 / self.rate
        self.errors = self.damaged = self.resized = self._decoded = 0
        self._incomplete = self._restarts = 0
        self._last_dts: int | None = None
        self._times = _FrameTicks()
        self._stored_size: tuple[int, int] | None = None
        self._size: tuple[int, int] | None = None
        self._clock = _Clock(self._container, self._stream)

    def __enter__(self) -> "VideoDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._container.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        last = None
        for frame in self._decode():
            ticks = self._ticks(frame, last)
            if self._size is None:
                # All frames take the size of the first, as with ffmpeg.
                upright = _upright(frame)
                self._size = upright.width, upright.height
                self._stored_size = _oriented_size(frame)
            self.resized += _oriented_size(frame) != self._stored_size
            last, self._decoded = ticks, self._decoded + 1
            result = VideoFrame(frame, ticks, self.unit, self._size)
            self.damaged += result.is_damaged
            yield result

    def seek(self, stored_ticks: int) -> None:
        """Go on at the keyframe that is shown at this time, as the file states it."""
        self._container.seek(stored_ticks, stream=self._stream)
        self._clock, self._times = _Clock(self._container, self._stream), _FrameTicks()

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Yield decoded frames, their times corrected; what cannot be read or decoded is counted and passed over."""
        packets = self._container.demux(self._stream)
        is_at_end = False
        while not is_at_end:
            packet = None
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                self.errors += 1
            is_at_end = packet is None
            if packet is not None:
                if not packet.size and packet.dts is None:
                    continue  # stands for the end
                self._note(packet)
                self._clock.correct(packet)
            else:
                # Where recordings were joined, their packets do not follow each other, but nothing is lost.
                self.errors += max(self._incomplete - self._restarts, 0)
            try:
                frames = self._stream.codec_context.decode(packet)  # None: what the decoder still holds
            except av.FFmpegError:
                self.errors += 1
                continue
            yield from frames

    def _note(self, packet: av.Packet) -> None:
        """Note whether a packet came incomplete, as where a transport stream lost some of its own."""
        self._incomplete += packet.is_corrupt
        if packet.dts is not None:
            self._restarts += self._last_dts is not None and packet.dts <= self._last_dts
            self._last_dts = packet.dts

    def _ticks(self, frame: av.VideoFrame, last: int | None) -> int:
        if not self.is_timed:
            return self._decoded
        ticks = self._times.of(frame)
        if ticks is None:
            step = round(1 / self.rate / self.unit) if self.rate else 1
            ticks = 0 if last is None else last + step
        return ticks


class _FrameTicks:
    """Tells when frames begin, as ffmpeg does: by their own time stamps, or by those of the packets they came with.

    Frames without one of their own take the latter; so do all once the former have fallen more often, as where B frames
    were copied into a container under the times at which they are decoded, or share a packet.
    """

    def __init__(self) -> None:
        self._faulty_pts = self._faulty_dts = 0
        self._last_pts = self._last_dts = -math.inf

    def of(self, frame: av.VideoFrame) -> int | None:
        """Return when the next frame begins; None: nothing tells."""
        pts, dts = frame.pts, frame.dts
        if pts is not None:
            self._faulty_pts += pts <= self._last_pts
        if dts is not None:
            self._faulty_dts += dts <= self._last_dts
        if pts is not None or dts is not None:
            self._last_pts, self._last_dts = (dts if pts is None else pts), (pts if dts is None else dts)
        is_own = dts is None or (pts is not None and self._faulty_pts <= self._faulty_dts)
        return pts if is_own else dts


class _Clock:
    """Makes packets' times count from the file's start, over wraps and discontinuities, as ffmpeg does."""

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        unit = stream.time_base
        self._jumps = bool(container.format.flags & av.format.Flags.ts_discont.value)
        start = Fraction(container.start_time or 0, av.time_base)
        if self._jumps and stream.start_time is not None:
            # Their streams are cut anywhere: the one that is read sets the start.
            start = max(start, stream.start_time * unit)
        self.offset = -_rounded(start / unit)
        self._unit = unit
        rate = stream.average_rate or stream.guessed_rate
        self._step = _rounded(1 / rate / unit) if rate else 0
        self._last = self._expected = None
        self.was_corrected = False

    def correct(self, packet: av.Packet) -> None:
        """Change a packet's presentation and decoding time."""
        if packet.dts is not None and self._jumps:
            self._follow(packet)
        if packet.dts is not None:
            packet.dts += self.offset
        if packet.pts is not None:
            packet.pts += self.offset

    def _follow(self, packet: av.Packet) -> None:
        """Take a jump of the decoding time for a new start of the clock."""
        time = packet.dts + self.offset
        if self._expected is not None:
            jump = time - self._expected
            if abs(jump * self._unit) > _DISCONTINUITY_SECONDS or (time - self._last) * self._unit < -_BACKWARD_SECONDS:
                self.offset -= jump
                time -= jump
                self.was_corrected = True
        self._last = time
        self._expected = time + (packet.duration or self._step)


def probe(video: str | os.PathLike, image_rate: int = 0) -> VideoInfo:
    """Read through a video file without decoding it, but for the first frame.

    Args:
        video: a file, or a folder of numbered images.
        image_rate: images a second, if it is a folder of them; 0: not known.

    Raises:
        UserError: no such file, not a video, no video stream, no frame that can be decoded, or images without a rate.
    """
    path = Path(video)
    if not (path.is_file() or path.is_dir()):
        raise UserError(f"{path}: there is no such video")
    with VideoDecoder(path, threads=1, image_rate=image_rate) as decoder:
        frames = list(itertools.islice(decoder, 2))
        if not frames:
            raise UserError(f"{path}: holds no frame that can be decoded; is the file complete?")
        first = frames[0]
        upright = first.planes
        width, height = upright.width, upright.height
        pixel_aspect = _pixel_aspect(decoder._stream, first._frame)
        is_timed = decoder.is_timed
        others = len(list(_video_streams(decoder._container))) - 1
    first_image = None
    if path.is_dir():
        series = image_series(path)
        first_image, numbers = series.first, np.arange(series.count)
        times = FrameTimes(numbers, series.count, Fraction(1, image_rate))
        entries = _Packets(times, Fraction(image_rate), None, np.stack([numbers, numbers], axis=1))
    else:
        entries = _read_packets(path, first.ticks)
        times = entries.times
        if times is None or _may_be_fields(times, frames, is_timed):
            times = _decode_times(path)
        elif not entries.is_sure or (is_timed and [frame.ticks for frame in frames] != times.ticks[:2].tolist()):
            times = _decode_times(path)
            if not np.array_equal(times.ticks, entries.times.ticks):
                entries = dataclasses.replace(entries, keyframes=_NO_KEYFRAMES)
    return VideoInfo(
        path,
        times,
        _usual_rate(times, entries.rate),
        width,
        height,
        pixel_aspect,
        entries.promised,
        entries.keyframes,
        first_image,
        is_timed,
        others,
    )


@dataclass(frozen=True)
class _Packets:
    """What the packets of a video say: see `VideoInfo`.

    `times` is None where only decoding tells: packets without times, times that begin again, several of one time.
    They are not sure where frames are stored in another order than they are shown, but the times do not say so.
    """

    times: FrameTimes | None
    rate: Fraction
    promised: Fraction | None
    keyframes: np.ndarray
    is_sure: bool = True


def _read_packets(path: Path, first_ticks: int) -> _Packets:
    """Read through a file; frames before `first_ticks` are those that a cut has left without their keyframe."""
    with open_container(path) as container:
        stream = first_video_stream(container, path)
        is_timed = _is_timed(container)
        clock = _Clock(container, stream)
        is_untimed = container.format.name in _UNTIMED_FORMATS
        rows, ends, is_stated, is_reordered = [], {}, True, not stream.codec_context.has_b_frames
        try:
            for packet in container.demux():
                if packet.dts is None and packet.pts is None and not packet.size:
                    continue
                if packet.pts is not None and packet.duration:
                    end = (packet.pts + packet.duration) * packet.time_base
                    ends[packet.stream_index] = max(ends.get(packet.stream_index, end), end)
                if packet.stream_index != stream.index or not packet.size:
                    continue
                is_stated &= packet.pts is not None
                is_reordered |= packet.pts != packet.dts
                if packet.pts is None and is_untimed:
                    packet.pts = packet.dts  # near enough to seek by
                stored_ticks = packet.pts
                clock.correct(packet)
                if not packet.is_discard:
                    rows.append((packet.pts, packet.duration or 0, packet.is_keyframe, stored_ticks))
        except av.FFmpegError:
            pass  # what the file still holds counts; decoding it tells of the damage
        rate = stream.average_rate or stream.guessed_rate or Fraction(0)
        promised = _promised(container, stream, ends)
        may_seek = container.format.name not in _GUESSING_FORMATS
        unit = stream.time_base
    if not is_timed:
        if not rate:
            raise UserError(f"{path}: states neither times nor a frame rate; convert it to mp4 with ffmpeg first")
        times = FrameTimes(np.arange(len(rows)), len(rows), 1 / rate)
        return _Packets(times, rate, None, _NO_KEYFRAMES)
    rows = [row for row in rows if row[0] is None or row[0] >= first_ticks]
    keyframes = [(row[0], row[3]) for row in rows if row[2] and row[3] is not None and may_seek]
    keyframes = np.array(sorted(keyframes), np.int64).reshape(-1, 2)
    unknown = _Packets(None, rate, promised, keyframes if is_untimed else _NO_KEYFRAMES)
    if not is_stated or clock.was_corrected:
        return unknown
    rows.sort(key=lambda row: row[0])
    ticks = np.array([row[0] for row in rows], np.int64)
    if not len(ticks) or (np.diff(ticks) <= 0).any():
        return unknown
    times = FrameTimes(ticks, _end(ticks, rows[-1][1], rate, unit), unit)
    return _Packets(times, rate, promised, keyframes, is_sure=is_reordered)


def _may_be_fields(times: FrameTimes, frames: Sequence[VideoFrame], is_timed: bool) -> bool:
    """Whether some packets may hold one field of an interlaced frame, as those of H.264 in camcorders do.

    Args:
        times: of the packets.
        frames: the first two, decoded, or the only one.
        is_timed: whether the times are the file's.
    """
    if not frames[0].is_interlaced:
        return False
    steps = np.diff(times.ticks)
    # Whole ticks of a constant rate differ by one.
    is_regular = len(times) >= len(frames) > 1 and np.ptp(steps) <= 1
    return not (is_timed and is_regular and frames[1].ticks == times.ticks[1])


def _decode_times(path: Path) -> FrameTimes:
    """Tell the times of a video whose packets do not state them by decoding it."""
    with VideoDecoder(path, threads=1) as decoder:
        frames = [(frame.ticks, frame._frame.duration if decoder.is_timed else 1) for frame in decoder]
        ticks = np.array([tick for tick, _ in frames], np.int64)
        return FrameTimes(ticks, _end(ticks, frames[-1][1], decoder.rate, decoder.unit), decoder.unit)


def _end(ticks: np.ndarray, duration: int, rate: Fraction, unit: Fraction) -> int:
    """Return when the last frame ends: by its own duration, else that of the one before, else the rate.

    A duration of one tick is a guess of libavformat's where frames are far longer.
    """
    before = int(ticks[-1] - ticks[-2]) if len(ticks) > 1 else 0
    if duration <= 0 or (duration == 1 and before > 2):
        duration = before if before > 0 else _rounded(1 / rate / unit) if rate else 1
    return max(int(ticks[-1]) + duration, int(ticks.max()))  # times may fall


def _promised(
    container: av.container.InputContainer, stream: av.VideoStream, ends: dict[int, Fraction]
) -> Fraction | None:
    """Return how long the header says that the video lasts.

    A container's duration is that of its longest stream, which may be audio or subtitles.
    """
    if container.format.flags & av.format.Flags.ts_discont.value:
        return None  # nothing is promised: what libavformat says was told from the last time stamps
    if container.format.name in _UNTIMED_FORMATS:
        # One tick is one frame there, and libavformat lowers the duration to what the file's size seems to hold.
        return max(stream.duration or 0, stream.frames) * stream.time_base or None
    start = Fraction(container.start_time or 0, av.time_base)
    # Durations count from 0, whenever the first stream starts: Matroska's, and those of edit lists.
    if stream.duration:
        return stream.duration * stream.time_base - max(start, Fraction(0))
    if not container.duration:
        return None
    whole = Fraction(container.duration, av.time_base) - max(start, Fraction(0))
    others = max((end - start for index, end in ends.items() if index != stream.index), default=Fraction(0))
    return None if others >= whole - _TRUNCATION_SECONDS else whole


def _usual_rate(times: FrameTimes, stated: Fraction) -> Fraction:
    """Return the stated rate if the frames keep to it, else that of most frames."""
    steps = np.diff(times.ticks)
    span = int(steps.sum()) * times.unit
    if span <= 0:
        return stated or Fraction(1)
    mean = len(steps) / span
    # Whole ticks of a constant rate differ by one.
    usual = np.median(steps)
    # What mp4 states is the mean, which long pauses spoil.
    is_spoiled = abs(usual - steps.mean()) > max(1, usual / 2)
    if stated and abs(mean / stated - 1) < Fraction(1, 200) and not is_spoiled:
        return stated
    near = steps[np.abs(steps - usual) <= max(1, usual / 10)]
    return Fraction(len(near), max(int(near.sum()), 1)) / times.unit


def at_rate(frames: Iterable[VideoFrame], fps: int, end: Fraction | None = None) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (k, frame) for k = 0, 1, ...: what is shown at k / fps seconds.

    Args:
        frames: of a `VideoDecoder`.
        fps: frames a second.
        end: seconds until which the last frame stays; None: it is shown once.
    """
    index, shown, latest = 0, None, 0
    for frame in frames:
        slot = max(latest, _slot(frame.time, fps))
        while shown is not None and index < slot:
            yield index, shown
            index += 1
        shown, latest = frame, slot
    if shown is None:
        return
    for last in range(index, max(index + (end is None), 1, _slot(end or 0, fps))):
        yield last, shown


class VideoReader:
    """Frames of one open video at a rate of its own, in any order; it goes on where it stopped if that is near.

    Args:
        info: of the video.
        fps: frames a second.

    Raises:
        UserError: the video cannot be opened any more.
    """

    def __init__(self, info: VideoInfo, fps: int) -> None:
        self.path, self.count = info.path, info.times.count(fps)
        self._info, self._fps = info, fps
        self._process = os.getpid()
        self._decoder = self._opened()
        self._may_seek, self._has_sought = True, False
        self._start()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

    @property
    def is_mine(self) -> bool:
        """Whether it was opened by this very process: a file's position is shared over a fork."""
        return os.getpid() == self._process

    @property
    def is_damaged(self) -> bool:
        """Whether something that was decoded since the file was opened, or sought in, was damaged."""
        return bool(self._decoder.errors or self._decoder.damaged)

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (index, frame) for rising `indices`.

        Raises:
            UserError: the file was replaced by one that holds no frames.
        """
        for index in indices:
            ahead = index - self._slot
            if ahead < 0 or ahead > _DECODE_ON_SECONDS * self._fps:
                self._go_to(index)
            self._go_on_to(index)
            if self._has_sought and self.is_damaged:
                # Damage shows otherwise than when it is met on the way from the start, as extraction meets it.
                self._may_seek = False
                self._start_anew()
                self._go_on_to(index)
            yield index, self._current

    def _opened(self) -> VideoDecoder:
        return VideoDecoder(self.path, threads=1, image_rate=self._info.image_rate)

    def _go_on_to(self, index: int) -> None:
        while self._next is not None and self._next_slot <= index:
            self._advance()

    def _start(self) -> None:
        """Stand on the first frame."""
        self._frames = iter(self._decoder)
        self._latest = 0
        self._current, self._slot, self._next = None, 0, None
        self._fetch()
        if self._next is None:
            raise UserError(f"{self.path}: holds no frame that can be decoded; is the file complete?")
        self._advance()

    def _go_to(self, index: int) -> None:
        """Stand at or before a frame: at the last keyframe before it that can be reached, else at the first frame."""
        unit, fps = self._info.times.unit, self._fps
        keyframes = self._info._keyframes.tolist() if self._may_seek else []
        before = [row for row in keyframes if _slot(row[0] * unit, fps) <= index]
        if index >= self._slot and (not before or _slot(before[-1][0] * unit, fps) <= self._slot):
            return  # decoding on passes no keyframe
        for _, stored_ticks in reversed(before[-2:]):
            try:
                self._decoder.seek(stored_ticks)
                self._start()
            except (av.FFmpegError, UserError):
                continue
            self._has_sought = True
            if self._is_known(self._current) and _slot(self._current.time, fps) <= index:
                return
        self._start_anew()

    def _is_known(self, frame: VideoFrame) -> bool:
        """Whether a frame has a time that the file states; behind a seek, times may be guessed."""
        ticks = self._info.times.ticks
        return bool(ticks[min(np.searchsorted(ticks, frame.ticks), len(ticks) - 1)] == frame.ticks)

    def _start_anew(self) -> None:
        """Stand on the first frame of the file opened again."""
        self._decoder.close()
        self._decoder = self._opened()
        self._has_sought = False
        self._start()

    def _advance(self) -> None:
        self._current, self._slot = self._next, self._next_slot
        self._fetch()

    def _fetch(self) -> None:
        self._next = next(self._frames, None)
        if self._next is not None:
            self._next_slot = self._latest = max(self._latest, _slot(self._next.time, self._fps))


def first_video_stream(container: av.container.InputContainer, source: object) -> av.VideoStream:
    """Return the first video stream that is no cover image.

    Raises:
        UserError: there is none.
    """
    stream = next(_video_streams(container), None)
    if stream is None:
        raise UserError(f"{source}: the file has no video stream, expected a video")
    if stream.codec_context is None:
        raise UserError(f"{source}: no decoder is known for this video; convert it with ffmpeg first")
    return stream


def _video_streams(container: av.container.InputContainer) -> Iterator[av.VideoStream]:
    """Yield the video streams that are no cover image."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            yield stream


def find_videos(folder: Path, *, image_folders: bool = False) -> dict[str, Path]:
    """Return the videos of a folder by name, without the suffix, sorted.

    Files with a video's suffix count even if they are damaged, others if they can be opened as videos.

    Args:
        folder: where they are.
        image_folders: take folders of numbered images for videos, but where a file has that name.

    Raises:
        UserError: no folder, no videos, or two videos of one name.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; expected one with videos")
    videos: dict[str, Path] = {}
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    for path in filter(is_video, entries):
        name = unicodedata.normalize("NFC", path.stem)
        if name in videos:
            raise UserError(f"{path}: there is also {videos[name].name}; two videos cannot share the name {name}")
        videos[name] = path
    for path in filter(is_image_folder, entries if image_folders else []):
        videos.setdefault(unicodedata.normalize("NFC", path.name), path)
    if not videos:
        raise UserError(
            f"{folder}: holds no videos; expected files as clip.mp4, clip.mkv or clip.avi"
            + (", or a folder of numbered images for each video" if image_folders else "")
            + next(
                (f"; {path} is one level too deep" for path in sorted(folder.glob("*/*")) if is_named_as_video(path)),
                "",
            )
        )
    return dict(sorted(videos.items()))


def is_video(path: Path) -> bool:
    """Whether a file is a video by its suffix, or holds one."""
    if not path.is_file():
        return False
    if is_named_as_video(path):
        return True
    try:
        with open_container(path) as container:
            is_still = any(name in container.format.name for name in _STILL_FORMATS)
            packets = container.demux(first_video_stream(container, path))
            # A photo of a phone, as HEIC, is a video of one frame for libavformat.
            return not is_still and bool(next(packets).size and next(packets).size)
    except (av.FFmpegError, OSError, UserError):
        return False


def is_named_as_video(path: Path) -> bool:
    """Return whether a file has a suffix of videos."""
    return path.suffix.lower() in _VIDEO_SUFFIXES


def open_container(
    source: str | os.PathLike,
    container_format: str | None = None,
    options: dict[str, str] | None = None,
    image_rate: int = 0,
    timeout: float | None = None,
) -> av.container.InputContainer:
    """Open whatever libavformat reads; see `VideoDecoder`. A path is a file's, whatever its name looks like.

    Raises:
        UserError: it cannot be opened.
    """
    location = f"file:{source}" if isinstance(source, Path) else str(source)
    if isinstance(source, Path) and source.is_dir():
        series = image_series(source)
        if not image_rate:
            raise UserError(f"{source}: is a folder of images, which do not state their rate: say --fps")
        location, container_format = series.pattern, "image2"
        options = {"framerate": str(image_rate), "start_number": str(series.first), "pattern_type": "sequence"}
    try:
        container = av.open(location, format=container_format, options=options, timeout=timeout)
        if container.format.name in _UNTIMED_FORMATS:
            container.flags &= ~av.container.Flags.gen_pts.value
        return container
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{source}: cannot open the video: {error.strerror}") from error


def _is_timed(container: av.container.InputContainer) -> bool:
    """Whether frames have times: a bare stream, outside of a container, states no more than a rate."""
    return container.format.name == "image2" or not container.format.flags & av.format.Flags.no_timestamps.value


def _slot(time: Fraction, fps: int) -> int:
    """Return the first frame at `fps` a second that may show what begins at `time`; ffmpeg rounds halves up."""
    return math.floor(time * fps + Fraction(1, 2))


def _rounded(value: Fraction) -> int:
    """Round to the nearest integer, halves away from zero, as libavutil does."""
    return math.floor(value + Fraction(1, 2)) if value >= 0 else -math.floor(-value + Fraction(1, 2))


def _pixel_aspect(stream: av.VideoStream, frame: av.VideoFrame) -> Fraction:
    """Return width to height of a pixel of the upright frame."""
    aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    return 1 / aspect if _is_transposed(frame) else aspect


def _oriented_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Return width and height of a frame as it is stored, or with both changed where it is shown lying on its side."""
    size = frame.width, frame.height
    return size[::-1] if _is_transposed(frame) else size


def _is_transposed(frame: av.VideoFrame) -> bool:
    return any(name == "transpose" for name, _ in _turns(frame))


def _upright(frame: av.VideoFrame) -> av.VideoFrame:
    """Turn and mirror a frame as its display matrix says."""
    turns = _turns(frame)
    return _filtered(frame, turns) if turns else frame


def _filtered(frame: av.VideoFrame, filters: Iterable[tuple[str, str]]) -> av.VideoFrame:
    """Return what ffmpeg's filters, given with their arguments, make of a frame."""
    graph = av.filter.Graph()
    graph.threads = 1
    nodes = [
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)),
        *(graph.add(name, argument) for name, argument in filters),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    graph.push(frame)
    return graph.pull()


def _display_matrix(frame: av.VideoFrame) -> SideData | None:
    """Return the display matrix of a frame, if it has one.

    `frame.side_data` would keep the frame (8K: 50 MB) until the garbage collector runs, as both refer to each other.
    """
    try:
        return SideDataContainer(frame).get("DISPLAYMATRIX")
    except ValueError:
        # PyAV reads nothing beside data of a kind that it does not know, as EXIF or those of stereoscopic videos.
        return SideDataContainer(_filtered(frame, _UNKNOWN_SIDE_DATA)).get("DISPLAYMATRIX")


def _turns(frame: av.VideoFrame) -> list[tuple[str, str]]:
    """Return the filters, with their arguments, that ffmpeg inserts for a frame's display matrix."""
    data = _display_matrix(frame)
    if data is None:
        return []
    matrix = np.frombuffer(data, np.int32).astype(np.float64)
    lengths = np.hypot(matrix[0], matrix[3]), np.hypot(matrix[1], matrix[4])
    if not all(lengths):
        return []
    # Clockwise, in whole degrees from -1 to 359.
    angle = round(math.degrees(math.atan2(matrix[1] / lengths[1], matrix[0] / lengths[0])))
    angle -= 360 * math.floor(angle / 360 + 0.9 / 360)
    if angle == 90:
        return [("transpose", "cclock_flip" if matrix[3] > 0 else "clock")]
    if angle == 180:
        return [(name, "") for name, sign in (("hflip", matrix[0]), ("vflip", matrix[4])) if sign < 0]
    if angle == 270:
        return [("transpose", "clock_flip" if matrix[3] < 0 else "cclock")]
    if angle:
        return [("rotate", f"{angle}*PI/180")]
    return [("vflip", "")] if matrix[4] < 0 else []


def _jpeg_format(frame: av.VideoFrame) -> str:
    """Return JPEG's planar format with the color resolution of a frame."""
    parts = frame.format.components
    if min(part.height for part in parts) < frame.height:
        return "yuvj420p"
    return "yuvj422p" if min(part.width for part in parts) < frame.width else "yuvj444p"


def _short_side_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return width and height with the shorter side of `short_side`, the other even and in proportion."""
    longer = 2 * _rounded(Fraction(max(width, height) * short_side, min(width, height) * 2))
    return (short_side, longer) if width < height else (longer, short_side)
