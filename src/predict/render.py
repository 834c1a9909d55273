"""Videos for people: with labels drawn in, or as a browser plays them."""

import colorsys
import contextlib
import functools
import itertools
import math
import shutil
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from src.datasets.video import VideoDecoder, VideoInfo, first_video_stream, open_container
from src.predict.results import VideoResult
from src.predict.tracker import STAY
from src.utils.files import atomic_path
from src.utils.threads import in_background

# Codecs and containers that every browser plays.
_BROWSER_VIDEO, _BROWSER_PIXELS = {"h264", "vp8", "vp9", "av1"}, {"yuv420p", "yuvj420p"}
_BROWSER_SUFFIXES = {".mp4", ".m4v", ".webm"}
# Seconds by which a browser may show a frame later or sooner: less than one.
_UNSEEN_SHIFT = 0.03
_MP4_AUDIO = {"aac", "mp3"}
_AAC_LAYOUTS = {"mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"}
_QUALITY = "20"
# Of more pixels than 4K has, x264 keeps gigabytes where it looks ahead, and each thread that decodes some frames.
_MOST_AHEAD = 4096 * 2304
# Frames that are drawn on while one is encoded.
_QUEUE = 4
# Height of letters in relation to the frame's, and its minimum in pixels.
_LETTER_SHARE, _LETTER_LEAST = 0.032, 12
# Pictures of texts that are kept: more than a frame shows, and few where letters are large (700 kB each at 8K).
_TEXTS = 128
# With more persons than this in a frame, each has so many lines of text at most.
CROWD, CROWD_LINES = 4, 2
# Fonts that most systems have. Those of Chinese letters come last: they space European ones badly.
_FONTS = (
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "arial.ttf",
    "Arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
)


def color_of(class_id: int) -> tuple[int, int, int]:
    """Return a class's color, RGB: hues far apart for neighboring ids. The page computes the same."""
    hue = (class_id * 137.508) % 360
    return tuple(round(255 * part) for part in colorsys.hls_to_rgb(hue / 360, 0.6, 0.65))


@functools.lru_cache(maxsize=1024)
def find_font(size: int, text: str) -> ImageFont.FreeTypeFont:
    """Return a font that has the letters of a text, if the system has one; else the one that Pillow brings."""
    fallback = None
    for name in [*_FONTS, *_installed_fonts()]:
        font = _loaded_font(name, size)
        if font is None:
            continue
        fallback = fallback or font
        if _covers(font, text):
            return font
    return fallback or ImageFont.load_default(size)


@functools.cache
def _loaded_font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    """Return a font; None: there is none of this name. All texts share it, as each takes a tenth of a megabyte."""
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@functools.cache
def _installed_fonts() -> tuple[str, ...]:
    folders = ("/usr/share/fonts", "/usr/local/share/fonts", str(Path.home() / ".fonts"), "/System/Library/Fonts")
    return tuple(
        str(path)
        for folder in folders
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix.lower() in (".ttf", ".ttc", ".otf")
    )


def _covers(font: ImageFont.FreeTypeFont, text: str) -> bool:
    """Whether a font draws every letter: one that it lacks looks like a letter that no font has."""
    missing = bytes(font.getmask("\U0010fffe"))
    return all(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in set(text))


class _Movement:
    """Where each person of a video is at any time, from the sightings."""

    def __init__(self, sightings: np.ndarray, gap: float) -> None:
        self._gap = gap
        self._rows = {
            int(track): sightings[sightings[:, 1] == track][:, [0, 2, 3, 4, 5]] for track in np.unique(sightings[:, 1])
        }
        self._times = {track: rows[:, 0].tolist() for track, rows in self._rows.items()}
        # Whoever is there in a second, so that a frame asks few.
        self._present: dict[int, set[int]] = defaultdict(set)
        for time, track in sightings[:, :2].tolist():
            for second in range(int(time), int(time + gap) + 1):
                self._present[second].add(int(track))

    def at(self, time: float) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (track, box) of the persons at a time."""
        for track in sorted(self._present.get(int(time), ())):
            times, rows = self._times[track], self._rows[track]
            after = bisect_right(times, time)
            if after == 0:
                continue
            start = rows[after - 1]
            if after == len(times):
                if time - start[0] < STAY:
                    yield track, start[1:]
                continue
            end = rows[after]
            if end[0] - start[0] > self._gap + 1e-6:
                continue
            weight = (time - start[0]) / (end[0] - start[0])
            yield track, (1 - weight) * start[1:] + weight * end[1:]


class Overlay:
    """Draws persons and what they do on frames of one size.

    Args:
        result: of the video.
        labels: class name by id.
        size: height and width of the frames.
    """

    def __init__(self, result: VideoResult, labels: dict[int, str], size: tuple[int, int]) -> None:
        self._movement = _Movement(result.part.sightings, result.gap)
        self._labels, self._size = labels, size
        self._letter = max(_LETTER_LEAST, round(_LETTER_SHARE * size[0]))
        self._patch = functools.lru_cache(maxsize=_TEXTS)(self._draw_text)
        self._actions = defaultdict(list)
        for action in result.actions:
            self._actions[action.track].append(action)

    def draw(self, image: np.ndarray, time: float) -> None:
        """Draw on a frame, uint8 (height, width, 3) BGR, in place."""
        height, width = self._size
        thickness = max(1, round(height / 300))
        persons = list(self._movement.at(time))
        boxes = {track: (box * [width, height, width, height]).round().astype(int).tolist() for track, box in persons}
        running = {
            track: sorted(
                (action for action in self._actions[track] if action.start <= time < action.end),
                key=lambda action: -action.score,
            )[: CROWD_LINES if len(boxes) > CROWD else None]
            for track in boxes
        }
        for track, (left, top, right, bottom) in boxes.items():
            color = color_of(running[track][0].class_id)[::-1] if running[track] else (255, 255, 255)
            cv2.rectangle(image, (left, top), (right, bottom), color, thickness)
        placed = np.zeros((len(boxes), 4), np.int64)
        for index, (track, box) in enumerate(boxes.items()):
            lines = [(f"#{track}", (255, 255, 255))] + [
                (f"{self._labels[action.class_id]} {action.score:.2f}", color_of(action.class_id))
                for action in running[track]
            ]
            patches = [self._patch(text, color) for text, color in lines]
            size = sum(patch.shape[0] for patch in patches), max(patch.shape[1] for patch in patches)
            placed[index] = self._free_place(box, size, placed[:index])
            left, row = placed[index, :2].tolist()
            for patch in patches:
                part = image[row : row + patch.shape[0], left : left + patch.shape[1]]
                part[:] = patch[: part.shape[0], : part.shape[1]]
                row += patch.shape[0]

    def _free_place(self, box: list[int], size: tuple[int, int], placed: np.ndarray) -> np.ndarray:
        """Return where the text of a person goes, x1 y1 x2 y2: within the frame, over as little other text as can be.

        The page does the same.
        """
        (left, top, right, bottom), (height, width) = box, size
        corners = [
            (left, top),
            (left, top - height),
            (right - width, top),
            (left, bottom - height),
            (right - width, bottom - height),
            (left, bottom),
        ]
        lows = np.maximum(np.minimum(corners, [self._size[1] - width, self._size[0] - height]), 0)
        places = np.concatenate([lows, lows + np.array((width, height))], axis=1)
        common = np.minimum(places[:, None, 2:], placed[:, 2:]) - np.maximum(places[:, None, :2], placed[:, :2])
        return places[np.argmin(np.maximum(common, 0).prod(axis=2).sum(axis=1))]

    def _draw_text(self, text: str, color: tuple[int, int, int]) -> np.ndarray:
        """Return a text on dark ground: uint8 (height, width, 3), BGR."""
        font, margin = find_font(self._letter, text), max(2, self._letter // 5)
        left, _, right, _ = font.getbbox(text)
        ascent, descent = font.getmetrics()
        patch = Image.new("RGB", (right - left + 2 * margin, ascent + descent + margin), (24, 24, 27))
        ImageDraw.Draw(patch).text((margin - left, margin // 2), text, font=font, fill=color)
        return np.asarray(patch)[..., ::-1]


def write_annotated(
    info: VideoInfo, path: Path, result: VideoResult, labels: dict[int, str], tick: Callable[[float], None]
) -> None:
    """Write a video with persons and actions drawn in, its times and audio as they were.

    Args:
        info: of the video.
        path: an mp4 file.
        result: what is drawn.
        labels: class name by id.
        tick: is told the second that is done.
    """
    overlay = Overlay(result, labels, (info.height, info.width))
    _encode(info, path, overlay.draw, tick)


def playable_name(info: VideoInfo, name: str) -> str:
    """Return the name of the file that `write_playable` makes of a video called `name`."""
    return f"{name}_source{info.path.suffix.lower() if _plays_as_here(info.path) else '.mp4'}"


def write_playable(info: VideoInfo, path: Path, tick: Callable[[float], None]) -> None:
    """Put a video where the page finds it, in a form that browsers play: as it is where they do, else as H.264.

    Args:
        info: of the video.
        path: named by `playable_name`.
        tick: is told the second that is done.
    """
    if not _plays_as_here(info.path):
        return _encode(info, path, None, tick)
    with atomic_path(path) as temporary:
        temporary.unlink()
        shutil.copyfile(info.path, temporary)
    return None


def _plays_as_here(path: Path) -> bool:
    """Whether every browser plays a file, and shows its frames upright at the times that they have here."""
    if path.suffix.lower() not in _BROWSER_SUFFIXES:
        return False
    with open_container(path) as container:
        codec = first_video_stream(container, path).codec_context
        if codec.name not in _BROWSER_VIDEO or codec.pix_fmt not in _BROWSER_PIXELS:
            return False
        # Their clock starts at the file's own 0, ours with what comes first.
        if abs(container.start_time or 0) > _UNSEEN_SHIFT * av.time_base:
            return False
    with VideoDecoder(path, threads=1) as decoder:
        return not any(frame.is_askew for frame in itertools.islice(decoder, 1))


def _encode(
    info: VideoInfo,
    path: Path,
    draw: Callable[[np.ndarray, float], None] | None,
    tick: Callable[[float], None],
) -> None:
    """Write a video as H.264 in mp4, every frame at its time; audio is copied, or encoded where mp4 has no place."""
    # H.264 with quarter-size colors needs even sides.
    width, height = (extent + extent % 2 for extent in (info.width, info.height))
    is_large = width * height > _MOST_AHEAD
    with atomic_path(path) as temporary, VideoDecoder(info.path, threads=1 if is_large else 0) as decoder:
        # Behind "./", a name with a colon is no address.
        location = str(temporary) if temporary.is_absolute() else f"./{temporary}"
        with av.open(location, "w", format="mp4", options={"movflags": "+faststart"}) as output:
            encoder = {"crf": _QUALITY, "preset": "ultrafast" if is_large else "veryfast"}
            stream = output.add_stream("libx264", rate=info.rate.limit_denominator(100000), options=encoder)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.time_base = stream.codec_context.time_base = decoder.unit
            if info.pixel_aspect != 1:
                stream.codec_context.sample_aspect_ratio = info.pixel_aspect
            audio = _Audio(info.path, output)
            pictures = _pictures(decoder, (height, width), draw)
            if not is_large:
                pictures = in_background(pictures, _QUEUE)
                stream.codec_context.thread_type = "FRAME"  # else slices, which do not keep two cores busy
            with contextlib.closing(pictures):
                for picture, time in pictures:
                    output.mux(stream.encode(picture))
                    audio.copy_until(time)
                    tick(float(time))
            output.mux(stream.encode(None))
            audio.copy_until(None)
        decoder.close()


def _pictures(
    decoder: VideoDecoder, size: tuple[int, int], draw: Callable[[np.ndarray, float], None] | None
) -> Iterator[tuple[av.VideoFrame, Fraction]]:
    """Yield what is encoded of each frame, and its second: enlarged to a size by repeating its border, and drawn on."""
    ticks = None
    for frame in decoder:
        height, width = frame.image.shape[:2]
        bottom, right = size[0] - height, size[1] - width
        image = frame.image
        if bottom or right:
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        if draw is not None:
            draw(image[:height, :width], float(frame.time))
        picture = av.VideoFrame.from_ndarray(image, format="bgr24")
        # Times that a damaged file repeats or turns back must rise for the encoder.
        ticks = frame.ticks if ticks is None else max(frame.ticks, ticks + 1)
        picture.pts, picture.time_base = ticks, decoder.unit
        yield picture, frame.time


class _Audio:
    """The audio of a video on its way into another file; none where the video has none."""

    def __init__(self, path: Path, output: av.container.OutputContainer) -> None:
        self._output = output
        self._container = open_container(path)
        streams = self._container.streams.audio
        self._packets: Iterator = iter(())
        self._damaged, self._last, self._kind = 0, -math.inf, None
        if not streams or streams[0].codec_context is None:
            self._container.close()
            return
        source = streams[0]
        self._source = source
        self._start = Fraction(self._container.start_time or 0, av.time_base)
        self._copies = source.codec_context.name in _MP4_AUDIO
        if self._copies:
            self._stream = output.add_stream_from_template(source)
        else:
            rate, layout = source.codec_context.sample_rate, source.codec_context.layout
            self._stream = output.add_stream("aac", rate=rate if rate in av.Codec("aac", "w").audio_rates else 48000)
            # PCM in AVI or Matroska says how many channels there are, not which.
            unknown = "mono" if layout.nb_channels == 1 else "stereo"
            self._stream.codec_context.layout = layout.name if layout.name in _AAC_LAYOUTS else unknown
        self._packets = self._container.demux(source)

    def copy_until(self, time: Fraction | None) -> None:
        """Write the audio until a second; None: all the rest."""
        for packet in self._packets:
            if packet.dts is None:
                continue
            now = packet.pts * packet.time_base - self._start
            self._write(packet)
            if time is not None and now > time:
                return
        if time is None and getattr(self, "_stream", None) is not None:
            if not self._copies:
                self._encode(self._decoded(None))
                self._mux(self._stream.encode(None))
            self._container.close()
            if self._damaged:
                tqdm.write(
                    f"{self._container.name.removeprefix('file:')}: damaged audio, left out at {self._damaged} places"
                )

    def _write(self, packet: av.Packet) -> None:
        if self._copies:
            shift = round(self._start / packet.time_base)
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = self._stream
            self._output.mux(packet)
            return
        self._encode(self._decoded(packet))

    def _decoded(self, packet: av.Packet | None) -> list[av.AudioFrame]:
        """Return the frames of a packet, or those that are left at the end; none where it is damaged."""
        try:
            return self._source.codec_context.decode(packet)
        except av.FFmpegError:
            self._damaged += 1
            return []

    def _encode(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            kind = frame.sample_rate, frame.layout.name, frame.format.name
            self._kind = self._kind or kind
            if kind != self._kind:
                self._damaged += 1
                continue
            if frame.pts is not None:
                frame.pts -= round(self._start / frame.time_base)
            self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            # Times that damage turns back cannot be written.
            if packet.dts > self._last:
                self._last = packet.dts
                self._output.mux(packet)
